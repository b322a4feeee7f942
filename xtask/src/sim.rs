//! `cargo xtask sim`: hands over to updraft-sim, which needs nothing of the platform but its decisions.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::step;

const DOCUMENT: &str = "docs/keep-alive.md";

/// Replays with `arguments`; without any, records the figures in docs/keep-alive.md.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let mut replay = Command::new("cargo");
    // The development profile optimises what is replayed, and keeps its checks for overflow.
    replay.current_dir(root).args(["run", "--locked", "--package", "updraft-sim", "--"]);
    match arguments {
        [] => replay.arg("--record").arg(root.join(DOCUMENT)),
        _ => replay.args(arguments),
    };
    step::run(&mut replay)
}
