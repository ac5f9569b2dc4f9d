//! Finds the network namespace of a pod that is set up already: where the runtime said at ADD that it
//! is, if it is still that one; else by looking for the pod's address in the namespaces of the
//! host's processes.

mod choice;
mod error;
mod identity;
mod own;
mod process;
mod record;
mod recorded;
mod scan;

pub use error::PodNetnsError;
pub use identity::NetnsId;
pub use record::{Record, RecordError, Records};

use crate::domain::pod::PodFacts;
use crate::ops::ports::{BoxedError, FoundNamespace, PodNamespaces};
use choice::{Choice, choose};
use own::Own;
use recorded::open_recorded;
use scan::{Scan, reopen};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one look at the host's processes may take: some milliseconds for each thousand.
const LIMIT: Duration = Duration::from_secs(10);
/// For so long a look serves other pods too, if it saw them.
const FRESH: Duration = Duration::from_secs(2);
/// A process may end between the look and the use; then there is another look, but not for ever.
const ATTEMPTS: u32 = 3;

/// The network namespaces of this node's pods.
pub struct PodNetns {
    proc: PathBuf,
    records: Records,
    /// Hears of records that are none.
    tell: Box<dyn Fn(&RecordError) + Send + Sync>,
    last: Mutex<Option<Arc<Scan>>>,
}

impl PodNetns {
    /// Looks into `records`, then below `proc`, the host's `/proc`. `tell` hears of records that are
    /// none, each once, and of those that cannot be read.
    pub fn new(proc: PathBuf, records: Records, tell: impl Fn(&RecordError) + Send + Sync + 'static) -> PodNetns {
        PodNetns { proc, records, tell: Box::new(tell), last: Mutex::default() }
    }

    /// The host's `/proc` where nobody says where it is: in the agent's pod it is mounted.
    pub fn default_proc() -> PathBuf {
        let mounted = PathBuf::from("/host/proc");
        if mounted.join("self").symlink_metadata().is_ok() { mounted } else { PathBuf::from("/proc") }
    }

    fn search(&self, pod: &PodFacts) -> Result<FoundNamespace, PodNetnsError> {
        if pod.status.host_network {
            return Err(PodNetnsError::HostNetwork { pod: pod.to_string() });
        }
        let addresses: Vec<IpAddr> =
            pod.status.addresses.iter().copied().filter(|address| tells_apart(*address)).collect();
        let own = Own::of_host(&self.proc).map_err(|source| PodNetnsError::host_unknown(pod, &self.proc, source))?;
        let record = self.record(pod);
        if let Some(record) = &record
            && let Some(netns) = open_recorded(record, &addresses, &self.proc, &own)
        {
            let (path, outbound) = (record.netns.display().to_string(), Some(record.outbound.clone()));
            return Ok(FoundNamespace { netns, path, source: "recorded", outbound });
        }
        if addresses.is_empty() {
            return Err(PodNetnsError::NoAddress { pod: pod.to_string() });
        }
        let found = self.seen(pod, &addresses, &own)?;
        Ok(FoundNamespace { outbound: record.map(|record| record.outbound), ..found })
    }

    /// What was recorded of the pod. What is no record of it is told and taken away; one that cannot
    /// be read now may be read later.
    fn record(&self, pod: &PodFacts) -> Option<Record> {
        self.records.of(&pod.uid).unwrap_or_else(|error| {
            (self.tell)(&error);
            if error.is_no_record() {
                self.records.discard(&pod.uid);
            }
            None
        })
    }

    /// Finds it among the namespaces of the host's processes.
    fn seen(&self, pod: &PodFacts, addresses: &[IpAddr], own: &Own) -> Result<FoundNamespace, PodNetnsError> {
        let failed = |source| PodNetnsError::proc(pod, &self.proc, source);
        let asked = Instant::now();
        let mut scan = self.scan(own, None).map_err(failed)?;
        for _ in 1..ATTEMPTS {
            let choice = choose(pod, addresses, &scan);
            if let Choice::Found { id, process } = choice {
                if let Some(netns) = reopen(process, id).map_err(failed)? {
                    let path = process.netns().display().to_string();
                    return Ok(FoundNamespace { netns, path, source: "proc", outbound: None });
                }
            } else if scan.began >= asked {
                return Err(self.not_found(pod, addresses, &scan, choice));
            }
            // What was seen is gone, or what is there was not seen: an older look says nothing.
            let newer_than = asked.max(scan.began + Duration::from_nanos(1));
            scan = self.scan(own, Some(newer_than)).map_err(failed)?;
        }
        Err(self.not_found(pod, addresses, &scan, Choice::Nothing))
    }

    /// The last look, if it is recent and as new as it has to be; else another one. Others wait for
    /// it, and use it too.
    fn scan(&self, own: &Own, newer_than: Option<Instant>) -> std::io::Result<Arc<Scan>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |scan: &&Arc<Scan>| {
            scan.began.elapsed() < FRESH && newer_than.is_none_or(|newer_than| scan.began >= newer_than)
        };
        if let Some(scan) = last.as_ref().filter(fresh) {
            return Ok(scan.clone());
        }
        let scan = Arc::new(Scan::run(&self.proc, own, LIMIT)?);
        *last = Some(scan.clone());
        Ok(scan)
    }

    fn not_found(&self, pod: &PodFacts, addresses: &[IpAddr], scan: &Scan, choice: Choice<'_>) -> PodNetnsError {
        let (pod, proc, addresses) = (pod.to_string(), self.proc.clone(), addresses.to_vec());
        let looked_at = scan.namespaces.len();
        match choice {
            Choice::Ambiguous { first, second } => PodNetnsError::Ambiguous { pod, addresses, first, second },
            Choice::TakenOver { holder } => PodNetnsError::TakenOver { pod, addresses, holder },
            _ if scan.cut => PodNetnsError::GivenUp { pod, proc, limit: LIMIT },
            _ => match &scan.refusal {
                Some(refusal) => {
                    let source = std::io::Error::new(refusal.kind(), refusal.to_string());
                    PodNetnsError::Refused { pod, looked_at, refused: scan.refused, addresses, source }
                }
                None => PodNetnsError::Missing { pod, proc, looked_at, addresses },
            },
        }
    }
}

impl PodNamespaces for PodNetns {
    fn find(&self, pod: &PodFacts) -> Result<FoundNamespace, BoxedError> {
        self.search(pod).map_err(BoxedError::new)
    }
}

/// Whether an address can be one pod's alone.
fn tells_apart(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}
