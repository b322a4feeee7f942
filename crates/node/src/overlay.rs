//! Several layers' folders as one: what `/opt` shows of a function with more than one layer.
//!
//! Files are hard links to the layers' own where the file system allows that, so a set costs inodes and no space. A
//! later layer's entry takes the place of an earlier one's, folders are joined. Compiled modules are left out: a set may
//! have the source of another layer, against which Python never checks them; the set is compiled anew.
//!
//! Invariant: nothing is written through a link, and nothing outside the given folder.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use updraft_types::limits::PACKAGE_ENTRIES_MAX;

use crate::package::Error;

/// What a layer's folders of compiled Python are called, and how those begin that the platform makes for Node.js.
const COMPILED_PYTHON: &str = "__pycache__";
const COMPILED_NODEJS: &str = ".updraft-node-";

fn is_compiled(folder: &OsStr) -> bool {
    folder == COMPILED_PYTHON || folder.as_encoded_bytes().starts_with(COMPILED_NODEJS.as_bytes())
}

/// Joins `layers`, in order, in `folder`, which exists and is empty. On an error it holds debris to be removed. Blocks.
pub(crate) fn merge(layers: &[Arc<Path>], folder: &Path) -> Result<(), Error> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let mut entries = 0;
    for layer in layers {
        let mut folders = vec![PathBuf::new()];
        while let Some(inside) = folders.pop() {
            for entry in fs::read_dir(layer.join(&inside))? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let name = entry.file_name();
                if kind.is_dir() && is_compiled(&name) {
                    continue;
                }
                entries += 1;
                if entries > PACKAGE_ENTRIES_MAX {
                    return Err(Error::TooManyEntries);
                }
                let inside = inside.join(name);
                put(&entry.path(), kind, &folder.join(&inside))?;
                if kind.is_dir() {
                    folders.push(inside);
                }
            }
        }
    }
    Ok(())
}

/// Puts one entry where it belongs, in the place of what an earlier layer has there.
fn put(source: &Path, kind: fs::FileType, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(earlier) if earlier.is_dir() && kind.is_dir() => return Ok(()),
        Ok(earlier) if earlier.is_dir() => fs::remove_dir_all(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if kind.is_dir() {
        fs::create_dir(target)?;
        return fs::set_permissions(target, fs::Permissions::from_mode(0o755));
    }
    if kind.is_symlink() {
        return symlink(fs::read_link(source)?, target);
    }
    match fs::hard_link(source, target) {
        // No more links to one file, or none at all on this file system.
        Err(error) if matches!(error.kind(), io::ErrorKind::TooManyLinks | io::ErrorKind::Unsupported) => {
            fs::copy(source, target).map(|_| ())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// A layer: files with their content, and links with a target after `->`.
    fn layer(entries: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for entry in entries {
            let (path, content) = entry.split_once('=').unwrap();
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("->") {
                Some(target) => symlink(target, path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        folder
    }

    fn merged(layers: &[&tempfile::TempDir]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let layers: Vec<Arc<Path>> = layers.iter().map(|layer| layer.path().into()).collect();
        merge(&layers, folder.path()).unwrap();
        folder
    }

    #[test]
    fn later_layers_lie_over_earlier_ones() {
        let first = layer(&["python/a.py=1", "python/b.py=1", "bin/tool=1", "odd/x=1", "flat=1", "link=->python/a.py"]);
        let second = layer(&["python/b.py=2", "python/c.py=2", "odd=2", "flat/y=2", "link/z=2"]);
        let folder = merged(&[&first, &second]);
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!([read("python/a.py"), read("python/b.py"), read("python/c.py")], ["1", "2", "2"]);
        assert_eq!([read("bin/tool"), read("odd"), read("flat/y"), read("link/z")], ["1", "2", "2", "2"]);
        assert_eq!(fs::read_to_string(first.path().join("python/a.py")).unwrap(), "1", "nothing went through the link");
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(folder.path().join("bin/tool")), inode(first.path().join("bin/tool")), "files are shared");
        let mode = fs::metadata(folder.path().join("python")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_link_is_taken_as_it_is_and_what_was_compiled_is_not() {
        let outside = layer(&["secret=1"]);
        let target = format!("out=->{}", outside.path().display());
        let compiled = ["python/__pycache__/a.x.pyc=1", ".updraft-node-20.1.0/a.js.code=1"];
        let first = layer(&[&target, compiled[0], compiled[1], "python/a.py=1", "python/__pycache__s/b.py=1"]);
        let second = layer(&["out/mine=2"]);
        let folder = merged(&[&first]);
        assert!(fs::symlink_metadata(folder.path().join("out")).unwrap().is_symlink());
        assert!(!folder.path().join("python/__pycache__").exists());
        assert!(!folder.path().join(".updraft-node-20.1.0").exists());
        assert!(folder.path().join("python/__pycache__s/b.py").exists(), "it only begins like one");
        let folder = merged(&[&first, &second]);
        assert_eq!(fs::read_to_string(folder.path().join("out/mine")).unwrap(), "2");
        assert!(!outside.path().join("mine").exists());
    }
}
