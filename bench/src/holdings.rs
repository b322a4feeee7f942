//! What the kernel holds for one platform: processes, their namespaces and mounts, control groups.
//!
//! Other platforms may run on this machine, and tests that start some; nothing of theirs is counted. A process is the
//! platform's if it descends from it or is in one of its control groups, whoever its parent is by now; a mount is if it
//! lies in a namespace that the platform has made, or shows something of its data directory wherever it lies.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{interrupt, platform::Platform, processes};

/// Where control groups are mounted.
const GROUPS_ROOT: &str = "/sys/fs/cgroup";
/// What a sandbox's own group is called, up to its number.
const SLOT: &str = "slot-";
/// How long the first sandbox may take to be seen, and time between two looks.
const SANDBOX_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How much of each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Processes, the platform's own among them.
    pub(crate) processes: usize,
    /// Threads of them.
    pub(crate) threads: usize,
    /// Open files of them.
    pub(crate) open_files: usize,
    /// Namespaces they are in or keep open, those of the platform's own process aside.
    pub(crate) namespaces: usize,
    /// Mounts in those, and the data directory's elsewhere.
    pub(crate) mounts: usize,
    /// Control groups of sandboxes, and the directories that hold them.
    pub(crate) cgroups: usize,
    /// Resident memory, MB.
    pub(crate) rss_mb: f64,
}

/// How a platform's own are told from everybody else's.
#[derive(Debug)]
pub(crate) struct Own {
    /// The directory of its sandboxes' groups, of this name in every hierarchy.
    group: String,
    /// What every mount of its data directory has in its line of `mountinfo`.
    data: String,
}

impl Own {
    /// Learns them of a running platform, one of whose sandboxes was just used. `data` is its data directory, which no
    /// other has.
    pub(crate) fn of(platform: &Platform<'_>, data: &Path) -> Result<Self> {
        let deadline = Instant::now() + SANDBOX_TIME_MAX;
        loop {
            interrupt::check()?;
            let family = processes::descendants(platform.id());
            if let Some(group) = family.iter().find_map(|process| sandboxes_group(&groups_text(process.id))) {
                return Ok(Self { group, data: tail(data) });
            }
            ensure!(Instant::now() < deadline, "no process of the platform is in a sandbox's control group");
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// What is held now.
    pub(crate) fn count(&self, platform: &Platform<'_>) -> Result<Counts> {
        let mut ids = BTreeSet::from([platform.id()]);
        ids.extend(processes::descendants(platform.id()).iter().map(|process| process.id));
        let everybody = processes::living();
        ids.extend(everybody.iter().filter(|id| self.has_in_a_group(&groups_text(**id))));
        let entries = |id: u32, folder: &str| fs::read_dir(format!("/proc/{id}/{folder}")).map_or(0, Iterator::count);
        // The platform itself lives where it was started, with whatever else goes on there.
        let around = namespaces(platform.id());
        let held: HashSet<_> = ids.iter().flat_map(|id| namespaces(*id).into_iter().chain(kept_open(*id))).collect();
        let (_, memory) = platform.memory()?;
        Ok(Counts {
            processes: ids.len(),
            threads: ids.iter().map(|id| entries(*id, "task")).sum(),
            open_files: ids.iter().map(|id| entries(*id, "fd")).sum(),
            namespaces: held.difference(&around).count(),
            mounts: self.mounts(&everybody, &held.difference(&around).cloned().collect()),
            cgroups: self.groups().len(),
            rss_mb: memory.rss_bytes as f64 / 1e6,
        })
    }

    /// Fails if the platform, which has ended, has left anything behind.
    pub(crate) fn expect_nothing(&self) -> Result<()> {
        let everybody = processes::living();
        let left: Vec<_> = everybody.iter().filter(|id| self.has_in_a_group(&groups_text(**id))).collect();
        ensure!(left.is_empty(), "the platform left {} processes behind, one of them {}", left.len(), left[0]);
        let groups = self.groups();
        ensure!(groups.is_empty(), "the platform left control groups behind, one of them {}", groups[0].display());
        let mounts = self.mounts(&everybody, &HashSet::new());
        ensure!(mounts == 0, "the platform left {mounts} mounts of its data directory behind");
        Ok(())
    }

    /// Counts the mounts in `own` namespaces, and in others those that show something of the data directory. Each
    /// namespace is looked at through any process that is in it.
    fn mounts(&self, everybody: &[u32], own: &HashSet<PathBuf>) -> usize {
        let mut seen = HashSet::new();
        let mut mounts = 0;
        for id in everybody {
            let Ok(namespace) = fs::read_link(format!("/proc/{id}/ns/mnt")) else { continue };
            let is_own = own.contains(&namespace);
            // A process may end between the two looks; another one will show its namespace.
            let Ok(text) = fs::read_to_string(format!("/proc/{id}/mountinfo")) else { continue };
            if !text.is_empty() && seen.insert(namespace) {
                mounts += text.lines().filter(|line| is_own || line.contains(&self.data)).count();
            }
        }
        mounts
    }

    fn has_in_a_group(&self, groups: &str) -> bool {
        groups.lines().any(|line| line.split('/').any(|part| part == self.group))
    }

    /// The directories of its sandboxes' groups, and what is below them.
    fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from(GROUPS_ROOT)];
        while let Some(folder) = folders.pop() {
            // Groups come and go while one looks.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = entry.path();
                    if path.components().any(|part| part.as_os_str() == self.group.as_str()) {
                        found.push(path.clone());
                    }
                    folders.push(path);
                }
            }
        }
        found
    }
}

/// A mount's root is a path within its own file system: of a directory's path, the end alone is sure to be in it.
fn tail(data: &Path) -> String {
    let names: Vec<_> = data.iter().map(|name| name.to_string_lossy()).collect();
    format!("/{}", names[names.len().saturating_sub(2)..].join("/"))
}

fn groups_text(id: u32) -> String {
    // A process that has ended is in none.
    fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap_or_default()
}

/// The directory that holds the group of the sandbox a process is in, from its `/proc/…/cgroup`.
fn sandboxes_group(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let parts: Vec<_> = line.splitn(3, ':').nth(2)?.split('/').collect();
        let pair = parts.windows(2).find(|pair| pair[1].starts_with(SLOT) && !pair[0].is_empty())?;
        Some(pair[0].to_owned())
    })
}

/// The namespaces a process is in, each as `kind:[number]`.
fn namespaces(id: u32) -> HashSet<PathBuf> {
    links(format!("/proc/{id}/ns")).collect()
}

/// Namespaces that it only keeps open.
fn kept_open(id: u32) -> impl Iterator<Item = PathBuf> {
    links(format!("/proc/{id}/fd")).filter(|target| is_namespace(&target.to_string_lossy()))
}

fn is_namespace(link: &str) -> bool {
    const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    link.split_once(":[").is_some_and(|(kind, _)| KINDS.contains(&kind))
}

fn links(folder: String) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandboxs_group_names_the_platforms_directory() {
        let version_1 = "9:name=systemd:/\n4:memory:/a/updraft-12ab/slot-3\n0::/\n";
        assert_eq!(sandboxes_group(version_1).as_deref(), Some("updraft-12ab"));
        assert_eq!(sandboxes_group("0::/user.slice/updraft-12ab/slot-0\n").as_deref(), Some("updraft-12ab"));
        assert_eq!(sandboxes_group("0::/user.slice/updraft-12ab-platform\n"), None, "the platform's own");
        assert_eq!(sandboxes_group("0::/slot-1\n"), None);
    }

    #[test]
    fn another_platforms_processes_are_not_this_ones() {
        let own = Own { group: "updraft-12ab".to_owned(), data: "/bench-x/updraft".to_owned() };
        assert!(own.has_in_a_group("5:pids:/\n4:memory:/a/updraft-12ab/slot-3\n"));
        assert!(!own.has_in_a_group("4:memory:/a/updraft-12abc/slot-3\n0::/updraft-12ab-platform\n"));
    }

    #[test]
    fn a_data_directory_is_known_by_its_end() {
        assert_eq!(tail(Path::new("/somewhere/target/bench-x/updraft")), "/bench-x/updraft");
        assert_eq!(tail(Path::new("bench-x/updraft")), "/bench-x/updraft");
    }

    #[test]
    fn namespaces_are_told_from_other_files() {
        assert!(is_namespace("net:[4026531840]") && is_namespace("mnt:[1]"));
        assert!(!is_namespace("socket:[17]") && !is_namespace("pipe:[3]") && !is_namespace("/tmp/net:[1]"));
        let own = namespaces(std::process::id());
        assert!(!own.is_empty() && own.iter().all(|link| is_namespace(&link.to_string_lossy())));
    }
}
