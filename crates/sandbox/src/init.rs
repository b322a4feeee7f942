//! Process 1 of a sandbox: builds the jail around itself, starts the guest, reaps, connects, reports.
//!
//! It starts as a *blank*: forked ahead of need, with its namespaces, cgroups and the common part of its root
//! ready, waiting on its lifeline to be told what to become. So a cold start pays for none of these, and not
//! for the grace period that the kernel takes to move a process between cgroups on a quiet machine.
//!
//! Invariants: everything the guest must not have is gone before the guest is forked; the lifeline or the
//! control socket closing ends the init, and its end ends all in its pid namespace.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use libc::pid_t;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use crate::{
    Status,
    cgroup::{Cgroups, OpenLimits},
    guest::{self, Guest},
    landlock::Landlock,
    namespaces::{self, Identities},
    network, privileges,
    rootfs::{self, Root},
    seccomp::Filters,
    spec::Spec,
    sys,
    wire::{self, Connect, Failure, Order, Report, Step},
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
    // A panic must not unwind into the helper's loop, of which this process holds a copy.
    let code = catch_unwind(AssertUnwindSafe(|| live(jail, slot, lifeline))).unwrap_or(70);
    sys::exit_now(code)
}

fn live(jail: &Jail, slot: u32, lifeline: &OwnedFd) -> i32 {
    let blank = Blank::prepare(jail, slot, lifeline);
    if blank.is_err() && !readable(lifeline, FAILURE_TIMEOUT) {
        return 1;
    }
    let Ok(Some((Order::Become { spec }, descriptors))) = wire::receive::<Order>(lifeline.as_fd()) else { return 0 };
    let mut descriptors = descriptors.into_iter();
    let Some(control) = descriptors.next() else { return 1 };
    let become_it = |blank: Blank| blank.become_sandbox(jail, &spec, descriptors.collect(), &control);
    match blank.and_then(become_it) {
        Ok((guest, children)) => serve(guest.pid, &children, &control, lifeline),
        Err(failure) => {
            // When nobody listens there is nobody to tell; the end of this process says enough.
            let _ = wire::send(control.as_fd(), &Report::Failed(failure), &[]);
            1
        }
    }
}

/// An init that does not know yet what it will be.
struct Blank {
    limits: OpenLimits,
    score: Score,
    root: Root,
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
        let root = Root::build()?;
        if jail.identities.is_privileged() {
            root.enter()?;
        }
        Ok(Self { limits, score, root })
    }

    fn become_sandbox(
        mut self,
        jail: &Jail,
        spec: &Spec,
        trees: Vec<OwnedFd>,
        control: &OwnedFd,
    ) -> Result<(Guest, SignalFd), Failure> {
        jail.cgroups.limit(self.limits, &spec.limits)?;
        self.root.mount_tmp(spec.tmp_bytes_max)?;
        self.root.write_names(&spec.name, &spec.network.hosts)?;
        nix::unistd::sethostname(&spec.name).step("sethostname")?;
        let mut trees = trees.into_iter();
        for mount in &spec.mounts {
            let tree = match trees.next() {
                Some(tree) => tree,
                None => rootfs::open_source(&mount.source)?,
            };
            self.root.bind(&tree, &mount.target)?;
        }
        if !jail.identities.is_privileged() {
            self.root.enter()?;
        }
        self.root.seal()?;
        let listeners = network::listen_all(spec)?;
        privileges::drop_all()?;
        jail.filters.install().step("seccomp")?;
        let children = watch_children().step("signalfd")?;
        self.score.write(GUEST_OOM_SCORE).step("oom_score_adj")?;
        let guest = guest::start(spec, jail.landlock)?;
        self.score.restore().step("oom_score_adj")?;
        let mut descriptors = vec![guest.output.as_fd()];
        descriptors.extend(listeners.iter().map(AsFd::as_fd));
        wire::send(control.as_fd(), &Report::Ready, &descriptors).step("report to the platform")?;
        Ok((guest, children))
    }
}

/// Connects and reaps until the guest's main process ends or the platform lets go.
fn serve(main: pid_t, children: &SignalFd, control: &OwnedFd, lifeline: &OwnedFd) -> i32 {
    loop {
        let mut events = [
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(lifeline.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return 1,
        }
        let [children_ready, control_ready, lifeline_ready] = events.map(|event| event.any().unwrap_or(true));
        if children_ready {
            let _ = children.read_signal();
            while let Some((pid, status, _)) = sys::reap() {
                if pid == main {
                    // The helper is this process's parent: when it is gone, so is this.
                    let _ = wire::send(lifeline.as_fd(), &Status::of_wait(status), &[]);
                    return 0;
                }
            }
        }
        if lifeline_ready || (control_ready && !connect_for(control)) {
            return 0;
        }
    }
}

/// Answers one request to connect. `false` when the platform has let go.
fn connect_for(control: &OwnedFd) -> bool {
    let Ok(Some((Connect { number, port }, _))) = wire::receive::<Connect>(control.as_fd()) else { return false };
    let sent = match network::start_connecting(port) {
        Ok(socket) => wire::send(control.as_fd(), &Report::Connected { number }, &[socket.as_fd()]),
        Err(errno) => wire::send(control.as_fd(), &Report::NotConnected { number, errno }, &[]),
    };
    sent.is_ok()
}

/// SIGCHLD as something to poll. The guest's fork resets the mask.
fn watch_children() -> nix::Result<SignalFd> {
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
struct Score {
    file: File,
    original: String,
}

impl Score {
    fn open() -> io::Result<Self> {
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
