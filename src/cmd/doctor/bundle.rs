//! What a bug report needs, in one file. What is a credential is never read for it, and whatever goes in passes one
//! filter besides ([`redacted_file`]), because logs, findings and traces may repeat what others said.

use super::args::DoctorArgs;
use super::ask::{AT_ONCE, Asking, Silence};
use super::print::{self, cluster_text, output};
use super::traces;
use super::{PodName, of_pod};
use crate::agent::doctor::{METRICS_PATH, Place, SETTINGS_PATH, VERSION};
use crate::cmd::demo::style::Style;
use crate::cmd::progress::Progress;
use crate::domain::cluster_findings::ClusterReport;
use crate::domain::finding::Report;
use crate::domain::verdict::Verdict;
use crate::host::atomic_file::{Permissions, replace_no_link};
use crate::host::rolling_log;
use crate::k8s::agents::AgentPod;
use crate::wire::finding::{encode_cluster, encode_output, on_one_line};
use crate::wire::redact::redacted_file;
use crate::wire::tar::Archive;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// So much of the plugin's own log is taken.
const LOG_TAIL: u64 = 256 << 10;
/// No more entries of a directory are listed.
const ENTRIES: usize = 1000;

/// The file with the list of traces.
const TRACES: &str = "traces.json";

/// What an agent is asked for beside its findings.
#[derive(Clone, Debug)]
pub struct Question {
    /// The file's name.
    pub name: String,
    pub path: String,
}

impl Question {
    /// What this answer makes one ask besides.
    pub fn more(&self, answer: &[u8]) -> Vec<Question> {
        if self.name == TRACES { traces::of_failed(answer) } else { Vec::new() }
    }
}

/// What an agent is asked for, of its node or of one pod.
pub fn questions(pod: Option<PodName<'_>>) -> Vec<Question> {
    let question = |name: &str, path: &str| Question { name: name.to_owned(), path: path.to_owned() };
    let mut all = vec![
        question("settings.txt", SETTINGS_PATH),
        question("metrics.txt", METRICS_PATH),
        question(TRACES, traces::LIST),
    ];
    all.extend(pod.map(|pod| question("explain.json", &of_pod("/api/v1/explain", pod))));
    all
}

/// The bundle, until it is written.
pub struct Bundle {
    archive: Archive,
    now: u64,
    /// What is not in it, and why.
    missing: String,
    /// How many bytes of whole traces have room.
    room: usize,
}

impl Bundle {
    /// Of a cluster.
    pub fn of_cluster(args: &DoctorArgs, report: &ClusterReport, verdict: &Verdict) -> Bundle {
        let mut bundle = Bundle::new();
        bundle.file("report.json", &encode_cluster(report, &output(args, verdict)));
        bundle.file("report.txt", cluster_text(report, plain(), &verbose(args)).as_bytes());
        bundle.file("versions.txt", format!("istio-cni-otel {VERSION}\n").as_bytes());
        bundle
    }

    /// Of one pod, seen from elsewhere.
    pub fn of_pod(args: &DoctorArgs, report: &Report, verdict: &Verdict) -> Bundle {
        let mut bundle = Bundle::new();
        bundle.file("report.json", &encode_output(report, &output(args, verdict)));
        bundle.file("report.txt", print::text(report, plain(), &verbose(args)).as_bytes());
        bundle.file("versions.txt", format!("istio-cni-otel {VERSION}\nagent {}\n", report.version).as_bytes());
        bundle
    }

    /// Of a node, with what can be seen here.
    pub fn of_node(args: &DoctorArgs, report: &Report, verdict: &Verdict, place: &Place) -> Bundle {
        let mut bundle = Bundle::new();
        bundle.file("report.json", &encode_output(report, &output(args, verdict)));
        bundle.file("report.txt", print::text(report, plain(), &verbose(args)).as_bytes());
        bundle.file("versions.txt", versions(report, place).as_bytes());
        bundle.file("network.txt", listing(&place.net_dir).as_bytes());
        bundle.file("run.txt", listing(&place.run_dir).as_bytes());
        match tail(&place.run_dir.join(rolling_log::FILE_NAME)) {
            Ok(log) => bundle.file("plugin.log", log.as_bytes()),
            Err(error) => bundle.missing("plugin.log", &error.to_string()),
        }
        bundle
    }

    /// Asks these agents through the API server, and puts in what they say as far as they say it in time.
    pub async fn ask(&mut self, asking: &Asking<'_>, agents: &[&AgentPod], questions: &[Question]) {
        let all = agents.iter().flat_map(|agent| questions.iter().map(move |question| (*agent, question.clone())));
        let more = self.ask_all(asking, all.collect()).await;
        self.ask_all(asking, more).await;
    }

    /// The same; what is to be asked after these answers.
    async fn ask_all<'a>(
        &mut self,
        asking: &Asking<'_>,
        all: Vec<(&'a AgentPod, Question)>,
    ) -> Vec<(&'a AgentPod, Question)> {
        let file = |agent: &AgentPod, question: &Question| format!("nodes/{}/{}", agent.node, question.name);
        let mut waiting: Vec<String> = all.iter().map(|(agent, question)| file(agent, question)).collect();
        let (count, mut done, mut more) = (all.len(), 0, Vec::new());
        let mut progress = Progress::of_stderr("asking for the bundle");
        progress.tell(done, count);
        let ask = |(agent, question): (&'a AgentPod, Question)| async move {
            let answer = asking.get(agent, &question.path).await;
            (agent, question, answer)
        };
        let questions: Vec<_> = all.into_iter().map(ask).collect();
        let mut answers = std::pin::pin!(futures::stream::iter(questions).buffer_unordered(AT_ONCE));
        while let Ok(Some((agent, question, answer))) = tokio::time::timeout_at(asking.deadline, answers.next()).await {
            let name = file(agent, &question);
            waiting.retain(|other| *other != name);
            match answer {
                Ok(content) => {
                    more.extend(question.more(&content).into_iter().map(|question| (agent, question)));
                    self.answer(&name, &content);
                }
                Err(Silence::Forbidden(why) | Silence::Deaf { problem: why, .. } | Silence::Broken(why)) => {
                    self.missing(&name, &why);
                }
            }
            done += 1;
            progress.tell(done, count);
        }
        waiting.iter().for_each(|name| self.missing(name, "there was no time to ask for it"));
        more
    }

    /// Puts in what an agent answered; a whole trace only where there is room.
    pub fn answer(&mut self, name: &str, content: &[u8]) {
        if name.contains("traces/") {
            match self.room.checked_sub(content.len()) {
                Some(left) => self.room = left,
                None => return self.missing(name, "there is no room for so many traces"),
            }
        }
        self.file(name, content);
    }

    /// Says why a file is not there.
    pub fn missing(&mut self, name: &str, why: &str) {
        self.missing.push_str(&format!("{}: {}\n", on_one_line(name), on_one_line(why)));
    }

    fn new() -> Bundle {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
        Bundle { archive: Archive::default(), now, missing: String::new(), room: traces::ROOM }
    }

    /// Puts a file in, without the credentials in it.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.archive.file(&format!("istio-cni-doctor/{name}"), &redacted_file(content), self.now);
    }

    /// Writes it, for its owner alone.
    pub fn write(mut self, path: &Path) -> Result<(), String> {
        if !self.missing.is_empty() {
            let missing = std::mem::take(&mut self.missing);
            self.file("missing.txt", missing.as_bytes());
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        let packed = packed.write_all(&self.archive.finish()).and_then(|()| packed.finish());
        let failed = |why: &dyn std::fmt::Display| format!("the bundle {} cannot be written: {why}", path.display());
        let packed = packed.map_err(|error| failed(&error))?;
        replace_no_link(path, &packed, &Permissions::Mode(0o600))
            .map_err(|error| failed(&crate::domain::failure::whole(&error)))
    }
}

fn plain() -> Style {
    Style { colour: false, width: 120 }
}

fn verbose(args: &DoctorArgs) -> DoctorArgs {
    DoctorArgs { verbose: true, ..args.clone() }
}

fn versions(report: &Report, place: &Place) -> String {
    let kernel = nix::sys::utsname::uname()
        .map(|name| format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy()));
    let release = std::fs::read_to_string(place.on_root("etc/os-release")).unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").to_owned();
    format!(
        "istio-cni-otel {VERSION}\nagent {}\nplugin sha256 {}\nkernel {}\nsystem {}\n",
        report.version,
        report.plugin,
        kernel.unwrap_or_default(),
        on_one_line(&system)
    )
}

/// Names, sizes, modes and times of a directory's entries; never what is in them.
fn listing(directory: &Path) -> String {
    let mut lines = vec![directory.display().to_string()];
    match std::fs::read_dir(directory) {
        Err(error) => lines.push(error.to_string()),
        Ok(entries) => {
            let mut entries: Vec<_> = entries.flatten().take(ENTRIES).collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let Ok(found) = entry.metadata() else { continue };
                let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let name = entry.file_name().to_string_lossy().into_owned();
                lines.push(format!(
                    "{:06o} {:>9} {} {}",
                    found.permissions().mode(),
                    found.len(),
                    modified.map(|since| since.as_secs()).unwrap_or_default(),
                    on_one_line(&name)
                ));
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The end of a log, in whole lines.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut text = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    // The first line may have lost its beginning, and so what shows that something in it is a credential.
    Ok(text.split_inclusive('\n').skip(usize::from(length > LOG_TAIL)).collect())
}
