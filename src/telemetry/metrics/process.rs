//! The `process_*` metrics, read from procfs whenever somebody asks (proc(5)).

use super::catalog::{self, Definition};
use super::family::{Snapshot, Value};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// What can be read; a value that cannot is left out.
pub(super) fn snapshots() -> Vec<Snapshot> {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let fields = stat.as_deref().map(stat_fields).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().map(|ticks| ticks as f64);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map(|bytes| bytes as f64);
    let cpu = || Some((field(14)? + field(15)?) / ticks?);
    let started = || Some(boot_time()? + field(22)? / ticks?);
    let resident = || Some(field(24)? * page?);
    let descriptors = || fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    [
        single(&catalog::PROCESS_CPU, cpu()),
        single(&catalog::PROCESS_RESIDENT, resident()),
        single(&catalog::PROCESS_START, started()),
        single(&catalog::PROCESS_OPEN_FDS, descriptors()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn single(definition: &'static Definition, value: Option<f64>) -> Option<Snapshot> {
    Some(Snapshot { definition, series: vec![(Vec::new(), Value::Number(value?))] })
}

/// The fields of `/proc/self/stat` from the third on: the second, the program's name, is in
/// parentheses and may hold anything.
fn stat_fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect()).unwrap_or_default()
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn value(name: &str) -> f64 {
        let snapshots = snapshots();
        let found = snapshots.iter().find(|snapshot| snapshot.definition.name == name).unwrap();
        match found.series[0].1 {
            Value::Number(number) => number,
            Value::Histogram(_) => panic!("{name} is a histogram"),
        }
    }

    #[test]
    fn this_process_is_described() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
        assert!(value("process_resident_memory_bytes") > 500_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_cpu_seconds_total") < 86_400.0);
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        assert_eq!(stat_fields("7 (a) b) c) S 1 2"), ["S", "1", "2"]);
    }
}
