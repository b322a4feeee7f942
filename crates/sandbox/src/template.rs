//! The init of a template: an ordinary sandbox's, which can stop its guest for good and copy it into other sandboxes.
//!
//! The guest runs as any other does, in a sandbox of its own. When it waits at its standard input, its init stops it by
//! `ptrace(2)`, looks at what it holds, and never lets it go on. For each copy another init (`copy`) has built a
//! sandbox inside this one's namespaces. This one has the guest fork, and makes the child, which has not run an
//! instruction of its own, join that sandbox's cgroups and namespaces, fork once more into the pid namespace, take its
//! input and output, put a dead end in place of every connection, give up the privileges that joining a user namespace
//! brings, and enter the ordinary filter. Only then it goes on.
//!
//! This init has no capabilities either, and gives them up before the guest starts: it may trace its guest, being the
//! same user, and what the guest's filter leaves to a tracer is the joining of namespaces.
//!
//! Invariants: no instruction of an author's runs in a copy before all of that is done, and a step that fails ends
//! the copy; this init ends when the platform or the helper lets go, or the guest ends without having been stopped.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use libc::pid_t;
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
    unistd::pipe2,
};

use crate::{
    Status,
    guest::Early,
    holdings::Holdings,
    init::{self, Blank, Jail, Sockets},
    privileges,
    rootfs::Vacant,
    seccomp::Role,
    spec::Spec,
    sys,
    tracee::{Refusal, Stopped},
    transfer::transfer,
    wire::{self, Ask, Failure, Order, Report, Step, Twin},
};

/// Most copies that one template makes in its life: the roots of all are made before its guest starts, since the guest's
/// Landlock rules, which its copies inherit, have to name them.
pub const COPIES_MAX: usize = 128;

/// How often, and how many times, a guest is looked at that does not wait at its standard input yet.
const PAUSE: Duration = Duration::from_millis(1);
const LOOKS_MAX: usize = 3000;

/// Becomes a template, and serves to the end.
pub(crate) fn run(
    mut blank: Blank,
    jail: &Jail,
    spec: &Spec,
    trees: Vec<OwnedFd>,
    sockets: &Sockets<'_>,
) -> Result<(), Failure> {
    let vacant = (0..COPIES_MAX).map(|_| Vacant::make(spec.tmp_bytes_max)).collect::<Result<Vec<_>, _>>()?;
    let listeners = blank.furnish(jail, spec, trees)?;
    privileges::drop_all()?;
    jail.filters.install(Role::Tracer).step("seccomp")?;
    skip_a_number()?;
    let children = init::watch_children().step("signalfd")?;
    // Nobody ever writes to it: for as long as this init lives, its guest waits there.
    let (input, _never_written) = pipe2(OFlag::O_CLOEXEC).step("input pipe")?;
    let early = Early { input, filters: &jail.filters, role: Role::Template, vacant: &vacant };
    let guest = blank.start(jail, spec, Some(&early), &listeners, sockets.control)?;
    drop((early, listeners));
    let mut template = Template { jail, guest: guest.pid, state: State::Running, vacant, twins: Vec::new() };
    drop(guest);
    template.serve(&children, sockets);
    Ok(())
}

/// The guest's copies are number 2 of their namespaces, as other guests are. So this one must not be: libraries take a
/// new number for a sign that they have been forked, and draw their randomness anew.
fn skip_a_number() -> Result<(), Failure> {
    match sys::fork_here().step("skip a number")? {
        None => sys::exit_now(0),
        Some(pid) => nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).step("skip a number").map(drop),
    }
}

struct Template<'a> {
    jail: &'a Jail,
    guest: pid_t,
    state: State,
    /// Where copies can live.
    vacant: Vec<Vacant>,
    twins: Vec<Other>,
}

enum State {
    Running,
    Stopped(Box<Stopped>, Holdings),
    /// It cannot be copied, or not any more.
    Useless,
}

/// A copy's init, as its template's knows it.
struct Other {
    socket: OwnedFd,
    /// Files to join its groups with; used up by the copying.
    doors: Vec<OwnedFd>,
    copy: Option<pid_t>,
}

impl Template<'_> {
    fn serve(&mut self, children: &SignalFd, sockets: &Sockets<'_>) {
        loop {
            let fixed = [children.as_fd(), sockets.control.as_fd(), sockets.lifeline.as_fd()];
            let all = fixed.into_iter().chain(self.twins.iter().map(|twin| twin.socket.as_fd()));
            let mut events: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut events, PollTimeout::NONE) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return,
            }
            let ready: Vec<bool> = events.iter().map(|event| event.any().unwrap_or(true)).collect();
            // First, while the places are those that were asked about; from the last, since one that has gone is taken out.
            for index in (3..ready.len()).rev().filter(|index| ready[*index]) {
                self.hear(index - 3);
            }
            if ready[0] && !self.reap(children, sockets) {
                return;
            }
            if ready[1] && !self.answer(sockets.control) {
                return;
            }
            if ready[2] && !self.obey(sockets.lifeline) {
                return;
            }
        }
    }

    /// Passes on how copies have ended. `false` when there is nothing left to be a template of.
    fn reap(&mut self, children: &SignalFd, sockets: &Sockets<'_>) -> bool {
        let _ = children.read_signal();
        while let Some((pid, status, _)) = sys::reap() {
            if libc::WIFSTOPPED(status) {
                continue;
            }
            let status = Status::of_wait(status);
            if pid == self.guest {
                if matches!(self.state, State::Running) {
                    let _ = wire::send(sockets.lifeline.as_fd(), &status, &[]);
                    return false;
                }
                self.state = State::Useless;
            } else if let Some(index) = self.twins.iter().position(|twin| twin.copy == Some(pid)) {
                let twin = self.twins.swap_remove(index);
                // One that has gone needs not be told.
                let _ = wire::send(twin.socket.as_fd(), &Twin::Ended(status), &[]);
            }
        }
        true
    }

    /// Answers the platform. `false` when it has let go.
    fn answer(&mut self, control: &OwnedFd) -> bool {
        let sent = match wire::receive::<Ask>(control.as_fd()) {
            Ok(Some((Ask::Stop, _))) => match self.stop() {
                Ok(namespaces) => {
                    let namespaces: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
                    wire::send(control.as_fd(), &Report::Stopped, &namespaces)
                }
                Err(why) => {
                    self.state = State::Useless;
                    wire::send(control.as_fd(), &Report::Unfit(why), &[])
                }
            },
            Ok(Some((Ask::Connect { number, port }, _))) => return init::connect_for(control, number, port),
            Ok(Some((Ask::Signal(signal), _))) => {
                init::send_signal(self.guest, signal);
                return true;
            }
            Ok(Some((Ask::Begin, _))) => wire::send(control.as_fd(), &Report::Begun, &[]),
            _ => return false,
        };
        sent.is_ok()
    }

    /// Stops the guest and looks at it. Returns the namespaces that copies' inits are made in.
    fn stop(&mut self) -> Result<[OwnedFd; 2], String> {
        let words = |failure: Failure| crate::Error::from(failure).to_string();
        if !matches!(self.state, State::Running) {
            return Err("it has been stopped before".to_owned());
        }
        Stopped::seize(self.guest).map_err(words)?;
        let mut looks = 0..LOOKS_MAX;
        let stopped = loop {
            match Stopped::stop(self.guest) {
                Ok(stopped) => break stopped,
                Err(Refusal::Never(failure)) => return Err(words(failure)),
                Err(Refusal::NotYet) => {
                    looks.next().ok_or("it does not wait for its message")?;
                    thread::sleep(PAUSE);
                }
            }
        };
        let holdings = Holdings::of(stopped.pid())?;
        self.state = State::Stopped(Box::new(stopped), holdings);
        let open = |name: &str| fs::File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from);
        let opened = open("user").and_then(|user| Ok([user, open("pid")?]));
        opened.map_err(|error| format!("its namespaces cannot be opened: {error}"))
    }

    /// Obeys the helper. `false` when it has let go.
    fn obey(&mut self, lifeline: &OwnedFd) -> bool {
        let Ok(Some((Order::Copy, descriptors))) = wire::receive::<Order>(lifeline.as_fd()) else { return false };
        let mut descriptors = descriptors.into_iter();
        let Some(socket) = descriptors.next() else { return false };
        let room = match (&self.state, self.vacant.pop()) {
            (State::Stopped(_, holdings), Some(vacant)) => holdings.copy_tmp(vacant.tmp()).map(|()| vacant),
            (State::Stopped(..), None) => Err(Failure::Invalid("the template has no room for another copy".to_owned())),
            _ => Err(Failure::Invalid("the template has not been stopped".to_owned())),
        };
        // One that has gone ends this exchange by itself.
        let _ = match &room {
            Ok(vacant) => wire::send(socket.as_fd(), &Twin::Room, &vacant.descriptors()),
            Err(failure) => wire::send(socket.as_fd(), &Twin::Failed(failure.clone()), &[]),
        };
        if room.is_ok() {
            self.twins.push(Other { socket, doors: descriptors.collect(), copy: None });
        }
        true
    }

    /// Takes a word from a copy's init: it is ready, or gone.
    fn hear(&mut self, index: usize) {
        let heard = wire::receive::<Twin>(self.twins[index].socket.as_fd());
        let (Ok(Some((Twin::Ready, descriptors))), None) = (heard, self.twins[index].copy) else {
            // With its end that of the copy has come, if there is one; it is reaped as nobody's.
            self.twins.swap_remove(index);
            return;
        };
        let doors = std::mem::take(&mut self.twins[index].doors);
        let copied = match &self.state {
            State::Stopped(stopped, holdings) => transfer(self.jail, stopped, holdings, &doors, &descriptors),
            _ => Err(Failure::Invalid("the template has ended".to_owned())),
        };
        let word = match copied {
            Ok((pid, inner)) => {
                self.twins[index].copy = Some(pid);
                Twin::Copied { pid: inner }
            }
            Err(failure) => Twin::Failed(failure),
        };
        if wire::send(self.twins[index].socket.as_fd(), &word, &[]).is_err() || matches!(word, Twin::Failed(_)) {
            self.twins.swap_remove(index);
        }
    }
}
