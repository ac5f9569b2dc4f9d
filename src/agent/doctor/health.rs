//! What only the agent knows of itself: whether it is ready, whether its watch hears, what the kernel has, and what its
//! process may do.

use super::Doctor;
use crate::domain::finding::{Check, Finding};
use crate::domain::request::Backend;
use crate::host::capabilities::{Capability, DAC_OVERRIDE, Effective, NET_ADMIN, NET_RAW, SYS_ADMIN, SYS_PTRACE};
use std::time::Duration;

/// From when on a watch that hears nothing is in doubt: the API server says something at least each minute (bookmarks),
/// and a watch is opened anew within five.
pub const STALE: Duration = Duration::from_secs(360);

/// A watch that ended is opened again within seconds.
const BROKEN: Duration = Duration::from_secs(30);

/// Whether it is ready.
pub fn ready(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::AgentReady;
    let waiting = doctor.readiness.waiting_for();
    if waiting.is_empty() {
        return Finding::ok(CHECK, "the agent is ready");
    }
    let what = format!("the agent is not ready: {}", waiting.join("; "));
    Finding::problem(CHECK, what, "do what the reason says; it becomes ready by itself then").with_some(&waiting)
}

/// Whether the watch of the node's pods hears from the API server.
pub fn watch(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::WatchFresh;
    let next = "look whether this node reaches the API server, and whether the service account may list and watch pods; the agent's log names the error";
    let known = format!("{} pods are known", doctor.cache.count());
    let open = if doctor.cache.is_live() { "a watch is open" } else { "no watch is open" };
    let finding = match doctor.telemetry.metrics().watch_age("pods") {
        None => Finding::problem(CHECK, "the agent has not yet heard of this node's pods from the API server", next),
        Some(_) if !doctor.cache.is_synced() => {
            Finding::problem(CHECK, "the agent does not know all of this node's pods yet", next)
        }
        Some(age) if age > STALE || (age > BROKEN && !doctor.cache.is_live()) => {
            let what = format!(
                "the watch of this node's pods has heard nothing from the API server for {} s: new pods are asked for one by one",
                age.as_secs()
            );
            Finding::warning(CHECK, what, next)
        }
        Some(age) => {
            let what = format!("the watch of this node's pods heard from the API server {} s ago", age.as_secs());
            Finding::ok(CHECK, what)
        }
    };
    finding.with(known).with(open)
}

/// What programs the rules.
pub fn backend(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::Backend;
    let chosen = doctor.backend.borrow().clone();
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let kernel = format!("kernel {}", kernel.unwrap_or_else(|_| "unknown".to_owned()));
    let Some(chosen) = chosen else {
        let what = "what the kernel has for programming rules is not found out yet";
        return Finding::unknown(CHECK, what, "ask again in a few seconds; if it lasts, a tool or the kernel hangs")
            .with(kernel);
    };
    let name = chosen.backend.name();
    let finding = match chosen.trouble {
        Some(trouble) => {
            let what = format!("no pod can be set up on this node with {name}: {}", trouble.message);
            Finding::problem(CHECK, what, "load the kernel modules that it names, or choose the other REDIRECT_BACKEND")
        }
        None => Finding::ok(CHECK, format!("rules are programmed with {name}")),
    };
    finding.with(kernel).with(chosen.cause)
}

/// What its process may do.
pub fn capabilities(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::AgentCapabilities;
    let effective = match Effective::own() {
        Ok(effective) => effective,
        Err(error) => {
            let what = format!("the agent's capabilities cannot be read: {error}");
            return Finding::unknown(CHECK, what, "mount /proc in the agent's container");
        }
    };
    let lacks = |wanted: &[(Capability, &str)]| -> Vec<String> {
        let lacked = wanted.iter().filter(|(capability, _)| !effective.has(*capability));
        lacked.map(|(capability, without)| format!("{}: {without}", capability.1)).collect()
    };
    let needed = lacks(&[
        (SYS_ADMIN, "without it no pod's network namespace can be entered"),
        (NET_ADMIN, "without it no rule can be programmed"),
    ]);
    let next = "add them to the container's securityContext (capabilities.add), as the chart does";
    if !needed.is_empty() {
        return Finding::problem(CHECK, "the agent lacks capabilities without which no pod is set up", next)
            .with_some(&needed);
    }
    let iptables = doctor.backend.borrow().as_ref().is_some_and(|chosen| chosen.backend == Backend::Iptables);
    let mut wished = vec![
        (SYS_PTRACE, "without it pods without a record of their namespace are not found, nor what the runtime reads"),
        (DAC_OVERRIDE, "without it the node's files may not be written"),
    ];
    wished.extend(iptables.then_some((NET_RAW, "without it legacy iptables does not work")));
    let missing = lacks(&wished);
    if missing.is_empty() {
        return Finding::ok(CHECK, "the agent has the capabilities that it needs");
    }
    Finding::warning(CHECK, "the agent lacks capabilities that it may need", next).with_some(&missing)
}
