//! Where interpreters are looked for, in the order in which they are preferred.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Most executables that are asked what they are.
const CANDIDATES_MAX: usize = 128;

/// Where to look for interpreters.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Directories of executables that go before all others.
    pub extra: Vec<PathBuf>,
    /// The value of `PATH`.
    pub path: Option<OsString>,
    /// The home directory, for version managers. Never shown to a guest as such.
    pub home: Option<PathBuf>,
}

/// An executable that may be an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) language: Language,
    pub(super) path: PathBuf,
}

/// What a candidate's name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Nodejs,
}

impl Search {
    /// The usual places of this host, after `extra`.
    pub fn of_host(extra: Vec<PathBuf>) -> Self {
        Self { extra, path: std::env::var_os("PATH"), home: std::env::var_os("HOME").map(PathBuf::from) }
    }

    /// Executables with an interpreter's name, each file once.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        for directory in self.directories() {
            for candidate in interpreters_in(&directory) {
                if found.len() < CANDIDATES_MAX && found.iter().all(|known| known.path != candidate.path) {
                    found.push(candidate);
                }
            }
        }
        found
    }

    /// The system's own interpreters go before those of version managers: every sandbox sees them anyway.
    fn directories(&self) -> Vec<PathBuf> {
        let mut directories = self.extra.clone();
        directories.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
        for directory in self.path.iter().flat_map(std::env::split_paths) {
            match shimmed_versions(&directory) {
                // Shims are scripts that start one of these; asking each of them would take seconds.
                Some(versions) => directories.extend(subdirectories(&versions, "bin")),
                None => directories.push(directory),
            }
        }
        if let Some(home) = &self.home {
            for versions in [".pyenv/versions", ".local/share/uv/python", ".nvm/versions/node"] {
                directories.extend(subdirectories(&home.join(versions), "bin"));
            }
        }
        directories.extend(subdirectories(Path::new("/opt"), "bin"));
        directories
    }
}

/// The `versions` beside a version manager's `shims` (pyenv, nodenv).
fn shimmed_versions(directory: &Path) -> Option<PathBuf> {
    let versions = directory.parent()?.join("versions");
    (directory.file_name() == Some(OsStr::new("shims")) && versions.is_dir()).then_some(versions)
}

/// `inner` of every directory in `parent`, the highest version number first.
fn subdirectories(parent: &Path, inner: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| std::cmp::Reverse((numbers_in(name), name.clone())));
    names.into_iter().map(|name| parent.join(name).join(inner)).filter(|directory| directory.is_dir()).collect()
}

fn numbers_in(name: &OsStr) -> Vec<u64> {
    let text = name.to_string_lossy();
    text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn interpreters_in(directory: &Path) -> Vec<Candidate> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<OsString> =
        entries.map(|entry| entry.file_name()).filter(|name| language_of(name).is_some()).collect();
    names.sort();
    let candidate = |name: OsString| {
        let language = language_of(&name)?;
        Some(Candidate { language, path: directory.join(&name).canonicalize().ok()? })
    };
    names.into_iter().filter_map(candidate).collect()
}

/// `python3`, `python3.12`, `node`; not `python3.12-config`.
fn language_of(name: &OsStr) -> Option<Language> {
    match name.to_str()? {
        "node" | "nodejs" => Some(Language::Nodejs),
        "python3" => Some(Language::Python),
        name => {
            let minor = name.strip_prefix("python3.")?;
            (!minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())).then_some(Language::Python)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn names_tell_interpreters_from_their_company() {
        for name in ["python3", "python3.8", "python3.14", "node"] {
            assert!(language_of(OsStr::new(name)).is_some(), "{name}");
        }
        for name in ["python", "python2.7", "python3.", "python3.11-config", "python3-config", "npm", "node-gyp"] {
            assert!(language_of(OsStr::new(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn shims_lead_to_the_versions_behind_them_newest_first() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join(".pyenv");
        touch(&root.join("shims/python3"));
        touch(&root.join("versions/3.9.18/bin/python3"));
        touch(&root.join("versions/3.12.1/bin/python3"));
        let search = Search { extra: Vec::new(), path: Some(root.join("shims").into()), home: None };
        let ours: Vec<PathBuf> = search.candidates().into_iter().map(|candidate| candidate.path).collect();
        let ours: Vec<_> = ours.iter().filter_map(|path| path.strip_prefix(&root).ok()).collect();
        assert_eq!(ours, [Path::new("versions/3.12.1/bin/python3"), Path::new("versions/3.9.18/bin/python3")]);
    }

    #[test]
    fn an_extra_directory_goes_first_and_a_file_counts_once() {
        let extra = tempfile::tempdir().unwrap();
        touch(&extra.path().join("python3.13"));
        std::os::unix::fs::symlink("python3.13", extra.path().join("python3")).unwrap();
        let search = Search { extra: vec![extra.path().to_owned()], path: None, home: None };
        let candidates = search.candidates();
        assert!(candidates[0].path.ends_with("python3.13"));
        assert_eq!(candidates.iter().filter(|one| one.path.starts_with(extra.path())).count(), 1);
    }
}
