//! Unpacks the aws command line of version 2, which PyPI does not have, from the machine's Debian or Ubuntu packages into
//! target/clients/aws-v2. Nothing is installed on the machine, and nobody has to be root.
//!
//! Invariant: a folder with its stamp holds the program with all that the machine lacked of what it needs; a half-finished
//! one is started over. A machine without apt, or whose package lists do not have it, goes without: the tests that want it
//! say so.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::step;

const INSTALLED: &str = "target/clients/aws-v2";
const PACKAGE: &str = "awscli";
/// Written last, with the packages by name and version.
const STAMP: &str = "updraft-packages.txt";

/// Unpacks what is missing or outdated.
pub(crate) fn install(root: &Path) -> Result<()> {
    let place = root.join(INSTALLED);
    let Some(wanted) = packages() else {
        println!("   no aws command line of version 2: apt has no package {PACKAGE} here");
        return Ok(());
    };
    if fs::read_to_string(place.join(STAMP)).is_ok_and(|found| found == wanted) {
        println!("   {} is up to date", place.display());
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("could not remove {}", place.display()))?;
    }
    println!("   unpacking {PACKAGE} into {}", place.display());
    let archives = place.join("archives");
    fs::create_dir_all(&archives).with_context(|| format!("could not make {}", archives.display()))?;
    // As root, apt would fetch as a user of its own, who may not write here.
    let mut fetch = Command::new("apt-get");
    fetch.current_dir(&archives).args(["--quiet", "--quiet", "--option", "APT::Sandbox::User=root", "download"]);
    step::run(fetch.args(wanted.lines()))?;
    for archive in fs::read_dir(&archives).context("could not list the archives")? {
        let archive = archive.context("could not list the archives")?.path();
        step::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(&place))?;
    }
    fs::remove_dir_all(&archives).with_context(|| format!("could not remove {}", archives.display()))?;
    fs::write(place.join(STAMP), wanted).context("could not write a stamp")
}

/// The packages that installing it would bring, a line `NAME=VERSION` each; `None` where apt knows none of version 2.
fn packages() -> Option<String> {
    let ask = ["install", "--simulate", "--no-install-recommends", PACKAGE];
    let told = step::output(Command::new("apt-get").args(ask)).ok()?;
    let packages: Vec<String> = told.lines().filter_map(package).collect();
    let is_second = |package: &String| package.starts_with(&format!("{PACKAGE}=2."));
    packages.iter().any(is_second).then(|| packages.join("\n") + "\n")
}

/// `Inst awscli (2.9.19-1 Debian:12.5/oldstable [all])` as `awscli=2.9.19-1`.
fn package(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let version = rest.split_once('(')?.1.split(' ').next()?;
    Some(format!("{name}={version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_what_apt_would_do() {
        let lines = "Inst python3-awscrt (0.16.8+dfsg-1 Debian:12.5/oldstable [amd64])\n\
                     Inst libc6 [2.36-9] (2.36-10 Debian:12.5/oldstable [amd64])\n\
                     Conf awscli (2.9.19-1 Debian:12.5/oldstable [all])\nReading package lists...";
        let found: Vec<_> = lines.lines().filter_map(package).collect();
        assert_eq!(found, ["python3-awscrt=0.16.8+dfsg-1", "libc6=2.36-10"]);
    }
}
