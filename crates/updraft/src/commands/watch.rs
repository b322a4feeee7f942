//! Notices changes to a folder. What packaging leaves out is not watched either.
//!
//! The system's events only wake the watcher; whether something changed is decided by comparing names, sizes
//! and times, so writing without changing, or a tool's own traffic, leads nowhere. Where events are not to be
//! had (too many watches), the folder is looked at every second instead.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::deploy::package::Filter;

/// How long a folder must be quiet before it is looked at.
const QUIET: Duration = Duration::from_millis(120);

/// How long a folder that is never quiet is waited for, in [`QUIET`]s.
const QUIET_ROUNDS_MAX: u32 = 25;

/// How often the folder is looked at without events.
const LOOK: Duration = Duration::from_secs(1);

/// Watches one folder.
pub struct Watch {
    folder: PathBuf,
    leave_out: Vec<String>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
    state: u64,
}

impl Watch {
    /// Begins to watch `folder`, without what matches the patterns in `leave_out`.
    pub fn start(folder: &Path, leave_out: Vec<String>) -> anyhow::Result<Watch> {
        // One place: a pending wake-up stands for any number of events.
        let (wake, events) = mpsc::sync_channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                let _ = wake.try_send(());
            }
        });
        let folder = folder.canonicalize()?;
        let mut watch = Watch { folder, leave_out, watcher: watcher.ok(), watched: BTreeSet::new(), events, state: 0 };
        watch.state = watch.look()?;
        Ok(watch)
    }

    /// Takes the folder as it is now for known. For builds that write into it.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        self.state = self.look()?;
        Ok(())
    }

    /// Waits until the folder has changed since it was last looked at. `stopping` is asked now and then.
    pub fn changed(&mut self, stopping: &dyn Fn() -> bool) -> anyhow::Result<bool> {
        loop {
            match self.events.recv_timeout(LOOK) {
                Ok(()) => self.wait_for_quiet(),
                Err(mpsc::RecvTimeoutError::Timeout) if self.watcher.is_some() && !stopping() => continue,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
            if stopping() {
                return Ok(false);
            }
            let state = self.look()?;
            if state != self.state {
                self.state = state;
                return Ok(true);
            }
        }
    }

    fn wait_for_quiet(&self) {
        for _ in 0..QUIET_ROUNDS_MAX {
            if self.events.recv_timeout(QUIET).is_err() {
                return;
            }
        }
    }

    /// A digest of every file's name, size and time; folders seen for the first time are watched from now on.
    fn look(&mut self) -> anyhow::Result<u64> {
        let leave_out: Vec<&str> = self.leave_out.iter().map(String::as_str).collect();
        let filter = Filter::new(&self.folder, &leave_out)?;
        let mut hasher = DefaultHasher::new();
        let mut folders = BTreeSet::from([self.folder.clone()]);
        // A file may vanish between being listed and being looked at: what is there counts.
        for entry in filter.walk().flatten() {
            if entry.file_type().is_dir() {
                folders.insert(entry.path().to_owned());
                continue;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            (entry.path(), metadata.len(), metadata.modified().ok()).hash(&mut hasher);
        }
        for name in [crate::deploy::manifest::FILE_NAME, crate::deploy::package::IGNORE_FILE_NAME] {
            let Ok(metadata) = self.folder.join(name).metadata() else { continue };
            (name, metadata.len(), metadata.modified().ok()).hash(&mut hasher);
        }
        self.watch(folders);
        Ok(hasher.finish())
    }

    fn watch(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let new = folders.difference(&self.watched);
        let failed = new.into_iter().any(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).is_err());
        if failed {
            self.watcher = None;
        }
        self.watched = folders;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_that_matter_are_noticed_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("app.py"), "1").unwrap();
        let mut watch = Watch::start(path, vec!["/dist".to_owned()]).unwrap();
        let known = watch.state;

        for ignored in [".updraft", "__pycache__", "dist"] {
            fs::create_dir(path.join(ignored)).unwrap();
            fs::write(path.join(ignored).join("x"), "x").unwrap();
        }
        assert_eq!(watch.look().unwrap(), known);

        fs::create_dir(path.join("sub")).unwrap();
        fs::write(path.join("sub/new.py"), "x").unwrap();
        assert!(watch.changed(&|| false).unwrap());
        fs::write(path.join("function.toml"), "memory_mb = 256").unwrap();
        assert!(watch.changed(&|| false).unwrap());
        fs::write(path.join("sub/new.py"), "longer").unwrap();
        assert!(watch.changed(&|| false).unwrap());
        assert!(!watch.changed(&|| true).unwrap());
    }

    #[test]
    fn without_events_the_folder_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(folder.path(), Vec::new()).unwrap();
        watch.watcher = None;
        fs::write(folder.path().join("app.py"), "1").unwrap();
        assert!(watch.changed(&|| false).unwrap());
    }
}
