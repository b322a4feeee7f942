//! Provisioned concurrency: instances of a version that are ready before they are called.
//!
//! What is asked for is stored with the version or the alias; `catalog` adds up what that means for each version, and
//! the provisioner (`provision`) keeps the instances. Invariants: a version has them by its own name or by aliases,
//! never both; what an account promises leaves [`UNRESERVED_CONCURRENCY_MIN`] of its concurrency to everyone.

use updraft_engine::{admission, routing};
use updraft_types::{
    Function, FunctionId, Qualifier, Timestamp, Version, VersionId, limits::UNRESERVED_CONCURRENCY_MIN,
    version::Provisioned,
};

use crate::{
    Catalog, Handle, aliases,
    control::{self, detached},
};

/// Why nothing was provisioned. What there was is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such version or alias.
    #[error("there is no such version or alias")]
    NotFound,
    /// `$LATEST` changes, so nothing is kept ready of it.
    #[error("instances are provisioned of published versions only")]
    Unpublished,
    /// Its instances are copies, which are not kept ready.
    #[error("a version with SnapStart is not provisioned")]
    SnapStart,
    /// The version that the alias points at has provisioned concurrency of its own.
    #[error("the alias's version is provisioned already")]
    VersionProvisioned,
    /// An alias with provisioned concurrency points at the version.
    #[error("a provisioned alias points at the version")]
    AliasProvisioned,
    /// It is more than the function has reserved.
    #[error("it is more than the function has reserved")]
    OverReserved,
    /// It is more than the account has unreserved.
    #[error("the account has {unreserved} unreserved")]
    OverUnreserved {
        /// What is left for everyone, calls at once.
        unreserved: u32,
    },
    /// Too little of the account's concurrency would stay unreserved.
    #[error("too little of the account's concurrency would stay unreserved")]
    UnreservedTooFew,
    /// As for functions.
    #[error(transparent)]
    Change(#[from] control::Error),
}

impl From<aliases::Error> for Error {
    fn from(error: aliases::Error) -> Self {
        match error {
            aliases::Error::Change(error) => Error::Change(error),
            _ => Error::NotFound,
        }
    }
}

/// How far what was asked for has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What was asked for, and when.
    pub asked: Provisioned,
    /// Calls at once that instances are there for, of those asked for.
    pub allocated: u32,
    /// Those that no call has taken.
    pub available: u32,
    /// Whether that is all.
    pub status: Status,
}

/// Lambda's `ProvisionedConcurrencyStatusEnum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Instances are being started.
    InProgress,
    /// All are there.
    Ready,
    /// Instances are missing, and the last one that was started failed; it is tried again.
    Failed,
}

impl Handle {
    /// Provisions `requested` calls at once for a version or an alias, or with `None` gives back what is.
    pub async fn provision(&self, id: &FunctionId, qualifier: &Qualifier, requested: Option<u32>) -> Result<(), Error> {
        // What an account promises is checked against all that is stored, one after the other.
        let handle = self.clone();
        let (id, qualifier) = (id.clone(), qualifier.clone());
        detached(async move {
            let _reserving = handle.inner.changes.reserving.lock().await;
            let asked = requested.map(|requested| Provisioned { requested, modified_at: Timestamp::now() });
            match qualifier {
                Qualifier::Version(Version::Latest) => Err(Error::Unpublished),
                Qualifier::Version(version) => {
                    let _turn = handle.turn(&id).await;
                    let version = VersionId { function: id.clone(), version };
                    let current = handle.current_version(&version, None).map_err(|_| Error::NotFound)?;
                    let catalog = handle.catalog();
                    if let Some(asked) = asked {
                        if current.is_snapshotted() {
                            return Err(Error::SnapStart);
                        }
                        let is_provisioned = |alias: &std::sync::Arc<updraft_types::Alias>| {
                            alias.provisioned.is_some() && alias.names(version.version)
                        };
                        if catalog.aliases(&id).any(is_provisioned) {
                            return Err(Error::AliasProvisioned);
                        }
                        let before = current.settings.provisioned.map_or(0, |before| before.requested);
                        handle.check_room(&catalog, &id, before, asked.requested)?;
                    }
                    let mut next = Function::clone(&current);
                    next.settings.provisioned = asked;
                    handle.replace(&current, next).await?;
                    Ok(())
                }
                Qualifier::Alias(name) => {
                    let checking = handle.clone();
                    let changed = handle.change_alias(&id, &name, move |alias, catalog| {
                        if let Some(asked) = asked {
                            if alias.version == Version::Latest {
                                return Err(Error::Unpublished);
                            }
                            let own = |function: &&std::sync::Arc<Function>| {
                                function.settings.provisioned.is_some() && alias.names(function.version)
                            };
                            let is_copied = |function: &std::sync::Arc<Function>| {
                                function.is_snapshotted() && alias.names(function.version)
                            };
                            if catalog.versions(&alias.function).any(is_copied) {
                                return Err(Error::SnapStart);
                            }
                            if catalog.versions(&alias.function).any(|function| own(&function)) {
                                return Err(Error::VersionProvisioned);
                            }
                            let before = alias.provisioned.map_or(0, |before| before.requested);
                            checking.check_room(catalog, &alias.function, before, asked.requested)?;
                        }
                        alias.provisioned = asked;
                        Ok(())
                    });
                    changed.await.map(drop)
                }
            }
        })
        .await
    }

    /// What is provisioned for a version or an alias, and how far that has come.
    pub fn provisioned(&self, id: &FunctionId, qualifier: &Qualifier) -> Option<Standing> {
        let catalog = self.catalog();
        let (asked, primary, additional) = match qualifier {
            Qualifier::Version(version) => {
                let function = catalog.version(&VersionId { function: id.clone(), version: *version })?;
                (function.settings.provisioned?, *version, None)
            }
            Qualifier::Alias(name) => {
                let alias = catalog.alias(id, name)?;
                (alias.provisioned?, alias.version, alias.additional)
            }
        };
        let (first, second) = routing::share(asked.requested, additional.map_or(0.0, |additional| additional.weight));
        let second = additional.map(|additional| (Version::Number(additional.version), second));
        let (mut allocated, mut available, mut has_failed) = (0, 0, false);
        for (version, share) in std::iter::once((primary, first)).chain(second) {
            let pool = self.inner.pools.find(&VersionId { function: id.clone(), version });
            let Some(ready) = pool.map(|pool| pool.readiness()) else { continue };
            allocated += ready.slots.min(share);
            available += ready.slots_free.min(share);
            has_failed |= ready.slots < share && ready.has_failed;
        }
        let status = match allocated {
            allocated if allocated >= asked.requested => Status::Ready,
            _ if has_failed => Status::Failed,
            _ => Status::InProgress,
        };
        Some(Standing { asked, allocated, available, status })
    }

    /// Whether the function and its account may promise `asked` in place of `before`.
    fn check_room(&self, catalog: &Catalog, id: &FunctionId, before: u32, asked: u32) -> Result<(), Error> {
        let all = u64::from(catalog.provisioned_of(id).saturating_sub(before)) + u64::from(asked);
        let latest = catalog.get(id).ok_or(Error::NotFound)?;
        if let Some(reserved) = latest.scaling.reserved_concurrency {
            return if all > u64::from(reserved) { Err(Error::OverReserved) } else { Ok(()) };
        }
        let limits = self.admission_limits();
        let others = catalog.committed(&id.account).saturating_sub(before);
        let unreserved = admission::unreserved(limits, others);
        if asked > unreserved {
            return Err(Error::OverUnreserved { unreserved });
        }
        if !admission::may_reserve(asked, others, limits, UNRESERVED_CONCURRENCY_MIN) {
            return Err(Error::UnreservedTooFew);
        }
        Ok(())
    }
}
