//! How many files this process may have open (RLIMIT_NOFILE). Each running sandbox holds some eight of them here: its
//! control socket, its output, its listeners and connections, its freezer.
//!
//! Systems start services with a low soft limit for the sake of programs that cannot count beyond it, and a high hard
//! one for those that ask. Guests have a limit of their own ([`crate::Limits::open_files_max`]).

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// This process's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// What holds.
    pub soft: u64,
    /// What [`OpenFiles::raise`] can make of it.
    pub hard: u64,
}

impl OpenFiles {
    /// As it is.
    pub fn look() -> io::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self { soft, hard })
    }

    /// Makes the hard limit the soft one. Call before the first sandbox; what holds now is returned.
    pub fn raise() -> io::Result<Self> {
        let found = Self::look()?;
        if found.soft < found.hard {
            setrlimit(Resource::RLIMIT_NOFILE, found.hard, found.hard)?;
        }
        Ok(Self { soft: found.hard, ..found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_it_can_be() {
        let before = OpenFiles::look().unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, before.soft.min(512), before.hard).unwrap();
        assert_eq!(OpenFiles::raise().unwrap(), OpenFiles { soft: before.hard, hard: before.hard });
        assert_eq!(OpenFiles::look().unwrap().soft, before.hard);
    }
}
