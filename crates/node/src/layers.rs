//! Layers: publishing versions of them, their policies, and what functions have of them.
//!
//! A version's zip is kept as any package is, and unpacked once per content. A function with several layers has a folder
//! of its own set, joined by [`crate::overlay`]; all functions with the same layers in the same order share it.
//! What a function has of a layer is in its own document: a version that is deleted goes on working there.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use updraft_executor::Executor;
use updraft_store::layers::{Error as StoreError, Policy, PolicyError};
use updraft_types::{
    AccountId, Fault, Function, LayerId, LayerName, LayerVersionId, RevisionId, Runtime, Timestamp,
    function::{Architecture, Code},
    layer::{LayerStatement, LayerUse, LayerVersion, may_use_layer},
    limits::{RESOURCE_POLICY_BYTES_MAX, UNZIPPED_BYTES_MAX},
};

use crate::{
    Handle,
    control::{self, detached},
    images, package,
    packages::{self, Package, Packages, code_of},
    pools::Shared,
};

/// A layer version to be published. The door has checked the bounds of each field.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Account and name.
    pub layer: LayerId,
    /// Free text.
    pub description: String,
    /// A licence, or where to find one.
    pub license: Option<String>,
    /// Runtimes it is said to be for.
    pub runtimes: Option<Vec<String>>,
    /// Architectures it is said to be for.
    pub architectures: Option<Vec<Architecture>>,
}

/// Why something was not done to a layer. Nothing half-made is left behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such version, or none that the caller may know of.
    #[error("there is no such layer version")]
    NotFound,
    /// The policy has no statement of that name.
    #[error("there is no such statement")]
    NoStatement,
    /// The policy has a statement of that name.
    #[error("the statement exists already")]
    StatementExists,
    /// The caller's RevisionId is not the policy's.
    #[error("the revision is not the policy's current one")]
    RevisionMismatch,
    /// The policy would be longer than [`RESOURCE_POLICY_BYTES_MAX`].
    #[error("the policy would be too long")]
    PolicyTooLong,
    /// The package is not acceptable, the disk is full, or the platform failed.
    #[error(transparent)]
    Change(#[from] control::Error),
}

impl From<packages::Error> for Error {
    fn from(error: packages::Error) -> Self {
        Error::Change(error.into())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Change(error.into())
    }
}

impl From<StoreError> for control::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => control::Error::StorageFull,
            StoreError::Internal(text) => control::Error::Internal(text),
        }
    }
}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::NotFound => Error::NotFound,
            PolicyError::NoStatement => Error::NoStatement,
            PolicyError::Exists => Error::StatementExists,
            PolicyError::Stale => Error::RevisionMismatch,
            PolicyError::TooLong => Error::PolicyTooLong,
            PolicyError::Full => Error::Change(control::Error::StorageFull),
            PolicyError::Internal(text) => Error::Change(control::Error::Internal(text)),
        }
    }
}

/// Which versions a list shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those said to be for this runtime.
    pub runtime: Option<String>,
    /// Those said to be for this architecture.
    pub architecture: Option<Architecture>,
}

impl Filter {
    fn takes(&self, version: &LayerVersion) -> bool {
        let runtimes = || version.runtimes.iter().flatten();
        let architectures = || version.architectures.iter().flatten();
        self.runtime.as_ref().is_none_or(|runtime| runtimes().any(|known| known == runtime))
            && self.architecture.is_none_or(|architecture| architectures().any(|known| *known == architecture))
    }
}

impl Handle {
    /// Publishes a layer's next version. It is durable when this returns.
    pub async fn publish_layer(&self, draft: Draft, zip: Bytes) -> Result<LayerVersion, Error> {
        let handle = self.clone();
        detached(async move {
            handle.check_code_room(&draft.layer.account, zip.len() as u64).await?;
            let measured = zip.clone();
            let unzipped_bytes = packages::run_blocking(move || Ok(package::unzipped_bytes(&measured)?)).await?;
            // Held until the version names the package.
            let _gate = handle.gate().await;
            let code = handle.add_package(zip).await?;
            let Draft { layer, description, license, runtimes, architectures } = draft;
            let version = LayerVersion {
                id: LayerVersionId { layer, version: 0 },
                code: code.clone(),
                unzipped_bytes,
                description,
                license,
                runtimes,
                architectures,
                created_at: Timestamp::now(),
            };
            let published = handle.inner.store.layers().publish(version).await;
            if published.is_err() {
                handle.discard(code);
            }
            Ok(published?)
        })
        .await
    }

    /// A version and its policy, if `caller` may read it.
    pub async fn layer_version(&self, caller: &AccountId, id: LayerVersionId) -> Result<(LayerVersion, Policy), Error> {
        let found = self.inner.store.layers().get(id).await?;
        let may_read =
            |(version, policy): &(LayerVersion, Policy)| may_use_layer(caller, &version.id.layer, &policy.statements);
        found.filter(may_read).ok_or(Error::NotFound)
    }

    /// At most `count` versions of a layer, the newest first, below `before` where that is given.
    pub async fn layer_versions(
        &self,
        layer: LayerId,
        before: Option<u64>,
        count: usize,
        filter: Filter,
    ) -> Result<Vec<LayerVersion>, Error> {
        let versions = self.inner.store.layers().versions(layer, before, count, move |version| filter.takes(version));
        Ok(versions.await?)
    }

    /// At most `count` layers of an account, by name, past `after` where that is given; of each the newest version that
    /// the filter takes.
    pub async fn layers(
        &self,
        account: AccountId,
        after: Option<LayerName>,
        count: usize,
        filter: Filter,
    ) -> Result<Vec<LayerVersion>, Error> {
        let layers = self.inner.store.layers().layers(account, after, count, move |version| filter.takes(version));
        Ok(layers.await?)
    }

    /// Deletes a version, if it is there. Functions that have it keep it.
    pub async fn delete_layer_version(&self, id: LayerVersionId) -> Result<(), Error> {
        let handle = self.clone();
        detached(async move {
            if let Some(deleted) = handle.inner.store.layers().delete(id).await? {
                handle.discard(deleted.code);
            }
            Ok(())
        })
        .await
    }

    /// Adds a statement to a version's policy; answers the policy's new revision. `expected`, if given, is the policy's
    /// revision as the caller knows it.
    pub async fn add_layer_statement(
        &self,
        id: LayerVersionId,
        statement: LayerStatement,
        expected: Option<String>,
    ) -> Result<RevisionId, Error> {
        let layers = self.inner.store.layers();
        Ok(layers.add_statement(id, statement, expected, RESOURCE_POLICY_BYTES_MAX).await?)
    }

    /// Removes a statement from a version's policy.
    pub async fn remove_layer_statement(
        &self,
        id: LayerVersionId,
        sid: String,
        expected: Option<String>,
    ) -> Result<(), Error> {
        Ok(self.inner.store.layers().remove_statement(id, sid, expected).await?)
    }

    /// Checks that a function's layers can go with it: together they may unpack to [`UNZIPPED_BYTES_MAX`].
    pub(crate) async fn check_layers(&self, function: &Function) -> Result<(), control::Error> {
        let configuration = &function.configuration;
        if configuration.layers.is_empty() {
            return Ok(());
        }
        if configuration.runtime == Runtime::Wasm {
            let text = "A wasm function cannot have layers: a component has no file system to find them in";
            return Err(control::Error::Unsupported(text.into()));
        }
        let zip = self.inner.shared.packages.read_zip(&function.code).await?;
        let own = packages::run_blocking(move || Ok(package::unzipped_bytes(&zip)?)).await?;
        let whole = configuration.layers.iter().map(|layer| layer.unzipped_bytes).fold(own, u64::saturating_add);
        if whole > UNZIPPED_BYTES_MAX {
            return Err(control::Error::Package(format!(
                "Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_BYTES_MAX} bytes. \
                 The actual size is {whole} bytes."
            )));
        }
        Ok(())
    }

    /// What something names of packages, sets of layers and images: all functions, layer versions and names of images.
    pub(crate) async fn used_packages(&self) -> Result<HashSet<String>, control::Error> {
        let published = self.inner.store.layers().packages(None).await?;
        let catalog = self.catalog();
        let functions = catalog.all_versions().flat_map(|function| keys_of(function));
        let mut used: HashSet<String> = functions.chain(published.iter().map(Packages::key)).collect();
        // An image is used that has a name or a function; its layers are with it.
        for image in
            self.inner.store.images().all().await.map_err(|error| control::Error::Internal(error.to_string()))?
        {
            let key = images::image_key(&image.account, &image.contents.digest);
            if image.is_tagged || used.contains(&key) {
                let layers = image.contents.layers.iter();
                used.extend(layers.map(|layer| images::layer_key(&image.account, &layer.digest)));
                used.insert(key);
            }
        }
        used.extend(self.inner.images.pins.keys());
        Ok(used)
    }
}

/// The keys of all that a function has laid out: its package, its layers, and their set.
pub(crate) fn keys_of(function: &Function) -> Vec<String> {
    let layers = &function.configuration.layers;
    let packages = [&function.code].into_iter().chain(layers.iter().map(|layer| &layer.code));
    packages.map(Packages::key).chain(Packages::set_key(layers)).collect()
}

impl Shared {
    /// The function's layers, laid out and prepared: at once if that was done before. `None` without any.
    pub(crate) async fn ready_layers(
        &self,
        function: &Function,
        executor: &dyn Executor,
        package: &Package,
    ) -> Result<Option<Arc<Package>>, Fault> {
        let layers = self.packages.layers(&function.configuration.layers).await;
        let layers = layers.map_err(|error| match error {
            packages::Error::Package(error) => Fault::Entrypoint { reason: error.to_string() },
            error => Fault::Platform { reason: error.to_string() },
        })?;
        if let Some(layers) = &layers {
            let prepared = executor.prepare_layers(function, &package.folder, &layers.folder).await;
            prepared.map_err(|rejected| Fault::Entrypoint { reason: rejected.to_string() })?;
        }
        Ok(layers)
    }
}

impl Packages {
    /// The folder a function with these layers has at `/opt`; `None` without any.
    pub(crate) async fn layers(&self, layers: &[LayerUse]) -> Result<Option<Arc<Package>>, packages::Error> {
        let Some(key) = Self::set_key(layers) else {
            return match layers.first() {
                Some(only) => self.get(&only.code).await.map(Some),
                None => Ok(None),
            };
        };
        if let Some(set) = self.find(&key) {
            return Ok(Some(set));
        }
        let mut whole = Vec::with_capacity(layers.len());
        for layer in layers {
            whole.push(self.get(&layer.code).await?);
        }
        let set = self.make(&key, move |folder| {
            let folders: Vec<_> = whole.iter().map(|package| package.folder.clone()).collect();
            crate::overlay::merge(&folders, folder)
        });
        set.await.map(Some)
    }

    /// What the set of several layers is named by: their contents, in order.
    pub(crate) fn set_key(layers: &[LayerUse]) -> Option<String> {
        if layers.len() < 2 {
            return None;
        }
        let keys: String = layers.iter().map(|layer| Self::key(&layer.code)).collect();
        let set: Code = code_of(keys.as_bytes());
        Some(format!("set-{}", Self::key(&set)))
    }
}
