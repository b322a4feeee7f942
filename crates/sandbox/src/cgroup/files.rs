//! Names and formats of the files in a group, for both versions. Pure.
//!
//! Sources: the kernel's `Documentation/admin-guide/cgroup-v1/` (memory, pids, freezer-subsystem), `scheduler/sched-bwc.rst` and
//! `cgroup-v2.rst`.

use super::find::{Controller, Version};
use crate::spec::Limits;

/// Length of a quota's period. Short, so that a guest with a small share waits 20 ms and not 100 for its next
/// turn; the kernel takes no quota under 1 ms, so the smallest shares get the long one.
const PERIOD_SHORT_US: u64 = 20_000;
const PERIOD_LONG_US: u64 = 100_000;
const QUOTA_MIN_US: u64 = 1000;

/// One file to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Not on every kernel, and not a limit by itself.
    pub(super) optional: bool,
}

fn needed(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: false }
}

fn optional(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: true }
}

/// What to write for a controller, in order.
pub(super) fn settings(version: Version, controller: Controller, limits: &Limits) -> Vec<Setting> {
    let memory = limits.memory_bytes_max;
    // The init counts as one.
    let processes = u64::from(limits.pids_max) + 1;
    match (version, controller) {
        (Version::V1, Controller::Memory) => vec![
            needed("memory.limit_in_bytes", memory),
            optional("memory.memsw.limit_in_bytes", memory),
            optional("memory.swappiness", 0),
        ],
        (Version::V2, Controller::Memory) => vec![needed("memory.max", memory), optional("memory.swap.max", 0)],
        (_, Controller::Pids) => vec![needed("pids.max", processes)],
        (Version::V1, Controller::Cpu) => {
            let (quota, period) = quota(limits.cpu_millis);
            let quota = quota.map_or_else(|| "-1".to_owned(), |us| us.to_string());
            vec![
                needed("cpu.cfs_period_us", period),
                needed("cpu.cfs_quota_us", quota),
                optional("cpu.shares", shares(limits.cpu_weight)),
            ]
        }
        (Version::V2, Controller::Cpu) => {
            let (quota, period) = quota(limits.cpu_millis);
            let quota = quota.map_or_else(|| "max".to_owned(), |us| us.to_string());
            vec![needed("cpu.max", format!("{quota} {period}")), optional("cpu.weight", weight(limits.cpu_weight))]
        }
        // Where one disk is short, it is shared as the processor is.
        (Version::V2, Controller::Io) => vec![optional("io.weight", weight(limits.cpu_weight))],
        (_, Controller::Freezer | Controller::Accounting | Controller::Io) => Vec::new(),
    }
}

/// What version 2 calls a weight: 1 to 10,000, as a rule 100.
fn weight(asked: u32) -> u32 {
    if asked == 0 { 100 } else { asked.min(10_000) }
}

/// What version 1 calls shares: 2 to 262,144, as a rule 1,024.
fn shares(asked: u32) -> u32 {
    (weight(asked) * 1024 / 100).max(2)
}

/// Microseconds of processor time in each period, and the period; no quota for no limit.
fn quota(cpu_millis: u32) -> (Option<u64>, u64) {
    let share = |period: u64| u64::from(cpu_millis) * period / 1000;
    match cpu_millis {
        0 => (None, PERIOD_LONG_US),
        _ if share(PERIOD_SHORT_US) >= QUOTA_MIN_US => (Some(share(PERIOD_SHORT_US)), PERIOD_SHORT_US),
        _ => (Some(share(PERIOD_LONG_US).max(QUOTA_MIN_US)), PERIOD_LONG_US),
    }
}

/// The file that freezes a group of version 2.
pub(super) const FREEZE_V2: &str = "cgroup.freeze";

impl Version {
    /// The file that freezes a group, and what to write to it to freeze and to thaw.
    pub(super) fn freezer(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::V1 => ("freezer.state", ["FROZEN", "THAWED"]),
            Self::V2 => (FREEZE_V2, ["1", "0"]),
        }
    }

    pub(super) fn memory_peak(self) -> &'static str {
        match self {
            Self::V1 => "memory.max_usage_in_bytes",
            Self::V2 => "memory.peak",
        }
    }

    pub(super) fn memory_events(self) -> &'static str {
        match self {
            Self::V1 => "memory.oom_control",
            Self::V2 => "memory.events",
        }
    }

    pub(super) fn processor_time(self) -> &'static str {
        match self {
            Self::V1 => "cpuacct.usage",
            Self::V2 => "cpu.stat",
        }
    }
}

/// The value of a `name value` line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, controller: Controller, limits: &Limits) -> Vec<(&'static str, String)> {
        settings(version, controller, limits).into_iter().map(|s| (s.file, s.value)).collect()
    }

    #[test]
    fn both_versions_get_the_same_limits() {
        let limits =
            Limits { memory_bytes_max: 1 << 27, cpu_millis: 72, cpu_weight: 7, pids_max: 64, open_files_max: 0 };
        let one = |file: &'static str, value: &str| (file, value.to_owned());
        assert_eq!(written(Version::V1, Controller::Memory, &limits)[0], ("memory.limit_in_bytes", "134217728".into()));
        assert_eq!(written(Version::V2, Controller::Memory, &limits)[0], ("memory.max", "134217728".into()));
        let cpu = written(Version::V2, Controller::Cpu, &limits);
        assert_eq!(cpu, [one("cpu.max", "1440 20000"), one("cpu.weight", "7")]);
        let cpu = written(Version::V1, Controller::Cpu, &limits);
        assert_eq!(cpu[1..], [one("cpu.cfs_quota_us", "1440"), one("cpu.shares", "71")]);
        assert_eq!(written(Version::V2, Controller::Io, &limits), [one("io.weight", "7")]);
        assert_eq!(written(Version::V1, Controller::Io, &limits), []);
        assert_eq!(written(Version::V2, Controller::Pids, &limits), [one("pids.max", "65")]);
    }

    #[test]
    fn a_share_of_the_processor_becomes_a_quota_the_kernel_takes() {
        assert_eq!(quota(0), (None, 100_000));
        assert_eq!(quota(1), (Some(1000), 100_000));
        assert_eq!(quota(20), (Some(2000), 100_000));
        assert_eq!(quota(50), (Some(1000), 20_000));
        assert_eq!(quota(6000), (Some(120_000), 20_000));
    }

    #[test]
    fn a_weight_is_one_the_kernel_takes() {
        assert_eq!([0, 1, 100, 99_999].map(weight), [100, 1, 100, 10_000]);
        assert_eq!([0, 1, 100, 99_999].map(shares), [1024, 10, 1024, 102_400]);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let events = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(events, "oom_kill"), Some(3));
        assert_eq!(field(events, "oom"), None);
        assert_eq!(field("usage_usec 12\nuser_usec 3\n", "usage_usec"), Some(12));
    }
}
