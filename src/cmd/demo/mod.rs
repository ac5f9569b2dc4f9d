//! `istio-cni-otel demo`: the main job on one machine, with the real plugin, the real agent and real packets.

mod agent_process;
mod api;
pub mod args;
mod closing;
mod container;
mod drift;
mod forward;
mod isolate;
mod kubelet;
mod late;
mod metrics;
mod out;
mod packets;
mod page;
mod plugin_call;
mod pods;
mod probe;
mod process;
mod receiver;
mod scenes;
mod stage;
pub mod style;
mod trace;
mod waterfall;
mod world;

use super::cli::fail;
use anyhow::{Context, Result, bail};
use args::DemoArgs;
use forward::Forwarder;
use isolate::{Users, check_kernel, isolate};
use out::Out;
use page::Page;
use stage::Stage;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use style::Style;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The plugin's name, also as a file.
const PLUGIN: &str = "istio-cni";

/// Runs the demo. Must be called before the process has a second thread.
pub fn run(args: DemoArgs) -> ExitCode {
    let result = match (args.hold_netns, args.validate_in) {
        (Some(user), _) => isolate::hold_netns(user),
        (None, Some(pause)) => container::become_validator(pause),
        (None, None) => play(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(130),
        // Whoever reads has seen enough, as in `demo | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), 1),
    }
}

/// The user does not want to see the rest.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn play(args: DemoArgs) -> Result<()> {
    let plugin = find_plugin()?;
    let mut out = Out::new(Style::of_stdout());
    let users = isolate()?;
    check_kernel(users)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the demo's threads")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Bound first: an address that is taken must not be found out at the end.
        let listener = match args.serve {
            Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
                format!("cannot serve the page on {address}: choose another address, or none for any free port")
            })?),
            None => None,
        };
        let forwarder = args.otlp.as_deref().map(Forwarder::start).transpose()?;
        let page = tokio::select! {
            page = show(&mut out, users, plugin, forwarder) => page?,
            _ = interrupt.recv() => bail!(Interrupted),
            _ = terminate.recv() => bail!(Interrupted),
        };
        if let Some(listener) = listener {
            out.heading(&format!("The same as a page: http://{} (until Ctrl-C)", listener.local_addr()?))?;
            tokio::select! {
                served = page.serve(listener) => served?,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        Ok(())
    })
}

/// The plugin's binary stands beside this one, in a build as in the image.
fn find_plugin() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find out where this program is")?;
    let plugin = own.with_file_name(PLUGIN);
    if !plugin.is_file() {
        bail!("the plugin {} is missing: build or copy it beside this program (make build)", plugin.display());
    }
    Ok(plugin)
}

/// The whole demo, from the first line to the last; everything that it made is gone when it returns.
async fn show(out: &mut Out, users: Users, plugin: PathBuf, forwarder: Option<Forwarder>) -> Result<Page> {
    let begun = Instant::now();
    out.title("istio-cni-otel demo:", "a meshed pod's network, set up on this machine in namespaces of its own")?;
    out.heading("THE NODE")?;
    if users == Users::One {
        out.done("a user namespace, in which you are root, and nowhere else")?;
        out.done("one user for each pod, as you are only one: the application of web-0, the proxy of web-1")?;
    }
    let mut stage = Stage::set(out, users, plugin, forwarder.as_ref().map(Forwarder::onward)).await?;

    scenes::add(out, &stage, &stage.meshed).await?;
    late::validate(out, &stage, &stage.meshed).await?;
    let mut packets = vec![(stage.meshed.name(), scenes::packets(out, &stage, &stage.meshed)?)];
    if let Some(twin) = &stage.twin {
        scenes::add(out, &stage, twin).await?;
        late::validate(out, &stage, twin).await?;
        packets.push((twin.name(), scenes::packets(out, &stage, twin)?));
    }
    scenes::add_again(out, &stage, &stage.meshed).await?;
    scenes::skip(out, &stage, &stage.plain).await?;
    scenes::refuse(out, &stage, &stage.broken).await?;
    scenes::check(out, &stage, &stage.meshed).await?;
    scenes::del(out, &stage, &stage.meshed).await?;
    late::repair(out, &stage, &stage.late).await?;
    packets.push((stage.late.name(), scenes::packets(out, &stage, &stage.late)?));
    stage.stop_agent().await?;
    let page = closing::tell(out, &stage, packets)?;
    stage.clear()?;
    if let Some(forwarder) = forwarder {
        let (collector, sent) = forwarder.finish().await?;
        out.heading(&format!("SENT ON to {collector}"))?;
        out.done(&format!("the collector took {sent}"))?;
    }

    out.heading(&format!("All as it should be, in {:.1} s; nothing is left behind.", begun.elapsed().as_secs_f64()))?;
    Ok(page)
}
