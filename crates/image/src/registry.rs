//! Images from registries that the operator allows: the one way an image makes the platform connect anywhere.
//!
//! Which registries are asked is decided here, and what is made of their answers: each is read up to its bound, and
//! nothing is kept whose digest was not checked. How they are asked, and how far one may send the platform on, is
//! [`ask`]'s and [`lead`]'s. What an image says is no address: those in descriptors are never read. Authors hear our own
//! words ([`Why`]), never a registry's.
//!
//! Source: OCI distribution specification 1.1.

mod ask;
mod lead;

use std::{future::Future, io, net::IpAddr, path::Path, str::FromStr, sync::Arc, time::Duration};

use reqwest::Url;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use updraft_types::{function::Architecture, image::Program};

use self::ask::{Clients, Session};
use crate::{
    Digest, Layer, Manifest, Reference,
    manifest::{self, ACCEPTED, CONFIG_BYTES_MAX, Document, MANIFEST_BYTES_MAX},
    reference::{Place, Which},
};

/// Longest that a manifest or configuration may take, with all that is asked on the way to it.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(60);
/// How fast a layer has to come on average, bytes a second. Below that nobody would wait for it.
const LAYER_SPEED_MIN: u64 = 128 << 10;
/// Media types to take a blob as.
const ANY: &str = "*/*";

/// A registry that images may come from: `HOST[:PORT]`, or `http://HOST[:PORT]` for one on the loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// As it stands in references.
    host: String,
    is_plain: bool,
    root: Url,
}

/// Text that names no registry that can be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a registry: {why}")]
pub struct NoRegistry {
    text: String,
    why: &'static str,
}

impl FromStr for Allowed {
    type Err = NoRegistry;
    fn from_str(text: &str) -> Result<Self, NoRegistry> {
        let refused = |why| NoRegistry { text: text.to_owned(), why };
        let (host, is_plain) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(host), _) => (host, true),
            (_, Some(host)) => (host, false),
            _ => (text, false),
        };
        let host = host.trim_end_matches('/').to_ascii_lowercase();
        let unlike = || refused("expected HOST or HOST:PORT, with a dot, a port or localhost");
        // As it would stand in a reference.
        match format!("{host}/x").parse() {
            Ok(Reference { place: Place::Registry(named), .. }) if named == host => {}
            _ => return Err(unlike()),
        }
        if is_plain && !is_loopback(&host) {
            return Err(refused("plain http is for a registry on the loopback"));
        }
        let scheme = if is_plain { "http" } else { "https" };
        let root = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| unlike())?;
        Ok(Self { host, is_plain, root })
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry is not among those that are allowed.
    #[error("images from {0} are not allowed here")]
    NotAllowed(String),
    /// The registry did not answer, or not with an image.
    #[error("the registry {registry} does not give the image: {why}")]
    Registry {
        /// Its host.
        registry: String,
        /// What is wrong, for the author.
        why: Why,
        /// What the connection said, for the operator; may be empty.
        detail: String,
    },
    /// The image is not acceptable.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// What came could not be written.
    #[error("writing a layer: {0}")]
    Io(#[from] io::Error),
}

/// What is wrong with a registry's answer, in words of ours: its own could hold anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No connection.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// An answer broke off.
    #[error("the connection broke off")]
    BrokenOff,
    /// Too long a pause, or too slow altogether.
    #[error("it takes too long")]
    TooSlow,
    /// 404.
    #[error("it has no such image")]
    NotThere,
    /// 401, 403, or a token service that gives none.
    #[error("it wants a login, and the platform has none: the image has to be public there")]
    Login,
    /// 429.
    #[error("it has been asked too often; try again later")]
    AskedTooOften,
    /// Any other status.
    #[error("it answered with the status {0}")]
    Status(u16),
    /// More than there may be.
    #[error("its {part} is larger than {max} bytes")]
    TooLarge {
        /// Of what.
        part: &'static str,
        /// How much there may be.
        max: u64,
    },
    /// Fewer or more bytes than the manifest says.
    #[error("a layer is not as large as its manifest says")]
    LayerSize,
    /// Other bytes than the manifest says.
    #[error("a part of the image is not what its digest says")]
    Digest,
    /// An index in an index.
    #[error("its index leads to another index")]
    Nested,
    /// A token service that does not answer as one.
    #[error("its token service does not answer with a token")]
    NoToken,
    /// It sends the platform on, and further, and further.
    #[error("it sends the platform on too many times")]
    TooManyLeads,
    /// It sends the platform where it may not.
    #[error("it sends the platform on to {host}, {reason}")]
    Astray {
        /// Where, shortened.
        host: String,
        /// What is wrong with that.
        reason: &'static str,
    },
}

/// What is known of an image before its layers are there.
#[derive(Debug)]
pub struct Described {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// What the configuration says about running it.
    pub program: Program,
}

/// The registries that may be asked.
#[derive(Clone)]
pub struct Registries {
    allowed: Arc<[Allowed]>,
    /// Without any registry there is nobody to connect to, and no need of roots to trust.
    clients: Option<Clients>,
}

impl Registries {
    /// Clients for these and no others; connect when first asked. Fails where there are no roots to trust.
    pub fn new(allowed: Vec<Allowed>) -> io::Result<Self> {
        let clients = if allowed.is_empty() { None } else { Some(Clients::new().map_err(io::Error::other)?) };
        Ok(Self { allowed: allowed.into(), clients })
    }

    /// The repository of a reference, if its registry may be asked. Asks nothing yet.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, Error> {
        let Place::Registry(host) = &reference.place else { return Err(Error::NotAllowed("here".into())) };
        let registry = self.allowed.iter().find(|allowed| allowed.host == *host);
        let (Some(registry), Some(clients)) = (registry, &self.clients) else {
            return Err(Error::NotAllowed(host.clone()));
        };
        let session = Session::new(clients.clone(), registry.clone(), self.allowed.clone(), &reference.name);
        Ok(Repository { session, name: reference.name.clone() })
    }
}

/// A repository of a registry, while one image of it is being had. Remembers the token it was given and nothing else.
pub struct Repository {
    session: Session,
    name: String,
}

impl Repository {
    /// What an image is made of. Of several architectures' images, the one for `architecture`.
    pub async fn describe(&mut self, which: &Which, architecture: Architecture) -> Result<Described, Error> {
        let mut wanted = match which {
            Which::Tag(tag) => Wanted { name: tag.clone(), digest: None },
            Which::Digest(digest) => Wanted::by(*digest),
        };
        let mut was_index = false;
        loop {
            let bytes = self.manifest(&wanted).await?;
            let digest = Digest::of(&bytes);
            if wanted.digest.is_some_and(|wanted| wanted != digest) {
                return Err(manifest::Error::Digest { part: "manifest" }.into());
            }
            match manifest::read(&bytes, architecture)? {
                Document::Index(inner) if !was_index => {
                    was_index = true;
                    wanted = Wanted::by(inner);
                }
                Document::Index(_) => return Err(self.session.failed(Why::Nested)),
                Document::Manifest(manifest) => {
                    let config = self.configuration(&manifest.config).await?;
                    let program = manifest::program(&config, &manifest, architecture)?;
                    return Ok(Described { digest, manifest, program });
                }
            }
        }
    }

    async fn manifest(&mut self, wanted: &Wanted) -> Result<Vec<u8>, Error> {
        let path = format!("v2/{}/manifests/{}", self.name, wanted.name);
        let accepted = ACCEPTED.join(", ");
        in_time(&self.session.clone(), DOCUMENT_TIME_MAX, async {
            let answer = self.session.get(&path, lead::To::Manifest, &accepted).await?;
            answer.read(MANIFEST_BYTES_MAX, "manifest").await
        })
        .await
    }

    async fn configuration(&mut self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.blob(digest);
        in_time(&self.session.clone(), DOCUMENT_TIME_MAX, async {
            let answer = self.session.get(&path, lead::To::Blob, ANY).await?;
            answer.read(CONFIG_BYTES_MAX, "configuration").await
        })
        .await
    }

    /// Writes a layer's bytes into a new file, which after an error holds debris.
    pub async fn fetch(&mut self, layer: &Layer, file: &Path) -> Result<(), Error> {
        let time_max = DOCUMENT_TIME_MAX + Duration::from_secs(layer.size_bytes / LAYER_SPEED_MIN);
        in_time(&self.session.clone(), time_max, self.write(layer, file)).await
    }

    async fn write(&mut self, layer: &Layer, file: &Path) -> Result<(), Error> {
        let path = self.blob(&layer.digest);
        let mut answer = self.session.get(&path, lead::To::Blob, ANY).await?;
        if answer.promised_bytes().is_some_and(|promised| promised != layer.size_bytes) {
            return Err(self.session.failed(Why::LayerSize));
        }
        let mut file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(file).await?;
        let (mut left, mut hash) = (layer.size_bytes, Sha256::new());
        while let Some(piece) = answer.piece().await? {
            let after = left.checked_sub(piece.len() as u64);
            left = after.ok_or_else(|| self.session.failed(Why::LayerSize))?;
            hash.update(&piece);
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        if left > 0 {
            return Err(self.session.failed(Why::LayerSize));
        }
        if Digest::from_hash(hash) != layer.digest {
            return Err(self.session.failed(Why::Digest));
        }
        Ok(())
    }

    /// By its digest alone: a descriptor could bring addresses with it.
    fn blob(&self, digest: &Digest) -> String {
        format!("v2/{}/blobs/{digest}", self.name)
    }
}

/// What a manifest is asked for by, and what it has to be then.
struct Wanted {
    name: String,
    digest: Option<Digest>,
}

impl Wanted {
    fn by(digest: Digest) -> Self {
        Self { name: digest.to_string(), digest: Some(digest) }
    }
}

async fn in_time<T>(
    session: &Session,
    time_max: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    // What is asked is many futures deep in others, and large.
    match tokio::time::timeout(time_max, Box::pin(answer)).await {
        Ok(answer) => answer,
        Err(_) => Err(session.failed(Why::TooSlow)),
    }
}

#[cfg(test)]
mod tests;
