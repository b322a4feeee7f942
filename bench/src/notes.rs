//! What a run has to tell besides its figures: versions, what was missing, what went wrong. Said aloud at once.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::interrupt;

/// Collected over a run.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What took part.
    pub(crate) versions: BTreeMap<String, String>,
    /// What could not be had.
    pub(crate) missing: Vec<String>,
    /// What went wrong.
    pub(crate) errors: Vec<String>,
}

impl Notes {
    /// States a version.
    pub(crate) fn version(&mut self, name: &str, version: impl Into<String>) {
        self.versions.insert(name.to_owned(), version.into());
    }

    /// The peer, or a loud note that it is missing.
    pub(crate) fn had<T>(&mut self, name: &str, peer: Result<T>) -> Result<Option<T>> {
        interrupt::check()?;
        Ok(peer
            .inspect_err(|error| {
                eprintln!("MISSING: {name}: {error:#}");
                self.missing.push(name.to_owned());
            })
            .ok())
    }

    /// A loud note of what makes this run no result; an `Err` when it is only that the run was interrupted.
    pub(crate) fn error(&mut self, error: String) -> Result<()> {
        interrupt::check()?;
        eprintln!("ERROR: {error}");
        self.errors.push(error);
        Ok(())
    }
}
