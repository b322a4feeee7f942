//! Everything the platform remembers, behind domain verbs.
//!
//! Owns the data directory: `platform.db` ([`Functions`], [`Versions`], [`Aliases`], [`Layers`], [`Images`],
//! [`Identity`], [`Events`], [`Parameters`], [`Secrets`], [`Habits`]), `master.key` ([`seal`]), `logs.db` ([`Logs`]),
//! `blobs/` ([`Blobs`]) and the
//! `lock` that keeps a second process out. Decides nothing: which change is allowed, when to retry and what to
//! keep is for `engine`; here a verb either happens whole or not at all. SQL and file names do not leave this
//! crate, so that the same verbs can be spoken to PostgreSQL and an S3-compatible store.
//!
//! Invariant: what a verb of [`Functions`], [`Layers`], [`Images`], [`Events`] or [`Blobs`] acknowledged survives the process and the machine
//! stopping at any moment. Log lines survive the process stopping; the machine may lose the last of them.
//! A future dropped before its answer decides nothing: the verb may still be carried out, once, whole.

pub mod aliases;
pub mod blobs;
mod database;
pub mod events;
mod failure;
pub mod functions;
pub mod habits;
pub mod identity;
pub mod images;
pub mod layers;
mod lock;
pub mod logs;
pub mod open;
pub mod parameters;
mod readers;
mod schema;
pub mod seal;
pub mod secrets;
pub mod versions;
mod writer;

pub use aliases::Aliases;
pub use blobs::Blobs;
pub use events::Events;
pub use functions::Functions;
pub use habits::Habits;
pub use identity::Identity;
pub use images::Images;
pub use layers::Layers;
pub use logs::Logs;
pub use parameters::Parameters;
pub use seal::{MasterKey, Seal};
pub use secrets::Secrets;
pub use versions::Versions;

use std::{path::PathBuf, sync::Arc};

/// Where to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data directory; made if it is not there. One process at a time may have it open.
    pub directory: PathBuf,
}

/// The open data directory. Clones share it.
///
/// Dropping the last clone ends it in the background: verbs already queued are still carried out, and the
/// directory is free for others shortly after. [`Store::close`] waits for that.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    platform: Arc<database::Database>,
    events: Events,
    functions: Functions,
    habits: Habits,
    identity: Identity,
    versions: Versions,
    aliases: Aliases,
    layers: Layers,
    images: Images,
    blobs: Blobs,
    logs: Logs,
    parameters: Parameters,
    secrets: Secrets,
    master_key: MasterKey,
}

impl Store {
    /// Opens the data directory, making or migrating what is in it. Must run inside a Tokio runtime.
    ///
    /// Its secrets are sealed under the master key in it, which is made with the directory.
    pub async fn open(config: Config) -> Result<Self, open::Error> {
        Self::open_with(config, None).await
    }

    /// The same, with a master key that is kept elsewhere.
    pub async fn open_with(config: Config, master_key: Option<MasterKey>) -> Result<Self, open::Error> {
        let directory = config.directory.clone();
        tokio::task::spawn_blocking(move || Self::open_blocking(&config, master_key))
            .await
            .unwrap_or_else(|error| Err(open::Error::Io { path: directory, source: std::io::Error::other(error) }))
    }

    fn open_blocking(config: &Config, master_key: Option<MasterKey>) -> Result<Self, open::Error> {
        let directory = open::directory(&config.directory)?;
        let lock = Arc::new(lock::Lock::acquire(&directory)?);
        let known = seal::known(&directory, master_key)?;
        let platform = Arc::new(database::Database::open(&directory, &schema::PLATFORM, lock.clone())?);
        let master_key = seal::settle(&directory, known)?;
        let inner = Inner {
            identity: Identity::new(platform.clone(), Seal::new(&master_key, "access keys")),
            parameters: Parameters::new(platform.clone(), Seal::new(&master_key, "parameters")),
            secrets: Secrets::new(platform.clone(), Seal::new(&master_key, "secrets")),
            events: Events::new(platform.clone()),
            functions: Functions::new(platform.clone()),
            habits: Habits::new(platform.clone()),
            versions: Versions::new(platform.clone()),
            aliases: Aliases::new(platform.clone()),
            layers: Layers::new(platform.clone()),
            images: Images::new(platform.clone()),
            blobs: Blobs::open_local(&directory)?,
            logs: Logs::open(&directory, &lock)?,
            platform,
            master_key,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Functions.
    pub fn functions(&self) -> &Functions {
        &self.inner.functions
    }

    /// When functions are called, as far as that was learned.
    pub fn habits(&self) -> &Habits {
        &self.inner.habits
    }

    /// Asynchronous events.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Accounts, users, roles, policies and access keys.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The seal for secrets of one purpose.
    pub fn seal(&self, purpose: &str) -> Seal {
        Seal::new(&self.inner.master_key, purpose)
    }

    /// Published versions.
    pub fn versions(&self) -> &Versions {
        &self.inner.versions
    }

    /// Aliases.
    pub fn aliases(&self) -> &Aliases {
        &self.inner.aliases
    }

    /// Layers.
    pub fn layers(&self) -> &Layers {
        &self.inner.layers
    }

    /// Container images.
    pub fn images(&self) -> &Images {
        &self.inner.images
    }

    /// SSM's parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.inner.parameters
    }

    /// Secrets Manager's secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    /// Code packages and other large bytes.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Log lines.
    pub fn logs(&self) -> &Logs {
        &self.inner.logs
    }

    /// Transactions committed to `platform.db` since it was opened, for metrics. Verbs that wait together share one.
    pub fn commits(&self) -> u64 {
        self.inner.platform.commits()
    }

    /// Carries out what is queued, moves the write-ahead logs into their databases and frees the directory. Later
    /// verbs fail. Calling it again, or from several clones, is harmless; each call waits for the end.
    pub async fn close(&self) {
        self.inner.logs.close().await;
        self.inner.platform.close().await;
    }
}
