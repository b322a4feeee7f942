//! Changes to aliases, and which version a call by a qualifier goes to.
//!
//! Like every change they are durable before they count, and take turns with the changes of their function. Invariants:
//! an alias points at versions that are there; one with two versions points at published ones.

use std::sync::Arc;

use updraft_store::aliases::CreateError;
use updraft_types::{
    Alias, AliasName, Function, FunctionId, Qualifier, RevisionId, Version, VersionId, function::FunctionUrl,
    version::Additional,
};

use crate::{
    Catalog, Handle,
    control::{self, detached},
};

/// An alias to be created. The door has checked the bounds of each field.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The function.
    pub function: FunctionId,
    /// The alias's name.
    pub name: AliasName,
    /// Where it points.
    pub version: Version,
    /// A second version, and its share.
    pub additional: Option<Additional>,
    /// Free text.
    pub description: String,
}

/// What an update of an alias changes; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Where it points.
    pub version: Option<Version>,
    /// Its second version, or that it is to have none.
    pub additional: Option<Option<Additional>>,
    /// Free text.
    pub description: Option<String>,
}

/// Why an alias was not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is taken.
    #[error("the alias exists already")]
    Exists,
    /// There is no such alias.
    #[error("there is no such alias")]
    NotFound,
    /// The function has no such version, or there is no such function.
    #[error("there is no version {0}")]
    NoVersion(Version),
    /// Both its versions would be the same.
    #[error("version {0} is in it already")]
    SameVersion(Version),
    /// It would share calls between `$LATEST` and another version.
    #[error("$LATEST cannot share calls with another version")]
    LatestShared,
    /// Instances are provisioned for it, and cannot be of this version: it is `$LATEST`, or has some of its own.
    #[error("nothing can be provisioned of version {0} for it")]
    Unprovisionable(Version),
    /// As for functions.
    #[error(transparent)]
    Change(#[from] control::Error),
}

impl Handle {
    /// The version that one call goes to; an alias with two versions is asked anew for every call.
    pub fn route(&self, id: &FunctionId, qualifier: &Qualifier) -> Option<Arc<Function>> {
        // The last 32 bits of a random UUID are random.
        let draw = || u32::try_from(uuid::Uuid::new_v4().as_u128() & u128::from(u32::MAX)).unwrap_or_default();
        self.inner.catalog.load().route(id, qualifier, draw).cloned()
    }

    /// Creates an alias.
    pub async fn create_alias(&self, draft: Draft) -> Result<Arc<Alias>, Error> {
        let handle = self.clone();
        detached(async move {
            let Draft { function, name, version, additional, description } = draft;
            let _turn = handle.turn(&function).await;
            let catalog = handle.catalog();
            if catalog.alias(&function, &name).is_some() {
                return Err(Error::Exists);
            }
            let revision = RevisionId::random();
            let alias =
                Alias { function, name, version, additional, description, revision, url: None, provisioned: None };
            check(&alias, &catalog)?;
            handle.inner.store.aliases().create(alias.clone()).await.map_err(|error| match error {
                CreateError::Exists => Error::Exists,
                CreateError::NoFunction => Error::NoVersion(version),
                CreateError::Full => control::Error::StorageFull.into(),
                error @ CreateError::Internal(_) => control::Error::Internal(error.to_string()).into(),
            })?;
            Ok(handle.publish_alias(alias))
        })
        .await
    }

    /// Changes where an alias points, or its description. `expected`, if given, must be its current revision.
    pub async fn update_alias(
        &self,
        id: &FunctionId,
        name: &AliasName,
        expected: Option<&RevisionId>,
        asked: Change,
    ) -> Result<Arc<Alias>, Error> {
        let expected = expected.cloned();
        self.change_alias(id, name, move |alias, catalog| {
            if expected.is_some_and(|expected| expected != alias.revision) {
                return Err(control::Error::RevisionMismatch.into());
            }
            alias.version = asked.version.unwrap_or(alias.version);
            alias.additional = asked.additional.unwrap_or(alias.additional);
            alias.description = asked.description.unwrap_or(std::mem::take(&mut alias.description));
            alias.revision = RevisionId::random();
            check(alias, catalog)
        })
        .await
    }

    /// Sets, changes or (with `None`) removes an alias's URL. It has no part in the revision.
    pub async fn set_alias_url(
        &self,
        id: &FunctionId,
        name: &AliasName,
        url: Option<FunctionUrl>,
    ) -> Result<Arc<Alias>, Error> {
        self.change_alias(id, name, move |alias, _| {
            alias.url = url;
            Ok(())
        })
        .await
    }

    /// Deletes an alias, with its URL, its resource policy, its settings and what is provisioned for it.
    pub async fn delete_alias(&self, id: &FunctionId, name: &AliasName) -> Result<(), Error> {
        let (handle, id, name) = (self.clone(), id.clone(), name.clone());
        detached(async move {
            let _turn = handle.turn(&id).await;
            handle.catalog().alias(&id, &name).ok_or(Error::NotFound)?;
            handle.forget_qualifier(&id, name.as_str()).await?;
            let deleted = handle.inner.store.aliases().delete(id.clone(), name.clone()).await;
            deleted.map_err(control::Error::from)?;
            handle.swap(&id, |catalog| catalog.without_alias(&id, &name));
            Ok(())
        })
        .await
    }

    /// Applies `change` to an alias as it is when its turn has come.
    pub(crate) async fn change_alias<E: From<Error> + From<control::Error> + Send + 'static>(
        &self,
        id: &FunctionId,
        name: &AliasName,
        change: impl FnOnce(&mut Alias, &Catalog) -> Result<(), E> + Send + 'static,
    ) -> Result<Arc<Alias>, E> {
        let (handle, id, name) = (self.clone(), id.clone(), name.clone());
        detached(async move {
            let _turn = handle.turn(&id).await;
            let catalog = handle.catalog();
            let current = catalog.alias(&id, &name).ok_or(Error::NotFound)?;
            let mut next = Alias::clone(current);
            change(&mut next, &catalog)?;
            let stored = handle.inner.store.aliases().replace(next.clone(), current.revision.clone()).await;
            stored.map_err(control::Error::from)?;
            Ok(handle.publish_alias(next))
        })
        .await
    }

    fn publish_alias(&self, alias: Alias) -> Arc<Alias> {
        let alias = Arc::new(alias);
        self.swap(&alias.function, |catalog| catalog.with_alias(alias.clone()));
        alias
    }
}

fn check(alias: &Alias, catalog: &Catalog) -> Result<(), Error> {
    let exists = |version| catalog.version(&VersionId { function: alias.function.clone(), version }).is_some();
    if !exists(alias.version) {
        return Err(Error::NoVersion(alias.version));
    }
    if let Some(additional) = alias.additional {
        let version = Version::Number(additional.version);
        if alias.version == Version::Latest {
            return Err(Error::LatestShared);
        }
        if alias.version == version {
            return Err(Error::SameVersion(version));
        }
        if !exists(version) {
            return Err(Error::NoVersion(version));
        }
    }
    if alias.provisioned.is_some() {
        let has_own =
            |function: &&Arc<Function>| alias.names(function.version) && function.settings.provisioned.is_some();
        if alias.version == Version::Latest {
            return Err(Error::Unprovisionable(alias.version));
        }
        if let Some(function) = catalog.versions(&alias.function).find(has_own) {
            return Err(Error::Unprovisionable(function.version));
        }
    }
    Ok(())
}
