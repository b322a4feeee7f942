//! What a run ran on and with. Nothing here may name a path or a host.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result};

use crate::{notes::Notes, peers::output, results::Machine};

/// How long the machine is watched for what else it does.
const BUSY_SAMPLE_TIME: Duration = Duration::from_secs(2);

/// The machine, as the kernel describes it.
pub(crate) fn describe() -> Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    // x86 tells a model by name; Arm tells numbers only, so the architecture has to do.
    let processor = value(&processors, "model name").unwrap_or(std::env::consts::ARCH).to_owned();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory_kib = value(&memory, "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(Machine {
        processor,
        cores: thread::available_parallelism()?.get(),
        memory_gib: memory_kib.context("no MemTotal in /proc/meminfo")? / 1_048_576.0,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
    })
}

/// The share of the machine's time that something else takes: sampled while this process sleeps.
pub(crate) fn busy_share() -> Result<f64> {
    let before = processor_times(&fs::read_to_string("/proc/stat")?).context("no times in /proc/stat")?;
    thread::sleep(BUSY_SAMPLE_TIME);
    let after = processor_times(&fs::read_to_string("/proc/stat")?).context("no times in /proc/stat")?;
    let (idle, all) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    Ok(1.0 - idle as f64 / all.max(1) as f64)
}

/// proc(5): the line `cpu user nice system idle iowait irq softirq steal …`, in ticks; idle time, and all of it.
fn processor_times(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
}

/// States the versions that the checkout itself determines.
pub(crate) fn state_versions(repository: &Path, notes: &mut Notes) -> Result<()> {
    notes.version("rustc", output(Command::new("rustc").arg("--version"))?.trim_start_matches("rustc ").to_owned());
    let lock = fs::read_to_string(repository.join("Cargo.lock"))?;
    for (package, name) in [("hyper", "hyper"), ("wasmtime", "wasmtime library in Updraft")] {
        let version = locked_version(&lock, package).with_context(|| format!("no {package} in Cargo.lock"))?;
        notes.version(name, version);
    }
    notes.version("updraft revision", revision(repository));
    Ok(())
}

/// The sources' revision, and whether they were changed since.
pub(crate) fn revision(repository: &Path) -> String {
    let git = |arguments: &[&str]| output(Command::new("git").arg("-C").arg(repository).args(arguments));
    let Ok(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "not in a repository".to_owned() };
    // What the bench itself writes does not make its next run one of changed sources.
    match git(&["status", "--porcelain", "--", ".", ":!docs/benchmarks.md", ":!bench/results"]) {
        Ok(changes) if changes.is_empty() => revision,
        _ => format!("{revision} with uncommitted changes"),
    }
}

/// The value of the first line `key: value`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == key).then_some(value.trim())
    })
}

fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let after = lock.split_once(&format!("\nname = \"{package}\"\nversion = \""))?.1;
    Some(after.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_version_is_that_of_the_whole_name() {
        let lock = "[[package]]\nname = \"hyper-util\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"hyper\"\nversion = \"1.2.3\"\n";
        assert_eq!(locked_version(lock, "hyper"), Some("1.2.3"));
        assert_eq!(locked_version(lock, "util"), None);
    }

    #[test]
    fn waiting_for_a_disk_is_idle_and_a_stolen_tick_is_not() {
        let stat = "cpu  10 1 5 70 4 0 2 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(processor_times(stat), Some((74, 100)));
        assert_eq!(processor_times("intr 5"), None);
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = describe().unwrap();
        assert!(machine.cores > 0 && machine.memory_gib > 0.0 && !machine.kernel.contains('\n'));
    }
}
