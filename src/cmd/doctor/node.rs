//! One node: its files are looked at here, its agent is asked, and both make one report. An agent that does not answer
//! is a finding like any other.

use super::args::DoctorArgs;
use super::{CouldNot, of_pod};
use crate::agent::config::{Settings, runtime_endpoint};
use crate::agent::doctor::{LIMIT, PATH, Place, VERSION, look_at};
use crate::agent::local::SOCKET;
use crate::cmd::progress::Progress;
use crate::domain::failure::whole;
use crate::domain::finding::{Check, Finding, Report};
use crate::host::conf_dir::ConfDir;
use crate::host::local_http::{LocalError, get};
use crate::host::runtime::looks_like_a_node;
use crate::ops::diagnose::within;
use crate::wire::conflist;
use crate::wire::finding::{LARGEST, decode};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the agent may take: longer than its own checks may.
const ANSWER: Duration = Duration::from_millis(2500);
const _: () = assert!(LIMIT.as_millis() < ANSWER.as_millis());
/// How long what is looked at before the checks may take.
const GLANCE: Duration = Duration::from_millis(500);
/// No other answer is longer.
const LONGEST: usize = 8 << 20;
/// What is mounted in the agent's pod, and nowhere else.
const MOUNTED: &str = "/host/etc/cni/net.d";

/// Whether there is anything of a node to be looked at here.
pub fn is_node(args: &DoctorArgs) -> bool {
    let directories = [&args.reach.cni_agent_run_dir, &args.cni_net_dir, &args.cni_bin_dir];
    let named = directories.into_iter().any(Option::is_some) || args.runtime_endpoint.is_some();
    named || in_pod() || Place::on_node().run_dir.is_dir() || looks_like_a_node(Path::new("/"))
}

/// Whether this is the agent's pod, whose environment says where everything is.
fn in_pod() -> bool {
    std::env::var_os("MOUNTED_CNI_NET_DIR").is_some() || Path::new(MOUNTED).is_dir()
}

/// Looks at the node, or asks its agent for one pod.
pub fn look(args: &DoctorArgs, pod: Option<(&str, &str)>) -> Result<(Report, Place), CouldNot> {
    let Where { place, settings, guessed } = place(args)?;
    if let Some((namespace, name)) = pod {
        let asked = ask(&place, &of_pod(PATH, (namespace, name)));
        let asked =
            asked.map_err(|problem| CouldNot(format!("the agent of this node cannot be asked for the pod: {problem}")));
        return asked.map(|report| (report, place));
    }
    allowed(&place)?;
    let mut progress = Progress::of_stderr("looking at this node");
    let asking = std::thread::spawn({
        let place = place.clone();
        move || ask(&place, PATH)
    });
    let mut report = look_at(place.clone(), |at| progress.tell(at.done, at.of));
    report.findings.extend(settings);
    match asking.join().unwrap_or_else(|_| Err("asking it broke off".to_owned())) {
        Ok(agents) => {
            report.give_way(&agents, &guessed);
            report.findings.extend([answers(&agents), versions(&agents, &report)]);
            report.merge(agents);
        }
        Err(problem) => report.findings.push(silent(&place, &problem)),
    }
    progress.done();
    report.sort();
    Ok((report, place))
}

/// Where to look.
struct Where {
    place: Place,
    /// What is to be said of the settings that say so.
    settings: Option<Finding>,
    /// The checks that are made at places which nobody has named.
    guessed: Vec<Check>,
}

fn place(args: &DoctorArgs) -> Result<Where, CouldNot> {
    let lookup = |key: &str| std::env::var(key).ok();
    let (mut place, mut settings, mut guessed) = (Place::on_node(), None, guessed(args));
    if in_pod() {
        match Settings::read(&lookup, "") {
            Ok(read) => {
                place = Place::of(&read);
                guessed.clear();
                settings = Some(Finding::ok(Check::Settings, "the agent's settings can be used"));
            }
            Err(error) => {
                let what = format!("the agent cannot start: {error}");
                let next = "correct the variable of the DaemonSet's container, or its value of the chart";
                let seen = "read from this process's environment, which is the agent's";
                settings = Some(Finding::problem(Check::Settings, what, next).with(seen));
                place = Place::in_pod(&lookup);
            }
        }
    }
    if let Some(net_dir) = &args.cni_net_dir {
        (place.net_dir, place.knows_net_dir) = (net_dir.clone(), true);
    }
    if let Some(bin_dir) = &args.cni_bin_dir {
        (place.bin_dirs, place.knows_bin_dirs) = (vec![bin_dir.clone()], true);
    }
    let given = |key: &str| args.runtime_endpoint.clone().or_else(|| lookup(key));
    let endpoint = runtime_endpoint(&given).map_err(|error| CouldNot(error.to_string()))?;
    place.runtime = endpoint.or(place.runtime);
    let guess = place.clone();
    // The runtime has to answer sooner, so that what it does not say is read from files.
    place = within(GLANCE, move || guess.asked(GLANCE * 4 / 5)).unwrap_or(place);
    let told = || lookup("CNI_AGENT_RUN_DIR").filter(|given| !given.is_empty()).map(PathBuf::from);
    place.run_dir = match args.reach.cni_agent_run_dir.clone().or_else(told).or_else(|| said_in_time(&place)) {
        Some(run_dir) => run_dir,
        None => place.run_dir,
    };
    Ok(Where { place, settings, guessed })
}

/// What is looked at by guess where no settings are known.
fn guessed(args: &DoctorArgs) -> Vec<Check> {
    let mut guessed = vec![Check::Kubeconfig, Check::KubeconfigMode];
    if args.cni_net_dir.is_none() {
        guessed.extend([Check::NetworkValid, Check::NetworkPlace, Check::NetworkWriters, Check::RuntimeDirectory]);
    }
    if args.cni_bin_dir.is_none() {
        guessed.extend([Check::PluginBinary, Check::RuntimeDirectory]);
    }
    guessed
}

fn said_in_time(place: &Place) -> Option<PathBuf> {
    let place = place.clone();
    within(GLANCE, move || said_by_entry(&place)).flatten()
}

/// The run directory that the plugin is told of, where our entry can be read.
fn said_by_entry(place: &Place) -> Option<PathBuf> {
    let placement = crate::domain::cni_files::Placement::Chained { file: None };
    let files = ConfDir::new(&place.net_dir).list(&placement).ok()?;
    let run_dir = conflist::seen(&files).ours()?.1.settings.as_ref().ok()?.run_dir.clone();
    run_dir.is_absolute().then_some(run_dir)
}

/// Only root sees what there is to be seen.
fn allowed(place: &Place) -> Result<(), CouldNot> {
    let place = place.clone();
    // A disk that hangs is found by the checks.
    match within(GLANCE, move || refused(&place)).flatten() {
        Some(path) => Err(CouldNot(format!(
            "{} cannot be used: run doctor as root on the node, or in the agent's pod",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// The first of the places that whoever looks has no access to.
fn refused(place: &Place) -> Option<PathBuf> {
    let is_denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let [socket, kubeconfig] = [place.run_dir.join(SOCKET), place.kubeconfig()];
    let connects =
        || faccessat(AT_FDCWD, &socket, AccessFlags::W_OK, AtFlags::AT_EACCESS).map_err(std::io::Error::from);
    [
        (&place.run_dir, std::fs::read_dir(&place.run_dir).err()),
        (&place.net_dir, std::fs::read_dir(&place.net_dir).err()),
        (&kubeconfig, std::fs::File::open(&kubeconfig).err()),
        (&socket, connects().err()),
    ]
    .into_iter()
    .find_map(|(path, error)| error.as_ref().is_some_and(is_denied).then(|| path.clone()))
}

/// What the agent answers at another path.
pub fn get_of(place: &Place, path: &str) -> Result<Vec<u8>, LocalError> {
    get(&place.run_dir.join(SOCKET), path, ANSWER, LONGEST)
}

fn ask(place: &Place, path: &str) -> Result<Report, String> {
    let socket = place.run_dir.join(SOCKET);
    let answer = get(&socket, path, ANSWER, LARGEST).map_err(|error| problem_of(&error))?;
    decode(&answer).map_err(|error| error.to_string())
}

fn problem_of(error: &LocalError) -> String {
    match error {
        LocalError::Status { status: 404, .. } => {
            "it is of a version that cannot be asked; the versions should be equal".to_owned()
        }
        error => whole(error),
    }
}

fn silent(place: &Place, problem: &str) -> Finding {
    let what = "the agent of this node does not answer: pods are set up by the plugin alone, and nothing is repaired";
    let next = "look whether its pod runs here (kubectl -n istio-system get pods -l k8s-app=istio-cni-node -o wide), and at its log";
    let finding = Finding::problem(Check::AgentAnswers, what, next).with(problem.to_owned());
    finding.with(format!("what only an agent knows was not looked at; its directory is {}", place.run_dir.display()))
}

fn answers(agents: &Report) -> Finding {
    Finding::ok(Check::AgentAnswers, "the agent answers").with(format!("version {}", agents.version))
}

fn versions(agents: &Report, own: &Report) -> Finding {
    const CHECK: Check = Check::Versions;
    if agents.version != VERSION {
        let what = format!("the agent is of version {}, and this command of version {VERSION}", agents.version);
        let next =
            "use the command of the agent's image, for instance by kubectl exec; some checks may say something else";
        return Finding::warning(CHECK, what, next).with(format!("agent {}, command {VERSION}", agents.version));
    }
    let seen = if own.plugin.is_empty() { &agents.plugin } else { &own.plugin };
    Finding::ok(CHECK, format!("agent and command are of version {VERSION}"))
        .with(format!("the plugin has sha256 {seen}"))
}
