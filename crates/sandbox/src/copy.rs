//! The init of a sandbox whose guest is a copy of a template's: an ordinary one, but inside the template's namespaces.
//!
//! It is there because the kernel lets a process without privileges join namespaces of one kind only: those that belong
//! to a child of its own user namespace which its own user has made. So the helper forks a process that becomes the
//! template's user in the template's user and pid namespaces and makes the init from there. The init builds its jail
//! as every other does, opens the door (its own namespaces, as descriptors) to the template's init, and has that bring
//! the copy in (`template`).
//!
//! Invariants: it has given up its privileges and entered the filter before the copy exists; the lifeline, the control
//! socket or the template's end of the socket closing ends it, and its end ends all in its pid namespace.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

use libc::pid_t;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
    unistd::pipe2,
};

use crate::{
    cgroup::OpenLimits,
    init::{self, Blank, Jail, Score, Sockets},
    namespaces::{self, FORK_FLAGS},
    network, privileges,
    rootfs::{Root, Vacant},
    spec::Spec,
    sys::{self, Forked},
    wire::{self, Failure, Order, Report, Step, Twin},
};

/// In the helper: forks such an init. Returns its pid, a pidfd, and the lifeline to it. `namespaces` are the template's
/// user and pid namespaces. Waits for two forks, not for anything of the template's.
pub(crate) fn fork_init(jail: &Jail, slot: u32, namespaces: &[OwnedFd]) -> Result<(pid_t, OwnedFd, OwnedFd), Failure> {
    let (ours, theirs) = wire::pair().step("lifeline")?;
    let group = jail.cgroups.make_birthplace(slot)?;
    let forked = sys::fork(0, group.as_ref().map(AsFd::as_fd)).step("fork the init of a copy")?;
    if matches!(forked, Forked::Child) {
        match sys::keep_only(&theirs) {
            Ok(lifeline) => init::run_to_end(|| descend(jail, slot, &lifeline)),
            Err(_) => sys::exit_now(1),
        }
    }
    drop(theirs);
    let given: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
    wire::send(ours.as_fd(), &Order::Nest, &given).step("give the init its orders")?;
    let born = wire::receive::<Result<(), Failure>>(ours.as_fd()).step("hear of the init of a copy")?;
    let ended =
        || Failure::Setup { step: "hear of the init of a copy, which has ended".to_owned(), errno: libc::ECHILD };
    let (result, descriptors) = born.ok_or_else(ended)?;
    result?;
    let pidfd = descriptors.into_iter().next().ok_or_else(ended)?;
    let pid = pid_of(&pidfd).ok_or_else(ended)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).step("lifeline")?;
    Ok((pid, pidfd, ours))
}

/// The number of a process here.
fn pid_of(pidfd: &OwnedFd) -> Option<pid_t> {
    use std::os::fd::AsRawFd;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// Runs in the helper's child: becomes the template's user, and forks twice, once to be in the pid namespace.
fn descend(jail: &Jail, slot: u32, lifeline: &OwnedFd) -> i32 {
    let sibling = |flags| sys::fork(flags | libc::CLONE_PARENT, None).step("fork the init of a copy");
    let forked = join(jail, slot, lifeline).and_then(|limits| Ok((sibling(0)?, limits)));
    let forked = match forked {
        Ok((Forked::Parent { .. }, _)) => return 0,
        Ok((Forked::Child, limits)) => privileges::die_with_helper().and_then(|()| Ok((sibling(FORK_FLAGS)?, limits))),
        Err(failure) => Err(failure),
    };
    match forked {
        Ok((Forked::Child, limits)) => live(jail, limits, lifeline),
        Ok((Forked::Parent { pidfd, .. }, _)) => {
            // The helper sees an early end should this fail.
            let _ = wire::send(lifeline.as_fd(), &Ok::<(), Failure>(()), &[pidfd.as_fd()]);
            0
        }
        Err(failure) => {
            let _ = wire::send(lifeline.as_fd(), &Err::<(), Failure>(failure), &[]);
            1
        }
    }
}

fn join(jail: &Jail, slot: u32, lifeline: &OwnedFd) -> Result<OpenLimits, Failure> {
    privileges::die_with_helper()?;
    // With our own identity still.
    let limits = jail.cgroups.join(slot)?;
    match wire::receive::<Order>(lifeline.as_fd()).step("wait for the template's namespaces")? {
        Some((Order::Nest, namespaces)) if namespaces.len() == 2 => {
            namespaces::join_template(jail.identities, &namespaces[0], &namespaces[1])?;
        }
        _ => sys::exit_now(0),
    }
    privileges::die_with_helper()?;
    Ok(limits)
}

fn live(jail: &Jail, limits: OpenLimits, lifeline: &OwnedFd) -> i32 {
    let prepared = prepare();
    let Ok(Some((Order::BecomeCopy { spec, message }, descriptors))) = wire::receive::<Order>(lifeline.as_fd()) else {
        return 0;
    };
    let mut descriptors = descriptors.into_iter();
    let (Some(control), Some(twin)) = (descriptors.next(), descriptors.next()) else { return 1 };
    let sockets = Sockets { control: &control, lifeline };
    let become_it = |score| become_copy(jail, limits, score, &spec, &message, descriptors.collect(), &twin, &sockets);
    match prepared.and_then(become_it) {
        Ok((main, children)) => serve(main, &children, &twin, &sockets),
        Err(failure) => {
            // When nobody listens there is nobody to tell; the end of this process says enough.
            let _ = wire::send(control.as_fd(), &Report::Failed(failure), &[]);
            1
        }
    }
}

/// Everything that needs nothing of the template's or the specification's.
fn prepare() -> Result<Score, Failure> {
    privileges::die_with_helper()?;
    privileges::show()?;
    namespaces::map_own()?;
    let score = Score::open().step("open oom_score_adj")?;
    namespaces::enter()?;
    namespaces::limit()?;
    network::bring_up()?;
    Ok(score)
}

#[allow(clippy::too_many_arguments, reason = "each is a part of one order, taken apart by its only caller")]
fn become_copy(
    jail: &Jail,
    limits: OpenLimits,
    score: Score,
    spec: &Spec,
    message: &str,
    trees: Vec<OwnedFd>,
    twin: &OwnedFd,
    sockets: &Sockets<'_>,
) -> Result<(pid_t, SignalFd), Failure> {
    let room = match hear(twin)? {
        (Twin::Room, descriptors) => Vacant::of_descriptors(descriptors),
        (Twin::Failed(failure), _) => return Err(failure),
        _ => None,
    };
    let root = Root::build(Some(room.ok_or_else(|| Failure::Invalid("a copy has no root".to_owned()))?))?;
    root.enter()?;
    let mut blank = Blank { limits, score, root };
    let listeners = blank.furnish(jail, spec, trees)?;
    let children = init::watch_children().step("signalfd")?;
    // Made here, as the guest's user: what opens /dev/stdout is asked for permission on the pipe.
    let (output, writer) = pipe2(OFlag::O_CLOEXEC).step("output pipe")?;
    let (input, input_writer) = pipe2(OFlag::O_CLOEXEC).step("message pipe")?;
    let namespaces = namespaces::open_own()?;
    init::give_up_all(jail)?;
    {
        let given: Vec<_> = [&input, &writer].into_iter().chain(&namespaces).map(AsFd::as_fd).collect();
        wire::send(twin.as_fd(), &Twin::Ready, &given).step("tell the template's init")?;
    }
    drop((input, writer, namespaces));
    let main = match hear(twin)? {
        (Twin::Copied { pid }, _) => pid,
        (Twin::Failed(failure), _) => return Err(failure),
        _ => return Err(Failure::Invalid("the template's init does not make sense".to_owned())),
    };
    File::from(input_writer).write_all(message.as_bytes()).step("tell the guest, which has ended")?;
    let mut descriptors = vec![output.as_fd()];
    descriptors.extend(listeners.iter().map(AsFd::as_fd));
    wire::send(sockets.control.as_fd(), &Report::Ready, &descriptors).step("report to the platform")?;
    Ok((main, children))
}

fn hear(twin: &OwnedFd) -> Result<(Twin, Vec<OwnedFd>), Failure> {
    let heard = wire::receive::<Twin>(twin.as_fd()).step("hear from the template's init")?;
    heard.ok_or_else(|| Failure::Invalid("the template has ended".to_owned()))
}

/// Connects and reaps until the guest's main process ends, the template does, or the platform lets go.
fn serve(main: pid_t, children: &SignalFd, twin: &OwnedFd, sockets: &Sockets<'_>) -> i32 {
    loop {
        let mut events = [children.as_fd(), sockets.control.as_fd(), sockets.lifeline.as_fd(), twin.as_fd()]
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return 1,
        }
        let [children_ended, asked, ordered, heard] = events.map(|event| event.any().unwrap_or(true));
        if children_ended {
            let _ = children.read_signal();
            // The guest's main process is not this one's child; these are what it left behind.
            while sys::reap().is_some() {}
        }
        if heard {
            if let Ok((Twin::Ended(status), _)) = hear(twin) {
                // The helper is this process's parent: when it is gone, so is this.
                let _ = wire::send(sockets.lifeline.as_fd(), &status, &[]);
            }
            return 0;
        }
        if ordered || (asked && !init::answer(sockets.control, main)) {
            return 0;
        }
    }
}
