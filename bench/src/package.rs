//! What the bench deploys: each function's package, and how to tell its answer.
//!
//! A package can be made unlike any other by a number: then neither the platform's blobs nor its compiled components
//! are shared between two functions, as they would not be between two users.

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
};

use anyhow::{Context, Result};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Part of every answer, whoever gives it.
pub(crate) const GREETING: &str = "Hello from the edge!";

/// What a function is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bench/functions/app.py`
    Python,
    /// `bench/functions/index.mjs`
    Node,
    /// `bench/functions/hold.py`
    Hold,
    /// `examples/edge/hello.wasm`
    Wasm,
    /// `bench/functions/server.mjs`
    Web,
    /// `bench/functions/soak.py`
    Soak,
    /// `bench/functions/slow.py`, published with SnapStart
    Slow,
}

impl Kind {
    /// The function's Handler.
    pub(crate) fn handler(self) -> &'static str {
        match self {
            Kind::Python => "app.handler",
            Kind::Hold => "hold.handler",
            Kind::Node => "index.handler",
            Kind::Wasm => "hello.wasm",
            Kind::Web => "node server.mjs",
            Kind::Soak => "soak.handler",
            Kind::Slow => "slow.handler",
        }
    }

    /// The function's Timeout, seconds.
    pub(crate) fn timeout_s(self) -> u32 {
        if self == Kind::Soak { 2 } else { 30 }
    }

    /// The package as a zip, unlike that of any other `number`.
    pub(crate) fn zip(self, repository: &Path, number: u32) -> Result<Vec<u8>> {
        let (name, source) = match self {
            Kind::Python => ("app.py", "bench/functions/app.py"),
            Kind::Hold => ("hold.py", "bench/functions/hold.py"),
            Kind::Node => ("index.mjs", "bench/functions/index.mjs"),
            Kind::Wasm => ("hello.wasm", "examples/edge/hello.wasm"),
            Kind::Web => ("server.mjs", "bench/functions/server.mjs"),
            Kind::Soak => ("soak.py", "bench/functions/soak.py"),
            Kind::Slow => ("slow.py", "bench/functions/slow.py"),
        };
        let mut content = fs::read(repository.join(source)).with_context(|| format!("reading {source}"))?;
        match self {
            Kind::Python | Kind::Hold | Kind::Soak | Kind::Slow => content.extend(format!("\n# {number}\n").bytes()),
            Kind::Node | Kind::Web => content.extend(format!("\n// {number}\n").bytes()),
            Kind::Wasm => content.extend(custom_section(number)),
        }
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, SimpleFileOptions::default().unix_permissions(0o644))?;
        zip.write_all(&content)?;
        Ok(zip.finish()?.into_inner())
    }
}

/// A custom section that no one reads (core specification, 5.5.3; a component has the same): id 0, size, name, content.
fn custom_section(number: u32) -> Vec<u8> {
    let content = number.to_le_bytes();
    let mut section = vec![0, 10, 5];
    section.extend(b"bench");
    section.extend(content);
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn packages_differ_by_their_number_only() {
        let repository = crate::repository();
        for kind in [Kind::Python, Kind::Hold, Kind::Node, Kind::Wasm, Kind::Web, Kind::Soak, Kind::Slow] {
            let unpacked = |number| {
                let mut zip = zip::ZipArchive::new(Cursor::new(kind.zip(&repository, number).unwrap())).unwrap();
                let mut content = Vec::new();
                zip.by_index(0).unwrap().read_to_end(&mut content).unwrap();
                content
            };
            let (one, two) = (unpacked(1), unpacked(2));
            assert_eq!(one.len(), two.len());
            assert_ne!(one, two);
        }
    }

    #[test]
    fn a_custom_section_states_its_size() {
        let section = custom_section(7);
        assert_eq!(usize::from(section[1]), section.len() - 2);
        assert_eq!(usize::from(section[2]), b"bench".len());
    }
}
