//! The init of a template: an ordinary sandbox's, which can stop its guest for good and copy it into other sandboxes.
//!
//! The guest runs as any other does, in a sandbox of its own. When it waits at its standard input, its init stops it by
//! `ptrace(2)`, looks at what it holds, and never lets it go on. For each copy another init (`copy`) has built a
//! sandbox inside this one's namespaces. This one has the guest fork, and makes the child, which has not run an
//! instruction of its own, join that sandbox's cgroups and namespaces, fork once more into the pid namespace, take its
//! input and output, put a dead end in place of every connection, give up the privileges that joining a user namespace
//! brings, and enter the ordinary filter. There it stays stopped until its own init, which has given up its privileges
//! then, has it go on.
//!
//! This init has no capabilities either, and gives them up before the guest starts: it may trace its guest, being the
//! same user, and what the guest's filter leaves to a tracer is the joining of namespaces.
//!
//! Nothing here waits for a sandbox or copies a file: what takes a copy's time is its own init's work.
//!
//! Invariants: no instruction of an author's runs in a copy before all of that is done, and a step that fails ends
//! the copy; this init ends when the platform or the helper lets go, or the guest ends without having been stopped.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    tracee::{Copy, Refusal, Stopped},
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
    let tmp = blank.root.view_of_tmp()?;
    privileges::drop_all()?;
    jail.filters.install(Role::Tracer).step("seccomp")?;
    skip_a_number()?;
    let children = init::watch_children().step("signalfd")?;
    // Nobody ever writes to it: for as long as this init lives, its guest waits there.
    let (input, _never_written) = pipe2(OFlag::O_CLOEXEC).step("input pipe")?;
    let early = Early { input, filters: &jail.filters, role: Role::Template, vacant: &vacant };
    let guest = blank.start(jail, spec, Some(&early), &listeners, sockets.control)?;
    drop((early, listeners));
    let mut template = Template { jail, guest: guest.pid, state: State::Running, tmp, vacant, twins: Vec::new() };
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
    /// To be read by the inits of copies.
    tmp: OwnedFd,
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
    copy: Progress,
}

/// How far a copy is.
enum Progress {
    /// Its sandbox is being built, whose groups it joins through these files.
    Awaited(Vec<OwnedFd>),
    /// There and stopped.
    Held(Box<Copy>),
    Runs(pid_t),
}

impl Progress {
    fn pid(&self) -> Option<pid_t> {
        match self {
            Self::Awaited(_) => None,
            Self::Held(copy) => Some(copy.pid()),
            Self::Runs(pid) => Some(*pid),
        }
    }
}

/// Why a guest has not been stopped.
enum Unstopped {
    /// It cannot be copied, whenever it is tried.
    Unfit(String),
    /// It did not work this time.
    Failed(Failure),
}

impl From<Failure> for Unstopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<String> for Unstopped {
    fn from(why: String) -> Self {
        Self::Unfit(why)
    }
}

fn failed(step: &str, errno: i32) -> Failure {
    Failure::Setup { step: step.to_owned(), errno }
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
            // First, while the places are those that were asked about; from the last, since the last one takes the place of
            // one that is taken out.
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
            } else if let Some(index) = self.twins.iter().position(|twin| twin.copy.pid() == Some(pid)) {
                let twin = self.twins.swap_remove(index);
                if let Progress::Held(copy) = twin.copy {
                    copy.forget();
                }
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
                Err(unstopped) => {
                    self.state = State::Useless;
                    let report = match unstopped {
                        Unstopped::Unfit(why) => Report::Unfit(why),
                        Unstopped::Failed(failure) => Report::Failed(failure),
                    };
                    wire::send(control.as_fd(), &report, &[])
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
    fn stop(&mut self) -> Result<[OwnedFd; 2], Unstopped> {
        if !matches!(self.state, State::Running) {
            return Err("it has been stopped before".to_owned().into());
        }
        Stopped::seize(self.guest).map_err(|failure| match failure {
            Failure::Setup { errno: libc::EPERM, .. } => Unstopped::Unfit("nobody may be traced here".to_owned()),
            Failure::Invalid(why) => Unstopped::Unfit(why),
            failure => Unstopped::Failed(failure),
        })?;
        let mut looks = 0..LOOKS_MAX;
        let stopped = loop {
            match Stopped::stop(self.guest) {
                Ok(stopped) => break stopped,
                Err(Refusal::Never(failure)) => {
                    // What it has started may be what keeps it from stopping.
                    Holdings::is_alone(self.guest)?;
                    return Err(failure.into());
                }
                Err(Refusal::NotYet) => {
                    looks.next().ok_or_else(|| failed("wait for the guest to read its message", libc::ETIMEDOUT))?;
                    thread::sleep(PAUSE);
                }
            }
        };
        let holdings = Holdings::of(stopped.pid())?;
        self.state = State::Stopped(Box::new(stopped), holdings);
        let open = |name: &str| fs::File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from);
        let opened = open("user").and_then(|user| Ok([user, open("pid")?]));
        Ok(opened.step("open the template's namespaces")?)
    }

    /// Obeys the helper. `false` when it has let go.
    fn obey(&mut self, lifeline: &OwnedFd) -> bool {
        let Ok(Some((Order::Copy, descriptors))) = wire::receive::<Order>(lifeline.as_fd()) else { return false };
        let mut descriptors = descriptors.into_iter();
        let Some(socket) = descriptors.next() else { return false };
        let sent = match self.find_room() {
            Ok((vacant, tmp)) => {
                let given: Vec<_> = vacant.descriptors().into_iter().chain(tmp).collect();
                wire::send(socket.as_fd(), &Twin::Room, &given)
            }
            Err(failure) => {
                // One that has gone ends this exchange by itself.
                let _ = wire::send(socket.as_fd(), &Twin::Failed(failure), &[]);
                return true;
            }
        };
        if sent.is_ok() {
            self.twins.push(Other { socket, copy: Progress::Awaited(descriptors.collect()) });
        }
        true
    }

    /// A place for one more copy, and where to read what the guest has left in `/tmp`, if anything.
    fn find_room(&mut self) -> Result<(Vacant, Option<BorrowedFd<'_>>), Failure> {
        let State::Stopped(_, holdings) = &self.state else {
            return Err(failed("copy a guest that has not been stopped, or has ended", libc::ESRCH));
        };
        let vacant = self.vacant.pop();
        let vacant = vacant.ok_or_else(|| Failure::Invalid("the template has no room for another copy".to_owned()))?;
        Ok((vacant, holdings.has_tmp.then(|| self.tmp.as_fd())))
    }

    /// Takes a word from a copy's init: it is ready, or the copy may go on, or it is gone.
    fn hear(&mut self, index: usize) {
        // Whoever is not put back is gone, and with it a copy that has not run.
        let Other { socket, copy } = self.twins.swap_remove(index);
        let heard = wire::receive::<Twin>(socket.as_fd());
        let done = match (heard, copy) {
            (Ok(Some((Twin::Ready, descriptors))), Progress::Awaited(doors)) => self.copy(&doors, &descriptors),
            (Ok(Some((Twin::Release, _))), Progress::Held(copy)) => {
                copy.release().map(|pid| (Progress::Runs(pid), Twin::Released))
            }
            // With its end that of the copy has come, if that runs; it is reaped as nobody's.
            _ => return,
        };
        // Who has gone meanwhile is heard of.
        match done {
            Ok((copy, word)) => {
                let _ = wire::send(socket.as_fd(), &word, &[]);
                self.twins.push(Other { socket, copy });
            }
            Err(failure) => {
                let _ = wire::send(socket.as_fd(), &Twin::Failed(failure), &[]);
            }
        }
    }

    /// Makes a copy, in the sandbox that it is given.
    fn copy(&self, doors: &[OwnedFd], given: &[OwnedFd]) -> Result<(Progress, Twin), Failure> {
        let State::Stopped(stopped, holdings) = &self.state else {
            return Err(failed("copy a guest that has ended", libc::ESRCH));
        };
        let (copy, inner) = transfer(self.jail, stopped, holdings, doors, given)?;
        Ok((Progress::Held(Box::new(copy)), Twin::Copied { pid: inner }))
    }
}
