//! Which of the namespaces that hold a pod's address is the pod's: what the processes' cgroups say
//! comes first, then who is there for the longest time.

use super::identity::NetnsId;
use super::process::{Process, plain};
use super::scan::{Scan, Seen};
use crate::domain::pod::PodFacts;
use std::net::IpAddr;

/// What a look comes to for one pod.
#[derive(Debug)]
pub enum Choice<'a> {
    /// This process is in its namespace.
    Found { id: NetnsId, process: &'a Process },
    /// No namespace has the address.
    Nothing,
    /// The only ones that have it are of another pod.
    TakenOver { holder: String },
    /// Several have it, and nothing tells them apart.
    Ambiguous { first: u32, second: u32 },
}

/// A namespace that may be the pod's, through its oldest process.
struct Candidate<'a> {
    id: NetnsId,
    process: &'a Process,
    /// Whether a cgroup says that it is the pod's; then when the process began, where that is known.
    rank: (bool, Option<u64>),
}

/// Chooses.
pub fn choose<'a>(pod: &PodFacts, addresses: &[IpAddr], scan: &'a Scan) -> Choice<'a> {
    let own = own_uids(pod);
    let mut best: Option<Candidate<'a>> = None;
    let (mut tie, mut holder) = (None, None);
    for seen in scan.holding(addresses) {
        match candidate(seen, &own) {
            Err(other) => holder = holder.or(Some(other)),
            Ok(candidate) => match &best {
                Some(best) if best.rank == candidate.rank => tie = tie.or(Some(candidate.process.pid)),
                Some(best) if before(best.rank, candidate.rank) => {}
                _ => (best, tie) = (Some(candidate), None),
            },
        }
    }
    match (best, tie, holder) {
        (Some(best), Some(second), _) => Choice::Ambiguous { first: best.process.pid, second },
        (Some(best), None, _) => Choice::Found { id: best.id, process: best.process },
        (None, _, Some(holder)) => Choice::TakenOver { holder },
        (None, _, None) => Choice::Nothing,
    }
}

/// The UIDs by which cgroups know the pod: a static pod's is not that of its object.
fn own_uids(pod: &PodFacts) -> Vec<String> {
    let hash = pod.annotations.get(PodFacts::CONFIG_HASH);
    [Some(&pod.uid), hash].into_iter().flatten().map(|uid| plain(uid)).collect()
}

/// A namespace's oldest process of the pod, or of nobody; the other pod's UID if it is that pod's.
fn candidate<'a>(seen: &'a Seen, own: &[String]) -> Result<Candidate<'a>, String> {
    let mut best: Option<Candidate<'a>> = None;
    let mut holder = None;
    for process in &seen.processes {
        let owned = match process.pod() {
            Some(uid) if own.contains(&uid) => true,
            Some(other) => {
                holder = Some(other);
                continue;
            }
            None => false,
        };
        let candidate = Candidate { id: seen.id, process, rank: (owned, process.started()) };
        if best.as_ref().is_none_or(|best| before(candidate.rank, best.rank)) {
            best = Some(candidate);
        }
    }
    match (best, holder) {
        (Some(best), None) => Ok(best),
        (Some(best), Some(_)) if best.rank.0 => Ok(best),
        (_, Some(holder)) => Err(holder),
        (None, None) => Err("unknown".to_owned()),
    }
}

/// Whether the first is to be preferred: known to be the pod's, then older; an unknown start is
/// the last resort.
fn before(one: (bool, Option<u64>), other: (bool, Option<u64>)) -> bool {
    let key = |(owned, started): (bool, Option<u64>)| (!owned, started.is_none(), started);
    key(one) < key(other)
}
