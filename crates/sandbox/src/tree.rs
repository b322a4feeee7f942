//! Copies what a stopped guest has left in its `/tmp` to that of a copy.
//!
//! The copy's own init does it, so that what is written counts towards the copy's limits and takes nobody else's time.
//! Invariant: the guest's files are reached through a view that cannot be written, and none of it runs meanwhile.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

/// Fills one directory, which is empty, with what is in another. Call while `/proc` shows this process.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let path = |directory: BorrowedFd<'_>| PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    copy_directory(&path(from), &path(to))
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let about = fs::symlink_metadata(&source)?;
        if about.file_type().is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            continue;
        }
        if about.is_dir() {
            fs::create_dir(&target)?;
            copy_directory(&source, &target)?;
        } else {
            io::copy(&mut fs::File::open(&source)?, &mut fs::File::create_new(&target)?)?;
        }
        let times = fs::FileTimes::new().set_accessed(about.accessed()?).set_modified(about.modified()?);
        fs::File::open(&target)?.set_times(times)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(about.mode() & 0o7777))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_tree_is_copied_with_its_modes_times_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        let file = from.path().join("a/b/file");
        fs::write(&file, "text").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/nowhere", from.path().join("link")).unwrap();
        let open = |directory: &tempfile::TempDir| fs::File::open(directory.path()).unwrap();
        copy(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        let copied = to.path().join("a/b/file");
        let (was, is) = (fs::metadata(&file).unwrap(), fs::metadata(&copied).unwrap());
        assert_eq!(fs::read_to_string(&copied).unwrap(), "text");
        assert_eq!((was.mode(), was.modified().unwrap()), (is.mode(), is.modified().unwrap()));
        assert_eq!(fs::read_link(to.path().join("link")).unwrap(), Path::new("/nowhere"));
    }
}
