//! A running guest as the platform holds it.

use std::{
    fs::File,
    io,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, OnceLock},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::WaitStatus,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Mutex,
};

use crate::{
    Assignment, Error, Notices,
    cgroup::{self, Freezer},
    platform::{Shared, Started},
    sys,
    wire::{self, Ask, Last, Report},
};

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How its main process ended; `Signal(9)` when the sandbox was killed.
    pub status: Status,
    /// Whether the kernel killed something in it for want of memory, be it the main process or a child.
    pub out_of_memory: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Status {
    /// Reads what `wait` returned for a process that has ended.
    pub(crate) fn of_wait(status: i32) -> Self {
        match WaitStatus::from_raw(nix::unistd::Pid::from_raw(0), status) {
            Ok(WaitStatus::Exited(_, code)) => Self::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Self::Signal(signal as i32),
            // Real-time signals have no name in nix.
            _ => Self::Signal(status & 0x7f),
        }
    }
}

/// A running guest and everything around it. Dropping it kills all of it.
pub struct Sandbox {
    /// One for each of [`crate::Spec::listen`], then of [`crate::Network::listen_at`], in order; nonblocking.
    pub listeners: Vec<TcpListener>,
    /// Nonblocking read end of the pipe that carries stdout and stderr. It ends when every process that holds
    /// the other end has.
    pub output: OwnedFd,
    companions: Option<(OwnedFd, Notices)>,
    id: u64,
    control: Mutex<Control>,
    /// The gauge of its memory, open since it was first looked at: that is done for every call.
    memory_peak: OnceLock<Option<File>>,
    started: Started,
    shared: Arc<Shared>,
}

/// The init and the guest's one.
const THREADS_OF_A_TEMPLATE: usize = 2;

/// What copies are made of: a sandbox whose guest has been stopped for good. The [`Sandbox`] goes on to be its owner's;
/// its end is that of its copies.
pub struct Template {
    id: u64,
    namespaces: Vec<OwnedFd>,
    shared: Arc<Shared>,
}

impl Template {
    pub(crate) fn parts(&self) -> (u64, Arc<Shared>, &[OwnedFd]) {
        (self.id, self.shared.clone(), &self.namespaces)
    }
}

/// The socket to the init, and the number of the last request on it.
struct Control {
    socket: AsyncFd<OwnedFd>,
    number: u64,
}

impl Control {
    async fn receive(&self) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
        self.socket.async_io(Interest::READABLE, |socket| wire::receive(socket.as_fd())).await
    }

    async fn send(&self, ask: &Ask) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, |socket| wire::send(socket.as_fd(), ask, &[])).await
    }
}

/// What a sandbox that has started hands out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) listeners: usize,
    pub(crate) has_companions: bool,
}

impl Expected {
    fn descriptors(self) -> usize {
        self.listeners + if self.has_companions { 3 } else { 1 }
    }
}

impl Sandbox {
    /// Waits until the init says that the command executes.
    pub(crate) async fn await_ready(
        id: u64,
        mut started: Started,
        control: AsyncFd<OwnedFd>,
        expected: Expected,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let control = Control { socket: control, number: 0 };
        let setup = |source| Error::Setup { step: "hear from the init".to_owned(), source };
        let descriptors = match control.receive().await.map_err(setup)? {
            Some((Report::Ready, descriptors)) if descriptors.len() == expected.descriptors() => descriptors,
            Some((Report::Failed(failure), _)) => return Err(failure.into()),
            _ => return Err(setup(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word"))),
        };
        started.freezer = started.gauges.freezer.as_ref().and_then(|file| Freezer::open(file).ok());
        let mut descriptors = descriptors.into_iter();
        let mut pipe = || -> io::Result<OwnedFd> {
            let pipe = descriptors.next().ok_or(io::ErrorKind::UnexpectedEof)?;
            fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok(pipe)
        };
        let output = pipe().map_err(setup)?;
        let companions = match expected.has_companions {
            true => Some((pipe().map_err(setup)?, Notices::new(pipe().map_err(setup)?).map_err(setup)?)),
            false => None,
        };
        let listeners = descriptors.map(TcpListener::from).collect();
        Ok(Self {
            listeners,
            output,
            companions,
            id,
            control: Mutex::new(control),
            memory_peak: OnceLock::new(),
            started,
            shared,
        })
    }

    /// Has an unassigned sandbox completed, and waits until its guest has been told.
    pub(crate) async fn complete(&mut self, assignment: Assignment) -> Result<(), Error> {
        self.shared.assign(self.id, assignment).await?;
        let setup = |source| Error::Setup { step: "hear from the init".to_owned(), source };
        match self.control.get_mut().receive().await.map_err(setup)? {
            Some((Report::Assigned, _)) => Ok(()),
            Some((Report::Failed(failure), _)) => Err(failure.into()),
            _ => Err(setup(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before its assignment"))),
        }
    }

    /// A nonblocking connection to 127.0.0.1:`port` inside the sandbox, made by its init.
    ///
    /// # Errors
    /// What `connect` would answer inside, `ConnectionRefused` when nobody listens there; `NotConnected` when
    /// the sandbox has ended.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.request_connection(port).await?;
        let mut events = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        let connected = poll(&mut events, PollTimeout::ZERO)? > 0;
        let socket = if connected {
            socket
        } else {
            let connecting = sys::watch(socket)?;
            connecting.writable().await?.retain_ready();
            connecting.into_inner()
        };
        let stream = TcpStream::from(socket);
        stream.take_error()?.map_or(Ok(stream), Err)
    }

    /// What its companions write, and how they and the command end. Nothing but the first time, and nothing in a
    /// sandbox without companions.
    pub fn take_companions(&mut self) -> Option<(OwnedFd, Notices)> {
        self.companions.take()
    }

    /// Starts the command of a sandbox with companions. Returns once it is executing.
    ///
    /// # Errors
    /// [`Error::Exec`] when it cannot be executed; [`Error::Setup`] when the sandbox has ended.
    pub async fn begin(&self) -> Result<(), Error> {
        let setup = |source| Error::Setup { step: "start the command".to_owned(), source };
        let control = self.control.lock().await;
        control.send(&Ask::Begin).await.map_err(setup)?;
        loop {
            match control.receive().await.map_err(setup)? {
                Some((Report::Begun, _)) => return Ok(()),
                Some((Report::Failed(failure), _)) => return Err(failure.into()),
                // Answers a caller who stopped waiting.
                Some(_) => {}
                None => return Err(setup(io::ErrorKind::NotConnected.into())),
            }
        }
    }

    /// Stops the guest of [`crate::Spawner::spawn_template`] for good, so that it can be copied. Waits some seconds at
    /// most for it to read from its standard input.
    ///
    /// # Errors
    /// [`Error::Unfit`] says what about the guest, or the host, rules copying out; it may have been stopped all the same.
    /// Others when the sandbox has ended, or when it did not work this time.
    pub async fn stop(&self) -> Result<Template, Error> {
        let setup = |source| Error::Setup { step: "stop the guest".to_owned(), source };
        if let Some(count) = self.started.freezer.as_ref().and_then(Freezer::threads)
            && count > THREADS_OF_A_TEMPLATE
        {
            return Err(Error::Unfit(format!("{} threads or processes run beside it", count - THREADS_OF_A_TEMPLATE)));
        }
        let namespaces = {
            let control = self.control.lock().await;
            control.send(&Ask::Stop).await.map_err(setup)?;
            loop {
                match control.receive().await.map_err(setup)? {
                    Some((Report::Stopped, namespaces)) => break namespaces,
                    Some((Report::Unfit(why), _)) => return Err(Error::Unfit(why)),
                    Some((Report::Failed(failure), _)) => return Err(failure.into()),
                    // Answers a caller who stopped waiting.
                    Some(_) => {}
                    None => return Err(setup(io::ErrorKind::NotConnected.into())),
                }
            }
        };
        Ok(Template { id: self.id, namespaces, shared: self.shared.clone() })
    }

    /// Sends the command a signal by its number. Nothing happens if it does not run.
    ///
    /// # Errors
    /// The sandbox has ended.
    pub async fn signal(&self, signal: i32) -> io::Result<()> {
        self.control.lock().await.send(&Ask::Signal(signal)).await
    }

    async fn request_connection(&self, port: u16) -> io::Result<OwnedFd> {
        let ended = || io::Error::new(io::ErrorKind::NotConnected, "the sandbox has ended");
        let mut control = self.control.lock().await;
        control.number += 1;
        let own = control.number;
        control.send(&Ask::Connect { number: own, port }).await.map_err(|_| ended())?;
        loop {
            // An earlier number answers a caller who stopped waiting.
            match control.receive().await?.ok_or_else(ended)? {
                (Report::Connected { number }, descriptors) if number == own => {
                    return descriptors.into_iter().next().ok_or_else(ended);
                }
                (Report::NotConnected { number, errno }, _) if number == own => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                _ => {}
            }
        }
    }

    /// Waits until nothing of the sandbox runs any more. Any number of waiters, any number of times.
    pub async fn exited(&self) -> Exit {
        let mut seen = self.started.last.clone();
        let last = seen.wait_for(Option::is_some).await.ok().and_then(|last| *last);
        last.map_or(Exit { status: Status::Signal(libc::SIGKILL), out_of_memory: false }, |last| Exit {
            status: last.status,
            out_of_memory: last.out_of_memory,
        })
    }

    /// Kills everything in it. Does not wait; see [`Sandbox::exited`].
    pub fn kill(&self) {
        self.started.kill();
    }

    /// Stops everything in it until [`Sandbox::thaw`]. What it was doing stays undone; its listeners and its
    /// output stay open. Returns before the last of it has stopped, some microseconds later. Killing works as ever.
    /// A blocking call of the guest's may answer `EINTR` when it goes on, as after any stop.
    ///
    /// # Errors
    /// `Unsupported` where the host has no freezer. What the kernel says otherwise; the sandbox has ended, most
    /// likely.
    pub fn freeze(&self) -> io::Result<()> {
        self.freezer()?.freeze()
    }

    /// Lets everything go on. Does nothing to what is not frozen.
    ///
    /// # Errors
    /// As for [`Sandbox::freeze`]. It may be frozen still, then, and should be killed.
    pub fn thaw(&self) -> io::Result<()> {
        self.freezer()?.thaw()
    }

    fn freezer(&self) -> io::Result<&Freezer> {
        self.started.freezer.as_ref().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The most memory it has held so far, bytes, with page cache and `/tmp`; 0 where that cannot be measured.
    pub fn memory_bytes_max(&self) -> u64 {
        match self.last() {
            Some(last) => last.memory_bytes_max,
            None => {
                let open = || File::open(self.started.gauges.memory_peak.as_ref()?).ok();
                self.memory_peak.get_or_init(open).as_ref().and_then(cgroup::read_number).unwrap_or(0)
            }
        }
    }

    /// Processor time all its processes have used so far; without a cpu cgroup zero until it has exited.
    pub fn processor_time(&self) -> Duration {
        Duration::from_nanos(match self.last() {
            Some(last) => last.processor_ns,
            None => cgroup::read_gauge(&self.started.gauges.processor_time).unwrap_or(0),
        })
    }

    /// Whether something of it runs still, or may.
    pub fn is_alive(&self) -> bool {
        self.last().is_none()
    }

    /// How it ended, once nothing of it runs any more.
    pub(crate) fn last(&self) -> Option<Last> {
        *self.started.last.borrow()
    }
}
