//! Makes the zip: the same files give the same bytes, whoever packs them and when.
//!
//! Entries are sorted by name, timestamps are fixed, of the mode only "executable" is kept, links are replaced
//! by what they point to. Limits are checked before anything is compressed, and the error names the files that
//! are to blame.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use updraft_types::limits;
use walkdir::WalkDir;
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::{
    output::size,
    problem::{Exit, Problem},
};

/// A folder's own list of what not to package, in the syntax of `.gitignore`.
pub const IGNORE_FILE_NAME: &str = ".updraftignore";

/// What is never part of a function.
const NEVER: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".updraft",
    ".updraftignore",
    ".gitignore",
    ".DS_Store",
    "__pycache__",
    "*.pyc",
    ".venv",
    ".pytest_cache",
    ".mypy_cache",
    "node_modules/.bin",
    "node_modules/.package-lock.json",
    "node_modules/.cache",
    "/function.toml",
    "/updraft.toml",
];

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the package, with slashes.
    pub name: String,
    /// Where it is now.
    pub source: PathBuf,
    /// Size, bytes.
    pub bytes: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

impl Entry {
    /// A file under its own name, at the top of the package.
    pub fn file(source: PathBuf) -> Result<Entry, Problem> {
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Entry::named(name, source)
    }

    /// A file under another name.
    pub fn named(name: String, source: PathBuf) -> Result<Entry, Problem> {
        let metadata = fs::metadata(&source).map_err(|error| unreadable(&source, error))?;
        Ok(Entry { name, source, bytes: metadata.len(), executable: is_executable(&metadata) })
    }
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Problem {
    Problem::new(Exit::Build, format!("{} could not be read", path.display())).because(error)
}

/// Decides which files of a folder belong to the function.
pub struct Filter {
    root: PathBuf,
    rules: Gitignore,
}

impl Filter {
    /// The rules for `root`: what is never packaged, then `more` patterns, then the folder's `.updraftignore`.
    pub fn new(root: &Path, more: &[&str]) -> Result<Filter, Problem> {
        let mut builder = GitignoreBuilder::new(root);
        let cargo = root.join("Cargo.toml").exists().then_some("/target");
        for pattern in NEVER.iter().chain(more).copied().chain(cargo) {
            builder.add_line(None, pattern).map_err(|error| unreadable(root, error))?;
        }
        let own = root.join(IGNORE_FILE_NAME);
        if own.exists()
            && let Some(error) = builder.add(&own)
        {
            return Err(unreadable(&own, error));
        }
        let rules = builder.build().map_err(|error| unreadable(root, error))?;
        Ok(Filter { root: root.to_owned(), rules })
    }

    /// Whether a path under the root is left out (by itself; a folder left out is not entered).
    pub fn leaves_out(&self, path: &Path, is_folder: bool) -> bool {
        self.rules.matched(path, is_folder).is_ignore()
    }

    /// Every file and folder that is not left out, the root first. Links are followed.
    pub fn walk(&self) -> impl Iterator<Item = Result<walkdir::DirEntry, walkdir::Error>> + '_ {
        WalkDir::new(&self.root)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !self.leaves_out(entry.path(), entry.file_type().is_dir()))
    }

    /// The files that are not left out, as entries of a package.
    pub fn entries(&self) -> Result<Vec<Entry>, Problem> {
        let mut entries = Vec::new();
        for found in self.walk() {
            let found = found.map_err(|error| unreadable(&self.root, error))?;
            if !found.file_type().is_file() {
                continue;
            }
            let relative = found.path().strip_prefix(&self.root).map_err(|error| unreadable(found.path(), error))?;
            let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
            let name = parts.ok_or_else(|| unreadable(found.path(), "its name is not UTF-8"))?.join("/");
            entries.push(Entry::named(name, found.into_path())?);
            if entries.len() > limits::PACKAGE_ENTRIES_MAX {
                return Err(Problem::new(Exit::Build, format!("{} holds too many files", self.root.display()))
                    .because(format!("a package may have {}", limits::PACKAGE_ENTRIES_MAX))
                    .try_next(format!("leave some out with {IGNORE_FILE_NAME}")));
            }
        }
        Ok(entries)
    }
}

/// Puts lists of entries together; of two with one name the earlier list's stays. Sorted by name.
pub fn merge(lists: Vec<Vec<Entry>>) -> Vec<Entry> {
    let mut merged = BTreeMap::new();
    for entry in lists.into_iter().flatten() {
        merged.entry(entry.name.clone()).or_insert(entry);
    }
    merged.into_values().collect()
}

/// Compresses a package, calling `progress` with the bytes read so far.
pub fn pack(entries: &[Entry], progress: &dyn Fn(u64)) -> Result<Vec<u8>, Problem> {
    let unpacked: u64 = entries.iter().map(|entry| entry.bytes).sum();
    if unpacked > limits::UNZIPPED_BYTES_MAX {
        return Err(too_large(entries, "unpacked", unpacked, limits::UNZIPPED_BYTES_MAX));
    }
    if entries.is_empty() {
        return Err(Problem::new(Exit::Build, "the package would be empty")
            .try_next(format!("check what {IGNORE_FILE_NAME} and `package` in function.toml leave of the folder")));
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut read = 0;
    for entry in entries {
        let bytes = fs::read(&entry.source).map_err(|error| unreadable(&entry.source, error))?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(if entry.executable { 0o755 } else { 0o644 });
        let written = writer
            .start_file(entry.name.as_str(), options)
            .map_err(std::io::Error::from)
            .and_then(|()| writer.write_all(&bytes));
        written.map_err(|error| unreadable(&entry.source, error))?;
        read += bytes.len() as u64;
        progress(read);
    }
    let zip = writer.finish().map_err(|error| unreadable(Path::new("the package"), error))?.into_inner();
    check_zip_size(&zip, entries)?;
    Ok(zip)
}

/// Refuses a zip that the API would not take; `entries` are named if known.
pub fn check_zip_size(zip: &[u8], entries: &[Entry]) -> Result<(), Problem> {
    if zip.len() <= limits::ZIP_BYTES_MAX {
        return Ok(());
    }
    Err(too_large(entries, "zipped", zip.len() as u64, limits::ZIP_BYTES_MAX as u64))
}

fn too_large(entries: &[Entry], how: &str, bytes: u64, bytes_max: u64) -> Problem {
    let mut biggest: Vec<&Entry> = entries.iter().collect();
    biggest.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
    let named: Vec<String> =
        biggest.iter().take(5).map(|entry| format!("  {:>9}  {}", size(entry.bytes), entry.name)).collect();
    let problem = Problem::new(Exit::Build, format!("the package is too large: {} {how}", size(bytes)))
        .because(format!("Lambda's limit is {} {how}", size(bytes_max)));
    if named.is_empty() {
        return problem;
    }
    problem
        .with_detail(format!("the biggest files:\n{}", named.join("\n")))
        .try_next(format!("leave out what the function does not need with {IGNORE_FILE_NAME}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names(folder: &Path, more: &[&str]) -> Vec<String> {
        Filter::new(folder, more).unwrap().entries().unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn equal_folders_give_equal_bytes() {
        let pack_one = |reverse: bool| {
            let folder = tempfile::tempdir().unwrap();
            let mut files = vec![("b/c.py", "c"), ("a.py", "a"), ("b.py", "b")];
            if reverse {
                files.reverse();
            }
            for (name, text) in files {
                write(folder.path(), name, text);
            }
            let past =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(reverse) * 1_000_000);
            fs::File::options().write(true).open(folder.path().join("a.py")).unwrap().set_modified(past).unwrap();
            fs::set_permissions(
                folder.path().join("b.py"),
                fs::Permissions::from_mode(if reverse { 0o700 } else { 0o755 }),
            )
            .unwrap();
            pack(&Filter::new(folder.path(), &[]).unwrap().entries().unwrap(), &|_| ()).unwrap()
        };
        assert_eq!(pack_one(false), pack_one(true));
    }

    #[test]
    fn execution_bits_and_contents_survive() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "bootstrap", "#!/bin/sh");
        write(folder.path(), "data/x.txt", "x");
        fs::set_permissions(folder.path().join("bootstrap"), fs::Permissions::from_mode(0o755)).unwrap();
        let zip = pack(&Filter::new(folder.path(), &[]).unwrap().entries().unwrap(), &|_| ()).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        assert_eq!(archive.by_name("bootstrap").unwrap().unix_mode().unwrap() & 0o777, 0o755);
        assert_eq!(archive.by_name("data/x.txt").unwrap().unix_mode().unwrap() & 0o777, 0o644);
        assert_eq!(archive.by_name("data/x.txt").unwrap().size(), 1);
    }

    #[test]
    fn what_is_no_part_of_a_function_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "app.py",
            "sub/function.toml",
            "node_modules/x/index.js",
            "node_modules/.bin/x",
            ".git/config",
            ".updraft/db",
            "sub/__pycache__/a.pyc",
            "function.toml",
            "target/kept-without-cargo",
            "secret.key",
            "notes/a.md",
        ] {
            write(folder.path(), name, "");
        }
        let all = [
            "app.py",
            "node_modules/x/index.js",
            "notes/a.md",
            "secret.key",
            "sub/function.toml",
            "target/kept-without-cargo",
        ];
        assert_eq!(names(folder.path(), &[]), all);
        write(folder.path(), "Cargo.toml", "");
        write(folder.path(), ".updraftignore", "*.key\nnotes/\n");
        assert_eq!(names(folder.path(), &["/node_modules"]), ["Cargo.toml", "app.py", "sub/function.toml"]);
    }

    #[test]
    fn links_are_replaced_by_what_they_point_to() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "real.py", "abc");
        std::os::unix::fs::symlink("real.py", folder.path().join("link.py")).unwrap();
        let entries = Filter::new(folder.path(), &[]).unwrap().entries().unwrap();
        assert_eq!(
            entries.iter().map(|entry| (entry.name.as_str(), entry.bytes)).collect::<Vec<_>>(),
            [("link.py", 3), ("real.py", 3)]
        );
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
        assert!(Filter::new(folder.path(), &[]).unwrap().entries().is_err());
    }

    #[test]
    fn a_package_over_the_limit_names_its_biggest_files() {
        let entry =
            |name: &str, bytes| Entry { name: name.into(), source: "/nowhere".into(), bytes, executable: false };
        let entries = [entry("small.txt", 1), entry("model.bin", limits::UNZIPPED_BYTES_MAX)];
        let problem = format!("{:?}", pack(&entries, &|_| ()).unwrap_err());
        assert!(problem.contains("model.bin") && problem.contains("262.1 MB"), "{problem}");
        assert!(pack(&[], &|_| ()).is_err());
    }

    #[test]
    fn the_folders_own_files_win_over_fetched_ones() {
        let entry =
            |name: &str, source: &str| Entry { name: name.into(), source: source.into(), bytes: 0, executable: false };
        let merged = merge(vec![vec![entry("b", "own")], vec![entry("b", "fetched"), entry("a", "fetched")]]);
        assert_eq!(
            merged.iter().map(|entry| (entry.name.as_str(), entry.source.to_str().unwrap())).collect::<Vec<_>>(),
            [("a", "fetched"), ("b", "own")]
        );
    }
}
