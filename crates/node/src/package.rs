//! Reads an uploaded zip: checks it, and lays it out as a folder a sandbox can mount.
//!
//! The bytes are untrusted. Refused: names that are absolute, climb with `..` or hold odd characters; links that
//! leave the package; entries that are neither files, folders nor links; more bytes or entries than the limits,
//! whatever the headers claim, where folders count that names only imply. Nothing outside the given folder is ever touched, and links are made last, so no
//! entry is ever written through one.

use std::{
    fs,
    io::{self, Cursor, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use updraft_types::limits::{PACKAGE_ENTRIES_MAX, UNZIPPED_BYTES_MAX, ZIP_BYTES_MAX};
use zip::{ZipArchive, result::ZipError};

/// Longest link target, bytes.
const LINK_BYTES_MAX: u64 = 4_096;
/// Longest entry name, bytes.
const NAME_BYTES_MAX: usize = 4_096;
/// Most parts of an entry's name.
const DEPTH_MAX: usize = 128;

/// Why a zip is refused. Texts are for the author; wordings in quotes below are AWS's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Zero bytes were uploaded.
    #[error("Uploaded file must be a non-empty zip")]
    Empty,
    /// Not a zip, or one that breaks off.
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again. ({0})")]
    Unreadable(String),
    /// Over [`ZIP_BYTES_MAX`].
    #[error("Zipped size must be smaller than {ZIP_BYTES_MAX} bytes")]
    ZippedTooLarge,
    /// Over [`UNZIPPED_BYTES_MAX`].
    #[error("Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")]
    UnzippedTooLarge,
    /// Over [`PACKAGE_ENTRIES_MAX`].
    #[error("The package must hold fewer than {PACKAGE_ENTRIES_MAX} files and folders")]
    TooManyEntries,
    /// A name or a link that leaves the package.
    #[error("The package entry {name:?} is not acceptable: {reason}")]
    Entry {
        /// The entry's name, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What is to be laid out is an image, and not acceptable.
    #[error("{0}")]
    Image(String),
    /// The disk is full.
    #[error("the disk is full")]
    StorageFull,
    /// The platform could not write the folder.
    #[error("writing the package: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::StorageFull,
            _ => Error::Io(error),
        }
    }
}

impl From<ZipError> for Error {
    fn from(error: ZipError) -> Self {
        Error::Unreadable(error.to_string())
    }
}

/// What a zip says it unpacks to, bytes.
pub(crate) fn unzipped_bytes(zip: &[u8]) -> Result<u64, Error> {
    if zip.is_empty() {
        return Err(Error::Empty);
    }
    let mut archive = ZipArchive::new(Cursor::new(zip))?;
    if archive.len() > PACKAGE_ENTRIES_MAX {
        return Err(Error::TooManyEntries);
    }
    let sizes = (0..archive.len()).map(|index| Ok(archive.by_index_raw(index)?.size()));
    sizes.sum()
}

/// Unpacks `zip` into `folder`, which exists and is empty. On an error the folder holds debris to be removed.
/// Blocks; run it where blocking is allowed.
pub(crate) fn unpack(zip: &[u8], folder: &Path) -> Result<(), Error> {
    if zip.is_empty() {
        return Err(Error::Empty);
    }
    if zip.len() > ZIP_BYTES_MAX {
        return Err(Error::ZippedTooLarge);
    }
    let mut archive = ZipArchive::new(Cursor::new(zip))?;
    if archive.is_empty() {
        return Err(Error::Empty);
    }
    if archive.len() > PACKAGE_ENTRIES_MAX {
        return Err(Error::TooManyEntries);
    }
    // Whatever the umask: the guest is another user.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let mut links = Vec::new();
    let mut bytes_left = UNZIPPED_BYTES_MAX;
    let mut entries_left = EntriesLeft(PACKAGE_ENTRIES_MAX);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let path = entry_path(entry.name_raw())?;
        let mode = entry.unix_mode().unwrap_or(0o644);
        let kind = EntryKind::of(entry.is_dir(), mode);
        if let (EntryKind::File | EntryKind::Link, Some(parent)) = (&kind, path.parent()) {
            make_folder(folder, parent, &mut entries_left)?;
        }
        match kind {
            EntryKind::Folder => make_folder(folder, &path, &mut entries_left)?,
            EntryKind::File => {
                entries_left.spend()?;
                bytes_left -= write_file(&mut entry, &folder.join(&path), mode, bytes_left)?;
            }
            EntryKind::Link => {
                entries_left.spend()?;
                let target = read_link_target(&mut entry, &path)?;
                links.push((path, target));
            }
            EntryKind::Special => return Err(refused(&path, "it is neither a file, a folder nor a link")),
        }
    }
    for (path, target) in links {
        symlink(target, folder.join(&path)).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => refused(&path, "it is there twice"),
            _ => error.into(),
        })?;
    }
    Ok(())
}

/// How many more files, links and folders may be made.
struct EntriesLeft(usize);

impl EntriesLeft {
    fn spend(&mut self) -> Result<(), Error> {
        self.0 = self.0.checked_sub(1).ok_or(Error::TooManyEntries)?;
        Ok(())
    }
}

enum EntryKind {
    File,
    Folder,
    Link,
    Special,
}

impl EntryKind {
    fn of(named_as_folder: bool, mode: u32) -> Self {
        match mode & 0o170_000 {
            0o120_000 => EntryKind::Link,
            0o040_000 => EntryKind::Folder,
            0 | 0o100_000 if named_as_folder => EntryKind::Folder,
            0 | 0o100_000 => EntryKind::File,
            _ => EntryKind::Special,
        }
    }
}

fn refused(path: &Path, reason: &'static str) -> Error {
    let name = path.to_string_lossy().chars().take(200).collect();
    Error::Entry { name, reason }
}

/// The entry's path inside the package: plain components only.
fn entry_path(name: &[u8]) -> Result<PathBuf, Error> {
    let text = String::from_utf8_lossy(name);
    let as_path = Path::new(&*text);
    if std::str::from_utf8(name).is_err() {
        return Err(refused(as_path, "its name is not UTF-8"));
    }
    if name.len() > NAME_BYTES_MAX || name.iter().any(|byte| *byte == 0 || *byte == b'\\') {
        return Err(refused(as_path, "its name is too long, or holds a NUL or a backslash"));
    }
    let mut path = PathBuf::new();
    for component in as_path.components() {
        match component {
            Component::Normal(part) if part.len() <= 255 => path.push(part),
            Component::CurDir => {}
            Component::Normal(_) => return Err(refused(as_path, "a part of its name is too long")),
            Component::RootDir | Component::Prefix(_) => return Err(refused(as_path, "its name is absolute")),
            Component::ParentDir => return Err(refused(as_path, "its name leaves the package")),
        }
    }
    if path.components().count() > DEPTH_MAX {
        return Err(refused(as_path, "it lies too deep"));
    }
    Ok(path)
}

/// Makes a folder and those it is in, as far as they are not there. There are no links yet to be led astray by.
fn make_folder(root: &Path, path: &Path, entries_left: &mut EntriesLeft) -> Result<(), Error> {
    let mut full = root.join(path);
    if fs::symlink_metadata(&full).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    full = root.to_owned();
    for part in path.components() {
        full.push(part);
        match fs::create_dir(&full) {
            Ok(()) => {
                entries_left.spend()?;
                fs::set_permissions(&full, fs::Permissions::from_mode(0o755))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&full)?.is_dir() {
                    return Err(refused(path, "a file and a folder have the same name"));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes one file, readable by all and executable by all if it was so for its owner. Returns its size.
fn write_file(entry: &mut impl Read, path: &Path, mode: u32, bytes_left: u64) -> Result<u64, Error> {
    let executable = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(executable).open(path) {
        Ok(file) => file,
        // A name that is there twice: the later one counts, as with any unzip.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_file() => {
            fs::remove_file(path)?;
            fs::OpenOptions::new().write(true).create_new(true).mode(executable).open(path)?
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(refused(path, "a file and a folder have the same name"));
        }
        Err(error) => return Err(error.into()),
    };
    let mut written = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = entry.read(&mut buffer).map_err(|error| Error::Unreadable(error.to_string()))?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > bytes_left {
            return Err(Error::UnzippedTooLarge);
        }
        file.write_all(&buffer[..read])?;
    }
    file.set_permissions(fs::Permissions::from_mode(executable))?;
    Ok(written)
}

/// A link's target, if it stays inside the package.
fn read_link_target(entry: &mut impl Read, path: &Path) -> Result<PathBuf, Error> {
    let mut target = Vec::new();
    entry.take(LINK_BYTES_MAX + 1).read_to_end(&mut target).map_err(|error| Error::Unreadable(error.to_string()))?;
    if target.is_empty() || target.len() as u64 > LINK_BYTES_MAX || target.contains(&0) {
        return Err(refused(path, "its link target is empty or too long"));
    }
    let target = String::from_utf8(target).map_err(|_| refused(path, "its link target is not UTF-8"))?;
    let target = PathBuf::from(target);
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return Err(refused(path, "its link leaves the package")),
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zip(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes, mode) in entries {
            let options = SimpleFileOptions::default().unix_permissions(mode & 0o7777);
            if mode & 0o170_000 == 0o120_000 {
                writer.add_symlink(*name, std::str::from_utf8(bytes).unwrap(), options).unwrap();
            } else {
                writer.start_file(*name, options).unwrap();
                writer.write_all(bytes).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    }

    fn unpack_in_temp(zip: &[u8]) -> (tempfile::TempDir, Result<(), Error>) {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("package");
        fs::create_dir(&inner).unwrap();
        let result = unpack(zip, &inner);
        let outside: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "something was written outside the package");
        (folder, result)
    }

    #[test]
    fn files_folders_modes_and_inner_links_arrive() {
        let bytes = zip(&[
            ("app.py", b"x", 0o100_600),
            ("bin/tool", b"y", 0o100_700),
            ("lib/a.so.1", b"z", 0o100_644),
            ("lib/a.so", b"a.so.1", 0o120_777),
            ("top", b"lib/../app.py", 0o120_777),
        ]);
        let (folder, result) = unpack_in_temp(&bytes);
        result.unwrap();
        let root = folder.path().join("package");
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("app.py"), mode("bin/tool"), mode("bin")), (0o644, 0o755, 0o755));
        assert_eq!(fs::read(root.join("lib/a.so")).unwrap(), b"z");
        assert_eq!(fs::read(root.join("top")).unwrap(), b"x");
    }

    #[test]
    fn entries_that_leave_the_package_are_refused() {
        for name in ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil"] {
            let (_folder, result) = unpack_in_temp(&zip(&[(name, b"x", 0o100_644)]));
            assert!(matches!(result, Err(Error::Entry { .. })), "{name}: {result:?}");
        }
        for target in ["/etc/passwd", "..", "../../x", "a/../../x"] {
            let (_folder, result) = unpack_in_temp(&zip(&[("link", target.as_bytes(), 0o120_777)]));
            assert!(matches!(result, Err(Error::Entry { .. })), "{target}: {result:?}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let bytes = zip(&[("d", b"sub", 0o120_777), ("d/file", b"x", 0o100_644)]);
        let (_folder, result) = unpack_in_temp(&bytes);
        assert!(matches!(result, Err(Error::Entry { .. })), "{result:?}");
    }

    #[test]
    fn links_beside_and_below_links_are_refused() {
        for entries in [
            [("d", &b"sub"[..], 0o120_777), ("d/link", b"x", 0o120_777)],
            [("d/link", b"x", 0o120_777), ("d", b"sub", 0o120_777)],
        ] {
            let (_folder, result) = unpack_in_temp(&zip(&entries));
            assert!(matches!(result, Err(Error::Entry { .. })), "{result:?}");
        }
    }

    #[test]
    fn folders_that_names_only_imply_count_too_and_none_lies_too_deep() {
        let deep = |top: usize, parts: usize| format!("{top}/{}", "d/".repeat(parts - 2));
        let file = |top, parts| deep(top, parts) + "file";
        let (folder, result) = unpack_in_temp(&zip(&[(&file(0, DEPTH_MAX), b"x", 0o100_644)]));
        result.unwrap();
        assert!(folder.path().join("package").join(file(0, DEPTH_MAX)).is_file());
        let (_folder, result) = unpack_in_temp(&zip(&[(&file(0, DEPTH_MAX + 1), b"x", 0o100_644)]));
        assert!(matches!(result, Err(Error::Entry { .. })), "{result:?}");
        // Far fewer entries than are allowed, and a few folders more.
        let names: Vec<String> = (0..=PACKAGE_ENTRIES_MAX / DEPTH_MAX).map(|top| file(top, DEPTH_MAX)).collect();
        let entries: Vec<(&str, &[u8], u32)> = names.iter().map(|name| (&**name, &b"x"[..], 0o100_644)).collect();
        let (_folder, result) = unpack_in_temp(&zip(&entries));
        assert!(matches!(result, Err(Error::TooManyEntries)), "{result:?}");
    }

    #[test]
    fn the_package_itself_is_everyones_to_read_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        unpack(&zip(&[("app.py", b"x", 0o100_600)]), folder.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_bomb_is_stopped_by_what_it_unpacks_to() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        writer.start_file("zeros", options).unwrap();
        let block = vec![0; 1 << 20];
        for _ in 0..=UNZIPPED_BYTES_MAX >> 20 {
            writer.write_all(&block).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        assert!(bytes.len() < 1 << 20);
        let (_folder, result) = unpack_in_temp(&bytes);
        assert!(matches!(result, Err(Error::UnzippedTooLarge)), "{result:?}");
    }

    #[test]
    fn what_is_no_zip_is_refused_and_nothing_panics() {
        assert!(matches!(unpack_in_temp(b"").1, Err(Error::Empty)));
        assert!(matches!(unpack_in_temp(b"hello").1, Err(Error::Unreadable(_))));
        assert!(matches!(unpack_in_temp(&zip(&[])).1, Err(Error::Empty | Error::Unreadable(_))));
        let good = zip(&[("app.py", b"print()", 0o100_644), ("b/c", b"data", 0o100_644)]);
        for cut in 0..good.len() {
            let (_folder, result) = unpack_in_temp(&good[..cut]);
            assert!(result.is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bent = good.clone();
            bent[at] ^= 0x55;
            let _ = unpack_in_temp(&bent);
        }
    }
}
