//! Makes a folder of an image's layers that a sandbox can have as its root.
//!
//! A layer is a tar of a stranger's. Links in it are data: they are followed as the image's own root would, and never
//! by the host's file system; a name that climbs is refused; what is no file, folder or link is left out; owners,
//! setuid bits and extended attributes are dropped, since all in a sandbox is one user's and read-only. Bytes and
//! entries are counted as they come out of the decompressor, whatever headers claim.
//!
//! Source: OCI image specification 1.1, layer.md (whiteouts and opaque folders). Invariants: nothing outside the given
//! folder is read or written; afterwards the places where a sandbox mounts its own are folders and files; and the work is
//! bounded by the limits alone: as many bytes read and written, as many entries made and removed, and so many steps from
//! one place to another for each ([`tree`]), whatever links and whiteouts say.

mod decode;
mod tree;

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use tar::EntryType;

use self::tree::Tree;
use crate::{Digest, Layer, digest::Digesting};

/// Longest name and link target, bytes.
const NAME_BYTES_MAX: usize = 4_096;
/// Most bytes of one entry's extended header.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// How a layer takes away what a lower one has.
const WHITEOUT: &[u8] = b".wh.";
/// How a layer takes away all that lower ones have in a folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a sandbox mounts its own over.
const FOLDERS: [&str; 4] = ["dev", "etc", "proc", "tmp"];
/// The same for files.
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// What an image may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all layers together, as they come out of the decompressor.
    pub bytes_max: u64,
    /// Files, folders and links of all layers together.
    pub entries_max: usize,
}

impl Default for Limits {
    /// Lambda's 10 GB, and as many entries as images of that size have.
    fn default() -> Self {
        Self { bytes_max: 10 << 30, entries_max: 1_000_000 }
    }
}

/// Why an image could not be unpacked. Texts are for the author but of the last two.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a tar, or one that breaks off, or not what its compression promises.
    #[error("a layer of the image could not be read: {0}")]
    Unreadable(String),
    /// Over [`Limits::bytes_max`].
    #[error("the image unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// Over [`Limits::entries_max`].
    #[error("the image holds more than {0} files and folders")]
    TooManyEntries(usize),
    /// Over what may be done to find where its entries go.
    #[error("the image's paths, links and whiteouts take more than {0} steps to follow")]
    TooManySteps(usize),
    /// An entry that cannot be made.
    #[error("the image's entry {name:?} is not acceptable: {reason}")]
    Entry {
        /// Its name, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes are not those that were promised.
    #[error("the layer {promised} has other bytes than its digest says: theirs is {found}; push the image again")]
    Digest {
        /// By the manifest.
        promised: Digest,
        /// What came.
        found: Digest,
    },
    /// The disk is full.
    #[error("the disk is full")]
    StorageFull,
    /// The folder could not be written.
    #[error("writing the image: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::StorageFull,
            io::ErrorKind::InvalidFilename => Error::Entry { name: String::new(), reason: "its path is too long" },
            _ => Error::Io(error),
        }
    }
}

fn refused(path: &Path, reason: &'static str) -> Error {
    Error::Entry { name: path.to_string_lossy().chars().take(200).collect(), reason }
}

/// One image being unpacked.
pub struct Unpacker {
    tree: Tree,
    limits: Limits,
    bytes_left: u64,
}

/// What came before an entry about it, in entries of their own.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Unpacker {
    /// Into a folder, which exists and is empty. After an error it holds debris to be removed.
    pub fn new(folder: &Path, limits: Limits) -> Result<Self, Error> {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        Ok(Self { tree: Tree::new(folder, limits.entries_max), limits, bytes_left: limits.bytes_max })
    }

    /// Lays the next layer over those before. Blocks. A layer that is not what its digest says is an error, after
    /// which the folder is worth nothing.
    pub fn layer(&mut self, layer: &Layer, bytes: impl Read) -> Result<(), Error> {
        let mut source = Digesting::new(bytes);
        self.tree.begin_layer();
        let applied = self.apply(&mut source);
        let (found, size_bytes) = source.finish(layer.size_bytes)?;
        // Said first: what does not arrive whole is unreadable in many ways.
        if found != layer.digest || size_bytes != layer.size_bytes {
            return Err(Error::Digest { promised: layer.digest, found });
        }
        applied
    }

    /// Completes the folder: the places to mount at, which are real ones afterwards, and the folder the image's program
    /// runs in.
    pub fn finish(mut self, working_directory: &str) -> Result<(), Error> {
        for folder in FOLDERS {
            self.tree.make_real_folder(Path::new(folder))?;
        }
        for file in FILES {
            let path = self.tree.root().join(file);
            if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                tree::remove(&path)?;
                create(&path, 0o644)?;
            }
        }
        let inside = plain_path(working_directory.as_bytes())?;
        self.tree.resolve(&inside)?;
        Ok(())
    }

    fn apply(&mut self, source: &mut impl Read) -> Result<(), Error> {
        let unreadable = |error: io::Error| Error::Unreadable(error.to_string());
        let mut decoded = decode::reader(source).map_err(unreadable)?;
        let counted = Counted { inner: &mut decoded, left: &mut self.bytes_left };
        let bytes_max = self.limits.bytes_max;
        let failed = move |error: io::Error| {
            if error.kind() == io::ErrorKind::FileTooLarge { Error::TooLarge(bytes_max) } else { unreadable(error) }
        };
        let mut archive = tar::Archive::new(counted);
        let mut extended = Extended::default();
        for entry in archive.entries().map_err(failed)?.raw(true) {
            let mut entry = entry.map_err(failed)?;
            let kind = entry.header().entry_type();
            match kind {
                EntryType::GNULongName => {
                    extended.path = Some(read_bounded(&mut entry, NAME_BYTES_MAX as u64).map_err(failed)?);
                    continue;
                }
                EntryType::GNULongLink => {
                    extended.link = Some(read_bounded(&mut entry, NAME_BYTES_MAX as u64).map_err(failed)?);
                    continue;
                }
                EntryType::XHeader => {
                    let records = read_bounded(&mut entry, EXTENSION_BYTES_MAX).map_err(failed)?;
                    read_extensions(&records, &mut extended)?;
                    continue;
                }
                EntryType::XGlobalHeader => continue,
                _ => {}
            }
            let Extended { path, link } = std::mem::take(&mut extended);
            let path = plain_path(&path.unwrap_or_else(|| entry.header().path_bytes().into_owned()))?;
            let link = link.or_else(|| entry.header().link_name_bytes().map(|link| link.into_owned()));
            self.tree.count()?;
            put(&mut self.tree, kind, &path, link.as_deref(), &mut entry).map_err(|error| match error {
                Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => Error::TooLarge(bytes_max),
                Error::Entry { name, reason } if name.is_empty() => refused(&path, reason),
                error => error,
            })?;
        }
        // To the end, where a compressed layer says whether all of it was right.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(failed)?;
        Ok(())
    }
}

/// Puts one entry where it belongs.
fn put<R: Read>(
    tree: &mut Tree,
    kind: EntryType,
    path: &Path,
    link: Option<&[u8]>,
    entry: &mut tar::Entry<'_, R>,
) -> Result<(), Error> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let parent = path.parent().unwrap_or(Path::new(""));
    if name.as_bytes() == OPAQUE {
        let folder = tree.resolve(parent)?;
        return tree.clear_lower(&folder);
    }
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        // What begins so twice is bookkeeping of old Docker storage.
        if hidden.starts_with(WHITEOUT) {
            return Ok(());
        }
        let hidden = plain_path(hidden)?;
        if hidden.components().count() != 1 {
            return Err(refused(path, "it is a whiteout of nothing"));
        }
        let folder = tree.resolve(parent)?;
        return tree.take_away(&folder.join(hidden));
    }
    match kind {
        EntryType::Directory => {
            let full = tree.resolve(parent)?.join(name);
            if !fs::symlink_metadata(&full).is_ok_and(|found| found.is_dir()) {
                tree::remove(&full)?;
                fs::create_dir(&full)?;
                fs::set_permissions(&full, fs::Permissions::from_mode(0o755))?;
            }
            tree.added(&full);
        }
        EntryType::Regular | EntryType::Continuous => {
            let full = tree.resolve(parent)?.join(name);
            tree::remove(&full)?;
            let mode = entry.header().mode().unwrap_or(0o644);
            let mut file = create(&full, if mode & 0o111 == 0 { 0o644 } else { 0o755 })?;
            copy(entry, &mut file)?;
            // Compiled Python is believed only beside a source of the time that it names.
            let modified = Duration::from_secs(entry.header().mtime().unwrap_or(0));
            if let Some(modified) = SystemTime::UNIX_EPOCH.checked_add(modified) {
                // A time that the file system cannot hold has no bearing on anything else.
                let _ = file.set_modified(modified);
            }
            tree.added(&full);
        }
        EntryType::Symlink => {
            let target = link.filter(|link| !link.is_empty() && link.len() <= NAME_BYTES_MAX && !link.contains(&0));
            let target = target.ok_or_else(|| refused(path, "its link target is empty or too long"))?;
            let full = tree.resolve(parent)?.join(name);
            tree::remove(&full)?;
            symlink(Path::new(std::ffi::OsStr::from_bytes(target)), &full)?;
            tree.added(&full);
        }
        EntryType::Link => {
            let target = plain_path(link.unwrap_or_default())?;
            let (Some(folder), Some(file)) = (target.parent(), target.file_name()) else {
                return Err(refused(path, "it is a hard link to nothing"));
            };
            let target = tree.find(folder)?.join(file);
            let full = tree.resolve(parent)?.join(name);
            let found = fs::symlink_metadata(&target).map_err(|_| refused(path, "it is a hard link to nothing"))?;
            if found.is_dir() {
                return Err(refused(path, "it is a hard link to a folder"));
            }
            if target.starts_with(&full) && target != full {
                return Err(refused(path, "it takes the place of what it is a hard link to"));
            }
            if full != target {
                tree::remove(&full)?;
                fs::hard_link(&target, &full).map_err(|error| match error.kind() {
                    io::ErrorKind::TooManyLinks => refused(path, "its file has too many names already"),
                    _ => error.into(),
                })?;
            }
            tree.added(&full);
        }
        // A sandbox has its own few devices, and pipes and sockets are for those who run.
        EntryType::Char | EntryType::Block | EntryType::Fifo => {}
        _ => return Err(refused(path, "it is of a kind that layers do not have")),
    }
    Ok(())
}

fn create(path: &Path, mode: u32) -> Result<fs::File, Error> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// The entry's bytes. What reading says is about the layer, what writing says about the disk.
fn copy(entry: &mut impl Read, file: &mut fs::File) -> Result<(), Error> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => file.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(Error::Io(error)),
            Err(error) => return Err(Error::Unreadable(error.to_string())),
        }
    }
}

fn read_bounded(entry: &mut impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other("a name in it is too long"));
    }
    // GNU's long names end with a NUL.
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

/// Reads an extended header's records, as far as they change what the next entry is.
fn read_extensions(records: &[u8], extended: &mut Extended) -> Result<(), Error> {
    for record in tar::PaxExtensions::new(records) {
        let record = record.map_err(|error| Error::Unreadable(error.to_string()))?;
        match record.key_bytes() {
            b"path" => extended.path = Some(record.value_bytes().to_vec()),
            b"linkpath" => extended.link = Some(record.value_bytes().to_vec()),
            // Sizes that do not fit the header itself, and files with holes.
            b"size" => return Err(Error::Unreadable("a file in it is larger than 8 GB".into())),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(Error::Unreadable("it holds a file with holes".into()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A name inside the image: relative, plain parts only. The root itself is the empty path.
fn plain_path(name: &[u8]) -> Result<PathBuf, Error> {
    let as_path = Path::new(std::ffi::OsStr::from_bytes(name));
    if name.len() > NAME_BYTES_MAX || name.contains(&0) {
        return Err(refused(as_path, "its name is too long or holds a NUL"));
    }
    let mut path = PathBuf::new();
    for component in as_path.components() {
        match component {
            Component::Normal(part) if part.len() <= 255 => path.push(part),
            Component::Normal(_) => return Err(refused(as_path, "a part of its name is too long")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(refused(as_path, "its name leaves the image")),
        }
    }
    Ok(path)
}

/// Counts what comes out of a decompressor down to nothing.
struct Counted<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => *self.left = left,
            None => return Err(io::ErrorKind::FileTooLarge.into()),
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
