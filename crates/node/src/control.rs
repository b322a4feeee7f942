//! Changes to functions: create, update, delete, tags, URLs.
//!
//! A change checks and prepares everything first, then commits to the store, then appears in the catalog, in
//! this order and never on the caller's task: a caller that goes away leaves no half of it. A package that
//! cannot be prepared is refused before anything is stored. Changes to one function take turns.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use updraft_executor::Support;
use updraft_store::functions::{CreateError, DeleteError, ReplaceError};
use updraft_types::{
    AliasName, Fault, Function, FunctionId, RevisionId, Timestamp, Version, VersionId,
    function::{Architecture, Code, Configuration, FunctionUrl, LastUpdate, ResourcePolicy, State},
    settings::Settings,
};

use crate::{
    Catalog, Handle,
    images::Pulled,
    layers::keys_of,
    package::Error as ZipError,
    packages::{self, Packages, code_of},
    versions::version_of,
};

/// Locks that changes to functions take turns on: by hash, so their number is bounded.
const TURNS: usize = 64;
/// Time between two tries to remove packages that nothing uses any more.
const COLLECT_INTERVAL: Duration = Duration::from_secs(2);
/// How many rounds may find packages being added, before the next waits for its turn and new ones for it: ten minutes.
const PATIENCE_ROUNDS: u32 = 300;
/// Time between two tries to say that a change is in force, the first and the longest.
const SETTLE_PAUSE_MIN: Duration = Duration::from_millis(250);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// A function to be created. The door has checked the bounds of each field.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Account and name.
    pub id: FunctionId,
    /// What its author chose.
    pub configuration: Configuration,
    /// Its first tags.
    pub tags: BTreeMap<String, String>,
}

/// Where a function's code comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A zip.
    Zip(Bytes),
    /// A container image, by its `ImageUri`.
    Image(String),
}

impl Source {
    /// What it takes of the room an account has for code; images have none of it, as at AWS.
    fn stored_bytes(&self) -> u64 {
        match self {
            Source::Zip(zip) => zip.len() as u64,
            Source::Image(_) => 0,
        }
    }
}

impl From<Bytes> for Source {
    fn from(zip: Bytes) -> Self {
        Source::Zip(zip)
    }
}

/// Whether a change is published as a version at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// It is not.
    No,
    /// It is, under the next number.
    Yes,
}

impl Publish {
    /// How many times the code is kept.
    fn copies(self) -> u64 {
        if self == Publish::Yes { 2 } else { 1 }
    }
}

/// A function as a change left it.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The function now; what was published, if that was asked for.
    pub function: Arc<Function>,
    /// Something its author should know, such as an interpreter of another minor version.
    pub warning: Option<String>,
}

/// Why a change was not made. Nothing half-made is left behind by any of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is taken.
    #[error("the function exists already")]
    Exists,
    /// There is no such function.
    #[error("there is no such function")]
    NotFound,
    /// The caller's RevisionId is not the current one.
    #[error("the revision is not the current one")]
    RevisionMismatch,
    /// The zip itself is over [`updraft_types::limits::ZIP_BYTES_MAX`].
    #[error("{}", ZipError::ZippedTooLarge)]
    ZipTooLarge,
    /// The caller's SHA-256 is not that of the code, which is `current`.
    #[error("the code is another: its SHA-256 is {current}")]
    CodeMismatch {
        /// As [`Code::sha256`].
        current: String,
    },
    /// The function cannot be invoked, so it is not published.
    #[error("the function is not active")]
    NotActive(State),
    /// These aliases point at the version.
    #[error("aliases point at the version")]
    Aliased(Vec<AliasName>),
    /// More is provisioned for the function than would be reserved.
    #[error("more is provisioned than would be reserved")]
    BelowProvisioned {
        /// Calls at once that instances are kept ready for.
        provisioned: u32,
    },
    /// The package is not acceptable; the text is for the author.
    #[error("{0}")]
    Package(String),
    /// The runtime cannot run here; the text names what is there.
    #[error("{0}")]
    Unsupported(String),
    /// The account would be left with less unreserved concurrency than
    /// [`updraft_types::limits::UNRESERVED_CONCURRENCY_MIN`].
    #[error("too little of the account's concurrency would stay unreserved")]
    Unreservable,
    /// The function cannot scale so; the text is for the author.
    #[error("{0}")]
    Scaling(String),
    /// The account would keep more code than it may.
    #[error("the account keeps as much code as it may")]
    CodeStorage,
    /// There is no room on the disk.
    #[error("the disk is full")]
    StorageFull,
    /// The platform failed; the text is for the operator.
    #[error("{0}")]
    Internal(String),
}

impl From<packages::Error> for Error {
    fn from(error: packages::Error) -> Self {
        match error {
            packages::Error::Package(ZipError::ZippedTooLarge) => Error::ZipTooLarge,
            packages::Error::Package(error) => Error::Package(error.to_string()),
            packages::Error::StorageFull => Error::StorageFull,
            packages::Error::Internal(text) => Error::Internal(text),
        }
    }
}

/// What changes share.
pub(crate) struct Changes {
    hasher: RandomState,
    turns: [Arc<TurnMutex<()>>; TURNS],
    /// Held for reading while a package is added until a function names it, for writing while one is removed.
    code_gate: Arc<RwLock<()>>,
    /// Packages, and sets of layers, that a change stopped using, by their keys; removed when its last instance has gone.
    garbage: Mutex<Vec<String>>,
    /// Held while the next catalog is made of the current one.
    publishing: Mutex<()>,
    /// Held while a reservation is set against the others of its account and stored.
    pub(crate) reserving: TurnMutex<()>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            turns: std::array::from_fn(|_| Arc::default()),
            code_gate: Arc::default(),
            garbage: Mutex::default(),
            publishing: Mutex::default(),
            reserving: TurnMutex::default(),
        }
    }
}

impl Handle {
    /// Creates a function from a zip. It is acknowledged durable, in state Pending, and becomes Active at once.
    pub async fn create(&self, draft: Draft, zip: Bytes) -> Result<Deployed, Error> {
        self.create_with(draft, zip, Publish::No).await
    }

    /// The same, and may publish it as its first version.
    pub async fn create_with(
        &self,
        draft: Draft,
        source: impl Into<Source>,
        publish: Publish,
    ) -> Result<Deployed, Error> {
        let (handle, source) = (self.clone(), source.into());
        detached(Box::pin(async move {
            let check_name = || match handle.catalog().get(&draft.id) {
                Some(_) => Err(Error::Exists),
                None => Ok(()),
            };
            check_name()?;
            let warning = handle.check(&draft.configuration)?;
            let added = source.stored_bytes() * publish.copies();
            let fetched = handle.fetch(&draft.id, draft.configuration.architecture, source).await?;
            let turn = handle.turn(&draft.id).await;
            check_name()?;
            handle.check_code_room(&draft.id.account, added).await?;
            let gate = handle.gate().await;
            let code = handle.add_code(&draft.id, draft.configuration.architecture, fetched).await?;
            let warning = warning.or_else(|| note_of(&code));
            let function = Function {
                id: draft.id,
                version: Version::Latest,
                revision: RevisionId::random(),
                modified_at: Timestamp::now(),
                configuration: draft.configuration,
                code,
                state: State::Pending,
                last_update: None,
                tags: draft.tags,
                url: None,
                scaling: Default::default(),
                policies: Default::default(),
                settings: Default::default(),
            };
            let prepared = match handle.check_layers(&function).await {
                Ok(()) => handle.prepare(&function).await,
                error => error,
            };
            let stored = match prepared {
                Ok(()) => handle.store_new(function.clone(), publish).await,
                Err(error) => Err(error),
            };
            let changed = match stored {
                Ok(changed) => changed,
                Err(error) => {
                    handle.discard_all(&function);
                    return Err(error);
                }
            };
            drop(gate);
            let function = changed.last().expect("a function was stored").clone();
            handle.settle_later(changed, turn);
            Ok(Deployed { function, warning })
        }))
        .await
    }

    /// Checks code for a function as `create` and `update_code` would, and changes nothing.
    pub async fn check_code(&self, current: &Function, source: impl Into<Source>) -> Result<Code, Error> {
        let (handle, source, id) = (self.clone(), source.into(), current.id.clone());
        let architecture = current.configuration.architecture;
        detached(async move {
            let fetched = handle.fetch(&id, architecture, source).await?;
            let gate = handle.gate().await;
            let code = handle.add_code(&id, architecture, fetched).await?;
            drop(gate);
            handle.discard(code.clone());
            Ok(code)
        })
        .await
    }

    /// Replaces a function's code. The old code serves until the new is ready.
    /// `expected`, if given, must be the current revision.
    pub async fn update_code(
        &self,
        id: &FunctionId,
        zip: Bytes,
        expected: Option<&RevisionId>,
    ) -> Result<Deployed, Error> {
        self.update_code_with(id, zip, expected, Publish::No).await
    }

    /// The same, and may publish it as a version. Where that is what the newest version is, that one is answered.
    pub async fn update_code_with(
        &self,
        id: &FunctionId,
        source: impl Into<Source>,
        expected: Option<&RevisionId>,
        publish: Publish,
    ) -> Result<Deployed, Error> {
        let (handle, source, id, expected) = (self.clone(), source.into(), id.clone(), expected.cloned());
        detached(async move {
            let architecture = handle.current(&id, expected.as_ref())?.configuration.architecture;
            let stored = source.stored_bytes() * publish.copies();
            let fetched = handle.fetch(&id, architecture, source).await?;
            let turn = handle.turn(&id).await;
            let current = handle.current(&id, expected.as_ref())?;
            let architecture = current.configuration.architecture;
            handle.check_code_room(&id.account, stored.saturating_sub(current.code.size_bytes)).await?;
            let gate = handle.gate().await;
            let code = handle.add_code(&id, architecture, fetched).await?;
            let next = Function { code: code.clone(), ..changed(&current) };
            let note = note_of(&code);
            let deployed = handle.redeploy(&current, next, publish, turn).await;
            drop(gate);
            handle.discard(if deployed.is_ok() { current.code.clone() } else { code });
            deployed.map(|deployed| Deployed { warning: deployed.warning.or(note), ..deployed })
        })
        .await
    }

    /// Applies `change` to a function's configuration. Instances of the old one finish their calls and go.
    pub async fn update_configuration(
        &self,
        id: &FunctionId,
        expected: Option<&RevisionId>,
        change: impl FnOnce(&mut Configuration) + Send + 'static,
    ) -> Result<Deployed, Error> {
        let (handle, id, expected) = (self.clone(), id.clone(), expected.cloned());
        detached(async move {
            let turn = handle.turn(&id).await;
            let current = handle.current(&id, expected.as_ref())?;
            let mut next = changed(&current);
            change(&mut next.configuration);
            // Held while the function takes up layers that may be deleted at this moment.
            let _gate = handle.gate().await;
            let layers = (current.configuration.layers != next.configuration.layers).then(|| next.clone());
            let deployed = handle.redeploy(&current, next, Publish::No, turn).await;
            if let Some(next) = layers {
                handle.discard_all(if deployed.is_ok() { &current } else { &next });
            }
            deployed
        })
        .await
    }

    /// Deletes a function with its versions, aliases and pending events; its running calls finish.
    pub async fn delete(&self, id: &FunctionId) -> Result<(), Error> {
        let (handle, id) = (self.clone(), id.clone());
        detached(async move {
            let _turn = handle.turn(&id).await;
            let current = handle.current(&id, None)?;
            let before = handle.catalog();
            let dropped = handle.inner.store.functions().delete(id.clone()).await?;
            handle.inner.board.gone(&id, dropped.events, dropped.bytes);
            handle.swap(&id, |catalog| catalog.without(&id));
            handle.inner.pools.forget_function(&id);
            handle.discard_all(&current);
            before.versions(&id).for_each(|version| {
                handle.inner.executors.of(version.configuration.runtime).forget(&version.version_id());
                handle.discard_all(version);
            });
            Ok(())
        })
        .await
    }

    /// Applies `change` to a function's tags. Tags have no part in the revision.
    pub async fn update_tags(
        &self,
        id: &FunctionId,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
    ) -> Result<Arc<Function>, Error> {
        self.annotate(id, move |function| change(&mut function.tags)).await
    }

    /// Sets, changes or (with `None`) removes a function's URL. A fresh `url_id` comes from [`fresh_url_id`].
    pub async fn set_url(&self, id: &FunctionId, url: Option<FunctionUrl>) -> Result<Arc<Function>, Error> {
        self.annotate(id, move |function| function.url = url).await
    }

    /// Applies `change` to what is chosen about a function beside its configuration. It has no part in the revision.
    pub async fn update_settings(
        &self,
        id: &FunctionId,
        change: impl FnOnce(&mut Settings) + Send + 'static,
    ) -> Result<Arc<Function>, Error> {
        self.annotate(id, move |function| change(&mut function.settings)).await
    }

    /// Replaces a function's resource policy under a qualifier; one without statements is removed. `expected`, where
    /// given, must be the policy's revision now.
    pub async fn set_policy(
        &self,
        id: &FunctionId,
        qualifier: &str,
        expected: Option<&str>,
        change: impl FnOnce(&mut ResourcePolicy) + Send + 'static,
    ) -> Result<Option<ResourcePolicy>, Error> {
        let (handle, id, qualifier) = (self.clone(), id.clone(), qualifier.to_owned());
        let expected = expected.map(str::to_owned);
        detached(async move {
            let _turn = handle.turn(&id).await;
            let current = handle.current(&id, None)?;
            let before = current.policies.get(&qualifier);
            if expected.is_some_and(|expected| before.is_none_or(|policy| policy.revision.as_str() != expected)) {
                return Err(Error::RevisionMismatch);
            }
            let mut policy = ResourcePolicy { revision: RevisionId::random(), ..before.cloned().unwrap_or_default() };
            change(&mut policy);
            let mut next = Function::clone(&current);
            let after = (!policy.statements.is_empty()).then_some(policy);
            match after.clone() {
                Some(policy) => next.policies.insert(qualifier, policy),
                None => next.policies.remove(&qualifier),
            };
            handle.replace(&current, next).await?;
            Ok(after)
        })
        .await
    }

    /// Forgets what is kept of a function under a qualifier that is to go: its resource policy and its settings. The caller has
    /// the function's turn, and deletes the version or alias after: what comes by the same name later starts anew.
    pub(crate) async fn forget_qualifier(&self, id: &FunctionId, qualifier: &str) -> Result<(), Error> {
        let current = self.current(id, None)?;
        let mut next = Function::clone(&current);
        next.policies.remove(qualifier);
        next.settings.event_invoke.remove(qualifier);
        next.settings.runtime_management.remove(qualifier);
        if next != *current {
            self.replace(&current, next).await?;
        }
        Ok(())
    }

    /// The zip a function runs.
    pub async fn read_code(&self, code: &Code) -> Result<Bytes, Error> {
        Ok(self.inner.shared.packages.read_zip(code).await?)
    }

    /// Changes what has no bearing on how the function runs.
    async fn annotate(
        &self,
        id: &FunctionId,
        change: impl FnOnce(&mut Function) + Send + 'static,
    ) -> Result<Arc<Function>, Error> {
        let (handle, id) = (self.clone(), id.clone());
        detached(async move {
            let _turn = handle.turn(&id).await;
            let current = handle.current(&id, None)?;
            let mut next = Function::clone(&current);
            change(&mut next);
            handle.replace(&current, next).await
        })
        .await
    }

    /// Prepares and commits a changed function, then moves invocations over to it.
    async fn redeploy(
        &self,
        current: &Function,
        next: Function,
        publish: Publish,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Deployed, Error> {
        let warning = self.check(&next.configuration)?;
        self.check_layers(&next).await?;
        self.prepare(&next).await?;
        let newest = (publish == Publish::Yes).then(|| self.published_as(&next));
        let (function, published) = match newest {
            Some(None) => {
                let version = version_of(&next, None);
                let (function, version) = self.replace_published(current, next, version).await?;
                (function, Some(version))
            }
            _ => (self.replace(current, next).await?, None),
        };
        self.inner.pools.close(&function.version_id());
        let answered = published.clone().or(newest.flatten()).unwrap_or_else(|| function.clone());
        self.settle_later(std::iter::once(function).chain(published).collect(), turn);
        Ok(Deployed { function: answered, warning })
    }

    /// Stores a new function, and answers it with the version that is published of it, if one is.
    async fn store_new(&self, function: Function, publish: Publish) -> Result<Vec<Arc<Function>>, Error> {
        let functions = self.inner.store.functions();
        Ok(match publish {
            Publish::No => {
                functions.create(function.clone()).await?;
                vec![self.publish(function)]
            }
            Publish::Yes => {
                let version = functions.create_published(function.clone(), version_of(&function, None)).await?;
                let (function, version) = self.publish_both(function, version);
                vec![function, version]
            }
        })
    }

    fn check(&self, configuration: &Configuration) -> Result<Option<String>, Error> {
        match self.inner.executors.of(configuration.runtime).check(configuration) {
            Ok(Support::Exact) => Ok(None),
            Ok(Support::Nearest(warning)) => Ok(Some(warning)),
            Err(unsupported) => Err(Error::Unsupported(unsupported.to_string())),
        }
    }

    /// What has to come from elsewhere, before anything is held that others wait for.
    async fn fetch(&self, id: &FunctionId, architecture: Architecture, source: Source) -> Result<Fetched, Error> {
        match source {
            Source::Zip(zip) => Ok(Fetched::Zip(zip)),
            Source::Image(uri) => {
                let pulled = self.pull(&id.account, &uri, architecture).await?.map(Box::new);
                Ok(Fetched::Image { uri, pulled })
            }
        }
    }

    async fn add_code(&self, id: &FunctionId, architecture: Architecture, code: Fetched) -> Result<Code, Error> {
        match code {
            Fetched::Zip(zip) => self.add_package(zip).await,
            Fetched::Image { uri, pulled } => self.image_code(&id.account, &uri, architecture, pulled.as_deref()).await,
        }
    }

    pub(crate) async fn add_package(&self, zip: Bytes) -> Result<Code, Error> {
        let hashed = zip.clone();
        let code = tokio::task::spawn_blocking(move || code_of(&hashed)).await;
        let code = code.map_err(|panic| Error::Internal(panic.to_string()))?;
        match self.inner.shared.packages.add(zip, &code).await {
            Ok(_) => Ok(code),
            // It may be laid out although its zip could not be kept.
            Err(error) => {
                self.discard(code);
                Err(error.into())
            }
        }
    }

    async fn prepare(&self, function: &Function) -> Result<(), Error> {
        let package = self.inner.shared.packages.get(&function.code).await?;
        let executor = self.inner.executors.of(function.configuration.runtime);
        let prepared = executor.prepare(function, &package.folder).await;
        prepared.map_err(|rejected| Error::Package(rejected.to_string()))?;
        match self.inner.shared.ready_layers(function, &**executor, &package).await {
            Ok(_) => Ok(()),
            Err(Fault::Platform { reason }) => Err(Error::Internal(reason)),
            Err(Fault::Entrypoint { reason }) => Err(Error::Package(reason)),
            Err(fault) => Err(Error::Package(fault.to_string())),
        }
    }

    pub(crate) async fn turn(&self, id: &FunctionId) -> OwnedMutexGuard<()> {
        let changes = &self.inner.changes;
        let slot = usize::try_from(changes.hasher.hash_one(id) % TURNS as u64).expect("a remainder of 64 fits");
        changes.turns[slot].clone().lock_owned().await
    }

    pub(crate) async fn gate(&self) -> OwnedRwLockReadGuard<()> {
        self.inner.changes.code_gate.clone().read_owned().await
    }

    pub(crate) fn current(&self, id: &FunctionId, expected: Option<&RevisionId>) -> Result<Arc<Function>, Error> {
        self.current_version(&VersionId::latest(id.clone()), expected)
    }

    pub(crate) fn current_version(
        &self,
        id: &VersionId,
        expected: Option<&RevisionId>,
    ) -> Result<Arc<Function>, Error> {
        let function = self.catalog().version(id).cloned().ok_or(Error::NotFound)?;
        match expected {
            Some(expected) if *expected != function.revision => Err(Error::RevisionMismatch),
            _ => Ok(function),
        }
    }

    pub(crate) async fn replace(&self, current: &Function, next: Function) -> Result<Arc<Function>, Error> {
        let expected = current.revision.clone();
        match next.version {
            Version::Latest => self.inner.store.functions().replace(next.clone(), expected).await?,
            Version::Number(_) => self.inner.store.versions().replace(next.clone(), expected).await?,
        }
        Ok(self.publish(next))
    }

    /// Commits a changed function and a version that is published of it; answers both.
    pub(crate) async fn replace_published(
        &self,
        current: &Function,
        next: Function,
        version: Function,
    ) -> Result<(Arc<Function>, Arc<Function>), Error> {
        let functions = self.inner.store.functions();
        let version = functions.replace_published(next.clone(), current.revision.clone(), version).await?;
        Ok(self.publish_both(next, version))
    }

    fn publish(&self, function: Function) -> Arc<Function> {
        let function = Arc::new(function);
        self.swap(&function.id, |catalog| catalog.with(function.clone()));
        function
    }

    fn publish_both(&self, function: Function, version: Function) -> (Arc<Function>, Arc<Function>) {
        let (function, version) = (Arc::new(function), Arc::new(version));
        self.swap(&function.id, |catalog| catalog.with(function.clone()).with(version.clone()));
        (function, version)
    }

    /// Makes the next catalog of the current one, in which this function differs.
    pub(crate) fn swap(&self, id: &FunctionId, change: impl FnOnce(&Catalog) -> Catalog) {
        let _publishing = self.inner.changes.publishing.lock();
        let next = Arc::new(change(&self.inner.catalog.load()));
        self.inner.catalog.store(next.clone());
        self.inner.pools.apply_limits(id, &next);
    }

    /// Marks what is prepared, a function and perhaps a version of it, as in force. The function's next change waits
    /// for this one.
    pub(crate) fn settle_later(&self, changed: Vec<Arc<Function>>, turn: OwnedMutexGuard<()>) {
        let handle = self.clone();
        tokio::spawn(async move {
            for function in changed {
                let prepared = handle.snapshot(&function).await;
                handle.settle(&function, prepared).await;
            }
            drop(turn);
        });
    }

    /// `prepared` says why its instances are not copies, where they should be.
    async fn settle(&self, function: &Function, prepared: Result<Option<String>, Error>) {
        let mut next = Function { revision: RevisionId::random(), ..function.clone() };
        match prepared {
            Ok(snap_start_off) => {
                next.settings.snap_start_off = snap_start_off;
                next.state = State::Active;
                next.last_update = Some(LastUpdate::Successful);
            }
            Err(error) => {
                let reason = error.to_string();
                match function.state {
                    State::Pending => next.state = State::Failed { reason },
                    _ => next.last_update = Some(LastUpdate::Failed { reason }),
                }
            }
        }
        // The next start goes on where this one stops.
        let is_over = || self.inner.is_stopping.load(Ordering::Relaxed);
        match insist(|| self.replace(function, next.clone()), is_over).await {
            Ok(_) => {}
            // Nobody else changes it in this turn: a try that was said to have failed has not.
            Err(Unstored { error: Error::RevisionMismatch, tries }) if tries > 1 => {
                self.publish(next);
            }
            Err(Unstored { error, .. }) => tracing::error!(function = %function.id, %error, "settling a change"),
        }
    }

    /// Finishes the changes that were under way when the platform was last stopped or killed.
    pub(crate) async fn finish_changes(self) {
        let catalog = self.catalog();
        let is_unfinished = |function: &Function| {
            function.state == State::Pending || function.last_update == Some(LastUpdate::InProgress)
        };
        for function in catalog.all_versions().filter(|function| is_unfinished(function)) {
            let _turn = self.turn(&function.id).await;
            let Ok(current) = self.current_version(&function.version_id(), Some(&function.revision)) else { continue };
            let prepared = match self.prepare(&current).await {
                Ok(()) => self.snapshot(&current).await,
                Err(error) => Err(error),
            };
            self.settle(&current, prepared).await;
        }
    }

    /// Hands code to the collector, which removes it once nothing uses it.
    pub(crate) fn discard(&self, code: Code) {
        self.inner.changes.garbage.lock().push(Packages::key(&code));
    }

    /// The same, by their keys.
    pub(crate) fn discard_keys(&self, keys: impl IntoIterator<Item = String>) {
        self.inner.changes.garbage.lock().extend(keys);
    }

    /// The same for all that a function has laid out.
    pub(crate) fn discard_all(&self, function: &Function) {
        self.inner.changes.garbage.lock().extend(keys_of(function));
    }

    /// The gate for removing, if it is free. Whoever waits for it keeps everybody waiting who deploys, behind whoever
    /// takes long; so it is waited for only after it was held each of [`PATIENCE_ROUNDS`] times that somebody looked.
    async fn close_gate(&self, refused: &mut u32) -> Option<OwnedRwLockWriteGuard<()>> {
        let gate = self.inner.changes.code_gate.clone();
        if *refused >= PATIENCE_ROUNDS {
            *refused = 0;
            return Some(gate.write_owned().await);
        }
        let free = gate.try_write_owned().ok();
        *refused = if free.is_some() { 0 } else { *refused + 1 };
        free
    }

    /// Removes discarded packages, for ever.
    pub(crate) async fn run_collector(self) {
        let mut refused = 0;
        loop {
            tokio::time::sleep(COLLECT_INTERVAL).await;
            if self.inner.changes.garbage.lock().is_empty() {
                continue;
            }
            let Some(_gate) = self.close_gate(&mut refused).await else { continue };
            let mut garbage = std::mem::take(&mut *self.inner.changes.garbage.lock());
            let used = match self.with_layers(&mut garbage).await {
                Ok(()) => self.used_packages().await,
                Err(error) => Err(error),
            };
            let used = match used {
                Ok(used) => used,
                Err(error) => {
                    tracing::error!(%error, "telling which packages are used");
                    self.inner.changes.garbage.lock().extend(garbage);
                    continue;
                }
            };
            for key in garbage.into_iter().filter(|key| !used.contains(key)) {
                match self.inner.shared.packages.remove_unheld(&key).await {
                    Ok(packages::Removal::Done) => {}
                    Ok(packages::Removal::StillHeld) => self.inner.changes.garbage.lock().push(key),
                    Err(error) => {
                        tracing::error!(%error, "removing a package; it is tried again");
                        self.inner.changes.garbage.lock().push(key);
                    }
                }
            }
        }
    }

    /// Removes what a killed platform left: packages that neither a function nor a layer version names.
    pub(crate) async fn sweep_packages(&self) -> Result<(), Error> {
        let _gate = self.inner.changes.code_gate.write().await;
        let used = self.used_packages().await?;
        Ok(self.inner.shared.packages.sweep(|key| used.contains(key)).await?)
    }
}

/// Why something was not stored, and after how many tries.
#[derive(Debug)]
struct Unstored {
    error: Error,
    tries: u32,
}

/// Tries until it is stored or refused for good, or all is over: a full disk, and what the store fails of, may pass.
async fn insist<T, F: Future<Output = Result<T, Error>>>(
    mut store: impl FnMut() -> F,
    is_over: impl Fn() -> bool,
) -> Result<T, Unstored> {
    let mut pause = SETTLE_PAUSE_MIN;
    let mut tries = 0;
    loop {
        tries += 1;
        match store().await {
            Ok(stored) => return Ok(stored),
            Err(error @ (Error::StorageFull | Error::Internal(_))) if !is_over() => {
                tracing::error!(%error, tries, "a change cannot be settled yet");
                tokio::time::sleep(pause).await;
                pause = SETTLE_PAUSE_MAX.min(pause * 2);
            }
            Err(error) => return Err(Unstored { error, tries }),
        }
    }
}

/// Code that has come, before the platform has it.
enum Fetched {
    Zip(Bytes),
    Image { uri: String, pulled: Option<Box<Pulled>> },
}

/// What the author of an image should know that is no fault of it.
fn note_of(code: &Code) -> Option<String> {
    let user = code.image.as_ref().map(|image| &image.program.user).filter(|user| !user.is_empty())?;
    Some(format!("The image's USER {user:?} is ignored: everything in a sandbox runs as one unprivileged user"))
}

/// The function as a change begins: the same, with a new revision and an update in progress.
fn changed(current: &Function) -> Function {
    Function {
        revision: RevisionId::random(),
        modified_at: Timestamp::now(),
        last_update: Some(LastUpdate::InProgress),
        ..current.clone()
    }
}

/// Runs a change to its end even if its caller goes away.
pub(crate) async fn detached<T: Send + 'static, E: From<Error> + Send + 'static>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    match tokio::spawn(change).await {
        Ok(result) => result,
        Err(panic) => Err(Error::Internal(panic.to_string()).into()),
    }
}

/// A random URL id: 32 lower-case letters and digits.
pub fn fresh_url_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists => Error::Exists,
            CreateError::Full => Error::StorageFull,
            error @ CreateError::Internal(_) => Error::Internal(error.to_string()),
        }
    }
}

impl From<ReplaceError> for Error {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::NotFound => Error::NotFound,
            ReplaceError::Stale => Error::RevisionMismatch,
            ReplaceError::Full => Error::StorageFull,
            error @ ReplaceError::Internal(_) => Error::Internal(error.to_string()),
        }
    }
}

impl From<DeleteError> for Error {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => Error::NotFound,
            DeleteError::Full => Error::StorageFull,
            error @ DeleteError::Internal(_) => Error::Internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_is_for_good_is_not() {
        let answers = |answers: Vec<Result<(), Error>>| {
            let mut answers = answers.into_iter();
            move || std::future::ready(answers.next().expect("it was tried too often"))
        };
        let full = || Err(Error::StorageFull);
        insist(answers(vec![full(), Err(Error::Internal("a moment".into())), Ok(())]), || false).await.unwrap();
        let refused = insist(answers(vec![full(), Err(Error::RevisionMismatch)]), || false).await.unwrap_err();
        assert!(matches!(refused, Unstored { error: Error::RevisionMismatch, tries: 2 }));
        let over = insist(answers(vec![full()]), || true).await.unwrap_err();
        assert!(matches!(over, Unstored { error: Error::StorageFull, tries: 1 }));
    }
}
