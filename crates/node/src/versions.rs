//! Publishing versions of a function, and deleting them.
//!
//! A version is what `$LATEST` was when it was published; nothing changes its code or configuration. Publishing is one
//! transaction of the store, so a number that a caller was told is on disk with all that it stands for.

use std::sync::Arc;

use updraft_types::{
    AliasName, Function, FunctionId, RevisionId, Timestamp, Version, VersionId,
    function::{SnapStart, State},
    settings::Settings,
};

use crate::{
    Handle,
    control::{Error, detached},
};

/// What a caller says about a version to be published.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// Its description; that of `$LATEST` if `None`.
    pub description: Option<String>,
    /// Refuses unless this is the SHA-256 of the code of `$LATEST`, base64.
    pub code_sha256: Option<String>,
    /// Refuses unless this is the revision of `$LATEST`.
    pub revision: Option<RevisionId>,
}

impl Handle {
    /// Publishes `$LATEST` as it is. Where its code and configuration are those of the newest version, that one is
    /// answered and nothing is published. Waits for a change of the function that is under way.
    pub async fn publish_version(&self, id: &FunctionId, asked: Publication) -> Result<Arc<Function>, Error> {
        let (handle, id) = (self.clone(), id.clone());
        detached(async move {
            let turn = handle.turn(&id).await;
            let current = handle.current(&id, asked.revision.as_ref())?;
            if asked.code_sha256.is_some_and(|expected| expected != current.code.sha256) {
                return Err(Error::CodeMismatch { current: current.code.sha256.clone() });
            }
            if !current.is_invocable() {
                return Err(Error::NotActive(current.state.clone()));
            }
            if let Some(newest) = handle.published_as(&current) {
                return Ok(newest);
            }
            handle.check_code_room(&id.account, current.code.size_bytes).await?;
            let next = Function { revision: RevisionId::random(), ..Function::clone(&current) };
            let made = version_of(&current, asked.description);
            // One with a snapshot is Pending until that is made.
            let is_ready = made.configuration.snap_start == SnapStart::None;
            let state = if is_ready { State::Active } else { State::Pending };
            let version = Function { state, last_update: current.last_update.clone(), ..made };
            let (_, version) = handle.replace_published(&current, next, version).await?;
            if !is_ready {
                handle.settle_later(vec![version.clone()], turn);
            }
            Ok(version)
        })
        .await
    }

    /// Deletes a published version, with its resource policy and its settings; its running calls finish. Refused while an
    /// alias points at it.
    pub async fn delete_version(&self, id: &FunctionId, number: u64) -> Result<(), Error> {
        let (handle, id) = (self.clone(), VersionId { function: id.clone(), version: Version::Number(number) });
        detached(async move {
            let _turn = handle.turn(&id.function).await;
            let catalog = handle.catalog();
            let version = catalog.version(&id).ok_or(Error::NotFound)?;
            let aliases = catalog.aliases(&id.function).filter(|alias| alias.names(id.version));
            let aliases: Vec<AliasName> = aliases.map(|alias| alias.name.clone()).collect();
            if !aliases.is_empty() {
                return Err(Error::Aliased(aliases));
            }
            handle.forget_qualifier(&id.function, &number.to_string()).await?;
            handle.inner.store.versions().delete(id.clone()).await?;
            handle.swap(&id.function, |catalog| catalog.without_version(&id.function, number));
            handle.inner.pools.forget(&id);
            handle.inner.executors.of(version.configuration.runtime).forget(&id);
            handle.discard_all(version);
            Ok(())
        })
        .await
    }

    /// The newest version, if it is what publishing the function now would make.
    pub(crate) fn published_as(&self, latest: &Function) -> Option<Arc<Function>> {
        let catalog = self.catalog();
        let newest = catalog.versions(&latest.id).next_back()?;
        let mut configuration = latest.configuration.clone();
        configuration.description.clone_from(&newest.configuration.description);
        let is_same = newest.code == latest.code
            && newest.configuration == configuration
            && newest.settings.latest_description.as_ref() == Some(&latest.configuration.description);
        is_same.then(|| newest.clone())
    }
}

/// The version that publishing `latest` makes; it is being prepared, and its number is for the store to give.
pub(crate) fn version_of(latest: &Function, description: Option<String>) -> Function {
    let mut configuration = latest.configuration.clone();
    let latest_description = configuration.description.clone();
    if let Some(description) = description {
        configuration.description = description;
    }
    Function {
        id: latest.id.clone(),
        version: Version::Number(0),
        revision: RevisionId::random(),
        modified_at: Timestamp::now(),
        configuration,
        code: latest.code.clone(),
        state: State::Pending,
        last_update: None,
        tags: Default::default(),
        url: None,
        scaling: Default::default(),
        policies: Default::default(),
        settings: Settings { latest_description: Some(latest_description), ..Settings::default() },
    }
}
