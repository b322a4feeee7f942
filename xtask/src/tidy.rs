//! `cargo xtask tidy`: the house rules a compiler does not know.
//!
//! Owns no rule itself: each submodule is one family of rules, a pure function from names and texts to complaints,
//! so the rules are tested on made-up files. Looks only at files that Git tracks or would track.

mod documents;
mod layers;
mod sources;

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::step;

/// One rule broken in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Complaint {
    /// From the repository's root.
    file: String,
    /// Counted from 1; 0 stands for the file as a whole.
    line: usize,
    /// What is wrong and what is wanted.
    text: String,
}

impl Complaint {
    fn new(file: &str, line: usize, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}:{line}: {}", self.file, self.text),
        }
    }
}

/// A text file of the repository.
#[derive(Debug, Clone)]
struct File {
    /// From the repository's root, with `/` between its parts.
    path: String,
    text: String,
}

/// Checks the whole repository, and prints each complaint.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = files(root)?;
    let mut complaints = layers::check(&files);
    complaints.extend(sources::check(&files));
    complaints.extend(documents::check(&files, |path| root.join(path).exists()));
    for complaint in &complaints {
        println!("   {complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        1 => bail!("1 house rule is broken"),
        count => bail!("{count} house rules are broken"),
    }
}

/// Every text file that Git tracks or would track. Names and texts that are not UTF-8 are left out.
fn files(root: &Path) -> Result<Vec<File>> {
    let listed = step::output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut paths: Vec<_> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &str| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}
