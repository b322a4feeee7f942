//! SnapStart: instances of a published version that are copies of one which has been initialised before.
//!
//! For each such version one *original* is kept: a sandbox whose runtime has loaded the function, run its hooks and been
//! stopped for good. An instance is a copy of it in a sandbox of its own (`updraft_sandbox::Template`), told what differs:
//! environment, credentials, name. Whoever asks first makes the original, the others wait for it; where it cannot be
//! had, the start is an ordinary one.
//!
//! Invariants: at most [`ORIGINALS_MAX`] originals; one stays as long as a copy of it lives, whose sandboxes lie in its
//! own; one that has no room left is replaced.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use updraft_executor::{Milestone, Start};
use updraft_sandbox::{COPIES_MAX, Error, Limits, Sandbox, Spec, Template};
use updraft_types::{Fault, Runtime, VersionId};

use crate::{
    Begun, ProcessExecutor,
    egress::Plan,
    environment::{self, INITIALIZATION_TYPE, SNAPSHOT},
    instance::RuntimeInstance,
    prewarm,
};

/// Most originals at once. The one whose last copy was asked for longest ago gives way.
const ORIGINALS_MAX: usize = 16;

/// Versions whose originals could not be had, remembered so that each start does not try again.
const UNFIT_MAX: usize = 1024;

/// Room that is left for starts that have begun when an original is found full.
const ROOM_MIN: usize = 2;

/// Longest the hooks of a function may take after its copy has been made. Lambda's.
pub(crate) const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an original goes on running: it is stopped long before.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// All originals.
#[derive(Default)]
pub(crate) struct Snapshots {
    places: Mutex<HashMap<VersionId, Arc<Place>>>,
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

/// Where a version's original is, or is being made.
struct Place {
    state: tokio::sync::Mutex<State>,
    used: Mutex<Instant>,
}

enum State {
    Empty,
    Kept(Arc<Original>),
    /// Why there is none.
    Unfit(String),
}

/// A function that has been initialised and stopped. Ends with its last owner.
pub(crate) struct Original {
    instance: RuntimeInstance,
    template: Template,
    limits: Limits,
    copies: AtomicUsize,
}

impl Original {
    fn sandbox(&self) -> &Sandbox {
        &self.instance.process().sandbox
    }

    /// Takes one of its rooms.
    fn enter(&self) -> bool {
        let more = |copies| (copies + ROOM_MIN < COPIES_MAX).then_some(copies + 1);
        self.sandbox().is_alive() && self.copies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// Why a start is not a copy's.
enum Miss {
    /// The text is for the author.
    Unfit(String),
    /// The function's own initialisation failed, as it would without.
    Failed(Fault),
}

impl Snapshots {
    pub(crate) fn forget(&self, version: &VersionId) {
        self.places.lock().remove(version);
    }

    pub(crate) fn counts(&self) -> Snapshotted {
        let places: Vec<_> = self.places.lock().values().cloned().collect();
        let kept = places.iter().filter_map(|place| match &*place.state.try_lock().ok()? {
            State::Kept(original) => Some(original.sandbox().memory_bytes_max()),
            _ => None,
        });
        let (originals, memory_bytes) = kept.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        Snapshotted { originals, copies: self.copied.load(Ordering::Relaxed), memory_bytes }
    }

    /// The place of a version, made if it is not there; another one may have to give way.
    fn place(&self, version: &VersionId) -> Arc<Place> {
        let mut places = self.places.lock();
        if let Some(place) = places.get(version) {
            *place.used.lock() = Instant::now();
            return place.clone();
        }
        let is_kept = |place: &Place| place.state.try_lock().is_ok_and(|state| matches!(*state, State::Kept(_)));
        if places.values().filter(|place| is_kept(place)).count() >= ORIGINALS_MAX {
            forget_oldest(&mut places, is_kept);
        }
        if places.len() >= UNFIT_MAX {
            forget_oldest(&mut places, |_| true);
        }
        let place = Arc::new(Place { state: State::Empty.into(), used: Instant::now().into() });
        places.insert(version.clone(), place.clone());
        place
    }

    /// Lets the original go that has been of no use for longest, for want of memory.
    fn shed(&self) {
        let is_kept = |place: &Place| place.state.try_lock().is_ok_and(|state| matches!(*state, State::Kept(_)));
        forget_oldest(&mut self.places.lock(), is_kept);
    }
}

fn forget_oldest(places: &mut HashMap<VersionId, Arc<Place>>, may: impl Fn(&Place) -> bool) {
    let candidates = places.iter().filter(|(_, place)| may(place));
    let oldest = candidates.min_by_key(|(_, place)| *place.used.lock()).map(|(version, _)| version.clone());
    if let Some(version) = oldest {
        places.remove(&version);
    }
}

impl ProcessExecutor {
    /// Makes the original of a version, if it is not there.
    pub(crate) async fn keep_original(&self, start: &Start) -> Result<Result<(), String>, Fault> {
        let plan = self.egress(start);
        let spec = self.spec(start, &plan).await?;
        match self.original(start, &spec).await {
            Ok(_) => Ok(Ok(())),
            Err(Miss::Unfit(why)) => Ok(Err(why)),
            Err(Miss::Failed(fault)) => Err(fault),
        }
    }

    /// Starts a copy of a version's original. `None` when the start has to be an ordinary one.
    pub(crate) async fn begin_copy(&self, start: &Start, spec: &Spec) -> Result<Option<(Begun, Arc<Original>)>, Fault> {
        if !start.function.is_snapshotted() {
            return Ok(None);
        }
        let original = match self.original(start, spec).await {
            Ok(original) => original,
            Err(Miss::Unfit(why)) => {
                tracing::debug!(version = %start.function.version_id().version, why, "an instance is not a copy");
                return Ok(None);
            }
            Err(Miss::Failed(fault)) => return Err(fault),
        };
        let mut spec = spec.clone();
        environment::set(&mut spec.environment, INITIALIZATION_TYPE, "snap-start");
        let message = prewarm::message(&spec);
        // A copy's limits on processes and files are its original's.
        let limits = Limits {
            pids_max: original.limits.pids_max,
            open_files_max: original.limits.open_files_max,
            ..spec.limits
        };
        let own_listeners = spec.listen.len();
        let mut sandbox = match self.spawner.spawn_copy(&original.template, Spec { limits, ..spec }, message).await {
            Ok(sandbox) => sandbox,
            Err(error) => {
                tracing::warn!(%error, "an instance could not be copied; it starts like any other");
                return Ok(None);
            }
        };
        let outward = sandbox.listeners.split_off(own_listeners);
        let listener = sandbox.listeners.pop().map(TcpListener::from_std).transpose();
        let listener = listener
            .map_err(|error| Fault::Platform { reason: format!("cannot use the Runtime API's listener: {error}") })?;
        sandbox.listeners = outward;
        self.snapshots.copied.fetch_add(1, Ordering::Relaxed);
        start.guest.reached(Milestone::Copy);
        Ok(Some((Begun { sandbox, listener, connection: None }, original)))
    }

    /// The original of a version with room for one more, made if there is none.
    async fn original(&self, start: &Start, spec: &Spec) -> Result<Arc<Original>, Miss> {
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
        let place = self.snapshots.place(&start.function.version_id());
        let mut state = place.state.lock().await;
        match &*state {
            State::Kept(original) if original.enter() => return Ok(original.clone()),
            State::Unfit(why) => return Err(Miss::Unfit(why.clone())),
            State::Kept(_) | State::Empty => {}
        }
        let (total, available) = prewarm::memory();
        if total > 0 && available < total / 10 {
            self.snapshots.shed();
            return Err(Miss::Unfit("the host is short of memory".to_owned()));
        }
        match self.make_original(start, spec).await {
            Ok(original) => {
                original.enter();
                let original = Arc::new(original);
                *state = State::Kept(original.clone());
                Ok(original)
            }
            Err(Miss::Unfit(why)) => {
                *state = State::Unfit(why.clone());
                Err(Miss::Unfit(why))
            }
            Err(failed) => {
                *state = State::Empty;
                Err(failed)
            }
        }
    }

    /// Starts an instance, lets it load the function, and stops it.
    async fn make_original(&self, start: &Start, spec: &Spec) -> Result<Original, Miss> {
        let plan = self.egress(start);
        let mut spec = spec.clone();
        environment::set(&mut spec.environment, INITIALIZATION_TYPE, "snap-start");
        environment::set(&mut spec.environment, SNAPSHOT, "1");
        let limits = spec.limits;
        let own_listeners = spec.listen.len();
        let sandbox = self.spawner.spawn_template(spec).await;
        let mut sandbox = sandbox.map_err(|error| Miss::Failed(crate::launch::fault_of(error, start)))?;
        let outward = sandbox.listeners.split_off(own_listeners);
        let listener = sandbox.listeners.pop().map(TcpListener::from_std).transpose();
        let listener = listener.ok().flatten().ok_or_else(|| Miss::Unfit("it has no listener".to_owned()))?;
        sandbox.listeners = outward;
        let begun = Begun { sandbox, listener: Some(listener), connection: None };
        let instance = self.follow(begun, plan, start, NEVER, None).await.map_err(Miss::Failed)?;
        let stopped = instance.process().sandbox.stop().await;
        let template = stopped.map_err(|error| match error {
            Error::Unfit(why) => Miss::Unfit(why),
            error => Miss::Unfit(error.to_string()),
        })?;
        instance.process().close_egress();
        Ok(Original { instance, template, limits, copies: AtomicUsize::new(0) })
    }
}
