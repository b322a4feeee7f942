//! User, pid, mount, network, ipc, uts and cgroup namespaces, and the identity a guest has in them.
//!
//! The helper forks into a new user and pid namespace and writes the identity maps; the init unshares the rest
//! itself, so that the slow part (the network namespace) runs beside the helper's next piece of work.
//!
//! Invariant: exactly one user and one group are mapped, the guest's. Root of the host has no name inside, so
//! nothing in a sandbox can become it or own anything of it, whoever runs the platform.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use libc::pid_t;
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Uid, getgid, getuid, setgroups, setresgid, setresuid},
};

use crate::{
    State,
    template::COPIES_MAX,
    wire::{Failure, Step},
};

/// The guest's user and group as it sees them itself; Lambda's number.
pub(crate) const GUEST_ID: u32 = 993;

/// Most sandboxes alive at once, each with its own outer identity where the helper is privileged.
pub(crate) const SLOTS_MAX: u32 = 4096;

/// First outer identities tried; the second fits into the 65,536 that container engines map.
const FIRST_IDS: [u32; 2] = [200_000, 40_000];

/// What the helper's own fork enters.
pub(crate) const FORK_FLAGS: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWPID;

/// Whom guests are to the rest of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identities {
    /// Each sandbox is somebody else: this number plus its slot.
    Range { first: u32 },
    /// All are the user who runs the platform.
    Own,
}

impl Identities {
    /// Chooses by who runs this process.
    pub(crate) fn choose() -> io::Result<Self> {
        if !getuid().is_root() {
            return Ok(Self::Own);
        }
        let (users, groups) = (fs::read_to_string("/proc/self/uid_map")?, fs::read_to_string("/proc/self/gid_map")?);
        FIRST_IDS
            .into_iter()
            .find(|first| covers(&users, *first) && covers(&groups, *first))
            .map(|first| Self::Range { first })
            .ok_or_else(|| io::Error::other("root here has no spare user ids to give to guests"))
    }

    /// For `probe`.
    pub(crate) fn describe(self) -> State {
        match self {
            Self::Range { first } => State::Present(format!("{first} to {}", first + SLOTS_MAX - 1)),
            Self::Own => State::Unusable("only root can give sandboxes users of their own".to_owned()),
        }
    }

    /// Whether the helper may act on the host's mounts and give out identities.
    fn is_privileged(self) -> bool {
        self != Self::Own
    }

    /// Lets the helper itself make copies of the host's mounts. One that is privileged may anyway; an ordinary user's
    /// enters a user and mount namespace of its own, where it stays the same user and gains nothing beside.
    pub(crate) fn prepare_helper(self) -> Result<(), Failure> {
        if self.is_privileged() {
            return Ok(());
        }
        let (user, group) = (getuid(), getgid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).step("user and mount namespace")?;
        fs::write("/proc/self/setgroups", "deny").step("deny setgroups")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1")).step("write uid_map")?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1")).step("write gid_map")
    }

    /// Writes the maps of a process just forked into its own user namespace.
    pub(crate) fn write(self, pid: pid_t, slot: u32) -> Result<(), Failure> {
        let (user, group) = match self {
            Self::Range { first } => (first + slot, first + slot),
            Self::Own => {
                fs::write(format!("/proc/{pid}/setgroups"), "deny").step("deny setgroups")?;
                (getuid().as_raw(), getgid().as_raw())
            }
        };
        fs::write(format!("/proc/{pid}/uid_map"), format!("{GUEST_ID} {user} 1")).step("write uid_map")?;
        fs::write(format!("/proc/{pid}/gid_map"), format!("{GUEST_ID} {group} 1")).step("write gid_map")
    }

    /// Becomes the guest's user and group. Capabilities inside the namespace stay: with inner root unmapped the
    /// kernel sees no change from or to root.
    pub(crate) fn assume(self) -> Result<(), Failure> {
        if self.is_privileged() {
            setgroups(&[]).step("setgroups")?;
        }
        let (user, group) = (Uid::from_raw(GUEST_ID), Gid::from_raw(GUEST_ID));
        setresgid(group, group, group).step("setresgid")?;
        setresuid(user, user, user).step("setresuid")
    }
}

/// Whether an id map of ours (`inside outside count` lines) covers all slots from `first`.
fn covers(map: &str, first: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        inside <= u64::from(first) && u64::from(first + SLOTS_MAX) <= inside + count
    })
}

/// The namespaces an init enters by itself, with their names.
pub(crate) const OWN: [(&str, CloneFlags); 5] = [
    ("network namespace", CloneFlags::CLONE_NEWNET),
    ("mount namespace", CloneFlags::CLONE_NEWNS),
    ("ipc namespace", CloneFlags::CLONE_NEWIPC),
    ("uts namespace", CloneFlags::CLONE_NEWUTS),
    ("cgroup namespace", CloneFlags::CLONE_NEWCGROUP),
];

/// Enters all of [`OWN`]. Where that fails, the error names the one that is to blame.
pub(crate) fn enter() -> Result<(), Failure> {
    let all = OWN.iter().fold(CloneFlags::empty(), |all, (_, flag)| all | *flag);
    let Err(error) = unshare(all) else { return Ok(()) };
    for (name, flag) in OWN {
        unshare(flag).step(name)?;
    }
    Err(error).step("namespaces")
}

/// Limits of the user namespace itself, below `/proc/sys/user`, and what they are set to.
///
/// No user namespace inside it, should a way be found around the filter of system calls. And few of the objects
/// that the kernel counts by user: where an ordinary user runs the platform, that user is the guests' too, who
/// could otherwise use up its whole share.
const LIMITS: [(&str, u32); 3] =
    [("max_user_namespaces", 0), ("max_inotify_instances", 16), ("max_inotify_watches", 8192)];

/// Lowers [`LIMITS`], as root of the namespace and while the host's `/proc` is still there. In a container that
/// shows `/proc/sys` read-only this cannot be done: [`Limited::No`] says so, and the fences before it stand.
pub(crate) fn limit() -> Result<Limited, Failure> {
    set_limits(|value| value)
}

fn set_limits(value_of: impl Fn(u32) -> u32) -> Result<Limited, Failure> {
    for (name, value) in LIMITS {
        match fs::write(Path::new("/proc/sys/user").join(name), value_of(value).to_string()) {
            Err(error) if error.raw_os_error() == Some(libc::EROFS) => return Ok(Limited::No),
            // A kernel built without what it would limit.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written.step(name)?,
        }
    }
    Ok(Limited::Yes)
}

/// Joins a template's user namespace, and its pid namespace with what is forked from here, as its guest's user. Lets
/// that namespace have as many others in it as there can be copies; its guest runs no more.
pub(crate) fn join_template(identities: Identities, user: &OwnedFd, pid: &OwnedFd) -> Result<(), Failure> {
    setns(user, CloneFlags::CLONE_NEWUSER).step("join the template's user namespace")?;
    setns(pid, CloneFlags::CLONE_NEWPID).step("join the template's pid namespace")?;
    // What is counted of copies counts here too; each has its own limits besides.
    set_limits(|each| each.max(1) * COPIES_MAX as u32)?;
    identities.assume()
}

/// Maps the guest's user and group in a user namespace made by [`join_template`]'s process, as that same user.
pub(crate) fn map_own() -> Result<(), Failure> {
    let map = format!("{GUEST_ID} {GUEST_ID} 1");
    fs::write("/proc/self/setgroups", "deny").step("deny setgroups")?;
    fs::write("/proc/self/uid_map", &map).step("write uid_map")?;
    fs::write("/proc/self/gid_map", &map).step("write gid_map")
}

/// The calling process's own, to be joined in this order.
pub(crate) fn open_own() -> Result<Vec<OwnedFd>, Failure> {
    let open = |name| File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from).step("open a namespace");
    ["user", "mnt", "net", "ipc", "uts", "cgroup", "pid"].into_iter().map(open).collect()
}

/// Whether [`limit`] could lower them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_map_covers_a_range_or_does_not() {
        assert!(covers("         0          0 4294967295\n", 200_000));
        let container = "0 1000 1\n1 100000 65536\n";
        assert!(!covers(container, 200_000));
        assert!(covers(container, 40_000));
        assert!(!covers("0 1000 1\n", 40_000));
        assert!(!covers("", 40_000));
    }
}
