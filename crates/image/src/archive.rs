//! An image in a folder or a file of this machine: an OCI layout, a tar of one, or what `docker save` writes.
//!
//! For the command line alone, which reads it and sends what it found: the platform itself never opens a path on
//! anybody's word. What `docker save` wrote before it wrote OCI layouts has no manifest; one is made, always the same
//! for the same content.
//!
//! Source: OCI image layout 1.0 (`oci-layout`, `index.json`, `blobs/sha256`), Docker image specification 1.2
//! (`manifest.json`).

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::json;
use updraft_types::function::Architecture;

use crate::{
    Digest, Layer, Manifest,
    digest::Digesting,
    manifest::{self, CONFIG_BYTES_MAX, Document, MANIFEST_BYTES_MAX},
};

/// Most files of an archive: an image has a few for each layer.
const ENTRIES_MAX: usize = 10_000;
/// Indexes that lie in indexes.
const DEPTH_MAX: usize = 3;
/// Longest chain of links from one name of an archive to another.
const LINKS_MAX: usize = 4;

/// Why no image was found. Texts are for whoever gave the command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is compressed as a whole.
    #[error("the archive is compressed; decompress it first, for example with gunzip")]
    Compressed,
    /// It is neither of the three.
    #[error("it is neither an OCI layout nor an archive of `docker save`: it has no {0}")]
    NotAnImage(&'static str),
    /// It says something that it does not have.
    #[error("it names {0:?}, which it does not hold")]
    Missing(String),
    /// It has no image at all.
    #[error("it holds no image")]
    Empty,
    /// It has several images, and nothing says which is meant.
    #[error("it holds several images, {there}; say which with the tag")]
    Which {
        /// What they are called.
        there: String,
    },
    /// It has images, and none or several are called so.
    #[error("it does not hold just one image that is called {asked:?}, but {there}")]
    NotNamed {
        /// What was asked for.
        asked: String,
        /// What the images are called that there are.
        there: String,
    },
    /// Its manifest or configuration is not acceptable.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
}

/// An image found, ready to be sent.
#[derive(Debug)]
pub struct Found {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The layers, from the lowest to the uppermost.
    pub layers: Vec<Layer>,
    /// Where each layer's bytes are.
    names: Vec<String>,
    files: Files,
}

impl Found {
    /// The image's digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The bytes of a layer.
    pub fn open_layer(&self, index: usize) -> io::Result<impl Read + use<>> {
        Ok(self.files.open(&self.names[index])?.0)
    }
}

/// Whether there is an image at a path: a folder with an OCI layout, or a tar with the files of one.
pub fn is_image(path: &Path) -> bool {
    if path.is_dir() {
        return path.join("oci-layout").is_file() && path.join("index.json").is_file();
    }
    Files::of(path).is_ok_and(|files| files.has("index.json") || files.has("manifest.json"))
}

/// The image at a path for an architecture; `tag` says which, where there are several.
pub fn open(path: &Path, tag: Option<&str>, architecture: Architecture) -> Result<Found, Error> {
    let files = Files::of(path)?;
    if files.has("index.json") {
        return from_layout(files, tag, architecture);
    }
    if files.has("manifest.json") {
        return from_docker(files, tag, architecture);
    }
    Err(Error::NotAnImage("index.json and no manifest.json"))
}

/// Annotations that name an entry of a layout: a tag, or a whole reference with one.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

fn from_layout(files: Files, tag: Option<&str>, architecture: Architecture) -> Result<Found, Error> {
    let index = files.read("index.json", MANIFEST_BYTES_MAX)?;
    let entries = manifest::entries(&index)?;
    let mut digest = match (tag, entries.as_slice()) {
        (_, []) => return Err(Error::Empty),
        // One image, under however many names.
        (None, [first, rest @ ..]) if rest.iter().all(|entry| entry.digest == first.digest) => first.digest,
        (None, several) => {
            // For several architectures images may be called the same. Those that are not are different ones.
            let named: Vec<_> = several.iter().filter(|entry| names_of(entry).next().is_some()).collect();
            let is_other = |entry: &&manifest::Descriptor| {
                entry.digest != named[0].digest && names_of(entry).ne(names_of(named[0]))
            };
            if named.iter().any(is_other) {
                return Err(Error::Which { there: listed(several.iter().map(names_of)) });
            }
            match manifest::read(&index, architecture)? {
                Document::Index(digest) => digest,
                Document::Manifest(_) => return Err(Error::NotAnImage("index in index.json")),
            }
        }
        (Some(tag), entries) => {
            let named = entries.iter().find(|entry| names_of(entry).any(|name| is_named(name, tag)));
            let there = || listed(entries.iter().map(names_of));
            named.ok_or_else(|| Error::NotNamed { asked: tag.to_owned(), there: there() })?.digest
        }
    };
    for _ in 0..=DEPTH_MAX {
        let bytes = files.read(&blob(&digest), MANIFEST_BYTES_MAX)?;
        if Digest::of(&bytes) != digest {
            return Err(manifest::Error::Digest { part: "manifest" }.into());
        }
        match manifest::read(&bytes, architecture)? {
            Document::Index(inner) => digest = inner,
            Document::Manifest(manifest) => {
                let config = files.read(&blob(&manifest.config), CONFIG_BYTES_MAX)?;
                manifest::program(&config, &manifest, architecture)?;
                let names: Vec<String> = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect();
                if let Some(missing) = names.iter().find(|name| !files.has(name)) {
                    return Err(Error::Missing(missing.clone()));
                }
                return Ok(Found { manifest: bytes, config, layers: manifest.layers, names, files });
            }
        }
    }
    Err(Error::NotAnImage("manifest within a few indexes"))
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn names_of(entry: &manifest::Descriptor) -> impl Iterator<Item = &str> {
    NAMES.iter().filter_map(|name| entry.annotations.get(*name)).map(String::as_str)
}

/// Whether a name in an archive is that tag, or a reference that ends with it.
fn is_named(name: &str, tag: &str) -> bool {
    name == tag || name.strip_suffix(tag).is_some_and(|rest| rest.ends_with([':', '/']))
}

/// What images are called, shortened.
fn listed<'a, Names: Iterator<Item = &'a str>>(images: impl Iterator<Item = Names>) -> String {
    let called = |mut names: Names| names.next().unwrap_or("one without a name").to_owned();
    images.map(called).collect::<Vec<_>>().join(", ").chars().take(300).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Saved {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str)
    }
}

fn from_docker(files: Files, tag: Option<&str>, architecture: Architecture) -> Result<Found, Error> {
    let bytes = files.read("manifest.json", MANIFEST_BYTES_MAX)?;
    let unreadable =
        |error: serde_json::Error| manifest::Error::Unreadable { part: "manifest.json", why: error.to_string() };
    let saved: Vec<Saved> = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if saved.is_empty() {
        return Err(Error::Empty);
    }
    let is_meant = |saved: &&Saved| tag.is_none_or(|tag| saved.names().any(|name| is_named(name, tag)));
    let mut fitting = saved.iter().filter(is_meant);
    let (Some(only), None) = (fitting.next(), fitting.next()) else {
        let there = listed(saved.iter().map(Saved::names));
        return Err(match tag {
            Some(tag) => Error::NotNamed { asked: tag.to_owned(), there },
            None => Error::Which { there },
        });
    };
    if only.layers.len() > manifest::LAYERS_MAX {
        return Err(manifest::Error::TooLarge { part: "list of layers", max: manifest::LAYERS_MAX }.into());
    }
    let config = files.read(&only.config, CONFIG_BYTES_MAX)?;
    let mut layers = Vec::new();
    for name in &only.layers {
        let (reader, size_bytes) = files.open(name).map_err(|_| Error::Missing(name.clone()))?;
        let (digest, size_bytes) = Digesting::new(reader).finish(size_bytes)?;
        layers.push(Layer { digest, size_bytes });
    }
    let described = |layer: &Layer| {
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        json!({ "mediaType": media_type, "digest": layer.digest, "size": layer.size_bytes })
    };
    let digest = Digest::of(&config);
    let made = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
        "layers": layers.iter().map(described).collect::<Vec<_>>(),
    });
    manifest::program(&config, &Manifest { config: digest, layers: layers.clone() }, architecture)?;
    let names = only.layers.clone();
    Ok(Found { manifest: made.to_string().into_bytes(), config, layers, names, files })
}

/// The files of a layout or archive, by their names in it.
#[derive(Debug)]
enum Files {
    Folder(PathBuf),
    Archive { path: PathBuf, entries: HashMap<String, Located> },
}

#[derive(Debug, Clone)]
enum Located {
    At {
        offset: u64,
        size_bytes: u64,
    },
    /// Another name: old archives hold equal layers once.
    Link(String),
}

impl Files {
    fn of(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Ok(Files::Folder(path.to_owned()));
        }
        let mut file = File::open(path)?;
        let mut head = [0; 4];
        let count = file.read(&mut head)?;
        if head.starts_with(&[0x1f, 0x8b]) || head == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(Error::Compressed);
        }
        if count == 0 {
            return Err(Error::NotAnImage("content"));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries_with_seek()?.take(ENTRIES_MAX) {
            let entry = entry.map_err(|_| Error::NotAnImage("content that is a tar"))?;
            let name = normal(&String::from_utf8_lossy(&entry.path_bytes()), None);
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let located = Located::At { offset: entry.raw_file_position(), size_bytes: entry.size() };
                entries.insert(name, located);
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                let folder = kind.is_symlink().then_some(name.as_str());
                let target = normal(&target, folder);
                entries.insert(name, Located::Link(target));
            }
        }
        Ok(Files::Archive { path: path.to_owned(), entries })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Files::Folder(folder) => folder.join(name).is_file(),
            Files::Archive { entries, .. } => entries.contains_key(name),
        }
    }

    /// A file's bytes and how many there are.
    fn open(&self, name: &str) -> io::Result<(io::Take<File>, u64)> {
        match self {
            Files::Folder(folder) => {
                let path = folder.join(normal(name, None));
                let size_bytes = fs::metadata(&path)?.len();
                Ok((File::open(path)?.take(size_bytes), size_bytes))
            }
            Files::Archive { path, entries } => {
                let mut name = normal(name, None);
                for _ in 0..=LINKS_MAX {
                    match entries.get(&name) {
                        Some(Located::At { offset, size_bytes }) => {
                            let mut file = File::open(path)?;
                            file.seek(SeekFrom::Start(*offset))?;
                            return Ok((file.take(*size_bytes), *size_bytes));
                        }
                        Some(Located::Link(target)) => name.clone_from(target),
                        None => break,
                    }
                }
                Err(io::ErrorKind::NotFound.into())
            }
        }
    }

    fn read(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let (reader, size_bytes) = self.open(name).map_err(|_| Error::Missing(name.to_owned()))?;
        if size_bytes > bytes_max as u64 {
            return Err(manifest::Error::TooLarge { part: "manifest or configuration", max: bytes_max }.into());
        }
        let mut bytes = Vec::new();
        reader.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A name without `.` and `..`, seen from the folder of another where that is given.
fn normal(name: &str, beside: Option<&str>) -> String {
    let mut parts: Vec<&str> = beside.map(|file| file.split('/').collect()).unwrap_or_default();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
