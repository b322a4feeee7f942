//! Process 1 of a sandbox: builds the jail around itself, starts the guest, reaps, connects, reports.
//!
//! It starts as a *blank*: forked ahead of need, with its namespaces, cgroups and the common part of its root
//! ready, waiting on its lifeline to be told what to become. So a cold start pays for none of these, and not
//! for the grace period that the kernel takes to move a process between cgroups on a quiet machine.
//!
//! It may also become an *unassigned* sandbox, whose guest is an interpreter that waits for its function: then the
//! guest drops its own privileges before it executes, and the init keeps its own until the assignment, which needs
//! them (mounts, limits, host name). Nothing but the platform's own code runs in such a guest, which learns of its
//! function only after the init has dropped everything too.
//!
//! Invariants: everything the guest must not have is gone before code of an author's can run; the lifeline or the
//! control socket closing ends the init, and its end ends all in its pid namespace.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use libc::pid_t;
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::pipe2,
};

use crate::{
    Status,
    cgroup::{Cgroups, OpenLimits},
    companions,
    guest::{self, Early, Guest},
    landlock::Landlock,
    namespaces::{self, Identities},
    network, privileges,
    rootfs::Root,
    seccomp::{Filters, Role},
    spec::{Assignment, Mount, Spec},
    sys, template,
    wire::{self, Ask, Failure, Order, Report, Start, Step},
};

/// What the kernel adds to a guest's score when it looks for a process to kill for memory, in thousandths of
/// what is there; makes it pick the guest before the init, and before the platform on a host that runs out.
const GUEST_OOM_SCORE: &str = "500";

/// How long a blank that could not be prepared waits to hand its failure to a caller.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(1);

/// What every sandbox of one helper shares, inherited by fork.
pub(crate) struct Jail {
    pub(crate) identities: Identities,
    pub(crate) cgroups: Cgroups,
    pub(crate) filters: Filters,
    /// `None` where the kernel has none of use.
    pub(crate) landlock: Option<Landlock>,
}

/// Runs in the child of the helper's fork.
pub(crate) fn run(jail: &Jail, slot: u32, lifeline: &OwnedFd) -> ! {
    run_to_end(|| live(jail, slot, lifeline))
}

/// Runs `live` in a process just forked, to its end. A panic must not unwind into the helper's loop, of which this
/// process holds a copy.
pub(crate) fn run_to_end(live: impl FnOnce() -> i32) -> ! {
    let code = catch_unwind(AssertUnwindSafe(live)).unwrap_or(70);
    sys::exit_now(code)
}

fn live(jail: &Jail, slot: u32, lifeline: &OwnedFd) -> i32 {
    let blank = Blank::prepare(jail, slot, lifeline);
    if blank.is_err() && !readable(lifeline, FAILURE_TIMEOUT) {
        return 1;
    }
    let Ok(Some((Order::Become { spec, start }, descriptors))) = wire::receive::<Order>(lifeline.as_fd()) else {
        return 0;
    };
    let mut descriptors = descriptors.into_iter();
    let Some(control) = descriptors.next() else { return 1 };
    let sockets = Sockets { control: &control, lifeline };
    let become_it = |blank: Blank| match start {
        Start::Whole if !spec.companions.programs.is_empty() => {
            blank.become_several(jail, &spec, descriptors.collect(), &sockets).map(|()| None)
        }
        Start::Whole => blank.become_sandbox(jail, &spec, descriptors.collect(), &control).map(Some),
        Start::Unassigned => blank.become_unassigned(jail, &spec, descriptors.collect(), &sockets),
        Start::Template => template::run(blank, jail, &spec, descriptors.collect(), &sockets).map(|()| None),
    };
    match blank.and_then(become_it) {
        Ok(Some((guest, children))) => serve(guest.pid, &children, &sockets),
        Ok(None) => 0,
        Err(failure) => {
            // When nobody listens there is nobody to tell; the end of this process says enough.
            let _ = wire::send(control.as_fd(), &Report::Failed(failure), &[]);
            1
        }
    }
}

/// Where orders come from: the platform, and the helper.
pub(crate) struct Sockets<'a> {
    pub(crate) control: &'a OwnedFd,
    pub(crate) lifeline: &'a OwnedFd,
}

/// An init that does not know yet what it will be.
pub(crate) struct Blank {
    pub(crate) limits: OpenLimits,
    pub(crate) score: Score,
    pub(crate) root: Root,
}

impl Blank {
    fn prepare(jail: &Jail, slot: u32, lifeline: &OwnedFd) -> Result<Self, Failure> {
        privileges::die_with_helper()?;
        // With our own identity still: making and joining groups, opening what belongs to it.
        let limits = jail.cgroups.join(slot)?;
        let score = Score::open().step("open oom_score_adj")?;
        namespaces::enter()?;
        match wire::receive::<Order>(lifeline.as_fd()).step("wait for the identity maps")? {
            Some((Order::Mapped, _)) => {}
            _ => sys::exit_now(0),
        }
        jail.identities.assume()?;
        privileges::die_with_helper()?;
        namespaces::limit()?;
        network::bring_up()?;
        let root = Root::build(None)?;
        root.enter()?;
        Ok(Self { limits, score, root })
    }

    fn become_sandbox(
        mut self,
        jail: &Jail,
        spec: &Spec,
        trees: Vec<OwnedFd>,
        control: &OwnedFd,
    ) -> Result<(Guest, SignalFd), Failure> {
        let listeners = self.build(jail, spec, trees)?;
        let children = watch_children().step("signalfd")?;
        let guest = self.start(jail, spec, None, &listeners, control)?;
        Ok((guest, children))
    }

    /// Builds all of the jail, and gives up what is needed for that. Returns the listeners.
    fn build(&mut self, jail: &Jail, spec: &Spec, trees: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Failure> {
        let listeners = self.furnish(jail, spec, trees)?;
        give_up_all(jail)?;
        Ok(listeners)
    }

    /// Builds all of the jail and returns the listeners.
    pub(crate) fn furnish(
        &mut self,
        jail: &Jail,
        spec: &Spec,
        mut trees: Vec<OwnedFd>,
    ) -> Result<Vec<OwnedFd>, Failure> {
        jail.cgroups.limit(&self.limits, &spec.limits)?;
        self.root.mount_tmp(spec.tmp_bytes_max)?;
        self.name(&spec.name, &spec.network.hosts)?;
        if spec.root.is_some() {
            let tree = trees.pop().ok_or_else(|| Failure::Invalid("a root came without its tree".to_owned()))?;
            self.root = self.root.exchange(tree)?;
        }
        self.bind(&spec.mounts, &trees)?;
        self.root.seal()?;
        network::listen_all(spec)
    }

    /// Starts the companions, and serves until they and the command have ended or the platform lets go.
    fn become_several(
        mut self,
        jail: &Jail,
        spec: &Spec,
        trees: Vec<OwnedFd>,
        sockets: &Sockets<'_>,
    ) -> Result<(), Failure> {
        let listeners = self.build(jail, spec, trees)?;
        let children = watch_children().step("signalfd")?;
        let mut start = |spec: &Spec, output: &OwnedFd| {
            self.score.write(GUEST_OOM_SCORE).step("oom_score_adj")?;
            let pid = guest::start_into(spec, output, jail.landlock, None)?;
            self.score.restore().step("oom_score_adj")?;
            Ok(pid)
        };
        companions::run(spec, &listeners, &children, sockets, &mut start)
    }

    /// Starts the guest, waits for its assignment, and completes the sandbox. `None` when there will be none, because
    /// the guest or the platform has gone.
    fn become_unassigned(
        mut self,
        jail: &Jail,
        spec: &Spec,
        trees: Vec<OwnedFd>,
        sockets: &Sockets<'_>,
    ) -> Result<Option<(Guest, SignalFd)>, Failure> {
        if spec.root.is_some() {
            return Err(Failure::Invalid("an unassigned sandbox has no root of its own".to_owned()));
        }
        privileges::hide()?;
        jail.cgroups.limit(&self.limits, &spec.limits)?;
        // There from the beginning, since a guest's Landlock rules are about the file systems of that time.
        self.root.mount_tmp(spec.tmp_bytes_max)?;
        self.bind(&spec.mounts, &trees)?;
        drop(trees);
        let listeners = network::listen_all(spec)?;
        let children = watch_children().step("signalfd")?;
        let (input, message) = pipe2(OFlag::O_CLOEXEC).step("message pipe")?;
        let early = Early { input, filters: &jail.filters, role: Role::Ordinary, vacant: &[] };
        let guest = self.start(jail, spec, Some(&early), &listeners, sockets.control)?;
        drop((early, listeners));
        let Some((assignment, trees)) = await_assignment(guest.pid, &children, sockets)? else { return Ok(None) };
        jail.cgroups.limit(&self.limits, &assignment.limits)?;
        self.root.resize_tmp(assignment.tmp_bytes_max)?;
        self.name(&assignment.name, &spec.network.hosts)?;
        self.bind(&assignment.mounts, &trees)?;
        drop(trees);
        self.root.seal()?;
        give_up_all(jail)?;
        File::from(message).write_all(assignment.message.as_bytes()).step("tell the guest, which has ended")?;
        wire::send(sockets.control.as_fd(), &Report::Assigned, &[]).step("report to the platform")?;
        Ok(Some((guest, children)))
    }

    pub(crate) fn name(&self, name: &str, hosts: &[(Ipv4Addr, String)]) -> Result<(), Failure> {
        self.root.write_names(name, hosts)?;
        nix::unistd::sethostname(name).step("sethostname")
    }

    pub(crate) fn bind(&self, mounts: &[Mount], trees: &[OwnedFd]) -> Result<(), Failure> {
        if mounts.len() != trees.len() {
            return Err(Failure::Invalid("a mount came without its tree".to_owned()));
        }
        mounts.iter().zip(trees).try_for_each(|(mount, tree)| self.root.bind(tree, &mount.target))
    }

    pub(crate) fn start(
        &mut self,
        jail: &Jail,
        spec: &Spec,
        early: Option<&Early<'_>>,
        listeners: &[OwnedFd],
        control: &OwnedFd,
    ) -> Result<Guest, Failure> {
        self.score.write(GUEST_OOM_SCORE).step("oom_score_adj")?;
        let guest = guest::start(spec, jail.landlock, early)?;
        self.score.restore().step("oom_score_adj")?;
        let mut descriptors = vec![guest.output.as_fd()];
        descriptors.extend(listeners.iter().map(AsFd::as_fd));
        wire::send(control.as_fd(), &Report::Ready, &descriptors).step("report to the platform")?;
        Ok(guest)
    }
}

/// Everything the init gives up before code of an author's runs.
pub(crate) fn give_up_all(jail: &Jail) -> Result<(), Failure> {
    privileges::drop_all()?;
    jail.filters.install(Role::Ordinary).step("seccomp")
}

/// An assignment, and a tree for each of its mounts.
type Rest = (Box<Assignment>, Vec<OwnedFd>);

/// The rest of an unassigned sandbox's orders. `None` when the guest's main process or the platform is gone.
fn await_assignment(main: pid_t, children: &SignalFd, sockets: &Sockets<'_>) -> Result<Option<Rest>, Failure> {
    loop {
        let Some(ready) = wait(children, sockets) else { return Ok(None) };
        if ready.children && has_ended(main, children, sockets.lifeline) {
            return Ok(None);
        }
        if ready.lifeline {
            return match wire::receive::<Order>(sockets.lifeline.as_fd()) {
                Ok(Some((Order::Assign { assignment }, trees))) => Ok(Some((assignment, trees))),
                Ok(Some((Order::Abandon(failure), _))) => Err(failure),
                _ => Ok(None),
            };
        }
        // The platform has nothing to say before the assignment.
        if ready.control {
            return Ok(None);
        }
    }
}

/// Connects and reaps until the guest's main process ends or the platform lets go.
fn serve(main: pid_t, children: &SignalFd, sockets: &Sockets<'_>) -> i32 {
    loop {
        let Some(ready) = wait(children, sockets) else { return 1 };
        if ready.children && has_ended(main, children, sockets.lifeline) {
            return 0;
        }
        if ready.lifeline || (ready.control && !answer(sockets.control, main)) {
            return 0;
        }
    }
}

/// What there is to do.
pub(crate) struct Ready {
    pub(crate) children: bool,
    pub(crate) control: bool,
    pub(crate) lifeline: bool,
}

/// Waits for something to do. `None` when that is impossible.
pub(crate) fn wait(children: &SignalFd, sockets: &Sockets<'_>) -> Option<Ready> {
    loop {
        let mut events = [
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(sockets.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(sockets.lifeline.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) => {
                let [children, control, lifeline] = events.map(|event| event.any().unwrap_or(true));
                return Some(Ready { children, control, lifeline });
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Reaps. Whether the guest's main process was among them, which the helper is told then.
fn has_ended(main: pid_t, children: &SignalFd, lifeline: &OwnedFd) -> bool {
    let _ = children.read_signal();
    while let Some((pid, status, _)) = sys::reap() {
        if pid == main {
            // The helper is this process's parent: when it is gone, so is this.
            let _ = wire::send(lifeline.as_fd(), &Status::of_wait(status), &[]);
            return true;
        }
    }
    false
}

/// Answers one request. `false` when the platform has let go.
pub(crate) fn answer(control: &OwnedFd, main: pid_t) -> bool {
    match wire::receive::<Ask>(control.as_fd()) {
        Ok(Some((Ask::Connect { number, port }, _))) => connect_for(control, number, port),
        Ok(Some((Ask::Signal(signal), _))) => {
            send_signal(main, signal);
            true
        }
        Ok(Some((Ask::Stop, _))) => {
            wire::send(control.as_fd(), &Report::Unfit("it was not started as a template".to_owned()), &[]).is_ok()
        }
        // The command runs since the sandbox does.
        Ok(Some((Ask::Begin, _))) => wire::send(control.as_fd(), &Report::Begun, &[]).is_ok(),
        _ => false,
    }
}

/// Sends a child that has not been reaped a signal.
pub(crate) fn send_signal(pid: pid_t, signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        // The only error left is that it has ended.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

/// Answers a request to connect. `false` when the platform has let go.
pub(crate) fn connect_for(control: &OwnedFd, number: u64, port: u16) -> bool {
    let sent = match network::start_connecting(port) {
        Ok(socket) => wire::send(control.as_fd(), &Report::Connected { number }, &[socket.as_fd()]),
        Err(errno) => wire::send(control.as_fd(), &Report::NotConnected { number, errno }, &[]),
    };
    sent.is_ok()
}

/// SIGCHLD as something to poll. The guest's fork resets the mask.
pub(crate) fn watch_children() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn readable(socket: &OwnedFd, timeout: Duration) -> bool {
    let mut events = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
    poll(&mut events, timeout).is_ok_and(|ready| ready > 0)
}

/// This process's own `oom_score_adj`, opened while it may be, with what it was.
pub(crate) struct Score {
    file: File,
    original: String,
}

impl Score {
    pub(crate) fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open("/proc/self/oom_score_adj")?;
        let mut original = String::new();
        file.read_to_string(&mut original)?;
        Ok(Self { file, original })
    }

    /// Raises it, unless it is as high already: lowering is not ours.
    fn write(&mut self, value: &str) -> io::Result<()> {
        let number = |text: &str| text.trim().parse::<i32>().unwrap_or_default();
        if number(&self.original) >= number(value) { Ok(()) } else { self.file.write_all(value.as_bytes()) }
    }

    /// What a process raised by itself it may lower again.
    fn restore(&mut self) -> io::Result<()> {
        self.file.write_all(self.original.trim().as_bytes())
    }
}
