//! SnapStart: instances of a published version that are copies of one which has been initialised before.
//!
//! For each such version one *original* is kept: a sandbox whose runtime has loaded the function, run its hooks and been
//! stopped for good. An instance is a copy of it in a sandbox of its own (`updraft_sandbox::Template`), told what differs:
//! environment, credentials, name. Copies are made ahead of need (`prewarm`), the first with the original itself: one that
//! cannot be copied is not kept. Whoever asks first makes the original, the others wait for it; where it cannot be had,
//! the start is an ordinary one.
//!
//! Invariants: at most [`ORIGINALS_MAX`] originals are kept or being made; one stays as long as a copy of it has an
//! instance, whose sandboxes lie in its own; one that has no room left, or could not be copied, is replaced; only what lies
//! in the function or the host rules copies out for good.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use updraft_engine::originals::{self, Admission};
use updraft_executor::{Milestone, Snapshot, Start};
use updraft_sandbox::{COPIES_MAX, Error, Limits, Sandbox, Spawner, Spec, Template};
use updraft_types::{Fault, Runtime, VersionId};

use crate::{
    Begun, ProcessExecutor,
    environment::{self, INITIALIZATION_TYPE, SNAPSHOT},
    instance::RuntimeInstance,
    prewarm::{self, Blank, Origin, Parts},
};

/// Most originals at once. The one whose last copy was asked for longest ago gives way.
pub(crate) const ORIGINALS_MAX: usize = 16;

/// Most versions of which is remembered how it went.
const PLACES_MAX: usize = 1024;

/// Room that is left for starts that have begun when an original is found full.
const ROOM_MIN: usize = 2;

/// Longest the hooks of a function may take after its copy has been made. Lambda's.
pub(crate) const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an original goes on running: it is stopped long before.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// All originals.
#[derive(Default)]
pub(crate) struct Snapshots {
    table: Mutex<Table>,
    copied: AtomicUsize,
}

/// How copying goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshotted {
    /// Originals kept now.
    pub originals: usize,
    /// Instances that were made of them, since the executor was made.
    pub copies: usize,
    /// The memory that the originals hold, bytes.
    pub memory_bytes: u64,
}

#[derive(Default)]
struct Table {
    places: HashMap<VersionId, Place>,
    /// Originals that are being made.
    making: usize,
}

/// Where a version's original is.
struct Place {
    /// Held by whoever makes it.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: State,
    used: Instant,
    /// In a row.
    failures: u32,
}

enum State {
    Empty,
    Kept(Arc<Original>),
    /// Why there never is one.
    Unfit(String),
    /// Why there is none for now.
    Paused {
        until: Instant,
        why: String,
    },
}

/// A function that has been initialised and stopped. Ends with its last owner.
pub(crate) struct Original {
    number: u64,
    instance: RuntimeInstance,
    template: Template,
    limits: Limits,
    copies: AtomicUsize,
    /// It could not be copied.
    is_useless: AtomicBool,
}

impl Original {
    /// No other has it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn sandbox(&self) -> &Sandbox {
        &self.instance.process().sandbox
    }

    /// Whether it can be copied once more, as far as is known.
    pub(crate) fn has_room(&self) -> bool {
        let is_useful = !self.is_useless.load(Ordering::Relaxed) && self.sandbox().is_alive();
        is_useful && self.copies.load(Ordering::Relaxed) + ROOM_MIN < COPIES_MAX
    }

    /// Takes one of its rooms, for [`Original::copy`].
    pub(crate) fn enter(&self) -> bool {
        let more = |copies| (copies + ROOM_MIN < COPIES_MAX).then_some(copies + 1);
        self.has_room() && self.copies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives a room back that was not needed.
    fn leave(&self) {
        self.copies.fetch_sub(1, Ordering::Relaxed);
    }

    fn parts(&self, spec: &Spec) -> Parts {
        prewarm::divide_copy(spec, self.limits)
    }

    /// Makes a copy in a room that has been taken. Tries twice, since nothing of the function's has happened yet; one of
    /// which no copy can be had is not asked again.
    pub(crate) async fn copy(&self, spawner: &Spawner, spec: Spec) -> Result<Blank, Error> {
        let copied = match spawner.spawn_copy(&self.template, spec.clone()).await {
            Err(Error::Setup { .. }) => spawner.spawn_copy(&self.template, spec).await,
            other => other,
        };
        let blank = copied.and_then(Blank::of);
        if let Err(Error::Setup { .. } | Error::Invalid(_)) = &blank {
            self.is_useless.store(true, Ordering::Relaxed);
        }
        blank
    }
}

/// Why a start is not a copy's. The texts are for the author.
enum Miss {
    /// Nor will one ever be.
    Unfit(String),
    /// Others may be.
    Later(String),
    /// The function's own initialisation failed, as it would without.
    Failed(Fault),
}

impl Miss {
    /// What has gone wrong with an original that was started.
    fn of_fault(fault: Fault) -> Self {
        match fault {
            Fault::Platform { reason } => Self::Later(reason),
            fault => Self::Failed(fault),
        }
    }

    /// What it means that an original cannot be stopped, or not be copied for the first time.
    fn of_error(error: Error) -> Self {
        match error {
            Error::Unfit(why) | Error::Invalid(why) => Self::Unfit(why),
            error => Self::Later(error.to_string()),
        }
    }
}

/// The right to make an original; without an outcome there is none.
struct Claim<'a> {
    snapshots: &'a Snapshots,
    version: VersionId,
    is_settled: bool,
}

impl Claim<'_> {
    fn settle(&mut self, outcome: Result<Arc<Original>, &Miss>, now: Instant) {
        let mut table = self.snapshots.table.lock();
        self.is_settled = true;
        table.making -= 1;
        // A version that has been deleted meanwhile has no place.
        let Some(place) = table.places.get_mut(&self.version) else { return };
        place.state = match outcome {
            Ok(original) => State::Kept(original),
            Err(Miss::Unfit(why)) => State::Unfit(why.clone()),
            Err(Miss::Later(why)) => place.pause(why.clone(), now),
            Err(Miss::Failed(_)) => State::Empty,
        };
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.snapshots.table.lock().making -= 1;
        }
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { turn: Arc::default(), state: State::Empty, used: now, failures: 0 }
    }

    fn pause(&mut self, why: String, now: Instant) -> State {
        self.failures = self.failures.saturating_add(1);
        State::Paused { until: now + originals::pause(self.failures), why }
    }

    /// The original with a room taken, or why there is none; nothing where one has to be made.
    fn look(&mut self, now: Instant) -> Option<Result<Arc<Original>, Miss>> {
        match &self.state {
            State::Kept(original) if original.enter() => {
                // Its first copy, which every one has, and the one before this: they have come out well.
                if original.copies.load(Ordering::Relaxed) > 2 {
                    self.failures = 0;
                }
                Some(Ok(original.clone()))
            }
            State::Kept(original) if original.is_useless.load(Ordering::Relaxed) => {
                let why = "it could not be copied any more".to_owned();
                self.state = self.pause(why.clone(), now);
                Some(Err(Miss::Later(why)))
            }
            State::Unfit(why) => Some(Err(Miss::Unfit(why.clone()))),
            State::Paused { until, why } if now < *until => Some(Err(Miss::Later(why.clone()))),
            State::Kept(_) | State::Paused { .. } | State::Empty => {
                self.state = State::Empty;
                None
            }
        }
    }
}

impl Table {
    /// The place of a version, made if it is not there; another one may have to give way.
    fn place(&mut self, version: &VersionId, now: Instant) -> &mut Place {
        if !self.places.contains_key(version) && self.places.len() >= PLACES_MAX {
            let oldest = self.places.iter().min_by_key(|(_, place)| place.used).map(|(version, _)| version.clone());
            self.places.remove(&oldest.expect("there are places"));
        }
        let place = self.places.entry(version.clone()).or_insert_with(|| Place::new(now));
        place.used = now;
        place
    }

    /// Versions whose originals are kept, with how long ago they were asked for.
    fn kept(&self, now: Instant) -> (Vec<VersionId>, Vec<Duration>) {
        let kept = self.places.iter().filter(|(_, place)| matches!(place.state, State::Kept(_)));
        kept.map(|(version, place)| (version.clone(), now.saturating_duration_since(place.used))).unzip()
    }

    fn let_go(&mut self, version: &VersionId) {
        if let Some(place) = self.places.get_mut(version) {
            place.state = State::Empty;
        }
    }
}

impl Snapshots {
    pub(crate) fn forget(&self, version: &VersionId) {
        self.table.lock().places.remove(version);
    }

    pub(crate) fn counts(&self) -> Snapshotted {
        let table = self.table.lock();
        let kept = table.places.values().filter_map(|place| match &place.state {
            State::Kept(original) => Some(original.sandbox().memory_bytes_max()),
            _ => None,
        });
        let (originals, memory_bytes) = kept.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        Snapshotted { originals, copies: self.copied.load(Ordering::Relaxed), memory_bytes }
    }

    fn turn(&self, version: &VersionId) -> Arc<tokio::sync::Mutex<()>> {
        self.table.lock().place(version, Instant::now()).turn.clone()
    }

    /// See [`Place::look`]. One that has to be made may be made with the claim.
    fn look(&self, version: &VersionId, now: Instant) -> Result<Result<Arc<Original>, Miss>, Claim<'_>> {
        let mut table = self.table.lock();
        if let Some(found) = table.place(version, now).look(now) {
            return Ok(found);
        }
        let (versions, idle) = table.kept(now);
        match originals::admit(&idle, table.making, ORIGINALS_MAX) {
            Admission::Make => {}
            Admission::MakeInPlaceOf(index) => table.let_go(&versions[index]),
            Admission::Refuse => {
                return Ok(Err(Miss::Later("many others are being initialised for their snapshots".to_owned())));
            }
        }
        table.making += 1;
        Err(Claim { snapshots: self, version: version.clone(), is_settled: false })
    }

    /// Lets the original go that has been of no use for longest, for want of memory.
    fn shed(&self) {
        let mut table = self.table.lock();
        let (versions, idle) = table.kept(Instant::now());
        if let Some((index, _)) = idle.iter().enumerate().max_by_key(|(_, idle)| **idle) {
            table.let_go(&versions[index]);
        }
    }
}

impl ProcessExecutor {
    /// Makes the original of a version, if it is not there, and keeps its first copy for the first start.
    pub(crate) async fn keep_original(&self, start: &Start) -> Result<Snapshot, Fault> {
        let plan = self.egress(start);
        let spec = self.spec(start, &plan).await?;
        match self.original(start, &spec).await {
            Ok((original, Some(blank))) => {
                self.prewarm.keep(Origin::copies(&original, original.parts(&spec).blank), blank);
                Ok(Snapshot::On)
            }
            Ok((original, None)) => {
                original.leave();
                Ok(Snapshot::On)
            }
            Err(Miss::Unfit(why)) => Ok(Snapshot::Off(why)),
            Err(Miss::Later(why)) => Ok(Snapshot::Later(why)),
            Err(Miss::Failed(fault)) => Err(fault),
        }
    }

    /// Starts a copy of a version's original. `None` when the start has to be an ordinary one.
    pub(crate) async fn begin_copy(&self, start: &Start, spec: &Spec) -> Result<Option<(Begun, Arc<Original>)>, Fault> {
        if !start.function.is_snapshotted() {
            return Ok(None);
        }
        let (original, first) = match self.original(start, spec).await {
            Ok(found) => found,
            Err(Miss::Unfit(why) | Miss::Later(why)) => {
                tracing::debug!(version = %start.function.version_id().version, why, "an instance is not a copy");
                return Ok(None);
            }
            Err(Miss::Failed(fault)) => return Err(fault),
        };
        match self.copy(&original, first, spec).await {
            Ok(begun) => {
                self.snapshots.copied.fetch_add(1, Ordering::Relaxed);
                start.guest.reached(Milestone::Copy);
                Ok(Some((begun, original)))
            }
            Err(error) => {
                tracing::warn!(%error, "an instance could not be copied; it starts like any other");
                Ok(None)
            }
        }
    }

    /// Gives the first copy of an original its instance, or one that was made ahead, or makes one.
    async fn copy(&self, original: &Arc<Original>, first: Option<Blank>, spec: &Spec) -> Result<Begun, Error> {
        let Parts { blank, assignment } = original.parts(spec);
        let source = Origin::copies(original, blank.clone());
        if let Some(first) = first {
            self.prewarm.count(source);
            return first.assign(assignment).await;
        }
        if let Some(begun) = self.prewarm.take(source, assignment.clone()).await {
            original.leave();
            return Ok(begun);
        }
        // Somebody waits for this one.
        let blank = Spec { limits: assignment.limits, ..blank };
        original.copy(&self.spawner, blank).await?.assign(assignment).await
    }

    /// The original of a version with a room for one more, made if there is none: then with its first copy.
    async fn original(&self, start: &Start, spec: &Spec) -> Result<(Arc<Original>, Option<Blank>), Miss> {
        let configuration = &start.function.configuration;
        if !matches!(configuration.runtime, Runtime::Python { .. }) {
            return Err(Miss::Unfit(format!("{} has no snapshots here", configuration.runtime)));
        }
        if !spec.companions.programs.is_empty() {
            return Err(Miss::Unfit("it has extensions".to_owned()));
        }
        if spec.environment.iter().any(|(name, _)| name == environment::EXEC_WRAPPER) {
            return Err(Miss::Unfit("it has a wrapper".to_owned()));
        }
        let version = start.function.version_id();
        let turn = self.snapshots.turn(&version);
        let _turn = turn.lock().await;
        let mut claim = match self.snapshots.look(&version, Instant::now()) {
            Ok(found) => return found.map(|original| (original, None)),
            Err(claim) => claim,
        };
        // One that has given way takes its copies with it.
        self.prewarm.look_again();
        let (total, available) = prewarm::memory();
        if total > 0 && available < total / 10 {
            self.snapshots.shed();
            return Err(Miss::Later("the host is short of memory".to_owned()));
        }
        let made = self.make_original(start, spec).await;
        claim.settle(made.as_ref().map(|(original, _)| original.clone()), Instant::now());
        made.map(|(original, first)| (original, Some(first)))
    }

    /// Starts an instance, lets it load the function, stops it, and makes a copy of it.
    async fn make_original(&self, start: &Start, spec: &Spec) -> Result<(Arc<Original>, Blank), Miss> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let plan = self.egress(start);
        let mut own = spec.clone();
        environment::set(&mut own.environment, INITIALIZATION_TYPE, "snap-start");
        environment::set(&mut own.environment, SNAPSHOT, "1");
        let listeners = own.listen.len();
        let sandbox = self.spawner.spawn_template(own).await;
        let sandbox = sandbox.map_err(|error| Miss::of_fault(crate::launch::fault_of(error, start)))?;
        let begun = Begun::of(sandbox, listeners).map_err(Miss::of_fault)?;
        let instance = self.follow(begun, plan, start, NEVER, None).await.map_err(Miss::of_fault)?;
        let template = instance.process().sandbox.stop().await.map_err(Miss::of_error)?;
        instance.process().close_egress();
        let original = Original {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            instance,
            template,
            limits: spec.limits,
            copies: AtomicUsize::new(0),
            is_useless: AtomicBool::new(false),
        };
        original.enter();
        let first = original.copy(&self.spawner, original.parts(spec).blank).await.map_err(Miss::of_error)?;
        Ok((Arc::new(original), first))
    }
}

#[cfg(test)]
mod tests {
    use updraft_types::Version;

    use super::*;

    fn version(number: u64) -> VersionId {
        let function = crate::testing::function("python3.12", "app.handler").id;
        VersionId { function, version: Version::Number(number) }
    }

    #[test]
    fn versions_that_are_started_together_are_no_more_than_may_be() {
        let (snapshots, now) = (Snapshots::default(), Instant::now());
        let begin = |number| snapshots.look(&version(number), now).err();
        let claims: Vec<_> = (0..100).map(begin).collect();
        assert_eq!(claims.iter().flatten().count(), ORIGINALS_MAX);
        assert!(matches!(snapshots.look(&version(200), now), Ok(Err(Miss::Later(_)))));
        // A start that is given up leaves its room to others.
        drop(claims);
        assert_eq!((0..100).map(begin).collect::<Vec<_>>().iter().flatten().count(), ORIGINALS_MAX);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_lasts_is_not() {
        let (snapshots, now) = (Snapshots::default(), Instant::now());
        for (number, miss) in [(1, Miss::Unfit("it has threads".to_owned())), (2, Miss::Later("no memory".to_owned()))]
        {
            snapshots.look(&version(number), now).err().unwrap().settle(Err(&miss), now);
        }
        assert!(matches!(snapshots.look(&version(1), now), Ok(Err(Miss::Unfit(_)))));
        assert!(matches!(snapshots.look(&version(2), now), Ok(Err(Miss::Later(_)))));
        let later = now + originals::pause(1);
        assert!(matches!(snapshots.look(&version(1), later), Ok(Err(Miss::Unfit(_)))));
        assert!(snapshots.look(&version(2), later).is_err(), "its pause is over");
        snapshots.forget(&version(1));
        assert!(snapshots.look(&version(1), later).is_err(), "a version of that name is another");
    }

    #[test]
    fn the_memory_of_versions_is_bounded() {
        let snapshots = Snapshots::default();
        for number in 0..PLACES_MAX as u64 + 50 {
            snapshots.turn(&version(number));
        }
        assert_eq!(snapshots.table.lock().places.len(), PLACES_MAX);
    }
}
