//! An installation as a trace of its own: each pass with its reason, its steps and what they changed,
//! as a collector gets it; and the metrics that come of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
#[path = "support/registry.rs"]
mod registry;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use otlp::{Speaks, hex};
use support::agent::Agent;
use support::layout::{Layout, PRIMARY};
use told::Told;
use world::{World, same};

const LIST: &str = "10-primary.conflist";

fn start(world: &World, layout: &Layout, more: &[(&str, &str)]) -> Agent {
    let directories = layout.environment();
    let directories = directories.iter().map(|(key, value)| (*key, value.as_str()));
    world.launch_agent(&directories.chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The traces of passes, in their order, with the node's directories under names that stay.
fn passes(told: &Told, layout: &Layout) -> Vec<String> {
    let mut spans: Vec<_> = told.spans.iter().filter(|(_, span)| span.name == "install").collect();
    spans.sort_by_key(|(_, span)| span.start_time_unix_nano);
    let names = [(layout.net(), "NET"), (layout.bin(), "BIN"), (layout.source(), "IMAGE")];
    let named =
        |text: String| names.iter().fold(text, |text, (path, name)| text.replace(&path.display().to_string(), name));
    // Below no other span, and about no pod.
    let tree = |id: &[u8]| told.tree(&hex(id), "");
    let trees = spans.iter().map(|(_, span)| tree(&span.trace_id));
    trees.map(|(tree, pod)| if pod.is_empty() { named(tree) } else { panic!("{pod:?}") }).collect()
}

#[test]
fn each_pass_is_a_trace_with_its_reason_and_what_it_changed() {
    let mut world = World::new(Speaks::Http, &[]);
    let layout = Layout::with_primary();
    let mut agent = start(&world, &layout, &[]);
    agent.wait_for("ms after the start");
    agent.wait_for("validated/reinstalled (start)");
    layout.write(LIST, PRIMARY);
    agent.wait_for("validated/reinstalled (conflist_changed)");
    world.agent = Some(agent);
    let told = world.told();
    let passes = passes(&told, &layout);
    assert_eq!(passes.len(), 2, "{passes:#?}");
    same(
        &passes[0],
        "
install (agent) istio_cni.install.reason=start istio_cni.install.result=SUCCESS
  install.binaries (agent) file.path=BIN/istio-cni istio_cni.install.changes=1
  install.kubeconfig (agent) istio_cni.install.changes=0
  install.conflist (agent) file.path=NET/10-primary.conflist istio_cni.install.changes=1
  install.verify (agent)
",
    );
    same(
        &passes[1],
        "
install (agent) istio_cni.install.reason=conflist_changed istio_cni.install.result=SUCCESS
  install.binaries (agent) istio_cni.install.changes=0
  install.kubeconfig (agent) istio_cni.install.changes=0
  install.conflist (agent) file.path=NET/10-primary.conflist istio_cni.install.changes=1
  install.verify (agent)
",
    );
    let registry = registry::Registry::read();
    let mut wrong: Vec<String> = told.spans.iter().flat_map(|(_, span)| registry.span(span)).collect();
    wrong.extend(told.logs.iter().flat_map(|(_, log)| registry.log(log)));
    wrong.extend(told.metrics.iter().flat_map(|metric| registry.metric(metric)));
    assert!(wrong.is_empty(), "{wrong:#?}");
    let done: Vec<&str> = told.logs.iter().map(|(_, log)| log.event_name.as_str()).collect();
    assert_eq!(done.iter().filter(|name| **name == "istio_cni.install.done").count(), 2);
    assert_eq!(told.counter("istio_cni_installs_total", &[("result", "SUCCESS")]), Some(2.0));
    assert_eq!(told.counter("istio_cni_config_reverts_total", &[]), Some(1.0));
}

#[test]
fn a_pass_that_fails_says_where_and_why() {
    let mut world = World::new(Speaks::Http, &[]);
    let layout = Layout::with_primary();
    std::fs::remove_file(layout.source().join("istio-cni")).unwrap();
    let mut agent = start(&world, &layout, &[]);
    agent.wait_for("install.binaries failed");
    world.agent = Some(agent);
    let passes = passes(&world.told(), &layout);
    let problem = "there is no plugin istio-cni in IMAGE; set CNI_BIN_SOURCE_DIR to where it is";
    same(
        &passes[0],
        &format!(
            "
install (agent) error.type=binary_missing istio_cni.install.reason=start istio_cni.install.result=COPY_BINARIES_FAILURE
  ! {problem}
  install.binaries (agent) error.type=binary_missing
    ! {problem}
"
        ),
    );
}
