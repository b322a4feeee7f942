//! The platform's side: starts the helper, asks it for sandboxes, and holds on to them.
//!
//! One task reads the helper's replies; there is no thread for any sandbox. Both maps are bounded by how many
//! sandboxes the helper has slots for.
//!
//! Invariant: whoever stops waiting for a sandbox has killed it. A pidfd that arrives for nobody is used to
//! kill at once.

use std::{
    collections::HashMap,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use parking_lot::Mutex;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{oneshot, watch},
    task::AbortHandle,
};

use crate::{
    Assignment, Error, Spec, Status, Unassigned,
    cgroup::{Freezer, FreezerFile},
    helper::NAME,
    sandbox::{Expected, Sandbox, Template},
    spec::SPEC_BYTES_MAX,
    sys,
    wire::{self, Failure, Gauges, Last, Message, Reply, Request},
};

/// How long the helper may take to come up; it may have leftovers to kill.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How sandboxes are made by one [`Spawner`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory name under our own cgroup, unique to the data directory: whatever a killed predecessor left
    /// under this name is killed and removed at start.
    pub cgroup_name: String,
    /// What to do where a host lacks a limit.
    pub require: Require,
}

/// What to do where a host lacks a limit. Namespaces, seccomp and the loss of privileges are never optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Require {
    /// Refuse to start without memory, cpu and pids limits.
    All,
    /// Go on without the limits this host cannot hold; [`crate::probe`] says which.
    BestEffort,
}

/// Starts sandboxes. Clones share one helper process, which ends with the last of them and of their sandboxes. If
/// it is killed, its sandboxes die with it, and the next spawn starts another.
#[derive(Clone)]
pub struct Spawner {
    config: Arc<Config>,
    /// Held while a helper that is gone is replaced.
    current: Arc<tokio::sync::Mutex<Arc<Shared>>>,
}

/// One helper. Ends the reader, and with it the helper, when the last spawner and sandbox are gone.
pub(crate) struct Shared {
    link: Arc<Link>,
    reader: AbortHandle,
}

impl Shared {
    fn start(config: &Config) -> Result<Self, Error> {
        let (child, socket, missing) = start_helper(&config.cgroup_name).map_err(Error::Start)?;
        if let (Require::All, Some((mechanism, why))) = (config.require, missing.first()) {
            return Err(Error::Missing { mechanism: mechanism.clone(), why: why.clone() });
        }
        for (mechanism, why) in missing {
            tracing::warn!(mechanism, why, "sandboxes go without a limit this host cannot hold");
        }
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| Error::Start(error.into()))?;
        let socket = sys::watch(socket).map_err(Error::Start)?;
        let link = Arc::new(Link { socket, number: AtomicU64::new(0), books: Mutex::default() });
        let reader = tokio::spawn(read_replies(Arc::clone(&link), child)).abort_handle();
        Ok(Self { link, reader })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Link {
    socket: AsyncFd<OwnedFd>,
    number: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// The helper is gone; nobody will be answered.
    closed: bool,
    asked: HashMap<u64, oneshot::Sender<Result<Started, Failure>>>,
    alive: HashMap<u64, Alive>,
}

struct Alive {
    pidfd: Arc<OwnedFd>,
    last: watch::Sender<Option<Last>>,
    freezer: Option<FreezerFile>,
}

/// A sandbox under way; dropping it kills it.
pub(crate) struct Started {
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) gauges: Gauges,
    pub(crate) last: watch::Receiver<Option<Last>>,
    /// Set once the init has been heard of, where the host has one.
    pub(crate) freezer: Option<Freezer>,
}

impl Started {
    pub(crate) fn kill(&self) {
        // The only error is that it has ended already.
        let _ = sys::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL);
        if let Some(freezer) = &self.freezer {
            freezer.end();
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Spawner {
    /// Starts the helper and removes what a killed predecessor left. Call inside a Tokio runtime; blocks for
    /// some milliseconds.
    ///
    /// # Errors
    /// [`Error::Missing`] when [`Require::All`] cannot be had, [`Error::Start`] when there is no helper.
    pub fn start(config: Config) -> Result<Self, Error> {
        crate::spec::check_name(&config.cgroup_name)?;
        let shared = Shared::start(&config)?;
        Ok(Self { config: Arc::new(config), current: Arc::new(tokio::sync::Mutex::new(Arc::new(shared))) })
    }

    /// The helper, started anew if the last one is gone. That takes as long as its sandboxes take to die.
    async fn helper(&self) -> Result<Arc<Shared>, Error> {
        let mut current = Arc::clone(&self.current).lock_owned().await;
        if !current.link.is_closed() {
            return Ok(Arc::clone(&current));
        }
        let config = Arc::clone(&self.config);
        // Goes on with its turn when nobody waits any more: two helpers at once would clear away each other's groups.
        let replacing = tokio::task::spawn_blocking(move || {
            let shared = Arc::new(Shared::start(&config)?);
            tracing::warn!("another sandbox helper was started");
            *current = Arc::clone(&shared);
            Ok(shared)
        });
        replacing.await.map_err(|panic| Error::Start(io::Error::other(panic)))?
    }

    /// Builds a sandbox and starts its command. Returns once the command is executing. Dropping the future
    /// leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Exec`] when the command cannot be executed; [`Error::Invalid`] and [`Error::Setup`] when the
    /// jail cannot be built; [`Error::Full`]; [`Error::HelperGone`].
    pub async fn spawn(&self, spec: Spec) -> Result<Sandbox, Error> {
        self.begin(spec, wire::Start::Whole).await
    }

    /// Builds a sandbox that does not know yet what it will serve, as far as that goes, and starts its command.
    /// The assignment's `name` comes in place of its own. The command's standard input is the assignment's message.
    ///
    /// The command must be the platform's own code: until the assignment, and only until then, the sandbox's init
    /// keeps its privileges over the sandbox.
    ///
    /// # Errors
    /// As [`Spawner::spawn`].
    pub async fn spawn_unassigned(&self, spec: Spec) -> Result<Unassigned, Error> {
        if !spec.companions.programs.is_empty() {
            return Err(Error::Invalid("an unassigned sandbox has no companions".to_owned()));
        }
        let limits = spec.limits;
        Ok(Unassigned::new(self.begin(spec, wire::Start::Unassigned).await?, limits))
    }

    /// Builds a sandbox and starts its command, which is going to be copied. Its standard input is a pipe that nobody
    /// writes to: where the guest waits to read from it, [`Sandbox::stop`] can stop it.
    ///
    /// # Errors
    /// As [`Spawner::spawn`].
    pub async fn spawn_template(&self, spec: Spec) -> Result<Sandbox, Error> {
        if !spec.companions.programs.is_empty() || spec.root.is_some() {
            return Err(Error::Invalid("a template has neither companions nor a root of its own".to_owned()));
        }
        self.begin(spec, wire::Start::Template).await
    }

    /// Builds a sandbox whose guest is a copy of `template`'s at the moment it was stopped: with its memory and its
    /// `/tmp`, but without its connections, and in namespaces, cgroups and under limits of its own. The copy stays stopped
    /// until its assignment. Then it goes on with reading from its standard input, where it finds the message. The command
    /// and the environment of `spec` are those of the template, whatever it says; so are the size of `/tmp` and the limits on
    /// processes and files.
    ///
    /// The end of the template's sandbox ends its copies.
    ///
    /// # Errors
    /// As [`Spawner::spawn`], but for [`Error::Exec`]; [`Error::Invalid`] also where the template has no room for another
    /// copy, or where its guest holds more than a copy can be told about.
    pub async fn spawn_copy(&self, template: &Template, spec: Spec) -> Result<Unassigned, Error> {
        spec.check()?;
        if !spec.companions.programs.is_empty() || spec.root.is_some() {
            return Err(Error::Invalid("a copy has neither companions nor a root of its own".to_owned()));
        }
        let limits = spec.limits;
        let (id_of_template, shared, namespaces) = template.parts();
        let request = |id, spec| Request::Copy { id, template: id_of_template, spec };
        Ok(Unassigned::new(self.ask(shared, spec, namespaces, request).await?, limits))
    }

    async fn begin(&self, spec: Spec, start: wire::Start) -> Result<Sandbox, Error> {
        spec.check()?;
        self.ask(self.helper().await?, spec, &[], |id, spec| Request::Spawn { id, spec, start }).await
    }

    /// Asks a helper for a sandbox and waits until its guest runs.
    async fn ask(
        &self,
        shared: Arc<Shared>,
        spec: Spec,
        more: &[OwnedFd],
        request: impl FnOnce(u64, Box<Spec>) -> Request,
    ) -> Result<Sandbox, Error> {
        let has_companions = !spec.companions.programs.is_empty();
        let expected = Expected { listeners: spec.listen.len() + spec.network.listen_at.len(), has_companions };
        let link = &shared.link;
        let (ours, theirs) = wire::pair().map_err(Error::Start)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| Error::Start(error.into()))?;
        let control = sys::watch(ours).map_err(Error::Start)?;
        let id = link.number.fetch_add(1, Ordering::Relaxed);
        let request = Link::encode(&request(id, Box::new(spec)))?;
        let (answer, answered) = oneshot::channel();
        let _entry = Entry::new(link, id, answer)?;
        let given: Vec<_> = std::iter::once(&theirs).chain(more).map(AsFd::as_fd).collect();
        link.send(&request, &given).await?;
        drop(given);
        drop(theirs);
        let started = answered.await.map_err(|_| Error::HelperGone)??;
        Sandbox::await_ready(id, started, control, expected, Arc::clone(&shared)).await
    }
}

/// A place among those waiting for an answer, given up when the wait ends.
struct Entry<'a> {
    link: &'a Link,
    id: u64,
}

impl<'a> Entry<'a> {
    fn new(link: &'a Link, id: u64, answer: oneshot::Sender<Result<Started, Failure>>) -> Result<Self, Error> {
        let mut books = link.books.lock();
        if books.closed {
            return Err(Error::HelperGone);
        }
        books.asked.insert(id, answer);
        Ok(Self { link, id })
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.link.books.lock().asked.remove(&self.id);
    }
}

/// Passes on what the helper says until it ends, then settles everything that is open.
async fn read_replies(link: Arc<Link>, mut child: tokio::process::Child) {
    loop {
        let receive = |socket: &OwnedFd| wire::receive_as_came::<Reply>(socket.as_fd());
        match link.socket.async_io(Interest::READABLE, receive).await {
            Ok(Some(message)) => link.take(message),
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the sandbox helper does not make sense");
                // The socket stays open as long as somebody has a sandbox.
                let _ = child.start_kill();
                break;
            }
        }
    }
    link.close();
    let status = child.wait().await;
    tracing::error!(?status, "the sandbox helper is gone, and every sandbox with it");
}

impl Shared {
    /// Asks the helper to complete an unassigned sandbox. Its init answers.
    pub(crate) async fn assign(&self, id: u64, assignment: Assignment) -> Result<(), Error> {
        let request = Link::encode(&Request::Assign { id, assignment: Box::new(assignment) })?;
        self.link.send(&request, &[]).await
    }
}

impl Link {
    fn encode(request: &Request) -> Result<Vec<u8>, Error> {
        let request = serde_json::to_vec(request).map_err(|error| Error::Invalid(error.to_string()))?;
        if request.len() > SPEC_BYTES_MAX {
            return Err(Error::Invalid(format!("it takes {} bytes of {SPEC_BYTES_MAX}", request.len())));
        }
        Ok(request)
    }

    async fn send(&self, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let send = |socket: &OwnedFd| wire::send_bytes(socket.as_fd(), request, descriptors);
        self.socket.async_io(Interest::WRITABLE, send).await.map_err(|error| match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => {
                // Whoever asks next starts another, even before the reader has noticed.
                self.close();
                Error::HelperGone
            }
            // Too many descriptors on their way, or too little memory: of no concern to those who have a sandbox.
            _ => Error::Setup { step: "ask the sandbox helper".to_owned(), source: error },
        })
    }

    fn is_closed(&self) -> bool {
        self.books.lock().closed
    }

    fn take(&self, message: Message<Reply>) {
        let Message { value: reply, descriptors, is_cut } = message;
        let mut books = self.books.lock();
        match reply {
            Reply::Started { id, gauges } => {
                let Some(pidfd) = descriptors.into_iter().next() else {
                    // Whoever asked drops the control socket then, which ends the sandbox.
                    if let Some(answer) = books.asked.remove(&id) {
                        let errno = if is_cut { libc::EMFILE } else { libc::EPROTO };
                        let step = "take a sandbox's pidfd".to_owned();
                        let _ = answer.send(Err(Failure::Setup { step, errno }));
                    }
                    return;
                };
                let (last, seen) = watch::channel(None);
                let pidfd = Arc::new(pidfd);
                let freezer = gauges.freezer.clone();
                let started = Started { pidfd: Arc::clone(&pidfd), gauges, last: seen, freezer: None };
                books.alive.insert(id, Alive { pidfd, last, freezer });
                // Unless somebody still waits for it, this drops it and thereby kills it.
                if let Some(answer) = books.asked.remove(&id) {
                    let _ = answer.send(Ok(started));
                }
            }
            Reply::Refused { id, failure } => {
                if let Some(answer) = books.asked.remove(&id) {
                    let _ = answer.send(Err(failure));
                }
            }
            Reply::Gone { id, last } => {
                if let Some(alive) = books.alive.remove(&id) {
                    alive.last.send_replace(Some(last));
                }
            }
            Reply::Ready { .. } | Reply::Occupied { .. } | Reply::Probed { .. } => {}
        }
    }

    fn close(&self) {
        let mut books = self.books.lock();
        books.closed = true;
        books.asked.clear();
        let status = Status::Signal(libc::SIGKILL);
        let last = Last { status, out_of_memory: false, memory_bytes_max: 0, processor_ns: 0 };
        for (_, alive) in books.alive.drain() {
            // The inits die with the helper; this is for one that had just missed it.
            let _ = sys::pidfd_signal(alive.pidfd.as_fd(), libc::SIGKILL);
            if let Some(freezer) = alive.freezer {
                freezer.release();
            }
            alive.last.send_replace(Some(last));
        }
    }
}

/// Starts the helper and greets it, blocking. One that finds its predecessor's sandboxes still dying is tried again.
fn start_helper(cgroup_name: &str) -> io::Result<(tokio::process::Child, OwnedFd, Missing)> {
    let until = Instant::now() + START_TIMEOUT;
    loop {
        match try_helper(cgroup_name) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                tracing::warn!(%error, "the sandbox helper is started once more");
            }
            other => return other,
        }
    }
}

fn try_helper(cgroup_name: &str) -> io::Result<(tokio::process::Child, OwnedFd, Missing)> {
    let (command, socket) = prepare_helper()?;
    let child = tokio::process::Command::from(command).spawn()?;
    let missing = greet(&socket, cgroup_name)?;
    Ok((child, socket, missing))
}

/// Limits that cannot be held, with the reason.
pub(crate) type Missing = Vec<(String, String)>;

/// The helper's command, and our end of the socket that is its standard input.
pub(crate) fn prepare_helper() -> io::Result<(Command, OwnedFd)> {
    let (ours, theirs) = wire::pair()?;
    let mut command = Command::new("/proc/self/exe");
    // Its environment would be readable to nobody in a sandbox, and it needs none.
    command.arg0(NAME).env_clear().current_dir("/").stdin(Stdio::from(theirs)).stdout(Stdio::null());
    Ok((command, ours))
}

/// Says what is needed first and waits for the helper to be ready. The command must be gone by then, or our
/// own copy of the helper's end would keep the socket open.
pub(crate) fn greet(socket: &OwnedFd, cgroup_name: &str) -> io::Result<Missing> {
    wire::send(socket.as_fd(), &Request::Begin { cgroup_name: cgroup_name.to_owned() }, &[])?;
    let until = Instant::now() + START_TIMEOUT;
    loop {
        let mut events = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut events, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            // A signal, such as the end of the helper before this one.
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer")),
            answered => {
                answered?;
                break;
            }
        };
    }
    match wire::receive(socket.as_fd())? {
        Some((Reply::Ready { missing }, _)) => Ok(missing),
        Some((Reply::Occupied { why }, _)) => Err(io::Error::new(io::ErrorKind::ResourceBusy, why)),
        _ => Err(io::Error::other("it ended at once; does main call run_helper_if_asked first?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> (Link, OwnedFd) {
        let (ours, theirs) = wire::pair().unwrap();
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let socket = sys::watch(ours).unwrap();
        (Link { socket, number: AtomicU64::new(0), books: Mutex::default() }, theirs)
    }

    fn started(id: u64) -> Reply {
        Reply::Started { id, gauges: Gauges::default() }
    }

    #[tokio::test]
    async fn a_sandbox_whose_pidfd_there_is_no_room_for_is_refused_to_its_asker_alone() {
        let (link, _helper) = link();
        let (answer, answered) = oneshot::channel();
        let (other_answer, mut other) = oneshot::channel();
        let _entries = (Entry::new(&link, 1, answer).unwrap(), Entry::new(&link, 2, other_answer).unwrap());
        link.take(Message { value: started(1), descriptors: Vec::new(), is_cut: true });
        let Ok(Err(Failure::Setup { errno, .. })) = answered.await else { panic!("it was not refused") };
        assert_eq!(errno, libc::EMFILE);
        assert!(other.try_recv().is_err() && !link.is_closed());
        // Anything but a process: what is dropped is killed.
        let pidfd = nix::fcntl::open("/dev/null", OFlag::O_RDONLY, nix::sys::stat::Mode::empty()).unwrap();
        link.take(Message { value: started(2), descriptors: vec![pidfd], is_cut: false });
        assert!(matches!(other.await, Ok(Ok(_))));
    }

    #[tokio::test]
    async fn only_a_helper_that_is_gone_is_given_up() {
        let (link, helper) = link();
        // What no datagram can hold.
        let refused = link.send(&vec![b' '; 64 << 20], &[]).await;
        assert!(matches!(refused, Err(Error::Setup { .. })), "{refused:?}");
        assert!(!link.is_closed());
        link.send(b"{}", &[]).await.unwrap();
        drop(helper);
        assert!(matches!(link.send(b"{}", &[]).await, Err(Error::HelperGone)));
        assert!(link.is_closed());
    }
}
