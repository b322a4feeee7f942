//! The helper process: this binary again, one thread, no secrets. Forks inits, hands them their orders, reaps
//! them, and cleans up after them.
//!
//! It never waits for a sandbox: what takes time happens in the inits. It keeps a few blanks ready and makes
//! new ones when it has been idle for a moment, so that this work does not compete with a guest's start.
//!
//! Invariant: the helper ends when the platform's socket closes, and has then killed every sandbox and removed
//! its cgroups. Should the helper itself be killed, every init dies with it.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use libc::pid_t;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::SigSet,
        signalfd::{SfdFlags, SignalFd},
        socket::{SockType, getsockopt, sockopt},
        stat::Mode,
    },
    unistd::{dup2_stdin, setsid},
};

use crate::{
    Status,
    cgroup::{self, Cgroups},
    init::{self, Jail},
    landlock::Landlock,
    namespaces::{FORK_FLAGS, Identities, SLOTS_MAX},
    privileges::CORE_BYTES_MAX,
    probe, rootfs,
    seccomp::Filters,
    spec::{Assignment, Mount, Spec},
    stem::{Born, Stem},
    sys::{self, Forked},
    wire::{self, Failure, Last, Order, Reply, Request, Start, Step},
};

/// What the helper is called in a list of processes; also how it is recognised.
pub(crate) const NAME: &str = "updraft-sandbox-helper";

/// Blanks kept ready.
const BLANKS: usize = 2;

/// How long it must have been quiet before blanks are made.
const QUIET: Duration = Duration::from_millis(10);

/// How often a cgroup that is not quite empty is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// How long the sandboxes may take to die when the platform is gone.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Must be the first call in `main`, before any thread exists: when this process was started as the sandbox
/// helper it never returns.
pub fn run_helper_if_asked() {
    let asked = std::env::args_os().next().is_some_and(|name| name == NAME);
    let socket = || getsockopt(&io::stdin(), sockopt::SockType).is_ok_and(|kind| kind == SockType::SeqPacket);
    if asked && socket() {
        let code = match run() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("{NAME}: {error}");
                1
            }
        };
        std::process::exit(code);
    }
}

fn run() -> io::Result<()> {
    let socket = detach()?;
    let Some((Request::Begin { cgroup_name }, _)) = wire::receive(socket.as_fd())? else { return Ok(()) };
    let cgroups = match Cgroups::prepare(&cgroup_name) {
        Ok(cgroups) => cgroups,
        Err(why) => return wire::send(socket.as_fd(), &Reply::Occupied { why }, &[]),
    };
    wire::send(socket.as_fd(), &Reply::Ready { missing: cgroups.missing() }, &[])
        .inspect_err(|_| cgroups.remove_directories())?;
    let landlock = Landlock::of_host().ok();
    let identities = Identities::choose()?;
    // Where this fails no sandbox can be made either, and whoever asks for one is told which step failed.
    let _ = identities.prepare_helper();
    let jail = Jail { identities, cgroups, filters: Filters::compile()?, landlock };
    Helper::new(socket, jail)?.run()
}

/// Leaves everything of the platform's behind but one socket: descriptors, terminal, signals.
fn detach() -> io::Result<OwnedFd> {
    sys::close_from(3)?;
    let socket = sys::take_standard_input().try_clone()?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    // Control-C at the platform's terminal is for the platform, which drains first.
    setsid()?;
    SigSet::all().thread_block()?;
    nix::sys::prctl::set_name(c"updraft-helper")?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    // An ordinary user whose hard limit is 0 stays there.
    let _ = setrlimit(Resource::RLIMIT_CORE, CORE_BYTES_MAX, CORE_BYTES_MAX);
    Ok(socket)
}

struct Helper {
    socket: OwnedFd,
    jail: Jail,
    children: SignalFd,
    /// Not in use, the longest unused first. Bounds everything below.
    slots: VecDeque<u32>,
    inits: HashMap<pid_t, Init>,
    /// Inits without a sandbox yet.
    blanks: VecDeque<pid_t>,
    /// Slots whose cgroups could not be removed yet.
    lingering: Vec<u32>,
    /// When a sandbox was last asked for; `None` while blanks are of no use because making one failed.
    last_spawn: Option<Instant>,
}

struct Init {
    slot: u32,
    pidfd: OwnedFd,
    lifeline: OwnedFd,
    /// The platform's number for the sandbox; blanks have none.
    id: Option<u64>,
    /// Of a template that has been copied.
    stem: Option<Stem>,
}

impl Helper {
    fn new(socket: OwnedFd, jail: Jail) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(nix::sys::signal::SIGCHLD);
        Ok(Self {
            socket,
            jail,
            children: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            slots: (0..SLOTS_MAX).collect(),
            inits: HashMap::new(),
            blanks: VecDeque::new(),
            lingering: Vec::new(),
            last_spawn: Some(Instant::now()),
        })
    }

    /// Serves until the platform is gone, which also shows as a reply that cannot be sent, and then ends everything.
    fn run(mut self) -> io::Result<()> {
        let served = self.serve();
        self.end();
        match served {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            served => served,
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let mut events = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut events, self.timeout()) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [asked, ended] = events.map(|event| event.any().unwrap_or(true));
            if ended {
                self.reap()?;
            }
            if asked && !self.answer()? {
                return Ok(());
            }
            self.tidy();
        }
    }

    fn timeout(&self) -> PollTimeout {
        let refill = self.wants_blanks().map(|since| QUIET.saturating_sub(since.elapsed()));
        let retry = (!self.lingering.is_empty()).then_some(RETRY);
        // A poll in whole milliseconds would return just short of the moment.
        let next = [refill, retry].into_iter().flatten().min().map(|wait| wait + Duration::from_millis(1));
        next.and_then(|wait| PollTimeout::try_from(wait).ok()).unwrap_or(PollTimeout::NONE)
    }

    fn wants_blanks(&self) -> Option<Instant> {
        self.last_spawn.filter(|_| self.blanks.len() < BLANKS && !self.slots.is_empty())
    }

    /// Takes one request. `false` when the platform is gone.
    fn answer(&mut self) -> io::Result<bool> {
        let Ok(Some(message)) = wire::receive_as_came(self.socket.as_fd()) else { return Ok(false) };
        let wire::Message { value: request, descriptors, is_cut } = message;
        match request {
            Request::Spawn { id, .. } | Request::Copy { id, .. } if is_cut => {
                let failure = Failure::Setup { step: "take a request's descriptors".to_owned(), errno: libc::EMFILE };
                wire::send(self.socket.as_fd(), &Reply::Refused { id, failure }, &[])?;
            }
            Request::Spawn { id, spec, start } => {
                let Some(control) = descriptors.into_iter().next() else { return Ok(false) };
                self.last_spawn = Some(Instant::now());
                match self.spawn(id, spec, start, &control) {
                    Ok(pid) => {
                        let init = &self.inits[&pid];
                        let started = Reply::Started { id, gauges: self.jail.cgroups.gauges(init.slot) };
                        wire::send(self.socket.as_fd(), &started, &[init.pidfd.as_fd()])?;
                    }
                    Err(failure) => wire::send(self.socket.as_fd(), &Reply::Refused { id, failure }, &[])?,
                }
            }
            Request::Assign { id, assignment } => self.assign(id, assignment),
            Request::Copy { id, template, spec } => {
                self.last_spawn = Some(Instant::now());
                match self.copy(id, template, spec, &descriptors) {
                    Ok(pid) => {
                        let init = &self.inits[&pid];
                        let started = Reply::Started { id, gauges: self.jail.cgroups.gauges(init.slot) };
                        wire::send(self.socket.as_fd(), &started, &[init.pidfd.as_fd()])?;
                    }
                    Err(failure) => wire::send(self.socket.as_fd(), &Reply::Refused { id, failure }, &[])?,
                }
            }
            Request::Probe => {
                let found = probe::try_all(&self.jail);
                wire::send(self.socket.as_fd(), &Reply::Probed { found }, &[])?;
            }
            Request::Begin { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// Gives a blank its orders.
    fn spawn(&mut self, id: u64, spec: Box<Spec>, start: Start, control: &OwnedFd) -> Result<pid_t, Failure> {
        let mut trees = open_sources(&spec.mounts)?;
        if let Some(root) = &spec.root {
            trees.push(rootfs::open_source(root)?);
        }
        let mut descriptors = vec![control.as_fd()];
        descriptors.extend(trees.iter().map(AsFd::as_fd));
        let order = Order::Become { spec, start };
        loop {
            let (pid, fresh) = match self.blanks.pop_front() {
                Some(pid) => (pid, false),
                None => (self.fork_init()?, true),
            };
            let Some(init) = self.inits.get_mut(&pid) else { continue };
            match wire::send(init.lifeline.as_fd(), &order, &descriptors) {
                // A blank that has died in the meantime is reaped later; the next one may be well.
                Err(_) if !fresh => {}
                Err(error) => return Err(error).step("give the init its orders"),
                Ok(()) => {
                    init.id = Some(id);
                    return Ok(pid);
                }
            }
        }
    }

    /// Gives an unassigned sandbox, or a copy's, the rest of its orders. One that has ended meanwhile has nobody to answer.
    fn assign(&mut self, id: u64, assignment: Box<Assignment>) {
        let Some(init) = self.inits.values().find(|init| init.id == Some(id)) else { return };
        let (order, trees) = match open_sources(&assignment.mounts) {
            Ok(trees) => (Order::Assign { assignment }, trees),
            Err(failure) => (Order::Abandon(failure), Vec::new()),
        };
        let descriptors: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        if wire::send(init.lifeline.as_fd(), &order, &descriptors).is_err() {
            let _ = sys::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// Makes an init for a copy, inside its template's namespaces, and gives both inits their orders.
    fn copy(&mut self, id: u64, template: u64, spec: Box<Spec>, descriptors: &[OwnedFd]) -> Result<pid_t, Failure> {
        let [control, namespaces @ ..] = descriptors else {
            return Err(Failure::Invalid("a copy was asked for without a control socket".to_owned()));
        };
        let trees = open_sources(&spec.mounts)?;
        let (theirs, ours) = wire::pair().step("socket between inits")?;
        let slot = self.slots.pop_front().ok_or(Failure::Full(self.inits.len()))?;
        let (pid, pidfd, lifeline) = match self.bear(template, slot, &theirs, namespaces) {
            Ok(Born { pid, pidfd, lifeline }) => (pid, pidfd, lifeline),
            Err(failure) => {
                // Its groups may be there by now.
                self.lingering.push(slot);
                return Err(failure);
            }
        };
        let given: Vec<_> = [control, &ours].into_iter().chain(&trees).map(AsFd::as_fd).collect();
        let sent = wire::send(lifeline.as_fd(), &Order::BecomeCopy { spec }, &given);
        self.inits.insert(pid, Init { slot, pidfd, lifeline, id: Some(id), stem: None });
        // One that has ended meanwhile is reaped, which answers whoever waits for it.
        sent.or(Ok(())).map(|()| pid)
    }

    /// Has the init of a copy forked, and the template's told of it, over `theirs`. A stem that cannot do it is replaced for the
    /// next one.
    fn bear(&mut self, template: u64, slot: u32, theirs: &OwnedFd, namespaces: &[OwnedFd]) -> Result<Born, Failure> {
        let doors = self.jail.cgroups.open_doors(slot)?;
        let template = self.inits.values_mut().find(|init| init.id == Some(template));
        let template = template.ok_or(libc::ESRCH).map_err(io::Error::from_raw_os_error).step("find the template")?;
        let given: Vec<_> = std::iter::once(theirs).chain(&doors).map(AsFd::as_fd).collect();
        wire::send(template.lifeline.as_fd(), &Order::Copy, &given).step("give the template its orders")?;
        let stem = match template.stem.take() {
            Some(stem) => stem,
            None => Stem::start(&self.jail, namespaces)?,
        };
        let born = stem.bear(&self.jail, slot, &doors)?;
        template.stem = Some(stem);
        Ok(born)
    }

    fn fork_init(&mut self) -> Result<pid_t, Failure> {
        let slot = self.slots.pop_front().ok_or(Failure::Full(self.inits.len()))?;
        let forked = wire::pair().step("lifeline").and_then(|(ours, theirs)| {
            let group = self.jail.cgroups.make_birthplace(slot)?;
            let group = group.as_ref().map(AsFd::as_fd);
            let forked = sys::fork(FORK_FLAGS, group).step("user and pid namespace")?;
            Ok((ours, theirs, forked))
        });
        let (ours, pid, pidfd) = match forked {
            Ok((ours, theirs, Forked::Parent { pid, pidfd })) => {
                drop(theirs);
                (ours, pid, pidfd)
            }
            Ok((_, theirs, Forked::Child)) => match sys::keep_only(&theirs) {
                Ok(lifeline) => init::run(&self.jail, slot, &lifeline),
                Err(_) => sys::exit_now(1),
            },
            Err(failure) => {
                self.slots.push_front(slot);
                return Err(failure);
            }
        };
        let init = Init { slot, pidfd, lifeline: ours, id: None, stem: None };
        let mapped = self.jail.identities.write(pid, slot).and_then(|()| {
            fcntl(&init.lifeline, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).step("lifeline")?;
            wire::send(init.lifeline.as_fd(), &Order::Mapped, &[]).step("wake the init")
        });
        if mapped.is_err() {
            // It has ended by itself if this fails; either way it is reaped.
            let _ = sys::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
        }
        self.inits.insert(pid, init);
        mapped.map(|()| pid)
    }

    fn reap(&mut self) -> io::Result<()> {
        let _ = self.children.read_signal();
        while let Some((pid, status, time)) = sys::reap() {
            let Some(init) = self.inits.remove(&pid) else { continue };
            self.lingering.push(init.slot);
            match init.id {
                Some(id) => {
                    let last = self.last(&init, status, time);
                    wire::send(self.socket.as_fd(), &Reply::Gone { id, last }, &[])?;
                }
                None => {
                    // A blank ends by itself only when it could not be made: no more until one is asked for.
                    self.last_spawn = None;
                    self.blanks.retain(|blank| *blank != pid);
                }
            }
        }
        Ok(())
    }

    fn last(&self, init: &Init, status: i32, time: Duration) -> Last {
        let reported = wire::receive::<Status>(init.lifeline.as_fd()).ok().flatten();
        let killed = Status::Signal(libc::SIGKILL);
        let status = match (reported, Status::of_wait(status)) {
            (Some((status, _)), _) => status,
            (None, signal @ Status::Signal(_)) => signal,
            (None, Status::Code(_)) => killed,
        };
        let gauges = self.jail.cgroups.gauges(init.slot);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Last {
            status,
            out_of_memory: self.jail.cgroups.out_of_memory(init.slot),
            memory_bytes_max: cgroup::read_gauge(&gauges.memory_peak).unwrap_or(0),
            processor_ns: cgroup::read_gauge(&gauges.processor_time).unwrap_or(time),
        }
    }

    /// Removes empty cgroups and makes a blank when it is quiet.
    fn tidy(&mut self) {
        let cgroups = &self.jail.cgroups;
        let slots = &mut self.slots;
        self.lingering.retain(|slot| {
            let removed = cgroups.remove(*slot);
            if removed {
                slots.push_back(*slot);
            }
            !removed
        });
        if self.wants_blanks().is_some_and(|since| since.elapsed() >= QUIET) {
            match self.fork_init() {
                Ok(pid) => self.blanks.push_back(pid),
                // Whoever asks next gets the reason.
                Err(_) => self.last_spawn = None,
            }
        }
    }

    /// The platform is gone: so is everything.
    fn end(&mut self) {
        for init in self.inits.values() {
            let _ = sys::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
            self.jail.cgroups.release(init.slot);
        }
        let until = Instant::now() + END_TIMEOUT;
        while !(self.inits.is_empty() && self.lingering.is_empty()) && Instant::now() < until {
            while let Some((pid, _, _)) = sys::reap() {
                self.lingering.extend(self.inits.remove(&pid).map(|init| init.slot));
            }
            self.lingering.retain(|slot| !self.jail.cgroups.remove(*slot));
            std::thread::sleep(Duration::from_millis(1));
        }
        self.jail.cgroups.remove_directories();
    }
}

fn open_sources(mounts: &[Mount]) -> Result<Vec<OwnedFd>, Failure> {
    mounts.iter().map(|mount| rootfs::open_source(&mount.source)).collect()
}
