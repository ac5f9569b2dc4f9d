//! The capabilities of this process, as the kernel tells them (man 7 capabilities; `CapEff` of man 5 proc_pid_status).

use std::io;

/// A capability, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(pub u8, pub &'static str);

/// Reads and changes any file.
pub const DAC_OVERRIDE: Capability = Capability(1, "CAP_DAC_OVERRIDE");
/// Programs rules.
pub const NET_ADMIN: Capability = Capability(12, "CAP_NET_ADMIN");
/// Needed by legacy iptables.
pub const NET_RAW: Capability = Capability(13, "CAP_NET_RAW");
/// Looks at other processes' namespaces and files.
pub const SYS_PTRACE: Capability = Capability(19, "CAP_SYS_PTRACE");
/// Enters namespaces.
pub const SYS_ADMIN: Capability = Capability(21, "CAP_SYS_ADMIN");

/// The effective capabilities of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective(u64);

impl Effective {
    /// Those of this process.
    pub fn own() -> io::Result<Effective> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.map(Effective).ok_or_else(|| io::Error::other("/proc/self/status says nothing of CapEff"))
    }

    /// Whether it has this one.
    pub fn has(self, capability: Capability) -> bool {
        self.0 >> capability.0 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read_by_numbers() {
        let effective = Effective(1 << 12 | 1 << 21);
        assert!(effective.has(NET_ADMIN) && effective.has(SYS_ADMIN));
        assert!(!effective.has(SYS_PTRACE) && !effective.has(DAC_OVERRIDE) && !effective.has(NET_RAW));
        Effective::own().unwrap();
    }
}
