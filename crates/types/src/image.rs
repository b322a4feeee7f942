//! Container images as functions have them: `PackageType: Image`.
//!
//! What an image is made of is the business of the crate `image`; here is what a function's document holds of one, so
//! that a version goes on running whatever becomes of the name its image was found under.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Timestamp, function::Architecture};

/// The image a function's code is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// Whose copy of it this is: each account has its own.
    pub account: AccountId,
    /// `ImageUri` as the author gave it.
    pub uri: String,
    /// `ResolvedImageUri`: the repository, `@` and the digest of the one manifest that was chosen.
    pub resolved: String,
    /// What the image itself says about being run.
    pub program: Program,
}

/// What an image says about being run (source: OCI image configuration, `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// `Entrypoint`.
    pub entry_point: Vec<String>,
    /// `Cmd`.
    pub command: Vec<String>,
    /// `WorkingDir`; empty where nothing is said.
    pub working_directory: String,
    /// `Env`, as names and values.
    pub environment: Vec<(String, String)>,
    /// `User`, which counts for nothing here: a sandbox has one user.
    pub user: String,
}

/// Lambda's `ImageConfig`: what a function says in place of its image. An empty list or text says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// In place of `Entrypoint`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<String>,
    /// In place of `Cmd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// In place of `WorkingDir`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
}

impl Overrides {
    /// Whether the image's own words count in everything.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// An image that the platform holds: what it is made of. Immutable, as its digest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// SHA-256 of its manifest, hexadecimal.
    pub digest: String,
    /// From the lowest to the uppermost.
    pub layers: Vec<LayerBlob>,
    /// What it runs on.
    pub architecture: Architecture,
    /// What it says about being run.
    pub program: Program,
}

impl Contents {
    /// Its layers as they are kept, bytes; one that is there twice is kept once.
    pub fn size_bytes(&self) -> u64 {
        let mut layers: Vec<_> = self.layers.iter().collect();
        layers.sort_by(|one, other| one.digest.cmp(&other.digest));
        layers.dedup_by(|one, other| one.digest == other.digest);
        layers.iter().map(|layer| layer.size_bytes).sum()
    }
}

/// One layer of an image that the platform holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// SHA-256 of its bytes as they are kept, hexadecimal.
    pub digest: String,
    /// How many those are.
    pub size_bytes: u64,
}

/// A name that an image was pushed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The repository.
    pub name: String,
    /// The tag in it.
    pub tag: String,
    /// The image.
    pub contents: Contents,
    /// When it was pushed.
    pub pushed_at: Timestamp,
}

/// Where a program runs that says nothing of it: Lambda's `/var/task`.
pub const WORKING_DIRECTORY_DEFAULT: &str = "/var/task";

impl Program {
    /// The words to execute: the entry point and the command, each the function's before the image's.
    pub fn words(&self, overrides: &Overrides) -> Vec<String> {
        let entry_point = if overrides.entry_point.is_empty() { &self.entry_point } else { &overrides.entry_point };
        entry_point.iter().chain(self.arguments(overrides)).cloned().collect()
    }

    /// The command alone, which runtimes take for the handler.
    pub fn arguments<'a>(&'a self, overrides: &'a Overrides) -> &'a [String] {
        if overrides.command.is_empty() { &self.command } else { &overrides.command }
    }

    /// Where they are executed: an absolute path inside the image.
    pub fn directory<'a>(&'a self, overrides: &'a Overrides) -> &'a str {
        [overrides.working_directory.as_str(), self.working_directory.as_str(), WORKING_DIRECTORY_DEFAULT]
            .into_iter()
            .find(|directory| !directory.is_empty())
            .expect("the last one is not empty")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_words_go_before_its_images() {
        let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let image = Program {
            entry_point: words(&["/entry", "-x"]),
            command: words(&["app.handler"]),
            working_directory: "/srv".into(),
            ..Program::default()
        };
        let none = Overrides::default();
        assert_eq!(image.words(&none), ["/entry", "-x", "app.handler"]);
        assert_eq!(image.directory(&none), "/srv");
        let command = Overrides { command: words(&["other.handler", "y"]), ..none.clone() };
        assert_eq!(image.words(&command), ["/entry", "-x", "other.handler", "y"]);
        let entry = Overrides { entry_point: words(&["/bin/sh"]), working_directory: "/".into(), ..none.clone() };
        assert_eq!(image.words(&entry), ["/bin/sh", "app.handler"]);
        assert_eq!(image.directory(&entry), "/");
        assert_eq!(Program::default().directory(&none), WORKING_DIRECTORY_DEFAULT);
        assert!(none.is_empty() && !entry.is_empty());
    }
}
