//! Reads what describes an image: an index, a manifest, a configuration.
//!
//! Source: OCI image specification 1.1, and Docker's image manifest version 2 schema 2, which has the same shape. Only
//! what running needs is read; `urls` of a descriptor are never looked at, so no image can say where to fetch from.

use serde::Deserialize;
use updraft_types::{function::Architecture, image::Program};

use crate::Digest;

/// Largest index or manifest, bytes (what registries are asked to take at least, and most take at most).
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Largest configuration, bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Most layers of an image (Docker's own limit).
pub const LAYERS_MAX: usize = 127;
/// Most bytes of all that a configuration says about being run. It goes into the function's document, and on its way to
/// a sandbox one message has to hold it.
const PROGRAM_BYTES_MAX: usize = 32 << 10;

/// Media types to ask a registry for.
pub const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The layers there are; each may be compressed, which its first bytes tell.
const LAYER_TYPES: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// Why something does not describe an image that can run here. Texts are for the author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not of the right shape.
    #[error("the image's {part} is not understood: {why}")]
    Unreadable {
        /// Manifest, index or configuration.
        part: &'static str,
        /// What the parser says.
        why: String,
    },
    /// Over one of the bounds above.
    #[error("the image's {part} is larger than {max}")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its bound.
        max: usize,
    },
    /// A layer that is no file system.
    #[error("the image has a layer of the type {0:?}, which is no file system that can be unpacked here")]
    LayerType(String),
    /// There is nothing for the wanted architecture.
    #[error("the image is not there for {wanted}, only for: {there}")]
    Architecture {
        /// `linux/amd64` or `linux/arm64`.
        wanted: &'static str,
        /// What there is, shortened.
        there: String,
    },
    /// It names something by a digest that is another's.
    #[error("the image's {part} is not what its digest says")]
    Digest {
        /// Which part.
        part: &'static str,
    },
    /// The configuration names more or fewer layers than the manifest.
    #[error("the image's manifest and configuration disagree about its layers")]
    LayerCount,
}

/// What a document says that stands for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several, of which one is for the wanted architecture: its digest.
    Index(Digest),
}

/// One image, as far as running it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration's digest.
    pub config: Digest,
    /// From the lowest to the uppermost.
    pub layers: Vec<Layer>,
}

/// One layer: a tar, compressed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, Deserialize)]
pub struct Layer {
    /// Of its bytes as they are kept.
    pub digest: Digest,
    /// How many those are.
    pub size_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyDocument {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// A descriptor, as far as it is looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(crate) digest: Digest,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// How images name an architecture.
pub fn platform_of(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "linux/amd64",
        Architecture::Arm64 => "linux/arm64",
    }
}

fn parse<'a, T: Deserialize<'a>>(part: &'static str, bytes: &'a [u8], max: usize) -> Result<T, Error> {
    if bytes.len() > max {
        return Err(Error::TooLarge { part, max });
    }
    serde_json::from_slice(bytes).map_err(|error| Error::Unreadable { part, why: error.to_string() })
}

/// Reads a manifest or an index; of an index, chooses what is for `architecture`.
pub fn read(bytes: &[u8], architecture: Architecture) -> Result<Document, Error> {
    let document: AnyDocument = parse("manifest", bytes, MANIFEST_BYTES_MAX)?;
    let unreadable = |why: &str| Error::Unreadable { part: "manifest", why: why.to_owned() };
    if document.schema_version != 2 {
        return Err(unreadable("its schemaVersion is not 2"));
    }
    // With both kinds of members, different readers would see different images.
    match (document.config, document.layers, document.manifests) {
        (Some(config), Some(layers), None) if !is_index(document.media_type.as_deref()) => {
            manifest_of(&config, &layers).map(Document::Manifest)
        }
        (None, None, Some(manifests)) => choose(&manifests, architecture).map(Document::Index),
        _ => Err(unreadable("it is neither an image's manifest nor an index of such")),
    }
}

fn is_index(media_type: Option<&str>) -> bool {
    matches!(media_type, Some(OCI_INDEX | DOCKER_LIST))
}

fn manifest_of(config: &Descriptor, layers: &[Descriptor]) -> Result<Manifest, Error> {
    if layers.len() > LAYERS_MAX {
        return Err(Error::TooLarge { part: "list of layers", max: LAYERS_MAX });
    }
    if let Some(odd) = layers.iter().find(|layer| !LAYER_TYPES.contains(&layer.media_type.as_str())) {
        return Err(Error::LayerType(odd.media_type.chars().take(100).collect()));
    }
    let layers = layers.iter().map(|layer| Layer { digest: layer.digest, size_bytes: layer.size }).collect();
    Ok(Manifest { config: config.digest, layers })
}

/// The entry for an architecture. A single entry that says nothing of its platform is taken as it is.
fn choose(entries: &[Descriptor], architecture: Architecture) -> Result<Digest, Error> {
    let wanted = platform_of(architecture);
    let shown = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
    if let [Descriptor { platform: None, digest, .. }] = entries {
        return Ok(*digest);
    }
    let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| shown(platform) == wanted);
    match entries.iter().find(fits) {
        Some(entry) => Ok(entry.digest),
        None => {
            let there = entries.iter().filter_map(|entry| entry.platform.as_ref()).map(shown).collect::<Vec<_>>();
            Err(Error::Architecture { wanted, there: there.join(", ").chars().take(200).collect() })
        }
    }
}

/// The entries of an index, for choosing by name rather than by architecture.
pub(crate) fn entries(bytes: &[u8]) -> Result<Vec<Descriptor>, Error> {
    let document: AnyDocument = parse("index", bytes, MANIFEST_BYTES_MAX)?;
    Ok(document.manifests.unwrap_or_default())
}

#[derive(Deserialize)]
struct AnyConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<RunConfig>,
    rootfs: Option<RootFs>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// What an image's configuration says about being run, once it is clear that it goes with the manifest and can run on
/// `architecture`.
pub fn program(config: &[u8], manifest: &Manifest, architecture: Architecture) -> Result<Program, Error> {
    const PART: &str = "configuration";
    let read: AnyConfig = parse(PART, config, CONFIG_BYTES_MAX)?;
    if Digest::of(config) != manifest.config {
        return Err(Error::Digest { part: PART });
    }
    if read.rootfs.is_some_and(|root| root.diff_ids.len() != manifest.layers.len()) {
        return Err(Error::LayerCount);
    }
    let (wanted, there) = (platform_of(architecture), format!("{}/{}", read.os, read.architecture));
    if there != wanted {
        return Err(Error::Architecture { wanted, there: there.chars().take(100).collect() });
    }
    let said = read.config.unwrap_or_default();
    let program = Program {
        entry_point: said.entrypoint.unwrap_or_default(),
        command: said.cmd.unwrap_or_default(),
        working_directory: said.working_dir.unwrap_or_default(),
        environment: said.env.unwrap_or_default().iter().filter_map(|line| variable(line)).collect(),
        user: said.user.unwrap_or_default(),
    };
    let texts: Vec<&String> = program
        .entry_point
        .iter()
        .chain(&program.command)
        .chain([&program.working_directory, &program.user])
        .chain(program.environment.iter().flat_map(|(name, value)| [name, value]))
        .collect();
    if texts.iter().map(|text| text.len() + 1).sum::<usize>() > PROGRAM_BYTES_MAX {
        return Err(Error::TooLarge { part: "entry point, command and environment", max: PROGRAM_BYTES_MAX });
    }
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(Error::Unreadable { part: PART, why: "a word of it holds a NUL".into() });
    }
    if !program.working_directory.is_empty() && !program.working_directory.starts_with('/') {
        return Err(Error::Unreadable { part: PART, why: "its WorkingDir is not absolute".into() });
    }
    Ok(program)
}

/// A line of `Env`. One without a name sets nothing.
fn variable(line: &str) -> Option<(String, String)> {
    line.split_once('=').filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str, content: &str) -> Value {
        json!({ "mediaType": media_type, "digest": Digest::of(content.as_bytes()).to_string(), "size": content.len() })
    }

    fn manifest(layers: &[Value]) -> Vec<u8> {
        let config = descriptor("application/vnd.oci.image.config.v1+json", "config");
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers }).to_string().into()
    }

    fn at(mut descriptor: Value, os: &str, architecture: &str) -> Value {
        descriptor["platform"] = json!({ "os": os, "architecture": architecture });
        descriptor
    }

    #[test]
    fn a_manifest_names_its_layers() {
        let mut foreign = descriptor(LAYER_TYPES[1], "one");
        foreign["urls"] = json!(["http://169.254.169.254/"]);
        let read = read(&manifest(&[foreign, descriptor(LAYER_TYPES[2], "two")]), Architecture::X86_64).unwrap();
        let layer = |content: &str| Layer { digest: Digest::of(content.as_bytes()), size_bytes: 3 };
        let expected = Manifest { config: Digest::of(b"config"), layers: vec![layer("one"), layer("two")] };
        assert_eq!(read, Document::Manifest(expected));
    }

    #[test]
    fn an_index_is_chosen_from_by_architecture() {
        let entries = [
            at(descriptor(OCI_MANIFEST, "attestation"), "unknown", "unknown"),
            at(descriptor(OCI_MANIFEST, "windows"), "windows", "amd64"),
            at(descriptor(OCI_MANIFEST, "arm"), "linux", "arm64"),
            at(descriptor(OCI_MANIFEST, "intel"), "linux", "amd64"),
        ];
        let index = |entries: &[Value]| json!({ "schemaVersion": 2, "manifests": entries }).to_string().into_bytes();
        let chosen = |entries: &[Value], architecture| read(&index(entries), architecture);
        assert_eq!(chosen(&entries, Architecture::X86_64), Ok(Document::Index(Digest::of(b"intel"))));
        assert_eq!(chosen(&entries, Architecture::Arm64), Ok(Document::Index(Digest::of(b"arm"))));
        let refused = chosen(&entries[..2], Architecture::Arm64).unwrap_err();
        assert!(refused.to_string().ends_with("only for: unknown/unknown, windows/amd64"), "{refused}");
        let plain = descriptor(OCI_MANIFEST, "plain");
        assert_eq!(chosen(&[plain], Architecture::Arm64), Ok(Document::Index(Digest::of(b"plain"))));
    }

    #[test]
    fn what_describes_no_image_is_refused() {
        let layers = vec![descriptor(LAYER_TYPES[0], "x"); LAYERS_MAX + 1];
        let both = json!({ "schemaVersion": 2, "config": descriptor("", "c"), "layers": [], "manifests": [] });
        let disguised =
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "config": descriptor("", "c"), "layers": [] });
        for bad in [
            b"{}".to_vec(),
            b"[".to_vec(),
            manifest(&layers),
            manifest(&[descriptor("application/vnd.wasm.content.layer.v1+wasm", "x")]),
            both.to_string().into(),
            disguised.to_string().into(),
            json!({ "schemaVersion": 1, "manifests": [] }).to_string().into(),
            vec![b' '; MANIFEST_BYTES_MAX + 1],
        ] {
            let shown = String::from_utf8_lossy(&bad[..bad.len().min(100)]).into_owned();
            assert!(read(&bad, Architecture::X86_64).is_err(), "{shown}");
        }
    }

    #[test]
    fn a_configuration_says_what_to_run() {
        let whole = |value: Value, layers: usize| {
            let bytes = value.to_string().into_bytes();
            let layer = Layer { digest: Digest::of(b""), size_bytes: 0 };
            let manifest = Manifest { config: Digest::of(&bytes), layers: vec![layer; layers] };
            program(&bytes, &manifest, Architecture::X86_64)
        };
        let config = json!({ "Entrypoint": ["/e"], "Cmd": null, "Env": ["A=1=2", "B", "=x", "C="], "User": "1000" });
        let base = |config: &Value| json!({ "os": "linux", "architecture": "amd64", "config": config, "rootfs": { "diff_ids": ["sha256:a"] } });
        let read = whole(base(&config), 1).unwrap();
        assert_eq!((read.entry_point.as_slice(), read.command.len()), (&["/e".to_owned()][..], 0));
        assert_eq!(read.environment, [("A".to_owned(), "1=2".to_owned()), ("C".to_owned(), String::new())]);
        assert_eq!(whole(base(&config), 2), Err(Error::LayerCount));
        let mut arm = base(&config);
        arm["architecture"] = json!("arm64");
        assert!(matches!(whole(arm, 1), Err(Error::Architecture { .. })));
        for bad in [
            json!({ "Env": [format!("A={}", "x".repeat(PROGRAM_BYTES_MAX))] }),
            json!({ "Cmd": ["a\u{0}b"] }),
            json!({ "WorkingDir": "../x" }),
            json!({ "Entrypoint": "/e" }),
        ] {
            assert!(whole(base(&bad), 1).is_err(), "{:.60}", bad.to_string());
        }
        let manifest = Manifest { config: Digest::of(b"other"), layers: Vec::new() };
        let other = program(b"{}", &manifest, Architecture::X86_64);
        assert_eq!(other, Err(Error::Digest { part: "configuration" }));
    }
}
