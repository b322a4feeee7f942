//! Images from registries that the operator allows: the one way an image makes the platform connect anywhere.
//!
//! The protocol is `oci-client`'s; what is here is which registries are asked, and bounds on what they answer. A registry
//! is trusted as far as it was allowed: it may send the platform on to where its blobs or its tokens are. What an image
//! in it says is not: addresses in descriptors are never passed on. Plain HTTP is for a registry on the loopback only.
//!
//! Source: OCI distribution specification 1.1.

use std::{future::Future, net::IpAddr, path::Path, str::FromStr, time::Duration};

use futures_util::StreamExt;
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};
use tokio::io::AsyncWriteExt;
use updraft_types::{function::Architecture, image::Program};

use crate::{
    Digest, Layer, Manifest, Reference,
    manifest::{self, ACCEPTED, CONFIG_BYTES_MAX, Document, MANIFEST_BYTES_MAX},
    reference::{Place, Which},
};

/// Longest pause while connecting or while bytes are coming.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Longest a manifest or configuration may take.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(60);

/// A registry that images may come from: `HOST[:PORT]`, or `http://HOST[:PORT]` for one on the loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    host: String,
    is_plain: bool,
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
        // As it would stand in a reference.
        match format!("{host}/x").parse() {
            Ok(Reference { place: Place::Registry(named), .. }) if named == host => {}
            _ => return Err(refused("expected HOST or HOST:PORT, with a dot, a port or localhost")),
        }
        if is_plain && !is_loopback(&host) {
            return Err(refused("plain http is for a registry on the loopback"));
        }
        Ok(Self { host, is_plain })
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
        /// What it or the connection said, shortened.
        why: String,
    },
    /// The image is not acceptable.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// What came could not be written.
    #[error("writing a layer: {0}")]
    Io(#[from] std::io::Error),
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
    allowed: Vec<Allowed>,
    client: Client,
}

impl Registries {
    /// A client for these and no others; connects when it is first asked.
    pub fn new(allowed: Vec<Allowed>) -> Self {
        // Without a provider of its own choice the client would ask for the process's, and panic without one. That
        // somebody has set one before is as good.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let plain = allowed.iter().filter(|registry| registry.is_plain).map(|registry| registry.host.clone()).collect();
        let client = Client::new(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(plain),
            connect_timeout: Some(PAUSE_MAX),
            read_timeout: Some(PAUSE_MAX),
            user_agent: concat!("updraft/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Self { allowed, client }
    }

    /// The registry's own form of a reference, if that registry may be asked.
    fn ask_for(&self, reference: &Reference) -> Result<oci_client::Reference, Error> {
        let Place::Registry(host) = &reference.place else { return Err(Error::NotAllowed("here".into())) };
        if !self.allowed.iter().any(|allowed| allowed.host == *host) {
            return Err(Error::NotAllowed(host.clone()));
        }
        let (host, name) = (host.clone(), reference.name.clone());
        Ok(match &reference.which {
            Which::Tag(tag) => oci_client::Reference::with_tag(host, name, tag.clone()),
            Which::Digest(digest) => oci_client::Reference::with_digest(host, name, digest.to_string()),
        })
    }

    /// What an image is made of. Of several architectures' images, the one for `architecture`.
    pub async fn describe(&self, reference: &Reference, architecture: Architecture) -> Result<Described, Error> {
        let mut asked = self.ask_for(reference)?;
        let registry = asked.registry().to_owned();
        let mut was_index = false;
        loop {
            // The client's futures are large, and ours are many functions deep in others.
            let pulled = Box::pin(self.client.pull_manifest_raw(&asked, &RegistryAuth::Anonymous, &ACCEPTED));
            let (bytes, _) = in_time(&registry, async { pulled.await.map_err(|error| error.to_string()) }).await?;
            if bytes.len() > MANIFEST_BYTES_MAX {
                return Err(manifest::Error::TooLarge { part: "manifest", max: MANIFEST_BYTES_MAX }.into());
            }
            let digest = Digest::of(&bytes);
            if asked.digest().is_some_and(|asked| asked != digest.to_string()) {
                return Err(manifest::Error::Digest { part: "manifest" }.into());
            }
            match manifest::read(&bytes, architecture)? {
                Document::Index(inner) if !was_index => {
                    was_index = true;
                    asked = asked.clone_with_digest(inner.to_string());
                }
                Document::Index(_) => {
                    let why = "its index leads to another index".to_owned();
                    return Err(Error::Registry { registry, why });
                }
                Document::Manifest(manifest) => {
                    let read = self.read_blob(&asked, &manifest.config, CONFIG_BYTES_MAX);
                    let config = in_time(&registry, read).await?;
                    let program = manifest::program(&config, &manifest, architecture)?;
                    return Ok(Described { digest, manifest, program });
                }
            }
        }
    }

    /// Writes a layer's bytes into a new file. At most as many as its manifest says; whether they are the right ones is
    /// for the caller to check.
    pub async fn fetch(&self, reference: &Reference, layer: &Layer, file: &Path) -> Result<(), Error> {
        let asked = self.ask_for(reference)?;
        let failed = |why: String| Error::Registry { registry: asked.registry().to_owned(), why };
        // By its digest alone: a descriptor could bring addresses with it.
        let stream = Box::pin(self.client.pull_blob_stream(&asked, layer.digest.to_string().as_str())).await;
        let mut stream = stream.map_err(|error| failed(shortened(&error.to_string())))?;
        let mut file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(file).await?;
        let mut left = layer.size_bytes;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| failed(shortened(&error.to_string())))?;
            left =
                left.checked_sub(chunk.len() as u64).ok_or_else(|| failed("a layer is larger than promised".into()))?;
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        Ok(())
    }

    async fn read_blob(
        &self,
        asked: &oci_client::Reference,
        digest: &Digest,
        bytes_max: usize,
    ) -> Result<Vec<u8>, String> {
        let stream = Box::pin(self.client.pull_blob_stream(asked, digest.to_string().as_str())).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
            if bytes.len() > bytes_max {
                return Err(format!("its configuration is larger than {bytes_max} bytes"));
            }
        }
        Ok(bytes)
    }
}

async fn in_time<T>(registry: &str, answer: impl Future<Output = Result<T, String>>) -> Result<T, Error> {
    let failed = |why: String| Error::Registry { registry: registry.to_owned(), why };
    match tokio::time::timeout(DOCUMENT_TIME_MAX, answer).await {
        Ok(answer) => answer.map_err(|why| failed(shortened(&why))),
        Err(_) => Err(failed("it takes too long".into())),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_allowed_and_plain_http_on_the_loopback_alone() {
        let read = |text: &str| text.parse::<Allowed>();
        let allowed = |host: &str, is_plain| Ok(Allowed { host: host.into(), is_plain });
        assert_eq!(read("GHCR.io"), allowed("ghcr.io", false));
        assert_eq!(read("https://registry.example:5000/"), allowed("registry.example:5000", false));
        assert_eq!(read("http://127.0.0.1:5000"), allowed("127.0.0.1:5000", true));
        assert_eq!(read("http://localhost:5000"), allowed("localhost:5000", true));
        for bad in
            ["", "ghcr", "http://ghcr.io", "http://10.0.0.1:5000", "ghcr.io/team", "user@ghcr.io", "*", "ftp://x.y"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn no_other_registry_is_asked() {
        let registries = Registries::new(vec!["ghcr.io".parse().unwrap()]);
        for text in ["169.254.169.254/x:latest", "evil.ghcr.io/x", "ghcr.io:444/x", "localhost:1/x", "own"] {
            let asked = registries.describe(&text.parse().unwrap(), Architecture::X86_64).await;
            assert!(matches!(asked, Err(Error::NotAllowed(_))), "{text}: {asked:?}");
        }
        let layer = Layer { digest: Digest::of(b"x"), size_bytes: 1 };
        let fetched = registries.fetch(&"localhost:1/x".parse().unwrap(), &layer, Path::new("/nonexistent")).await;
        assert!(matches!(fetched, Err(Error::NotAllowed(_))));
    }
}
