//! Container images: what is pushed, what functions take of it, and what comes from registries.
//!
//! An account has images of its own, under names; a function has one by its digest, and keeps it whatever becomes of
//! the name. Layers are kept as they came, as blobs; the root that they make is unpacked once ([`Packages`]) and made
//! again from them where it is missing. Nobody's word makes the platform connect anywhere but to a registry that its
//! configuration allows, and no word at all makes it read a path of its host.

mod accounts;
mod pulls;
mod uploads;

use std::{
    collections::HashSet,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use tokio::runtime;
pub use updraft_image::{
    Digest, Reference,
    reference::{is_name, is_tag},
    registry::Allowed,
    unpack::Limits,
};
use updraft_image::{
    Layer,
    digest::Digesting,
    manifest::{self, Document},
    reference::{Place, Which},
    registry::{self, Registries},
    unpack::{self, Unpacker},
};
use updraft_store::{Blobs, blobs, images as stored};
pub use updraft_types::image::Tagged;
use updraft_types::{
    AccountId, Timestamp,
    function::{Architecture, Code},
    image::{Contents, Image, LayerBlob},
};

pub(crate) use self::pulls::Pulled;
pub use self::uploads::Progress;
use self::{accounts::Accounts, pulls::Pins, uploads::Uploads};
use crate::{
    Handle,
    control::{self, detached},
    package,
    packages::{self, Packages},
};

/// Most names of images that an account may have.
pub const TAGS_MAX: usize = 1_000;

/// Where images may come from, and how large they may be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where uploads wait. Its content can be sent again.
    pub directory: PathBuf,
    /// Registries that functions may name; without any, none.
    pub registries: Vec<Allowed>,
    /// What an image may unpack to.
    pub limits: Limits,
}

impl Config {
    /// Lambda's limit, and no registry at all.
    pub fn none(directory: PathBuf) -> Self {
        Self { directory, registries: Vec::new(), limits: Limits::default() }
    }
}

/// Why something was not done to an image. Nothing half-made is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image.
    #[error("there is no such image")]
    NotFound,
    /// A part of a blob does not begin where the one before ended.
    #[error("the next part begins at {received}")]
    Offset {
        /// Bytes that are there.
        received: u64,
    },
    /// The image is not acceptable; the text is for its author.
    #[error("{0}")]
    Image(String),
    /// The disk is full, or the platform failed.
    #[error(transparent)]
    Change(#[from] control::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Change(match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => control::Error::StorageFull,
            _ => control::Error::Internal(error.to_string()),
        })
    }
}

impl From<packages::Error> for Error {
    fn from(error: packages::Error) -> Self {
        Error::Change(error.into())
    }
}

impl From<manifest::Error> for Error {
    fn from(error: manifest::Error) -> Self {
        Error::Image(error.to_string())
    }
}

impl From<stored::Error> for Error {
    fn from(error: stored::Error) -> Self {
        match error {
            stored::Error::TooMany => Error::Image(format!("An account has at most {TAGS_MAX} names of images")),
            stored::Error::Full => Error::Change(control::Error::StorageFull),
            stored::Error::Internal(text) => Error::Change(control::Error::Internal(text)),
        }
    }
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        Error::Change(match error {
            blobs::Error::Full => control::Error::StorageFull,
            error => control::Error::Internal(error.to_string()),
        })
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        match error {
            registry::Error::Io(error) => error.into(),
            error => {
                if let registry::Error::Registry { registry, why, detail } = &error {
                    tracing::info!(%registry, %why, %detail, "a registry does not give an image");
                }
                Error::Image(error.to_string())
            }
        }
    }
}

/// What of images a node shares.
pub(crate) struct Images {
    accounts: Accounts,
    uploads: Uploads,
    registries: Registries,
    /// Layers that are to stay although no image has them any more.
    pub(crate) pins: Pins,
}

impl Images {
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        // Twice the largest image: one that waits, and one that is on its way.
        let uploads = Uploads::open(&config.directory, config.limits.bytes_max.saturating_mul(2))?;
        let registries = Registries::new(config.registries.clone())?;
        Ok(Self { accounts: Accounts::new(), uploads, registries, pins: Pins::default() })
    }
}

/// Where the bytes of a layer are that is not a blob yet.
type Waiting = (LayerBlob, PathBuf);

impl Handle {
    /// How far a blob of an image has come. One that an image of the account has is whole.
    pub async fn image_blob(&self, account: &AccountId, digest: &Digest) -> Result<Progress, Error> {
        match self.layer_sizes(account, vec![digest.hex()]).await?.pop() {
            Some(layer) => Ok(Progress { received: layer.size_bytes, is_complete: true }),
            None => self.inner.images.uploads.progress(account, digest),
        }
    }

    /// Adds a part of a blob of `size_bytes`, at `offset`.
    pub async fn upload_image_blob(
        &self,
        account: &AccountId,
        digest: &Digest,
        size_bytes: u64,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Progress, Error> {
        if size_bytes > self.inner.config.images.limits.bytes_max {
            return Err(Error::Image(format!(
                "A layer may have at most {} bytes",
                self.inner.config.images.limits.bytes_max
            )));
        }
        let (handle, account, digest) = (self.clone(), account.clone(), *digest);
        detached(async move {
            let Images { accounts, uploads, .. } = &handle.inner.images;
            uploads.add(accounts, &account, &digest, size_bytes, offset, bytes).await
        })
        .await
    }

    /// Takes an image whose layers have been uploaded, and calls it `name:tag`. It is durable, and unpacked, when this
    /// returns.
    pub async fn push_image(
        &self,
        account: &AccountId,
        name: String,
        tag: String,
        manifest: Bytes,
        config: Bytes,
    ) -> Result<Tagged, Error> {
        let (handle, account) = (self.clone(), account.clone());
        detached(async move {
            let contents = contents_of(&manifest, &config)?;
            check_size(&contents, handle.inner.config.images.limits.bytes_max)?;
            let going_on = handle.inner.images.accounts.of(&account);
            let _turn = going_on.pushing.lock().await;
            // From here nothing is removed: what is there stays until the image counts on it.
            let _gate = handle.gate().await;
            let waiting = handle.waiting_for(&account, &contents).await?;
            let tagged = Tagged { name, tag, contents, pushed_at: Timestamp::now() };
            let before = match handle.take_image(&account, &tagged.contents, &waiting).await {
                Ok(()) => {
                    let images = handle.inner.store.images();
                    images.tag(account.clone(), tagged.clone(), TAGS_MAX).await.map_err(Error::from)
                }
                Err(error) => Err(error),
            };
            match before {
                Ok(before) => {
                    if let Some(before) = before {
                        handle.discard_image(&account, &before);
                    }
                    for (_, file) in waiting {
                        // It is a blob now; what stays would go after a day.
                        let _ = std::fs::remove_file(file);
                    }
                    Ok(tagged)
                }
                Err(error) => {
                    handle.discard_contents(&account, &tagged.contents);
                    Err(error)
                }
            }
        })
        .await
    }

    /// Where the layers are that have been uploaded and are no image's yet.
    async fn waiting_for(&self, account: &AccountId, contents: &Contents) -> Result<Vec<Waiting>, Error> {
        let mut known = self.layers_there(account, contents).await?;
        let mut waiting = Vec::new();
        for layer in &contents.layers {
            if !known.insert(layer.digest.clone()) {
                continue;
            }
            let digest: Digest = format!("sha256:{}", layer.digest).parse().expect("contents hold digests");
            let file = self.inner.images.uploads.whole(account, &digest);
            if !file.is_file() {
                return Err(Error::Image(format!("The layer {digest} has not been uploaded")));
            }
            waiting.push((layer.clone(), file));
        }
        Ok(waiting)
    }

    /// The names of an account's images.
    pub async fn images(&self, account: &AccountId) -> Result<Vec<Tagged>, Error> {
        Ok(self.inner.store.images().list(account.clone()).await?)
    }

    /// Takes a name away. Functions that have the image keep it.
    pub async fn remove_image(&self, account: &AccountId, name: String, tag: String) -> Result<(), Error> {
        let removed = self.inner.store.images().untag(account.clone(), name, tag).await?;
        self.discard_image(account, &removed.ok_or(Error::NotFound)?);
        Ok(())
    }

    /// The keys of an account's images and of their layers.
    pub(crate) async fn image_keys(&self, account: &AccountId) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        for held in self.inner.store.images().all().await?.iter().filter(|held| held.account == *account) {
            keys.push(image_key(account, &held.contents.digest));
            keys.extend(held.contents.layers.iter().map(|layer| layer_key(account, &layer.digest)));
        }
        Ok(keys)
    }

    /// Removes what an account that is no more has uploaded.
    pub(crate) async fn forget_uploads(&self, account: &AccountId) -> Result<(), Error> {
        let Images { accounts, uploads, .. } = &self.inner.images;
        Ok(uploads.forget(accounts, account).await?)
    }

    /// The code that an `ImageUri` stands for, with `pulled` where a registry gave it. The caller holds the gate until a
    /// function names it.
    pub(crate) async fn image_code(
        &self,
        account: &AccountId,
        uri: &str,
        architecture: Architecture,
        pulled: Option<&Pulled>,
    ) -> Result<Code, control::Error> {
        let reference: Reference = uri.parse().map_err(|_| not_valid(uri))?;
        let contents = match pulled {
            Some(pulled) => {
                let taken = self.take_image(account, &pulled.contents, &pulled.waiting).await;
                let put = match taken {
                    Ok(()) => {
                        let put = self.inner.store.images().put(account.clone(), pulled.contents.clone()).await;
                        put.map_err(Error::from)
                    }
                    error => error,
                };
                if let Err(error) = put {
                    self.discard_contents(account, &pulled.contents);
                    return Err(control_error(error, uri));
                }
                pulled.contents.clone()
            }
            None => self.own_image(account, &reference).await.map_err(|error| control_error(error, uri))?,
        };
        if contents.architecture != architecture {
            let (wanted, there) = (manifest::platform_of(architecture), manifest::platform_of(contents.architecture));
            return Err(control::Error::Package(format!(
                "{} The image is for {there}, and the function for {wanted}.",
                not_valid(uri)
            )));
        }
        let digest: Digest = format!("sha256:{}", contents.digest).parse().expect("contents hold digests");
        let image = Image {
            account: account.clone(),
            uri: uri.to_owned(),
            resolved: reference.resolved(&digest),
            program: contents.program,
        };
        Ok(Code { sha256: contents.digest, size_bytes: 0, image: Some(image) })
    }

    async fn own_image(&self, account: &AccountId, reference: &Reference) -> Result<Contents, Error> {
        // Of another account there is nothing to be seen, not even whether it is there.
        if matches!(&reference.place, Place::Own(Some(named)) if named != account) {
            return Err(Error::NotFound);
        }
        let images = self.inner.store.images();
        let name = reference.name.clone();
        let found = match &reference.which {
            Which::Tag(tag) => images.find(account.clone(), name, tag.clone()).await?,
            Which::Digest(digest) => images.find_digest(account.clone(), name, digest.hex()).await?,
        };
        found.ok_or(Error::NotFound)
    }

    /// Those layers of an image that some image of the account has. The caller holds the gate as long as it counts on
    /// them.
    async fn layers_there(&self, account: &AccountId, contents: &Contents) -> Result<HashSet<String>, Error> {
        let digests = contents.layers.iter().map(|layer| layer.digest.clone()).collect();
        Ok(self.layer_sizes(account, digests).await?.into_iter().map(|layer| layer.digest).collect())
    }

    /// Those layers of `digests` that some image of the account has, and whose bytes are there: what turned out to be
    /// damaged is not, and can be pushed again.
    async fn layer_sizes(&self, account: &AccountId, digests: Vec<String>) -> Result<Vec<LayerBlob>, Error> {
        let mut there = Vec::new();
        for layer in self.inner.store.images().layers(account.clone(), digests).await? {
            let size_bytes = self.inner.store.blobs().size(&layer_key(account, &layer.digest)).await?;
            there.extend(size_bytes.map(|size_bytes| LayerBlob { size_bytes, ..layer }));
        }
        Ok(there)
    }

    /// Makes blobs of the layers that wait, and unpacks the image. Where this fails, blobs may be left.
    async fn take_image(&self, account: &AccountId, contents: &Contents, waiting: &[Waiting]) -> Result<(), Error> {
        for (layer, file) in waiting {
            self.inner.store.blobs().put_file(&layer_key(account, &layer.digest), file).await?;
        }
        match self.inner.shared.packages.unpack_image(account, contents).await {
            Ok(_) => Ok(()),
            Err(packages::Error::Package(error)) => Err(Error::Image(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to the keys of images those of their layers. What an instance has mounted keeps them: until its image is
    /// forgotten, a push of it counts on its layers being there.
    pub(crate) async fn with_layers(&self, keys: &mut Vec<String>) -> Result<(), control::Error> {
        let packages = &self.inner.shared.packages;
        let images: Vec<_> = keys.iter().filter(|key| !packages.is_held(key)).filter_map(|key| image_of(key)).collect();
        for (account, digest) in images {
            let contents = self.inner.store.images().get(account.clone(), digest).await;
            let contents = contents.map_err(|error| control::Error::Internal(error.to_string()))?;
            let layers = contents.into_iter().flat_map(|contents| contents.layers);
            keys.extend(layers.map(|layer| layer_key(&account, &layer.digest)));
        }
        Ok(())
    }

    /// Hands all that may be there of an image that was not taken to the collector.
    fn discard_contents(&self, account: &AccountId, contents: &Contents) {
        self.discard_image(account, &contents.digest);
        self.discard_keys(contents.layers.iter().map(|layer| layer_key(account, &layer.digest)));
    }

    /// Hands an image to the collector, which removes it once it has no name and no function.
    fn discard_image(&self, account: &AccountId, digest: &str) {
        self.discard_keys([image_key(account, digest)]);
    }
}

/// AWS's text for an `ImageUri` that is none (from memory: no recorded response has it).
fn not_valid(uri: &str) -> NotValid {
    NotValid(uri.chars().take(200).collect())
}

struct NotValid(String);

impl fmt::Display for NotValid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source image {} is not valid. Provide a valid source image.", self.0)
    }
}

impl From<NotValid> for control::Error {
    fn from(error: NotValid) -> Self {
        control::Error::Package(error.to_string())
    }
}

fn control_error(error: Error, uri: &str) -> control::Error {
    match error {
        Error::NotFound => {
            let shown: String = uri.chars().take(200).collect();
            control::Error::Package(format!("Source image {shown} does not exist. Provide a valid source image."))
        }
        Error::Image(text) => control::Error::Package(text),
        error @ Error::Offset { .. } => control::Error::Internal(error.to_string()),
        Error::Change(error) => error,
    }
}

/// What an image is made of, by its manifest and configuration.
fn contents_of(manifest: &[u8], config: &[u8]) -> Result<Contents, Error> {
    let mut refused = None;
    for architecture in [Architecture::X86_64, Architecture::Arm64] {
        let Document::Manifest(read) = manifest::read(manifest, architecture)? else {
            return Err(Error::Image("An index has been pushed; push the image of one architecture".into()));
        };
        match manifest::program(config, &read, architecture) {
            Ok(program) => {
                let layers = read.layers.iter().map(blob_of).collect();
                return Ok(Contents { digest: Digest::of(manifest).hex(), layers, architecture, program });
            }
            Err(error @ manifest::Error::Architecture { .. }) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.expect("an architecture was tried").into())
}

/// Whether an image's layers are within what it may have, each as often as it is there: all of them are read.
fn check_size(contents: &Contents, bytes_max: u64) -> Result<(), Error> {
    let bytes = contents.layers.iter().map(|layer| layer.size_bytes).fold(0, u64::saturating_add);
    if bytes > bytes_max {
        return Err(Error::Image(format!("Its layers have {bytes} bytes; at most {bytes_max} are allowed.")));
    }
    Ok(())
}

fn blob_of(layer: &Layer) -> LayerBlob {
    LayerBlob { digest: layer.digest.hex(), size_bytes: layer.size_bytes }
}

const IMAGE: &str = "image-";
const LAYER: &str = "layer-";

/// The name of an image's root among the unpacked packages.
pub(crate) fn image_key(account: &AccountId, digest: &str) -> String {
    format!("{IMAGE}{account}-{digest}")
}

/// The name of a layer among the blobs.
pub(crate) fn layer_key(account: &AccountId, digest: &str) -> String {
    format!("{LAYER}{account}-{digest}")
}

/// Whether a key is a layer's.
pub(crate) fn is_layer(key: &str) -> bool {
    key.starts_with(LAYER)
}

/// The account and digest that a key of an image is made of.
pub(crate) fn image_of(key: &str) -> Option<(AccountId, String)> {
    let (account, digest) = key.strip_prefix(IMAGE)?.split_once('-')?;
    Some((account.parse().ok()?, digest.to_owned()))
}

impl Packages {
    /// An image's root, unpacked now if it is not there.
    pub(crate) async fn unpack_image(
        &self,
        account: &AccountId,
        contents: &Contents,
    ) -> Result<std::sync::Arc<packages::Package>, packages::Error> {
        let key = image_key(account, &contents.digest);
        if let Some(image) = self.find(&key) {
            return Ok(image);
        }
        // One at a time: each takes a processor and a disk, and whoever waits may find it done.
        let turn = self.unpacking.clone().lock_owned().await;
        let (account, contents, blobs) = (account.clone(), contents.clone(), self.store.blobs().clone());
        let limits = self.image_limits;
        // Kept until the folder is there, also when whoever wanted it has gone.
        let unpack = move |folder: &Path| -> Result<(), package::Error> {
            let _turn = turn;
            let free = uploads::free_bytes(folder)?;
            let mut unpacker = Unpacker::new(folder, Limits { bytes_max: limits.bytes_max.min(free), ..limits })?;
            for layer in &contents.layers {
                let key = layer_key(&account, &layer.digest);
                let digest = format!("sha256:{}", layer.digest).parse::<Digest>().map_err(io::Error::other)?;
                let layer = Layer { digest, size_bytes: layer.size_bytes };
                match unpacker.layer(&layer, Blocking::open(&blobs, &key)?) {
                    Err(unpack::Error::TooLarge(bytes)) if bytes < limits.bytes_max => {
                        return Err(package::Error::StorageFull);
                    }
                    Err(error @ unpack::Error::Digest { .. }) => {
                        remove_damaged(&blobs, &key, &layer)?;
                        return Err(error.into());
                    }
                    done => done?,
                }
            }
            Ok(unpacker.finish(contents.program.directory(&Default::default()))?)
        };
        self.make(&key, unpack).await
    }
}

/// Removes a layer's blob if its bytes are not those of its key, so that it can be pushed again. It is read once more
/// before that: a size that its image is wrong about, or a disk that was wrong once, are no reason.
fn remove_damaged(blobs: &Blobs, key: &str, layer: &Layer) -> io::Result<()> {
    let (found, size_bytes) = Digesting::new(Blocking::open(blobs, key)?).finish(layer.size_bytes)?;
    if size_bytes == layer.size_bytes && found != layer.digest {
        tracing::error!(key, "a layer's blob is damaged, and removed");
        runtime::Handle::current().block_on(blobs.delete(key)).map_err(io::Error::other)?;
    }
    Ok(())
}

impl From<unpack::Error> for package::Error {
    fn from(error: unpack::Error) -> Self {
        use unpack::Error;
        match error {
            Error::StorageFull => package::Error::StorageFull,
            Error::Io(error) => package::Error::Io(error),
            error => package::Error::Image(error.to_string()),
        }
    }
}

/// A blob's pieces, for a thread that may wait.
struct Blocking {
    stream: BoxStream<'static, Result<Bytes, blobs::Error>>,
    piece: Bytes,
}

impl Blocking {
    fn open(blobs: &Blobs, key: &str) -> io::Result<Self> {
        let stream = runtime::Handle::current().block_on(blobs.stream(key)).map_err(io::Error::other)?;
        let stream = stream.ok_or_else(|| io::Error::other(format!("the blob {key} is missing")))?;
        Ok(Self { stream, piece: Bytes::new() })
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match runtime::Handle::current().block_on(self.stream.next()) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
