//! `cargo xtask bless`: has every snapshot test write what it sees as what is expected.

use std::path::Path;

use anyhow::Result;

use crate::{setup, step};

/// Runs the tests with insta told to accept; the author reviews the difference in Git.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tools = setup::run(root)?;
    step::run(tools.cargo(root).args(["nextest", "run", "--workspace", "--no-fail-fast"]).env("INSTA_UPDATE", "always"))
}
