//! Interpreters that run ahead of need: sandboxes booted up to the point where the function is missing.
//!
//! A *blank* has its jail, its interpreter and our runtime with common modules loaded, and waits. It is started without
//! a package, without a name and with the variables that every function's process starts with; an assignment brings
//! the rest. What a function configures that takes effect only when a process starts makes an ordinary cold start of it.
//!
//! Blanks are of kinds: whatever differs between the sandboxes of two functions beside what an assignment brings makes
//! two kinds. The copies of one original (SnapStart, `snapshots`) are a kind as well: made ahead, and stopped. Which kinds
//! have how many is `engine::prewarm`'s decision; one task makes and drops them, one at a time. They count against what
//! the node may hold, after its instances. Until it is assigned a blank has the least weight of all sandboxes where
//! processors are short.
//!
//! Invariants: a blank serves one function and dies with it, a copy no other version than its original's; when there is
//! none, or it fails, the start is one without, and the function sees no difference. At most [`KINDS_MAX`] kinds of
//! interpreters, and one for each original, with [`Policy::kept_max`] blanks each.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::AbortHandle,
};
use updraft_engine::prewarm::{self, Demand, Memory, Policy, RECENT, Rush};
use updraft_sandbox::{Assignment, Error, Limits, Spawner, Spec, Unassigned};

mod divide;

pub(crate) use divide::{Parts, divide, divide_copy};

use crate::{
    Begun,
    snapshots::{ORIGINALS_MAX, Original},
};

/// Most kinds of interpreters with blanks; the one whose last start is longest ago gives way.
const KINDS_MAX: usize = 6;

/// How long a blank may take to come up; then it is given up.
const BOOT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a kind goes without after one of its blanks did not come up.
const RETRY: Duration = Duration::from_secs(60);

/// How often demand and memory are looked at while there are blanks.
const TICK: Duration = Duration::from_secs(5);

/// What a blank is taken to need before the first of its kind has shown it; a copy shares most of its memory with its
/// original.
const MEMORY_BYTES_GUESS: u64 = 48 << 20;
const MEMORY_BYTES_GUESS_OF_COPY: u64 = 8 << 20;

/// All blanks, and the task that sees to them, which ends with this.
pub(crate) struct Prewarm {
    shared: Arc<Shared>,
    keeper: OnceLock<AbortHandle>,
}

struct Shared {
    spawner: Spawner,
    policy: Policy,
    state: Mutex<State>,
    wake: Notify,
    /// What the node's instances leave of it, MB; nobody has said where none is.
    room: OnceLock<watch::Receiver<u64>>,
}

/// What there is to keep blanks in.
#[derive(Debug, Clone, Copy)]
struct Host {
    /// The host's memory, bytes.
    total: u64,
    available: u64,
    /// What the node's instances leave of what it may hold, bytes.
    room: u64,
    processors: usize,
}

/// How prewarming goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prewarmed {
    /// Interpreters that run without a function now.
    pub ready: usize,
    /// Starts that found one, since the executor was made.
    pub served: u64,
    /// Copies that are there without an instance.
    pub copies_ready: usize,
    /// Starts that found one of those.
    pub copies_served: u64,
}

/// What blanks are made of.
#[derive(Clone)]
pub(crate) enum Origin {
    /// An interpreter is started as this.
    Interpreter(Spec),
    /// An original is copied into this, as long as it lives.
    Original(Weak<Original>, Spec),
}

/// Blanks of one kind can serve in place of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The whole of what it is started as.
    Interpreter(String),
    /// The number of the original, of which every version has its own.
    Copy(u64),
}

impl Origin {
    pub(crate) fn copies(original: &Arc<Original>, spec: Spec) -> Self {
        Self::Original(Arc::downgrade(original), spec)
    }

    /// `None` where there is nothing to make blanks of.
    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Interpreter(spec) => serde_json::to_string(spec).ok().map(Kind::Interpreter),
            Self::Original(original, _) => original.upgrade().map(|original| Kind::Copy(original.number())),
        }
    }

    /// Whether more can be made of it.
    fn is_of_use(&self) -> bool {
        match self {
            Self::Interpreter(_) => true,
            Self::Original(original, _) => original.upgrade().is_some_and(|original| original.has_room()),
        }
    }

    fn memory_bytes_guess(&self) -> u64 {
        match self {
            Self::Interpreter(_) => MEMORY_BYTES_GUESS,
            Self::Original(..) => MEMORY_BYTES_GUESS_OF_COPY,
        }
    }
}

impl Kind {
    fn is_copy(&self) -> bool {
        matches!(self, Self::Copy(_))
    }
}

struct State {
    served: u64,
    copies_served: u64,
    shelves: Vec<Shelf>,
    /// Instances being started.
    starting: usize,
    /// When the last of them was done.
    quiet_since: Instant,
}

/// The blanks of one kind.
struct Shelf {
    kind: Kind,
    source: Origin,
    blanks: VecDeque<Blank>,
    last_start: Instant,
    /// The last starts, no more of them than there may be blanks.
    starts: VecDeque<Instant>,
    memory_bytes: u64,
    retry_at: Option<Instant>,
    /// Since when it has fewer blanks than are wanted of it.
    short_since: Option<Instant>,
}

/// An interpreter without a function, or a copy without an instance.
pub(crate) struct Blank {
    unassigned: Unassigned,
    listener: TcpListener,
    /// An interpreter's to its Runtime API; it came when that was ready.
    connection: Option<TcpStream>,
}

/// While one is held an instance is being started, and no blank is begun.
pub(crate) struct Starting<'a>(&'a Shared);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.starting -= 1;
        state.quiet_since = Instant::now();
        drop(state);
        self.0.wake.notify_one();
    }
}

impl Prewarm {
    pub(crate) fn new(spawner: Spawner, policy: Policy) -> Self {
        let state = State::new(Instant::now());
        let shared = Shared { spawner, policy, state: Mutex::new(state), wake: Notify::new(), room: OnceLock::new() };
        Self { shared: Arc::new(shared), keeper: OnceLock::new() }
    }

    /// Says that an instance is being started.
    pub(crate) fn starting(&self) -> Starting<'_> {
        self.shared.state.lock().starting += 1;
        Starting(&self.shared)
    }

    /// A sandbox for a function or an instance, if a blank of its kind is there; it has been given its parts. Counts as a
    /// start of that kind either way. Call inside a Tokio runtime.
    pub(crate) async fn take(&self, source: Origin, assignment: Assignment) -> Option<Begun> {
        let is_copy = matches!(source, Origin::Original(..));
        let blank = self.shelf(source, |shelf| shelf.take())??;
        match blank.assign(assignment).await {
            Ok(begun) => {
                let mut state = self.shared.state.lock();
                *if is_copy { &mut state.copies_served } else { &mut state.served } += 1;
                Some(begun)
            }
            Err(error) => {
                tracing::warn!(%error, "what was made ready could not be given its function; it starts without");
                None
            }
        }
    }

    /// Counts as a start of a kind, although it takes none. Call inside a Tokio runtime.
    pub(crate) fn count(&self, source: Origin) {
        self.shelf(source, |_| ());
    }

    /// Keeps a blank for the next start of its kind. Call inside a Tokio runtime.
    pub(crate) fn keep(&self, source: Origin, blank: Blank) {
        self.shelf(source, |shelf| shelf.put(blank));
    }

    /// Counts as a start of a kind, and does something with its blanks.
    fn shelf<T>(&self, source: Origin, work: impl FnOnce(&mut Shelf) -> T) -> Option<T> {
        if self.shared.policy.kept_max == 0 {
            return None;
        }
        self.keeper.get_or_init(|| tokio::spawn(keep(Arc::clone(&self.shared))).abort_handle());
        self.shared.state.lock().shelf(source, self.shared.policy, Instant::now()).map(work)
    }

    /// Whether a blank of this kind is ready.
    pub(crate) fn is_ready(&self, parts: &Parts) -> bool {
        let kind = Origin::Interpreter(parts.blank.clone()).kind();
        let state = self.shared.state.lock();
        let alive = |shelf: &Shelf| shelf.blanks.iter().any(|blank| blank.unassigned.is_alive());
        state.shelves.iter().any(|shelf| Some(&shelf.kind) == kind.as_ref() && alive(shelf))
    }

    /// Something that blanks are made of is gone: what is left of them goes too.
    pub(crate) fn look_again(&self) {
        self.shared.wake.notify_one();
    }

    /// Says where to read what the node's instances leave of it, MB. The first to say so is believed.
    pub(crate) fn watch_room(&self, free_mb: watch::Receiver<u64>) {
        let _ = self.shared.room.set(free_mb);
    }

    /// What the blanks take, MB.
    pub(crate) fn memory_mb(&self) -> u64 {
        let state = self.shared.state.lock();
        let bytes = state.shelves.iter().map(|shelf| shelf.memory_bytes.saturating_mul(shelf.blanks.len() as u64));
        bytes.sum::<u64>().div_ceil(1 << 20)
    }

    pub(crate) fn counts(&self) -> Prewarmed {
        let state = self.shared.state.lock();
        let ready = |are_copies| {
            let shelves = state.shelves.iter().filter(move |shelf| shelf.kind.is_copy() == are_copies);
            shelves.map(|shelf| shelf.blanks.len()).sum()
        };
        Prewarmed {
            ready: ready(false),
            served: state.served,
            copies_ready: ready(true),
            copies_served: state.copies_served,
        }
    }
}

impl Drop for Prewarm {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { served: 0, copies_served: 0, shelves: Vec::new(), starting: 0, quiet_since: now }
    }

    /// The shelf of a kind, of which an instance is being started.
    fn shelf(&mut self, source: Origin, policy: Policy, now: Instant) -> Option<&mut Shelf> {
        let kind = source.kind()?;
        let index = match self.shelves.iter().position(|shelf| shelf.kind == kind) {
            Some(index) => index,
            None => {
                self.make_place(kind.is_copy());
                self.shelves.push(Shelf {
                    kind,
                    memory_bytes: source.memory_bytes_guess(),
                    source,
                    blanks: VecDeque::new(),
                    last_start: now,
                    starts: VecDeque::new(),
                    retry_at: None,
                    short_since: None,
                });
                self.shelves.len() - 1
            }
        };
        let shelf = &mut self.shelves[index];
        shelf.last_start = now;
        shelf.starts.push_back(now);
        while shelf.starts.len() > policy.kept_max as usize {
            shelf.starts.pop_front();
        }
        Some(shelf)
    }

    /// Drops the shelf whose last start is longest ago, where there are as many as may be.
    fn make_place(&mut self, for_copies: bool) {
        let same = self.shelves.iter().enumerate().filter(|(_, shelf)| shelf.kind.is_copy() == for_copies);
        let most = if for_copies { ORIGINALS_MAX } else { KINDS_MAX };
        if same.clone().count() >= most
            && let Some((oldest, _)) = same.min_by_key(|(_, shelf)| shelf.last_start)
        {
            self.shelves.swap_remove(oldest);
        }
    }
}

/// What there is to do next.
enum Step {
    Make(Kind, Box<Origin>),
    Wait(Duration),
}

/// Makes and drops blanks.
async fn keep(shared: Arc<Shared>) {
    loop {
        let mut room = shared.room.get().cloned();
        let step = shared.state.lock().next(shared.policy, Host::look(room.as_mut()), Instant::now());
        match step {
            Step::Make(kind, source) => {
                let made = tokio::time::timeout(BOOT_TIMEOUT, Blank::make(&shared.spawner, *source)).await;
                shared.state.lock().put(&kind, made.unwrap_or_else(|_| Err(timed_out())), Instant::now());
            }
            Step::Wait(time) => {
                // Whichever comes first, the next look says what to do.
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = shared.wake.notified() => {}
                    () = changed(room.as_mut()) => {}
                }
            }
        }
    }
}

/// Waits until the node's instances hold more or less than before; for ever where nobody says so.
async fn changed(room: Option<&mut watch::Receiver<u64>>) {
    let is_told = match room {
        Some(room) => room.changed().await.is_ok(),
        None => false,
    };
    if !is_told {
        std::future::pending().await
    }
}

impl State {
    /// Drops what is not wanted any more, then says what is missing.
    fn next(&mut self, policy: Policy, host: Host, now: Instant) -> Step {
        // Whose last start is longest ago gives way where room is short.
        self.shelves.sort_by_key(|shelf| Reverse(shelf.last_start));
        let mut room = host.room;
        let mut missing: Option<&Shelf> = None;
        self.shelves.retain_mut(|shelf| {
            shelf.blanks.retain(|blank| blank.unassigned.is_alive());
            let wanted = shelf.wanted(policy, Host { room, ..host }, now);
            room = room.saturating_sub(shelf.memory_bytes.saturating_mul(wanted.into()));
            shelf.blanks.truncate(wanted as usize);
            let is_of_use = shelf.source.is_of_use();
            let is_short = is_of_use && shelf.blanks.len() < wanted as usize;
            shelf.short_since = if is_short { shelf.short_since.or(Some(now)) } else { None };
            (is_of_use || !shelf.blanks.is_empty())
                && (wanted > 0 || now.duration_since(shelf.last_start) < policy.window)
        });
        for shelf in self.shelves.iter().filter(|shelf| shelf.may_have_another(now)) {
            // Two kinds that are started in turns are filled in turns.
            if missing.is_none_or(|other| shelf.blanks.len() < other.blanks.len()) {
                missing = Some(shelf);
            }
        }
        let idle = if self.shelves.is_empty() { Duration::MAX } else { TICK };
        match missing {
            None => Step::Wait(idle),
            Some(shelf) => match prewarm::pause(self.rush(shelf, host, now)) {
                Some(pause) => Step::Wait(pause.min(idle)),
                None => Step::Make(shelf.kind.clone(), Box::new(shelf.source.clone())),
            },
        }
    }

    fn rush(&self, shelf: &Shelf, host: Host, now: Instant) -> Rush {
        Rush {
            starting: self.starting,
            processors: host.processors,
            quiet: now.saturating_duration_since(self.quiet_since),
            short: shelf.short_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        }
    }

    fn put(&mut self, kind: &Kind, made: Result<Blank, Error>, now: Instant) {
        // A kind that has given way meanwhile has no use for it.
        let Some(shelf) = self.shelves.iter_mut().find(|shelf| shelf.kind == *kind) else { return };
        match made {
            Ok(blank) => shelf.put(blank),
            Err(error) => {
                match &shelf.source {
                    Origin::Interpreter(spec) => {
                        tracing::warn!(%error, command = ?spec.command, "a runtime could not be prewarmed; starts are cold");
                    }
                    Origin::Original(..) => tracing::warn!(%error, "a copy could not be made ahead of need"),
                }
                shelf.retry_at = Some(now + RETRY);
            }
        }
    }
}

impl Shelf {
    fn take(&mut self) -> Option<Blank> {
        std::iter::from_fn(|| self.blanks.pop_front()).find(|blank| blank.unassigned.is_alive())
    }

    fn put(&mut self, blank: Blank) {
        self.memory_bytes = match blank.unassigned.memory_bytes_max() {
            0 => self.source.memory_bytes_guess(),
            bytes => bytes,
        };
        self.blanks.push_back(blank);
    }

    /// Whether it lacks one that may be tried now.
    fn may_have_another(&self, now: Instant) -> bool {
        self.short_since.is_some() && self.retry_at.is_none_or(|retry_at| retry_at <= now)
    }

    fn wanted(&self, policy: Policy, host: Host, now: Instant) -> u32 {
        let Host { total, available, room, .. } = host;
        let is_recent = |start: &&Instant| now.duration_since(**start) < RECENT;
        let starts_recent = u32::try_from(self.starts.iter().filter(is_recent).count()).unwrap_or(u32::MAX);
        let demand = Demand { idle: now.duration_since(self.last_start), starts_recent };
        let memory = Memory { total, available, room, each: self.memory_bytes };
        prewarm::wanted(demand, u32::try_from(self.blanks.len()).unwrap_or(u32::MAX), memory, policy)
    }
}

impl Blank {
    /// Makes one and waits until it is ready.
    async fn make(spawner: &Spawner, source: Origin) -> Result<Self, Error> {
        match source {
            Origin::Interpreter(spec) => Self::boot(spawner, spec).await,
            Origin::Original(original, spec) => {
                let original = original.upgrade().filter(|original| original.enter());
                let original = original.ok_or_else(|| Error::Invalid("its original has no room left".to_owned()))?;
                original.copy(spawner, spec).await
            }
        }
    }

    async fn boot(spawner: &Spawner, spec: Spec) -> Result<Self, Error> {
        let mut blank = Self::of(spawner.spawn_unassigned(spec).await?)?;
        let (connection, _) = tokio::select! {
            accepted = blank.listener.accept() => accepted.map_err(failed)?,
            () = blank.unassigned.ended() => return Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
        };
        blank.connection = Some(connection);
        Ok(blank)
    }

    /// Takes the listener of its Runtime API, which is its first.
    pub(crate) fn of(mut unassigned: Unassigned) -> Result<Self, Error> {
        let mut listeners = std::mem::take(unassigned.listeners()).into_iter();
        let listener = listeners.next().ok_or_else(|| Error::Invalid("it has no listener".to_owned()))?;
        unassigned.listeners().extend(listeners);
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        Ok(Self { unassigned, listener, connection: None })
    }

    pub(crate) async fn assign(self, assignment: Assignment) -> Result<Begun, Error> {
        let sandbox = self.unassigned.assign(assignment).await?;
        Ok(Begun { sandbox, listener: Some(self.listener), connection: self.connection })
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Setup { step: "the interpreter's connection".to_owned(), source }
}

fn timed_out() -> Error {
    Error::Setup { step: "the interpreter's start".to_owned(), source: std::io::ErrorKind::TimedOut.into() }
}

impl Host {
    /// As it is now. No memory where that cannot be told.
    fn look(room_mb: Option<&mut watch::Receiver<u64>>) -> Self {
        let (total, available) = memory();
        Self {
            total,
            available,
            room: room_mb.map_or(u64::MAX, |room_mb| room_mb.borrow_and_update().saturating_mul(1 << 20)),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// All memory of the host, and what of it is available, in bytes; nothing where that cannot be told.
pub(crate) fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
    };
    (field("MemTotal"), field("MemAvailable"))
}

#[cfg(test)]
mod tests {
    use updraft_sandbox::Network;

    use super::*;

    const HOST: Host = Host { total: 16 << 30, available: 8 << 30, room: u64::MAX, processors: 2 };

    fn spec(kind: usize) -> Origin {
        Origin::Interpreter(Spec {
            name: "unassigned".to_owned(),
            command: vec![format!("/interpreter-{kind}")],
            environment: Vec::new(),
            directory: "/".into(),
            root: None,
            mounts: Vec::new(),
            tmp_bytes_max: 0,
            listen: Vec::new(),
            network: Network::default(),
            limits: Limits::default(),
            companions: Default::default(),
        })
    }

    fn command(source: &Origin) -> &str {
        match source {
            Origin::Interpreter(spec) | Origin::Original(_, spec) => &spec.command[0],
        }
    }

    fn made(step: &Step) -> Option<&str> {
        match step {
            Step::Make(_, source) => Some(command(source)),
            Step::Wait(_) => None,
        }
    }

    fn take(state: &mut State, kind: usize, policy: Policy, now: Instant) -> Option<Blank> {
        state.shelf(spec(kind), policy, now).unwrap().take()
    }

    #[test]
    fn the_kind_started_last_is_made_first_and_only_when_it_is_quiet() {
        let (policy, now) = (Policy::new(2), Instant::now());
        let mut state = State::new(now);
        assert!(matches!(state.next(policy, HOST, now), Step::Wait(Duration::MAX)), "nothing before the first start");
        let later = now + Duration::from_secs(1);
        assert!(take(&mut state, 1, policy, now).is_none());
        assert!(take(&mut state, 2, policy, later).is_none());
        state.starting = 1;
        assert!(matches!(state.next(policy, HOST, later), Step::Wait(TICK)));
        state.starting = 0;
        state.quiet_since = later;
        assert!(matches!(state.next(policy, HOST, later), Step::Wait(prewarm::QUIET)));
        assert_eq!(made(&state.next(policy, HOST, later + prewarm::QUIET)), Some("/interpreter-2"));
        assert_eq!(
            made(&state.next(policy, Host { available: 1 << 30, ..HOST }, later + prewarm::QUIET)),
            None,
            "memory is short"
        );
    }

    #[test]
    fn starts_that_never_pause_do_not_keep_the_shelf_empty() {
        let (policy, now) = (Policy::new(2), Instant::now());
        let mut state = State::new(now);
        let made_at = (0..100).find(|step| {
            let at = now + prewarm::QUIET / 5 * *step;
            take(&mut state, 1, policy, at);
            state.quiet_since = at;
            made(&state.next(policy, HOST, at)).is_some()
        });
        assert_eq!(made_at, Some(25), "after {:?}", prewarm::PATIENCE);
    }

    #[test]
    fn room_goes_to_the_kinds_started_last() {
        let (policy, now) = (Policy::new(1), Instant::now());
        let mut state = State::new(now);
        for kind in 0..3 {
            take(&mut state, kind, policy, now + Duration::from_secs(kind as u64));
        }
        let later = now + Duration::from_secs(9);
        let room = 2 * MEMORY_BYTES_GUESS;
        state.next(policy, Host { room, ..HOST }, later);
        let short: Vec<_> = state.shelves.iter().filter(|shelf| shelf.may_have_another(later)).collect();
        let names: Vec<_> = short.iter().map(|shelf| command(&shelf.source)).collect();
        assert_eq!(names, ["/interpreter-2", "/interpreter-1"]);
        assert_eq!(made(&state.next(policy, Host { room: 0, ..HOST }, later + prewarm::QUIET)), None);
    }

    #[test]
    fn one_that_does_not_come_up_is_not_tried_at_once_again() {
        let (policy, now) = (Policy::new(2), Instant::now());
        let mut state = State::new(now);
        take(&mut state, 1, policy, now);
        let later = now + Duration::from_secs(1);
        let Step::Make(kind, _) = state.next(policy, HOST, later) else { panic!("one is wanted") };
        state.put(&kind, Err(timed_out()), later);
        assert_eq!(made(&state.next(policy, HOST, later)), None);
        assert_eq!(made(&state.next(policy, HOST, later + RETRY)), Some("/interpreter-1"));
        assert!(matches!(state.next(policy, HOST, now + policy.window), Step::Wait(Duration::MAX)));
        assert!(state.shelves.is_empty(), "a kind that is not used is forgotten");
    }

    #[test]
    fn an_original_that_is_gone_has_no_copies() {
        let (policy, now) = (Policy::new(2), Instant::now());
        let mut state = State::new(now);
        let Origin::Interpreter(spec) = spec(1) else { unreachable!() };
        assert!(state.shelf(Origin::Original(Weak::new(), spec), policy, now).is_none());
        assert!(state.shelves.is_empty());
    }

    #[test]
    fn kinds_and_what_is_kept_of_them_are_bounded() {
        let (policy, now) = (Policy::new(3), Instant::now());
        let mut state = State::new(now);
        for step in 0..100 {
            take(&mut state, step % 20, policy, now + Duration::from_secs(step as u64));
        }
        assert_eq!(state.shelves.len(), KINDS_MAX);
        assert!(state.shelves.iter().all(|shelf| shelf.starts.len() <= 3));
        let mut kept: Vec<_> = state.shelves.iter().map(|shelf| command(&shelf.source).to_owned()).collect();
        kept.sort();
        assert_eq!(kept, (14..20).map(|kind| format!("/interpreter-{kind}")).collect::<Vec<_>>());
    }
}
