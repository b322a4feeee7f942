//! Images from registries, before they are the platform's.
//!
//! A pull takes as long as the registry does, and nothing that others need is held meanwhile: it has a place among the
//! account's and the node's, room that was found before the first byte, and a pin on every layer that it counts on having
//! already. Invariant: a layer that was found to be there is there when the image is taken, or the pull is dropped.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use parking_lot::Mutex;
use updraft_image::{Reference, reference::Place as RegistryOf};
use updraft_types::{AccountId, function::Architecture, image::Contents};

use super::{Error, Images, Waiting, accounts::Place, blob_of, check_size, control_error, layer_key, not_valid};
use crate::{Handle, control};

/// Layers that pulls count on, by their keys and how many do. As many as the pulls that the node has at once have layers.
#[derive(Default)]
pub(crate) struct Pins {
    counts: Mutex<HashMap<String, usize>>,
}

impl Pins {
    /// The keys that are to stay.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.counts.lock().keys().cloned().collect()
    }

    fn add(&self, key: &str) {
        *self.counts.lock().entry(key.to_owned()).or_default() += 1;
    }

    fn remove(&self, key: &str) {
        let mut counts = self.counts.lock();
        match counts.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(key)),
        }
    }
}

/// An image that a registry has given, before it is the platform's.
pub(crate) struct Pulled {
    pub(super) contents: Contents,
    pub(super) waiting: Vec<Waiting>,
    /// The keys of the layers that were there.
    pinned: Vec<String>,
    handle: Handle,
    place: Place,
}

impl Drop for Pulled {
    fn drop(&mut self) {
        for (_, file) in &self.waiting {
            // One that never came is not there.
            let _ = std::fs::remove_file(file);
        }
        self.pinned.iter().for_each(|key| self.handle.inner.images.pins.remove(key));
        // What nothing else has kept may have been waiting for this.
        self.handle.discard_keys(std::mem::take(&mut self.pinned));
    }
}

impl Handle {
    /// What a registry gives for a reference to one; `None` where it names an image of the platform's own.
    pub(crate) async fn pull(
        &self,
        account: &AccountId,
        uri: &str,
        architecture: Architecture,
    ) -> Result<Option<Pulled>, control::Error> {
        let reference: Reference = uri.parse().map_err(|_| not_valid(uri))?;
        if matches!(reference.place, RegistryOf::Own(_)) {
            return Ok(None);
        }
        let pulled = self.pull_from(account, &reference, architecture).await;
        pulled.map(Some).map_err(|error| match error {
            Error::Image(text) => control::Error::Package(format!("{} {text}", not_valid(uri))),
            error => control_error(error, uri),
        })
    }

    async fn pull_from(
        &self,
        account: &AccountId,
        reference: &Reference,
        architecture: Architecture,
    ) -> Result<Pulled, Error> {
        let Images { accounts, uploads, registries, .. } = &self.inner.images;
        let mut repository = registries.repository(reference)?;
        let place = accounts.begin_pull(account).await?;
        let described = repository.describe(&reference.which, architecture).await?;
        let layers = &described.manifest.layers;
        let contents = Contents {
            digest: described.digest.hex(),
            layers: layers.iter().map(blob_of).collect(),
            architecture,
            program: described.program,
        };
        check_size(&contents, self.inner.config.images.limits.bytes_max)?;
        let mut pulled = Pulled { contents, waiting: Vec::new(), pinned: Vec::new(), handle: self.clone(), place };
        let there = self.pin_layers(account, &mut pulled).await?;
        let mut seen = HashSet::new();
        let missing: Vec<_> =
            layers.iter().filter(|layer| !there.contains(&layer.digest.hex()) && seen.insert(layer.digest)).collect();
        let bytes = missing.iter().map(|layer| layer.size_bytes).sum();
        uploads.make_place(account, &mut pulled.place, bytes).await?;
        for layer in missing {
            let file: PathBuf = uploads.fresh(account)?;
            pulled.waiting.push((blob_of(layer), file.clone()));
            repository.fetch(layer, &file).await?;
        }
        Ok(pulled)
    }

    /// Sees to it that what is there of an image's layers stays, and answers their digests.
    async fn pin_layers(&self, account: &AccountId, pulled: &mut Pulled) -> Result<HashSet<String>, Error> {
        // While it is held nothing is removed.
        let _gate = self.gate().await;
        let there = self.layers_there(account, &pulled.contents).await?;
        for digest in &there {
            let key = layer_key(account, digest);
            self.inner.images.pins.add(&key);
            pulled.pinned.push(key);
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_pinned_as_long_as_somebody_counts_on_it() {
        let pins = Pins::default();
        ["a", "b", "a"].iter().for_each(|key| pins.add(key));
        pins.remove("b");
        pins.remove("a");
        assert_eq!(pins.keys(), ["a"]);
        pins.remove("a");
        pins.remove("a");
        assert!(pins.keys().is_empty());
    }
}
