//! A process in a template's user and pid namespaces, where the inits of its copies are forked.
//!
//! The kernel lets a process without privileges join namespaces of one kind only: those that belong to a child of its own
//! user namespace which its own user has made. So the inits of copies are made from inside their template's namespaces,
//! by this process, which has become the template's user there. It is made for the first copy and forks the others too;
//! their parent is the helper, as every init's is.
//!
//! Invariants: it is ours alone and holds nothing but its socket to the helper; it stays in the helper's groups, and what
//! it forks joins the copy's first of all; it ends with the helper, with the template, or when it is let go.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use libc::pid_t;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::{
    copy,
    init::{self, Jail},
    namespaces::{self, FORK_FLAGS},
    privileges,
    sys::{self, Forked},
    wire::{self, Failure, Order, Step},
};

/// The helper's end of one.
pub(crate) struct Stem {
    socket: OwnedFd,
}

/// A process just forked, as the helper knows it.
pub(crate) struct Born {
    pub(crate) pid: pid_t,
    pub(crate) pidfd: OwnedFd,
    pub(crate) lifeline: OwnedFd,
}

impl Stem {
    /// In the helper: makes one in these namespaces, the template's user and pid namespace. Waits for two forks, not for
    /// anything of the template's.
    pub(crate) fn start(jail: &Jail, namespaces: &[OwnedFd]) -> Result<Self, Failure> {
        let (ours, theirs) = wire::pair().step("socket to a template's namespaces")?;
        if matches!(sys::fork(0, None).step("fork into a template's namespaces")?, Forked::Child) {
            match sys::keep_only(&theirs) {
                Ok(socket) => init::run_to_end(|| descend(jail, socket)),
                Err(_) => sys::exit_now(1),
            }
        }
        drop(theirs);
        let given: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
        wire::send(ours.as_fd(), &Order::Nest, &given).step("name a template's namespaces")?;
        let stem = Self { socket: ours };
        stem.hear().map(|_| stem)
    }

    /// In the helper: forks the init of a copy, which joins the slot's groups through `doors`. Waits for that fork.
    pub(crate) fn bear(&self, jail: &Jail, slot: u32, doors: &[OwnedFd]) -> Result<Born, Failure> {
        let (ours, theirs) = wire::pair().step("lifeline")?;
        let limits = jail.cgroups.open_limits(slot)?;
        let order = Order::Bear { doors: doors.len(), settings: limits.names() };
        let given = [theirs.as_fd()].into_iter().chain(doors.iter().map(AsFd::as_fd)).chain(limits.files());
        let given: Vec<_> = given.collect();
        wire::send(self.socket.as_fd(), &order, &given).step("ask for the init of a copy")?;
        drop(theirs);
        let pidfd = self.hear()?.ok_or_else(ended)?;
        let pid = pid_of(&pidfd).ok_or_else(ended)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).step("lifeline")?;
        Ok(Born { pid, pidfd, lifeline: ours })
    }

    fn hear(&self) -> Result<Option<OwnedFd>, Failure> {
        let heard = wire::receive::<Result<(), Failure>>(self.socket.as_fd()).step("hear of the init of a copy")?;
        let (result, descriptors) = heard.ok_or_else(ended)?;
        result.map(|()| descriptors.into_iter().next())
    }
}

fn ended() -> Failure {
    Failure::Setup { step: "hear of the init of a copy, which has ended".to_owned(), errno: libc::ECHILD }
}

/// The number of a process here.
fn pid_of(pidfd: &OwnedFd) -> Option<pid_t> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

fn sibling(flags: i32) -> Result<Forked, Failure> {
    sys::fork(flags | libc::CLONE_PARENT, None).step("fork the init of a copy")
}

/// Runs in the helper's child: becomes the template's user, and forks once to be in the pid namespace too.
fn descend(jail: &Jail, socket: OwnedFd) -> i32 {
    let answer = match join(jail, &socket).and_then(|()| sibling(0)) {
        Ok(Forked::Parent { .. }) => return 0,
        Ok(Forked::Child) => privileges::die_with_helper(),
        Err(failure) => Err(failure),
    };
    let is_there = answer.is_ok();
    let told = wire::send(socket.as_fd(), &answer, &[]);
    if is_there && told.is_ok() { live(jail, socket) } else { 1 }
}

fn join(jail: &Jail, socket: &OwnedFd) -> Result<(), Failure> {
    privileges::die_with_helper()?;
    match wire::receive::<Order>(socket.as_fd()).step("wait for the template's namespaces")? {
        Some((Order::Nest, namespaces)) if namespaces.len() == 2 => {
            namespaces::join_template(jail.identities, &namespaces[0], &namespaces[1])?;
        }
        _ => sys::exit_now(0),
    }
    // Which a change of user has had the kernel forget.
    privileges::die_with_helper()?;
    privileges::hide()
}

/// Forks until the helper lets go.
fn live(jail: &Jail, socket: OwnedFd) -> i32 {
    loop {
        let Ok(Some((Order::Bear { doors, settings }, descriptors))) = wire::receive::<Order>(socket.as_fd()) else {
            return 0;
        };
        let sent = match sibling(FORK_FLAGS) {
            Ok(Forked::Child) => {
                drop(socket);
                return be_born(jail, doors, &settings, descriptors);
            }
            Ok(Forked::Parent { pidfd, .. }) => wire::send(socket.as_fd(), &Ok::<(), Failure>(()), &[pidfd.as_fd()]),
            Err(failure) => wire::send(socket.as_fd(), &Err::<(), Failure>(failure), &[]),
        };
        if sent.is_err() {
            return 1;
        }
    }
}

/// Runs in the init of a copy: joins its groups before anything else.
fn be_born(jail: &Jail, doors: usize, settings: &[String], descriptors: Vec<OwnedFd>) -> i32 {
    let mut descriptors = descriptors.into_iter();
    let Some(lifeline) = descriptors.next() else { return 1 };
    let joined = descriptors.by_ref().take(doors).try_for_each(|door| File::from(door).write_all(b"0"));
    let Some(limits) = jail.cgroups.opened(settings, descriptors) else { return 1 };
    copy::live(jail, joined.step("join the groups of a copy"), limits, &lifeline)
}
