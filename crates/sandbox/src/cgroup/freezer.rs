//! Stops and continues everything in a sandbox at once, its init too.
//!
//! The file is opened while the sandbox is known to live and kept open: were it opened later by its path, it could
//! be the group of another sandbox that got the same slot.
//!
//! Invariant: once [`Freezer::end`] has been called nothing is frozen, however calls overlap; version 1 would keep
//! a killed process from dying.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Version;

/// Where a sandbox's freezer is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FreezerFile {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

impl FreezerFile {
    /// Lets what has been killed die, where version 1 may have frozen it.
    pub(crate) fn release(&self) {
        if self.version == Version::V1 {
            // A group that has gone holds nobody back.
            let _ = fs::write(&self.path, self.version.freezer().1[1]);
        }
    }
}

/// The freezer of one living sandbox.
pub(crate) struct Freezer {
    file: File,
    version: Version,
    members: PathBuf,
    has_ended: Mutex<bool>,
}

impl Freezer {
    /// Call while the sandbox is known to live.
    pub(crate) fn open(file: &FreezerFile) -> io::Result<Self> {
        let open = OpenOptions::new().write(true).open(&file.path)?;
        let members = file.path.with_file_name(if file.version == Version::V1 { "tasks" } else { "cgroup.threads" });
        Ok(Self { file: open, version: file.version, members, has_ended: Mutex::new(false) })
    }

    /// How many threads there are in it, its init's included. `None` where that cannot be told. Call while the sandbox
    /// is known to live.
    pub(crate) fn threads(&self) -> Option<usize> {
        fs::read_to_string(&self.members).ok().map(|text| text.lines().count())
    }

    /// Begins to stop everything; it has stopped some microseconds later.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        let has_ended = self.has_ended.lock();
        if *has_ended { Ok(()) } else { self.write(self.version.freezer().1[0]) }
    }

    /// Lets everything go on.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        self.write(self.version.freezer().1[1])
    }

    /// The sandbox has been killed: lets it die.
    pub(crate) fn end(&self) {
        let mut has_ended = self.has_ended.lock();
        if !std::mem::replace(&mut *has_ended, true) && self.version == Version::V1 {
            // A group that has gone holds nobody back.
            let _ = self.thaw();
        }
    }

    fn write(&self, word: &str) -> io::Result<()> {
        (&self.file).write_all(word.as_bytes())
    }
}
