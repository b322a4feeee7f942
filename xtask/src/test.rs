//! `cargo xtask test`: every check CI makes, quick ones first, stopping at the first failure.
//!
//! The end-to-end suite comes last and prints last, so that its summary closes the run.

use std::{env, path::Path, process::Command};

use anyhow::Result;
use clap::Args;

use crate::{
    setup::{self, Tools},
    step::{self, Ending, step, step_ending},
    tidy,
};

const SUITE: &str = "crates/updraft/tests/e2e";
const WORDS: &str = "examples/words/Cargo.toml";
const RUST_CLIENTS: &str = "crates/updraft/tests/e2e/clients/rust/Cargo.toml";

/// What to leave out.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Skip what takes longest: lints, the dependency policy, the Rust example's own tests, and end-to-end tests
    /// marked slow. Enough between two edits, not before a commit.
    #[arg(long)]
    quick: bool,
    /// Only end-to-end tests matching this pytest expression, such as `thumbnail or api`; skips everything else.
    #[arg(long, value_name = "EXPRESSION")]
    only: Option<String>,
}

/// Everything before the end-to-end suite.
fn check(root: &Path, quick: bool) -> Result<Tools> {
    let tools = prepare(root)?;
    step("cargo fmt", "Run `cargo fmt --all`, and look at `git diff`.", || {
        step::run(tools.cargo(root).args(["fmt", "--all", "--check"]))?;
        step::run(tools.cargo(root).args(["fmt", "--check", "--manifest-path", WORDS]))?;
        step::run(tools.cargo(root).args(["fmt", "--check", "--manifest-path", RUST_CLIENTS]))
    })?;
    step("tidy", "Each line above names a file and the house rule it breaks; see CONTRIBUTING.md.", || {
        tidy::run(root)
    })?;
    if !quick {
        step("cargo deny", "The policy is deny.toml; CONTRIBUTING.md says how to choose a dependency.", || {
            step::run(tools.cargo(root).args(["deny", "check", "bans", "licenses", "sources"]))?;
            advisories(root, &tools)
        })?;
        step("cargo clippy", "Fix what is named above; warnings are errors here.", || {
            let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
            step::run(tools.cargo(root).args(lints))
        })?;
    }
    step("unit tests", "Run one again with `cargo nextest run -p CRATE NAME`.", || {
        step::run(tools.cargo(root).args(["nextest", "run", "--workspace", "--locked"]))
    })?;
    if !quick {
        step("the Rust example's tests", "Run them again in examples/words.", || {
            let target = root.join("target/words");
            step::run(
                tools
                    .cargo(root)
                    .args(["test", "--quiet", "--locked", "--manifest-path", WORDS])
                    .arg("--target-dir")
                    .arg(target),
            )
        })?;
    }
    Ok(tools)
}

/// Runs it all, or what `options` leave of it.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let tools = match options.only {
        Some(_) => prepare(root)?,
        None => check(root, options.quick)?,
    };
    step("build", "The binary did not build; the compiler says why above.", || {
        step::run(tools.cargo(root).args(["build", "--locked", "--package", "updraft"]))
    })?;
    if options.quick {
        println!("\n   skipped by --quick: clippy, deny, the Rust example's tests, end-to-end tests marked slow");
    }
    let advice = format!("Run one again with `cargo xtask test --only NAME`; {SUITE}/README.md tells more.");
    step_ending("end-to-end tests", &advice, Ending::Silent, || {
        let mut pytest = Command::new(tools.python());
        pytest.current_dir(root).args(["-m", "pytest", SUITE]);
        if env::var_os("UPDRAFT_BIN").is_none() {
            pytest.env("UPDRAFT_BIN", root.join("target/debug/updraft"));
        }
        if options.quick {
            pytest.args(["-m", "not slow"]);
        }
        if let Some(expression) = &options.only {
            pytest.args(["-k", expression]);
        }
        step::run(&mut pytest)
    })
}

fn prepare(root: &Path) -> Result<Tools> {
    step("setup", "The tests' tools come from PyPI and npm; check that the machine reaches both.", || setup::run(root))
}

/// Checks known vulnerabilities where the database of them has been fetched. Said aloud where it has not: it comes
/// from a Git host that a build machine need not reach.
fn advisories(root: &Path, tools: &Tools) -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(Into::into).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    if home.is_some_and(|home: std::path::PathBuf| home.join("advisory-dbs").is_dir()) {
        return step::run(tools.cargo(root).args(["deny", "check", "--disable-fetch", "advisories"]));
    }
    println!("   SKIPPED advisories: there is no RustSec database here; `cargo deny fetch db` gets one");
    Ok(())
}
