//! `cargo xtask bench`: builds the release binary, then hands over to updraft-bench.

use std::path::Path;

use anyhow::Result;

use crate::{setup, step};

/// Measures with `arguments`; the table goes to docs/benchmarks.md and the numbers beside it as JSON.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let tools = setup::run(root)?;
    step::run(tools.cargo(root).args(["build", "--release", "--locked", "--package", "updraft"]))?;
    let bench = ["run", "--release", "--locked", "--package", "updraft-bench", "--"];
    step::run(tools.cargo(root).args(bench).args(arguments))
}
