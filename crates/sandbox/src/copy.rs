//! The init of a sandbox whose guest is a copy of a template's: an ordinary one, but inside the template's namespaces.
//!
//! It is forked there (`stem`) and builds its jail as every other does, opens the door (its own namespaces, as
//! descriptors) to the template's init, and has that bring the copy in (`template`), which stays stopped until the
//! sandbox is assigned. All of that can be done ahead of need: what an assignment brings is a name, limits and a message.
//!
//! Invariants: it has given up its privileges and entered the filter before the copy runs; the lifeline, the control
//! socket or the template's end of the socket closing ends it, and its end ends all in its pid namespace.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

use libc::pid_t;
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
    unistd::pipe2,
};

use crate::{
    cgroup::OpenLimits,
    init::{self, Blank, Jail, Score, Sockets},
    namespaces, network, privileges,
    rootfs::{Root, Vacant},
    spec::Spec,
    sys, tree,
    wire::{self, Failure, Order, Report, Step, Twin},
};

/// Runs in such an init, which has joined its groups or has not.
pub(crate) fn live(jail: &Jail, joined: Result<(), Failure>, limits: OpenLimits, lifeline: &OwnedFd) -> i32 {
    let prepared = joined.and_then(|()| prepare());
    let Ok(Some((Order::BecomeCopy { spec }, descriptors))) = wire::receive::<Order>(lifeline.as_fd()) else {
        return 0;
    };
    let mut descriptors = descriptors.into_iter();
    let (Some(control), Some(twin)) = (descriptors.next(), descriptors.next()) else { return 1 };
    let sockets = Sockets { control: &control, lifeline };
    let build = |score| Nest::build(jail, limits, score, &spec, descriptors.collect(), &twin);
    let made = prepared.and_then(build).and_then(|nest| nest.come_to_life(jail, &spec, &sockets));
    match made {
        Ok(Some((main, children))) => serve(main, &children, &twin, &sockets),
        Ok(None) => 0,
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

/// The sandbox of a copy, with its copy in it.
struct Nest<'a> {
    blank: Blank,
    /// To the template's init.
    twin: &'a OwnedFd,
    children: SignalFd,
    /// The copy.
    main: pid_t,
    output: OwnedFd,
    listeners: Vec<OwnedFd>,
    /// The copy's standard input.
    message: File,
}

/// What there is to do.
struct Ready {
    asked: bool,
    ordered: bool,
    /// The template's init has a word, or is gone.
    heard: bool,
}

impl<'a> Nest<'a> {
    /// Everything but the assignment.
    fn build(
        jail: &Jail,
        limits: OpenLimits,
        score: Score,
        spec: &Spec,
        trees: Vec<OwnedFd>,
        twin: &'a OwnedFd,
    ) -> Result<Self, Failure> {
        let room = match hear(twin)? {
            (Twin::Room, descriptors) => Vacant::of_descriptors(descriptors),
            (Twin::Failed(failure), _) => return Err(failure),
            _ => None,
        };
        let (vacant, mut rest) = room.ok_or_else(|| Failure::Invalid("a copy has no root".to_owned()))?;
        jail.cgroups.limit(&limits, &spec.limits)?;
        if let Some(kept) = rest.next() {
            tree::copy(kept.as_fd(), vacant.tmp()).step("copy the template's /tmp")?;
        }
        let root = Root::build(Some(vacant))?;
        root.enter()?;
        let blank = Blank { limits, score, root };
        blank.root.mount_tmp(spec.tmp_bytes_max)?;
        blank.bind(&spec.mounts, &trees)?;
        let listeners = network::listen_all(spec)?;
        let children = init::watch_children().step("signalfd")?;
        // Made here, as the guest's user: what opens /dev/stdout is asked for permission on the pipe.
        let (output, writer) = pipe2(OFlag::O_CLOEXEC).step("output pipe")?;
        let (input, message) = pipe2(OFlag::O_CLOEXEC).step("message pipe")?;
        let namespaces = namespaces::open_own()?;
        let given: Vec<_> = [&input, &writer].into_iter().chain(&namespaces).map(AsFd::as_fd).collect();
        wire::send(twin.as_fd(), &Twin::Ready, &given).step("tell the template's init")?;
        let main = match hear(twin)? {
            (Twin::Copied { pid }, _) => pid,
            (Twin::Failed(failure), _) => return Err(failure),
            _ => return Err(nonsense()),
        };
        Ok(Self { blank, twin, children, main, output, listeners, message: File::from(message) })
    }

    /// Waits for the assignment, gives up what was needed for it, and has the copy go on. `None` when there will be none,
    /// because the copy, the template or the platform has gone.
    fn come_to_life(
        self,
        jail: &Jail,
        spec: &Spec,
        sockets: &Sockets<'_>,
    ) -> Result<Option<(pid_t, SignalFd)>, Failure> {
        let Self { blank, twin, children, main, output, listeners, mut message } = self;
        {
            let given: Vec<_> = std::iter::once(&output).chain(&listeners).map(AsFd::as_fd).collect();
            wire::send(sockets.control.as_fd(), &Report::Ready, &given).step("report to the platform")?;
        }
        drop((output, listeners));
        let (assignment, trees) = loop {
            let Some(ready) = wait(&children, twin, sockets) else { return Ok(None) };
            // The platform has nothing to say before the assignment, and the template's init tells of an end alone.
            if ready.heard || ready.asked {
                return Ok(None);
            }
            if ready.ordered {
                match wire::receive::<Order>(sockets.lifeline.as_fd()) {
                    Ok(Some((Order::Assign { assignment }, trees))) => break (assignment, trees),
                    Ok(Some((Order::Abandon(failure), _))) => return Err(failure),
                    _ => return Ok(None),
                }
            }
        };
        jail.cgroups.limit(&blank.limits, &assignment.limits)?;
        blank.name(&assignment.name, &spec.network.hosts)?;
        blank.bind(&assignment.mounts, &trees)?;
        blank.root.seal()?;
        init::give_up_all(jail)?;
        wire::send(twin.as_fd(), &Twin::Release, &[]).step("tell the template's init")?;
        match hear(twin)? {
            (Twin::Released, _) => {}
            (Twin::Failed(failure), _) => return Err(failure),
            _ => return Err(nonsense()),
        }
        message.write_all(assignment.message.as_bytes()).step("tell the guest, which has ended")?;
        wire::send(sockets.control.as_fd(), &Report::Assigned, &[]).step("report to the platform")?;
        Ok(Some((main, children)))
    }
}

/// Connects and reaps until the guest's main process ends, the template does, or the platform lets go.
fn serve(main: pid_t, children: &SignalFd, twin: &OwnedFd, sockets: &Sockets<'_>) -> i32 {
    loop {
        let Some(ready) = wait(children, twin, sockets) else { return 1 };
        if ready.heard {
            if let Ok((Twin::Ended(status), _)) = hear(twin) {
                // The helper is this process's parent: when it is gone, so is this.
                let _ = wire::send(sockets.lifeline.as_fd(), &status, &[]);
            }
            return 0;
        }
        if ready.ordered || (ready.asked && !init::answer(sockets.control, main)) {
            return 0;
        }
    }
}

fn hear(twin: &OwnedFd) -> Result<(Twin, Vec<OwnedFd>), Failure> {
    let heard = wire::receive::<Twin>(twin.as_fd()).step("hear from the template's init")?;
    let gone = || Failure::Setup { step: "hear from the template's init".to_owned(), errno: libc::ESRCH };
    heard.ok_or_else(gone)
}

fn nonsense() -> Failure {
    Failure::Invalid("the template's init does not make sense".to_owned())
}

/// Waits for something to do, and reaps. `None` when waiting is impossible.
fn wait(children: &SignalFd, twin: &OwnedFd, sockets: &Sockets<'_>) -> Option<Ready> {
    let mut events = [children.as_fd(), sockets.control.as_fd(), sockets.lifeline.as_fd(), twin.as_fd()]
        .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    loop {
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
    let [has_ended, asked, ordered, heard] = events.map(|event| event.any().unwrap_or(true));
    if has_ended {
        let _ = children.read_signal();
        // The guest's main process is not this one's child; these are what it left behind.
        while sys::reap().is_some() {}
    }
    Some(Ready { asked, ordered, heard })
}
