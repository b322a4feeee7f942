//! What this host offers for sandboxes, tried out for real; for `updraft doctor`.
//!
//! The helper tries: it has one thread and may fork. Namespaces and what needs them are tried in a throw-away
//! child that tells its findings on a socket and ends.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::sched::unshare;
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::Version,
    init::Jail,
    landlock::Landlock,
    namespaces::{self, FORK_FLAGS, Limited},
    network, platform, privileges,
    rootfs::{self, Root},
    seccomp::Role,
    sys::{self, Forked},
    wire::{self, Failure, Order, Reply, Request},
};

/// One kernel mechanism sandboxes stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mechanism {
    /// Its name, for example `user namespace` or `cgroup memory`.
    pub name: &'static str,
    /// Whether it works here.
    pub state: State,
    /// What it means for functions when it does not work.
    pub consequence: &'static str,
    /// Who does without it.
    pub need: Need,
}

/// What a host without a mechanism can still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Start no sandbox, however it is configured.
    Always,
    /// Start none unless told to go on without ([`crate::Require`]).
    Limit,
    /// Start sandboxes as configured: something else holds what this would hold a second time, or it spreads load.
    Extra,
}

/// Whether a mechanism works here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It worked when tried; the text adds detail such as a version, or is empty.
    Present(String),
    /// The kernel or host does not have it.
    Missing(String),
    /// It exists but this process may not or cannot use it.
    Unusable(String),
}

const NO_PROCESS: &str = "no process function can run";
const ALLOWED_TO_GO_ON: &str = "; serve refuses to start unless told to go on without";

/// Every mechanism in the order it is needed, with the consequence of its absence.
const MECHANISMS: [(&str, Need, &str); 21] = [
    ("helper", Need::Always, NO_PROCESS),
    ("user namespace", Need::Always, NO_PROCESS),
    ("pid namespace", Need::Always, NO_PROCESS),
    ("network namespace", Need::Always, NO_PROCESS),
    ("mount namespace", Need::Always, NO_PROCESS),
    ("ipc namespace", Need::Always, NO_PROCESS),
    ("uts namespace", Need::Always, NO_PROCESS),
    ("cgroup namespace", Need::Always, NO_PROCESS),
    ("loopback", Need::Always, NO_PROCESS),
    ("private root", Need::Always, NO_PROCESS),
    ("read-only binds", Need::Always, NO_PROCESS),
    ("loss of privileges", Need::Always, NO_PROCESS),
    ("seccomp", Need::Always, NO_PROCESS),
    ("cgroup memory", Need::Limit, "a function can use up the host's memory"),
    ("cgroup cpu", Need::Limit, "a function can use more than its share of the processors"),
    ("cgroup pids", Need::Limit, "only RLIMIT_NPROC holds back a fork bomb"),
    ("cgroup freezer", Need::Limit, "functions go on running between their calls"),
    ("cgroup io", Need::Extra, "functions that read much from one disk get no share of their own of it"),
    ("landlock", Need::Extra, "the read-only mounts are the only fence around files"),
    (
        "own user ids",
        Need::Extra,
        "all sandboxes are the platform's user to the kernel and share what it counts by user",
    ),
    ("namespace limits", Need::Extra, "only seccomp keeps a function from user namespaces, and inotify is shared"),
];

/// A name for the cgroups made and removed again while trying.
const CGROUP_NAME: &str = "updraft-probe";

/// Tries every mechanism once, in throw-away processes. Takes some tens of milliseconds; blocks.
/// `main` must call [`crate::run_helper_if_asked`].
pub fn probe() -> Vec<Mechanism> {
    let found = ask().unwrap_or_else(|error| vec![("helper".to_owned(), State::Unusable(error.to_string()))]);
    let state = |name: &str| {
        let known = found.iter().find(|(found, _)| found == name).map(|(_, state)| state.clone());
        known.unwrap_or_else(|| State::Unusable("not tried, because something before it does not work".to_owned()))
    };
    let mechanism = |(name, need, consequence): &(&'static str, Need, &'static str)| Mechanism {
        name,
        state: state(name),
        consequence,
        need: *need,
    };
    MECHANISMS.iter().map(mechanism).collect()
}

fn ask() -> io::Result<Vec<(String, State)>> {
    let (mut command, socket) = platform::prepare_helper()?;
    let mut child = command.spawn()?;
    drop(command);
    let name = format!("{CGROUP_NAME}-{}", std::process::id());
    let answer = platform::greet(&socket, &name).and_then(|_| {
        wire::send(socket.as_fd(), &Request::Probe, &[])?;
        match wire::receive(socket.as_fd())? {
            Some((Reply::Probed { found }, _)) => Ok(found),
            _ => Err(io::Error::other("the helper ended while trying")),
        }
    });
    drop(socket);
    let _ = child.wait();
    answer
}

/// In the helper: tries everything.
pub(crate) fn try_all(jail: &Jail) -> Vec<(String, State)> {
    let mut found = vec![("helper".to_owned(), State::Present(String::new()))];
    found.extend(try_inside(jail));
    let groups = MECHANISMS.iter().filter(|(name, ..)| name.starts_with("cgroup ") && !name.ends_with("namespace"));
    for (name, need, _) in groups {
        let state = match (jail.cgroups.version(name), need) {
            (Some(Version::V1), _) => State::Present("version 1".to_owned()),
            (Some(Version::V2), _) => State::Present("version 2".to_owned()),
            (None, need) => {
                let why = jail.cgroups.why_missing(name).unwrap_or_default().to_owned();
                State::Unusable(if *need == Need::Limit { why + ALLOWED_TO_GO_ON } else { why })
            }
        };
        found.push(((*name).to_owned(), state));
    }
    let landlock = match Landlock::of_host() {
        Ok(landlock) => State::Present(format!("version {}", landlock.version())),
        Err(error) => State::Missing(error.to_string()),
    };
    found.push(("landlock".to_owned(), landlock));
    found.push(("own user ids".to_owned(), jail.identities.describe()));
    found
}

fn try_inside(jail: &Jail) -> Vec<(String, State)> {
    let user = |state| vec![("user namespace".to_owned(), state)];
    let (ours, theirs) = match wire::pair() {
        Ok(pair) => pair,
        Err(error) => return user(State::Unusable(error.to_string())),
    };
    let (pid, pidfd) = match sys::fork(FORK_FLAGS, None) {
        Err(error) => return user(state(Err(error))),
        Ok(Forked::Parent { pid, pidfd }) => (pid, pidfd),
        Ok(Forked::Child) => {
            drop(ours);
            let tried = catch_unwind(AssertUnwindSafe(|| try_in_child(jail, &theirs)));
            sys::exit_now(i32::from(tried.is_err()));
        }
    };
    drop(theirs);
    let mapped = jail.identities.write(pid, 0).map_err(|failure| crate::Error::from(failure).to_string());
    let found = mapped.map_err(io::Error::other).and_then(|()| {
        wire::send(ours.as_fd(), &Order::Mapped, &[])?;
        wire::receive::<Vec<(String, State)>>(ours.as_fd())
    });
    // It ends by itself unless the maps failed; the helper's loop reaps it.
    let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
    match found {
        Ok(Some((found, _))) => found,
        Ok(None) => user(State::Unusable("the child that tried ended early".to_owned())),
        Err(error) => user(State::Unusable(error.to_string())),
    }
}

fn try_in_child(jail: &Jail, socket: &OwnedFd) {
    let mut found = Vec::new();
    let mut note = |name: &str, result: io::Result<()>| {
        let worked = result.is_ok();
        found.push((name.to_owned(), state(result)));
        worked
    };
    let failed = |failure: Failure| io::Error::other(crate::Error::from(failure));
    note("user namespace", Ok(()));
    note("pid namespace", Ok(()));
    let namespaces = namespaces::OWN.map(|(name, flag)| note(name, unshare(flag).map_err(io::Error::from)));
    let mapped = matches!(wire::receive::<Order>(socket.as_fd()), Ok(Some(_)));
    if mapped && namespaces == [true; 5] && note("user namespace", jail.identities.assume().map_err(failed)) {
        match namespaces::limit() {
            Ok(Limited::Yes) => note("namespace limits", Ok(())),
            Ok(Limited::No) => note("namespace limits", Err(io::ErrorKind::ReadOnlyFilesystem.into())),
            Err(failure) => note("namespace limits", Err(failed(failure))),
        };
        note("loopback", network::bring_up().map_err(failed));
        note("private root", Root::build(None).and_then(|root| root.enter()).map_err(failed));
        note("read-only binds", rootfs::open_source("/dev".as_ref()).map(drop).map_err(failed));
        note("loss of privileges", privileges::drop_all().map_err(failed));
        note("seccomp", jail.filters.install(Role::Ordinary));
    }
    // The helper sees an early end should this fail.
    let _ = wire::send(socket.as_fd(), &found, &[]);
}

fn state(result: io::Result<()>) -> State {
    match result {
        Ok(()) => State::Present(String::new()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
            State::Missing(error.to_string())
        }
        Err(error) => State::Unusable(error.to_string()),
    }
}
