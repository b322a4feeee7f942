//! Fetched dependencies, kept per user under the hash of what declared them, so the second deploy is quick and
//! the folder stays clean.
//!
//! Invariant: an entry is complete or not there: it is made beside its place and renamed into it. At most
//! [`ENTRIES_MAX`] are kept, the least recently used go first.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use crate::problem::{Exit, Problem};

/// Most entries kept.
const ENTRIES_MAX: usize = 32;

/// After this an unfinished entry belongs to nobody.
const UNFINISHED_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Begins the names of unfinished entries.
const UNFINISHED: &str = "unfinished-";

/// Names an entry by everything its content depends on.
pub struct Key(Sha256);

impl Key {
    /// A key for one kind of build.
    pub fn new(kind: &str) -> Key {
        Key(Sha256::new()).with(kind).with(env::consts::ARCH)
    }

    /// Adds something the content depends on.
    pub fn with(mut self, part: impl AsRef<[u8]>) -> Key {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    fn name(self) -> String {
        self.0.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The cache's folder.
pub struct Cache {
    folder: PathBuf,
    fresh: bool,
}

impl Cache {
    /// The user's cache: `$XDG_CACHE_HOME/updraft`, or `~/.cache/updraft`. With `fresh`, entries are made anew.
    pub fn of_user(fresh: bool) -> Cache {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Cache { folder: base.unwrap_or_else(env::temp_dir).join("updraft").join("builds"), fresh }
    }

    /// The entry for `key`, made by `make` in an empty folder if it is not there yet.
    pub fn get(&self, key: Key, make: impl FnOnce(&Path) -> Result<(), Problem>) -> Result<PathBuf, Problem> {
        let name = key.name();
        let place = self.folder.join(&name);
        if !self.fresh && place.is_dir() {
            self.touch(&place);
            return Ok(place);
        }
        let failed = |error: io::Error| {
            Problem::new(Exit::Build, format!("the build cache {} cannot be written", self.folder.display()))
                .because(error)
                .try_next("set XDG_CACHE_HOME to a folder that can be")
        };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{name}", std::process::id()));
        remove(&unfinished).map_err(failed)?;
        fs::create_dir(&unfinished).map_err(failed)?;
        let made = make(&unfinished).and_then(|()| {
            if self.fresh {
                remove(&place).map_err(failed)?;
            }
            match fs::rename(&unfinished, &place) {
                Err(_) if place.is_dir() => Ok(()),
                other => other.map_err(failed),
            }
        });
        remove(&unfinished).map_err(failed)?;
        made?;
        self.touch(&place);
        self.prune();
        Ok(place)
    }

    /// Marks an entry as used now. Failing only makes it go earlier.
    fn touch(&self, place: &Path) {
        if let Ok(folder) = fs::File::open(place) {
            let _ = folder.set_modified(SystemTime::now());
        }
    }

    /// Removes what is over the bound. Failing leaves it for the next time.
    fn prune(&self) {
        let Ok(found) = fs::read_dir(&self.folder) else { return };
        let mut entries: Vec<(SystemTime, PathBuf)> =
            found.flatten().filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        entries.sort_by(|one, other| other.cmp(one));
        let now = SystemTime::now();
        let mut finished = 0;
        for (used, path) in entries {
            let unfinished = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
            let stale = unfinished && now.duration_since(used).is_ok_and(|age| age > UNFINISHED_AGE_MAX);
            finished += usize::from(!unfinished);
            if stale || (!unfinished && finished > ENTRIES_MAX) {
                let _ = remove(&path);
            }
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(folder: &Path) -> Result<(), Problem> {
        fs::write(folder.join("x"), "x").unwrap();
        Ok(())
    }

    #[test]
    fn an_entry_is_made_once_and_never_half() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |fresh| Cache { folder: folder.path().join("builds"), fresh };
        let failed = cache(false).get(Key::new("a"), |_| Err(Problem::new(Exit::Build, "no")));
        assert!(failed.is_err());
        let place = cache(false).get(Key::new("a"), fill).unwrap();
        assert_eq!(cache(false).get(Key::new("a"), |_| panic!("made twice")).unwrap(), place);
        assert_ne!(cache(false).get(Key::new("a").with("b"), fill).unwrap(), place);
        let mut again = false;
        cache(true)
            .get(Key::new("a"), |folder| {
                again = true;
                fill(folder)
            })
            .unwrap();
        assert!(again);
        assert_eq!(fs::read_dir(folder.path().join("builds")).unwrap().count(), 2);
    }

    #[test]
    fn the_cache_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().to_owned(), fresh: false };
        for number in 0..ENTRIES_MAX + 5 {
            cache.get(Key::new("n").with(number.to_string()), fill).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), ENTRIES_MAX);
    }
}
