//! Processes as `/proc` shows them: who descends from whom, and what they take of memory and of the processors' time.

use std::{fs, io, time::Duration};

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// One process, told apart from a later one with the same id by its start time.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Process id.
    pub(crate) id: u32,
    /// Name of the executable, up to 15 bytes.
    pub(crate) name: String,
    parent: u32,
    state: char,
    started_ticks: u64,
    processor_ticks: u64,
}

impl Process {
    /// The process it descends from.
    pub(crate) fn parent(&self) -> u32 {
        self.parent
    }

    /// Whether this very process still runs (a zombie does not).
    pub(crate) fn is_running(&self) -> bool {
        read(self.id).is_some_and(|now| now.started_ticks == self.started_ticks && now.state != 'Z')
    }
}

/// Resident memory, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Every resident page counted whole.
    pub(crate) rss_bytes: u64,
    /// Every resident page divided by the number of processes that share it.
    pub(crate) pss_bytes: u64,
}

/// Everybody's processes that have not ended.
pub(crate) fn living() -> Vec<u32> {
    everybody().filter(|process| process.state != 'Z').map(|process| process.id).collect()
}

fn everybody() -> impl Iterator<Item = Process> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    ids.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
}

/// All living descendants of a process, itself not among them.
pub(crate) fn descendants(id: u32) -> Vec<Process> {
    let mut others: Vec<_> = everybody().collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        let (children, rest) = others.into_iter().partition(|process| process.parent == parent);
        others = rest;
        parents.extend(children.iter().map(|child| child.id));
        found.extend(children);
    }
    found.retain(|process| process.state != 'Z');
    found
}

/// Processors' time that a process has taken so far, in its own code and in the kernel on its behalf; to a hundredth
/// of a second, nothing for one that has ended.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let ticks = read(id).map_or(0, |process| process.processor_ticks);
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK)?.context("the system counts no ticks")?;
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64))
}

/// The same with all that descends from it.
pub(crate) fn processor_time_of_family(id: u32) -> Result<Duration> {
    let mut sum = processor_time(id)?;
    for process in descendants(id) {
        sum += processor_time(process.id)?;
    }
    Ok(sum)
}

/// What a process holds, from `smaps_rollup`. A process that has ended meanwhile holds nothing.
pub(crate) fn memory(id: u32) -> Result<Memory> {
    let text = match fs::read_to_string(format!("/proc/{id}/smaps_rollup")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH) => {
            return Ok(Memory::default());
        }
        text => text.with_context(|| format!("reading the memory of process {id}"))?,
    };
    parse_rollup(&text).with_context(|| format!("no Rss and Pss for process {id}"))
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory { rss_bytes: bytes("Rss:")?, pss_bytes: bytes("Pss:")? })
}

fn read(id: u32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// proc(5): `pid (comm) state ppid …`, where comm may hold spaces and brackets; user and system time are fields 14
/// and 15, the start time is field 22.
fn parse_stat(text: &str) -> Option<Process> {
    let (before, after) = text.rsplit_once(')')?;
    let (id, name) = before.split_once(" (")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    Some(Process {
        id: id.parse().ok()?,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        started_ticks: fields.get(19)?.parse().ok()?,
        processor_ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "41 (a) (b) S 7 1 1 0 -1 4194560 0 0 0 0 30 12 0 0 20 0 1 0 9931 0 0";
        let process = parse_stat(stat).unwrap();
        assert_eq!((process.id, process.name.as_str(), process.parent, process.state), (41, "a) (b", 7, 'S'));
        assert_eq!((process.started_ticks, process.processor_ticks), (9931, 42));
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let text = "00400000-7fff0 ---p 00000000 00:00 0 [rollup]\nRss:                1024 kB\nPss:                 512 kB\nPss_Dirty: 8 kB\n";
        assert_eq!(parse_rollup(text), Some(Memory { rss_bytes: 1_048_576, pss_bytes: 524_288 }));
        assert_eq!(parse_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_holds_memory_and_is_running() {
        let own = memory(std::process::id()).unwrap();
        assert!(own.rss_bytes >= own.pss_bytes && own.pss_bytes > 0);
        assert!(read(std::process::id()).unwrap().is_running());
    }

    #[test]
    fn work_takes_processor_time() {
        let own = || processor_time(std::process::id()).unwrap();
        let before = own();
        while own() == before {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        // Both go on while they are read.
        let now = own();
        assert!(processor_time_of_family(std::process::id()).unwrap() >= now - before);
    }
}
