//! A second fence around files, behind the read-only mounts: Landlock, where the kernel has it.
//!
//! The guest may read and execute what it sees, write to `/tmp`, `/dev/shm` and the devices, and make no device
//! anywhere. Signals and abstract sockets end at the guest's own processes, which leaves the init out. It takes
//! no capability to set up and none to keep, so it holds even where a mount or a namespace should not.
//!
//! Invariant: put up in the guest's own process, between fork and exec; where the kernel has it, a step that
//! fails ends the start.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use libc::c_long;
use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

use crate::{
    rootfs::Vacant,
    sys::{self, LandlockRights},
    wire::{Failure, Step},
};

/// The first version that knows moving files between directories. Those before it refuse all of it, within
/// `/tmp` too, which programs cannot do without.
const VERSION_MIN: c_long = 2;

/// `LANDLOCK_ACCESS_FS_*` of the kernel's `linux/landlock.h`.
mod right {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIRECTORY: u64 = 1 << 3;
    pub(super) const MAKE_CHARACTER_DEVICE: u64 = 1 << 6;
    pub(super) const MAKE_BLOCK_DEVICE: u64 = 1 << 11;
    /// All that version 2 knows: those above, making and removing each kind of file, and moving.
    pub(super) const ALL_OF_2: u64 = (1 << 14) - 1;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    pub(super) const IOCTL_DEVICE: u64 = 1 << 15;
}

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const SCOPES: u64 = 0b11;

/// What this kernel can do of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landlock {
    version: c_long,
}

impl Landlock {
    /// Asks the kernel. The error says why there is none.
    pub(crate) fn of_host() -> io::Result<Self> {
        let version = sys::landlock_version()?;
        if version < VERSION_MIN {
            let why = format!("version {version} cannot let files be moved between directories");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Ok(Self { version })
    }

    /// The version of the kernel's interface.
    pub(crate) fn version(self) -> c_long {
        self.version
    }

    /// The rules, made in the sandbox's root. They are about the file systems that are there: those in `vacant` are where
    /// copies of the guest will live.
    pub(crate) fn rules(self, vacant: &[Vacant]) -> Result<Rules, Failure> {
        let all = self.rights();
        let ruleset = sys::landlock_ruleset(&all).step("landlock ruleset")?;
        for (path, allowed) in places(all.handled_files) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let directory = open(Path::new(path), flags, Mode::empty()).step("landlock rule")?;
            sys::landlock_allow(ruleset.as_fd(), directory.as_fd(), allowed).step("landlock rule")?;
        }
        for vacant in vacant {
            let places = places(all.handled_files);
            for (directory, (_, allowed)) in vacant.directories().step("landlock rule")?.iter().zip(places) {
                sys::landlock_allow(ruleset.as_fd(), directory.as_fd(), allowed).step("landlock rule")?;
            }
        }
        Ok(Rules(ruleset))
    }

    fn rights(self) -> LandlockRights {
        let since = |version, rights| if self.version >= version { rights } else { 0 };
        LandlockRights {
            handled_files: right::ALL_OF_2 | since(3, right::TRUNCATE) | since(5, right::IOCTL_DEVICE),
            handled_network: 0,
            scoped: since(6, SCOPES),
        }
    }
}

/// Rules that govern nobody yet.
pub(crate) struct Rules(OwnedFd);

impl Rules {
    /// Puts the fence up around the calling process, for good.
    pub(crate) fn restrict(&self) -> Result<(), Failure> {
        sys::landlock_restrict(self.0.as_fd()).step("landlock")
    }
}

/// What may be done where, of all rights that are governed.
fn places(all: u64) -> [(&'static str, u64); 4] {
    let own = all & !(right::MAKE_CHARACTER_DEVICE | right::MAKE_BLOCK_DEVICE);
    let devices = all & (right::WRITE_FILE | right::TRUNCATE | right::IOCTL_DEVICE);
    let read = right::EXECUTE | right::READ_FILE | right::READ_DIRECTORY;
    [("/", read), ("/dev", devices), ("/dev/shm", own), ("/tmp", own)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_governs_what_it_knows_and_allows_no_more_than_that() {
        for (version, files, scoped) in [(2, 0x3fff, 0), (3, 0x7fff, 0), (5, 0xffff, 0), (6, 0xffff, 3), (9, 0xffff, 3)]
        {
            let rights = Landlock { version }.rights();
            assert_eq!((rights.handled_files, rights.handled_network, rights.scoped), (files, 0, scoped));
            for (path, allowed) in places(files) {
                assert_eq!(allowed & !files, 0, "{path} of version {version}");
                assert_eq!(allowed & (1 << 6 | 1 << 11), 0, "devices at {path}");
                assert_eq!(allowed & right::WRITE_FILE == 0, path == "/");
            }
        }
    }
}
