//! What is said about a broken pod in an Event on it, in the reference's words, followed by the trace
//! in which the whole story is.

use super::identity::TraceId;
use super::notice::{LONGEST_MESSAGE, Notice, ObjectRef, REPAIR, Severity};
use super::pod::PodFacts;
use super::repair::Mode;

/// What there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is repaired, deleted or labelled.
    Done,
    /// Deleted by way of an eviction.
    Evicted,
    /// It could not be.
    Failed(String),
    /// Nothing is done, for this reason.
    Left(String),
}

/// The Event's content.
pub fn notice(pod: &PodFacts, mode: Mode, said: &Said) -> Notice {
    let (done, failed, reason) = match mode {
        Mode::Repair => ("repaired", "repair", "RepairBrokenPod"),
        Mode::Delete => ("deleted", "delete", "DeleteBrokenPod"),
        Mode::Label => ("labeled", "label", "LabelBrokenPod"),
    };
    let what = match said {
        Said::Done => done.to_owned(),
        Said::Evicted => format!("{done} by an eviction"),
        Said::Failed(problem) => format!("but failed to {failed}: {}", short(problem)),
        Said::Left(why) => format!("but left alone: {}", short(why)),
    };
    let message = format!("pod detected as broken, {what}, trace {}", TraceId::of_pod(&pod.uid).to_hex());
    let about = ObjectRef::pod(&pod.namespace, &pod.name, &pod.uid);
    Notice { component: REPAIR, about, severity: Severity::Warning, reason, message }
}

/// Short enough for the trace to stand behind it.
fn short(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_MESSAGE - 128)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mode: Mode, said: &Said) -> (&'static str, String) {
        let uid = "11111111-2222-4333-8444-555555555555".to_owned();
        let pod = PodFacts { namespace: "shop".into(), name: "web-0".into(), uid, ..PodFacts::default() };
        let Notice { component, about, severity, reason, message } = notice(&pod, mode, said);
        assert_eq!(
            (component, severity, about.to_string().as_str()),
            ("cni-repair", Severity::Warning, "Pod/shop/web-0")
        );
        (reason, message)
    }

    #[test]
    fn each_mode_says_it_in_the_references_words_and_names_the_trace() {
        let trace = "trace 11111111222243338444555555555555";
        for (mode, what, reason, words) in [
            (Mode::Delete, Said::Done, "DeleteBrokenPod", "pod detected as broken, deleted"),
            (Mode::Delete, Said::Evicted, "DeleteBrokenPod", "pod detected as broken, deleted by an eviction"),
            (
                Mode::Delete,
                Said::Failed("x".into()),
                "DeleteBrokenPod",
                "pod detected as broken, but failed to delete: x",
            ),
            (Mode::Label, Said::Done, "LabelBrokenPod", "pod detected as broken, labeled"),
            (Mode::Label, Said::Failed("x".into()), "LabelBrokenPod", "pod detected as broken, but failed to label: x"),
            (Mode::Repair, Said::Done, "RepairBrokenPod", "pod detected as broken, repaired"),
            (
                Mode::Repair,
                Said::Failed("x".into()),
                "RepairBrokenPod",
                "pod detected as broken, but failed to repair: x",
            ),
            (Mode::Repair, Said::Left("x".into()), "RepairBrokenPod", "pod detected as broken, but left alone: x"),
        ] {
            assert_eq!(said(mode, &what), (reason, format!("{words}, {trace}")));
        }
    }

    #[test]
    fn the_trace_is_there_however_long_the_problem_is() {
        let (_, message) = said(Mode::Repair, &Said::Failed("é".repeat(2000)));
        assert!(message.len() <= LONGEST_MESSAGE && message.ends_with("444555555555555"), "{}", message.len());
    }
}
