//! What a sandbox sees of the host: the system's programs and libraries, the few files of `/etc` they read,
//! the interpreter, the package, and our runtime files. All of it read-only.
//!
//! Invariant: neither a home directory, nor the platform's data directory, nor anything else of `/etc` is ever
//! among them.

use std::path::{Path, PathBuf};

use updraft_sandbox::Mount;

use crate::environment::{LAYERS_ROOT, RUNTIME_ROOT, TASK_ROOT};

/// Directories of programs and libraries. On most hosts all but `/usr` are links into it; a bind follows them.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What programs read to find libraries, trust certificates, tell the time and name types. Debian's
/// `/usr/bin` holds links that lead through `/etc/alternatives`.
const CONFIGURATION: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];

/// The mounts that are the same for every sandbox, as far as this host has them. `runtime_files` is shown at
/// `/var/runtime`, `layers` (a directory with nothing in it) at
/// `/opt`, until [`show_layers`].
pub(crate) fn shared(runtime_files: &Path, layers: &Path) -> Vec<Mount> {
    let host = SYSTEM.iter().chain(CONFIGURATION).map(Path::new).filter(|path| path.exists()).map(as_it_is);
    let ours = [
        Mount { source: runtime_files.to_owned(), target: RUNTIME_ROOT.into() },
        Mount { source: layers.to_owned(), target: LAYERS_ROOT.into() },
    ];
    host.chain(ours).collect()
}

/// Shows a directory of unpacked layers at `/opt`.
pub(crate) fn show_layers(mounts: &mut [Mount], layers: &Path) {
    for mount in mounts.iter_mut().filter(|mount| mount.target == Path::new(LAYERS_ROOT)) {
        mount.source = layers.to_owned();
    }
}

/// The package's mount.
pub(crate) fn package(package: &Path) -> Mount {
    Mount { source: package.to_owned(), target: TASK_ROOT.into() }
}

/// The mounts an interpreter needs beside the system's own directories.
pub(crate) fn prefixes(directories: &[PathBuf]) -> Vec<Mount> {
    directories.iter().filter(|directory| !is_system(directory)).map(|directory| as_it_is(directory)).collect()
}

/// Whether every sandbox sees it anyway.
pub(crate) fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|directory| path.starts_with(directory))
}

fn as_it_is(path: &Path) -> Mount {
    Mount { source: path.to_owned(), target: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_private_is_shown() {
        let shown = shared(Path::new("/data/runtime"), Path::new("/data/empty"));
        for private in
            ["/etc", "/etc/shadow", "/etc/ssl/private", "/etc/ssl", "/root", "/home", "/proc", "/sys", "/var"]
        {
            assert!(shown.iter().all(|mount| mount.source != Path::new(private)), "{private}");
        }
        assert!(shown.iter().any(|mount| mount.target == Path::new("/usr")));
    }

    #[test]
    fn an_interpreter_of_the_system_needs_nothing_more() {
        assert_eq!(prefixes(&["/usr".into(), "/usr/local".into()]).len(), 0);
        let mounts = prefixes(&["/somewhere/python".into()]);
        assert_eq!(mounts[0].target, Path::new("/somewhere/python"));
    }
}
