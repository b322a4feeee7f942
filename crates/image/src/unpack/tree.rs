//! The folder an image is unpacked into: finds places in it as its own root would, and takes away what a layer hides.
//!
//! Nobody else writes here meanwhile, so what was looked at stays so. Invariants: a path that [`Tree::resolve`] answers
//! holds no link, lies inside the folder and is at most [`DEPTH_MAX`] folders deep; every part of a path that is walked,
//! every link on the way and every entry that is listed is a step, and a whole image takes at most
//! [`STEPS_PER_ENTRY`] times as many as it may have entries. Removing costs no steps: what is removed has been counted
//! when it was made, and goes once.

use std::{
    collections::{HashSet, VecDeque},
    ffi::OsString,
    fs,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use super::{Error, refused};

/// Most links on the way to one place (the kernel's own limit).
const LINKS_MAX: usize = 40;
/// How deep folders may lie in each other. Taking them away holds one open for each.
const DEPTH_MAX: usize = 255;
/// How many steps there are for each entry that an image may have, on average: a path of an ordinary image has some ten
/// parts, and few lead over links.
const STEPS_PER_ENTRY: usize = 32;

pub(super) struct Tree {
    root: PathBuf,
    entries_max: usize,
    entries: usize,
    steps_max: usize,
    steps: usize,
    /// What the layer at hand has added, by hash: what it hides are the lower layers' alone.
    added: HashSet<u64>,
    /// Folders in which nothing of lower layers is left, by hash. What a layer puts there afterwards is its own.
    cleared: HashSet<u64>,
    hasher: RandomState,
}

/// What to do about a folder on the way that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

impl Tree {
    pub(super) fn new(root: &Path, entries_max: usize) -> Self {
        Self {
            root: root.to_owned(),
            entries_max,
            entries: 0,
            steps_max: entries_max.saturating_mul(STEPS_PER_ENTRY),
            steps: 0,
            added: HashSet::new(),
            cleared: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn begin_layer(&mut self) {
        self.added.clear();
        self.cleared.clear();
    }

    /// Notes that the layer at hand has this, and so the folders it is in.
    pub(super) fn added(&mut self, path: &Path) {
        let mut place = path;
        while place != self.root && self.added.insert(self.hasher.hash_one(place)) {
            let Some(parent) = place.parent() else { return };
            place = parent;
        }
    }

    fn is_added(&self, path: &Path) -> bool {
        self.added.contains(&self.hasher.hash_one(path))
    }

    fn is_cleared(&self, folder: &Path) -> bool {
        self.cleared.contains(&self.hasher.hash_one(folder))
    }

    /// Counts one more entry.
    pub(super) fn count(&mut self) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.entries_max { Err(Error::TooManyEntries(self.entries_max)) } else { Ok(()) }
    }

    /// Counts some more steps.
    fn step(&mut self, count: usize) -> Result<(), Error> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > self.steps_max { Err(Error::TooManySteps(self.steps_max)) } else { Ok(()) }
    }

    /// The folder that `inside` leads to, made as far as it is missing. Links on the way lead where they would if the
    /// image were the root.
    pub(super) fn resolve(&mut self, inside: &Path) -> Result<PathBuf, Error> {
        self.walk(inside, Missing::Make)
    }

    /// The same of a folder that has to be there.
    pub(super) fn find(&mut self, inside: &Path) -> Result<PathBuf, Error> {
        self.walk(inside, Missing::Refuse)
    }

    fn walk(&mut self, inside: &Path, missing: Missing) -> Result<PathBuf, Error> {
        let mut real = self.root.clone();
        let (mut links, mut depth) = (0, 0);
        let mut ahead: VecDeque<OsString> = parts_of(inside).collect();
        self.step(1)?;
        while let Some(part) = ahead.pop_front() {
            self.step(1)?;
            if part == ".." {
                if depth > 0 {
                    real.pop();
                    depth -= 1;
                }
                continue;
            }
            real.push(&part);
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(refused(inside, "it is too many folders deep"));
            }
            let found = match fs::symlink_metadata(&real) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Make => {
                    self.count()?;
                    make_folder(&real)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(refused(inside, "a folder on the way is not there"));
                }
                found => found?,
            };
            if found.is_dir() {
                continue;
            }
            if !found.is_symlink() {
                return Err(refused(inside, "a file is on the way"));
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(refused(inside, "too many links are on the way"));
            }
            let target = fs::read_link(&real)?;
            real.pop();
            depth -= 1;
            if target.is_absolute() {
                real.clone_from(&self.root);
                depth = 0;
            }
            for part in parts_of(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(part);
            }
        }
        Ok(real)
    }

    /// A folder at exactly this place, whatever the image has there or on the way. What is no folder gives way.
    pub(super) fn make_real_folder(&mut self, inside: &Path) -> Result<(), Error> {
        let mut real = self.root.clone();
        for part in inside.components() {
            real.push(part);
            if !fs::symlink_metadata(&real).is_ok_and(|found| found.is_dir()) {
                remove(&real)?;
                make_folder(&real)?;
            }
        }
        Ok(())
    }

    /// Removes one entry of a lower layer, and what of lower layers is in it.
    pub(super) fn take_away(&mut self, path: &Path) -> Result<(), Error> {
        if self.is_added(path) {
            if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
                return self.clear_lower(path);
            }
            return Ok(());
        }
        Ok(remove(path)?)
    }

    /// Removes from a folder all that the layer at hand has not put there itself. A layer may say so of the same folder
    /// again and again, or of each on a path: one that has been cleared is not looked into twice.
    pub(super) fn clear_lower(&mut self, folder: &Path) -> Result<(), Error> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            self.step(1)?;
            if self.is_cleared(&folder) {
                continue;
            }
            for entry in fs::read_dir(&folder)? {
                self.step(1)?;
                let entry = entry?;
                let path = entry.path();
                if !self.is_added(&path) {
                    remove(&path)?;
                } else if entry.file_type()?.is_dir() {
                    folders.push(path);
                }
            }
            self.cleared.insert(self.hasher.hash_one(&folder));
        }
        Ok(())
    }
}

/// Removes whatever is at a place; nothing is fine too. Links are removed, not followed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn parts_of(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}
