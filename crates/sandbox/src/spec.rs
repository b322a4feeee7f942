//! What a sandbox is asked to be: the command, what it sees, and what it may use up.
//!
//! Plain values that travel to the helper as JSON. Nothing here touches the kernel.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// Most bytes of one [`Spec`] on its way to the helper (JSON). One message on the socket has to hold it.
pub const SPEC_BYTES_MAX: usize = 128 * 1024;

/// Most ports in [`Spec::listen`].
pub const LISTENERS_MAX: usize = 16;

/// Most entries in [`Network::listen_at`]. With the ports of [`Spec::listen`] and the output pipe they travel in one
/// message.
pub const LISTENERS_AT_MAX: usize = 48;

/// Most entries in [`Network::hosts`] and in [`Network::networks`].
pub const NETWORK_ENTRIES_MAX: usize = 64;

/// Most programs in [`Companions::programs`].
pub const COMPANIONS_MAX: usize = 16;

/// Most entries in [`Spec::mounts`].
pub const MOUNTS_MAX: usize = 64;

/// What a directory that becomes a guest's root must have as files, for ours to be mounted over.
pub const ROOT_FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Most bytes of a name: the kernel's limit for a host name.
const NAME_BYTES_MAX: usize = 64;

/// One sandbox to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Names the sandbox among the living ones and its cgroup: 1 to 64 of `[A-Za-z0-9_-]`. Also the host
    /// name the guest sees.
    pub name: String,
    /// The program and its arguments. A program without a slash is looked up along `PATH` of `environment`
    /// inside the sandbox.
    pub command: Vec<String>,
    /// The guest's whole environment.
    pub environment: Vec<(String, String)>,
    /// Working directory inside the sandbox, absolute.
    pub directory: PathBuf,
    /// A directory of the host that is the guest's whole root, read-only, in place of a small one of our own. It has to
    /// have real directories `dev`, `etc`, `proc` and `tmp` and the files of [`ROOT_FILES`], which ours are mounted over.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Read-only binds, made in order; a later one may lie inside an earlier one when its target exists there.
    pub mounts: Vec<Mount>,
    /// Size limit of the private `/tmp`. What lies there is memory and counts towards the memory limit too.
    pub tmp_bytes_max: u64,
    /// Ports to listen on at 127.0.0.1 inside the sandbox's own network; the listeners are handed out.
    pub listen: Vec<u16>,
    /// What its own network has besides.
    pub network: Network,
    /// What it may use up.
    pub limits: Limits,
    /// What runs beside the command, in the same sandbox and within the same limits.
    #[serde(default)]
    pub companions: Companions,
}

/// Programs that are started before the command. With any, the command waits for [`crate::Sandbox::begin`], each
/// one's end is told ([`crate::Sandbox::take_companions`]), and the sandbox ends by itself when all have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companions {
    /// Absolute paths inside the sandbox; they get no arguments. Their working directory is the root.
    pub programs: Vec<String>,
    /// The whole environment of each.
    pub environment: Vec<(String, String)>,
}

/// What a sandbox's own network has beside a loopback at 127.0.0.1 and ::1. Nothing here leads out of it: whoever
/// connects inside reaches a listener that was handed out, or nobody.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Network {
    /// Networks that are the loopback's too, as an address and the bits its addresses share, 8 to 32: what
    /// connects to any address of them stays inside.
    pub networks: Vec<(Ipv4Addr, u8)>,
    /// Where to listen beside the ports of [`Spec::listen`], after whose listeners these are handed out: addresses
    /// of 127.0.0.0/8 or of `networks`, or 0.0.0.0.
    pub listen_at: Vec<SocketAddrV4>,
    /// Lines for `/etc/hosts`: an address and the name that leads to it.
    pub hosts: Vec<(Ipv4Addr, String)>,
}

impl Network {
    fn check(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Invalid(why.to_owned()));
        if self.listen_at.len() > LISTENERS_AT_MAX || self.listen_at.iter().any(|address| address.port() == 0) {
            return refuse("there are too many addresses to listen at, or port 0");
        }
        if self.hosts.len() > NETWORK_ENTRIES_MAX || self.networks.len() > NETWORK_ENTRIES_MAX {
            return refuse("there are too many names or networks");
        }
        if self.networks.iter().any(|(first, prefix)| !(8..=32).contains(prefix) || first.octets()[0] == 0) {
            return refuse("a network shares fewer than 8 bits or more than 32, or is the unspecified one");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.hosts.iter().any(|(_, name)| name.is_empty() || !name.bytes().all(plain)) {
            return refuse("a host's name is not of letters, digits, '.', '-' and '_'");
        }
        Ok(())
    }
}

/// What turns a sandbox that was started without a function ([`crate::Spawner::spawn_unassigned`]) into a function's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// As [`Spec::name`]; the one it was started under is gone.
    pub name: String,
    /// As [`Spec::mounts`], made after those. They may lie over one of them.
    pub mounts: Vec<Mount>,
    /// As [`Spec::tmp_bytes_max`], in place of that.
    pub tmp_bytes_max: u64,
    /// As [`Spec::limits`]. `pids_max` and `open_files_max` cannot change any more.
    pub limits: Limits,
    /// What the guest reads from its standard input, up to the end of it, once all the rest is in place.
    pub message: String,
}

/// A file or directory of the host shown read-only (also nosuid, nodev) to the guest, with what is mounted
/// below it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host; a file or a directory, symbolic links followed.
    pub source: PathBuf,
    /// Absolute path inside the sandbox, created as needed.
    pub target: PathBuf,
}

/// What a sandbox may use up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all its processes together, with page cache and `/tmp`. Needs the cgroup memory controller.
    pub memory_bytes_max: u64,
    /// Processor time in thousandths of one core; 0 means no limit. Needs the cgroup cpu controller.
    pub cpu_millis: u32,
    /// Its part where sandboxes want more processor time than there is: twice the weight, twice the time. 100 is what
    /// other groups of the system have; 0 stands for that. Needs the cgroup cpu controller. Disks are shared by it, too, where
    /// version 2 of cgroups shares them by weight.
    pub cpu_weight: u32,
    /// Processes and threads at once. Held by the cgroup pids controller, and by RLIMIT_NPROC beside it.
    pub pids_max: u32,
    /// Open files of one process (RLIMIT_NOFILE), at most what the platform itself may have.
    pub open_files_max: u32,
}

impl Spec {
    /// Refuses what cannot be carried out, before anything is started.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Invalid(why.to_owned()));
        check_name(&self.name)?;
        if self.command.first().is_none_or(String::is_empty) {
            return refuse("there is no command");
        }
        if self.listen.len() > LISTENERS_MAX || self.listen.contains(&0) {
            return refuse("there are too many ports to listen on, or port 0");
        }
        self.network.check()?;
        if self.mounts.len() > MOUNTS_MAX {
            return refuse("there are too many mounts");
        }
        if !self.directory.is_absolute() || self.mounts.iter().any(|mount| !mount.source.is_absolute()) {
            return refuse("the working directory or a mount's source is not absolute");
        }
        if self.root.as_ref().is_some_and(|root| !root.is_absolute()) {
            return refuse("the root's source is not absolute");
        }
        if self.companions.programs.len() > COMPANIONS_MAX {
            return refuse("there are too many companions");
        }
        if self.companions.programs.iter().any(|program| !program.starts_with('/')) {
            return refuse("a companion's path is not absolute");
        }
        let variables = || self.environment.iter().chain(&self.companions.environment);
        let words = self.command.iter().chain(&self.companions.programs);
        let texts = words.chain(variables().flat_map(|(key, value)| [key, value]));
        if texts.into_iter().any(|text| text.contains('\0')) {
            return refuse("the command or the environment holds a NUL");
        }
        if variables().any(|(key, _)| key.is_empty() || key.contains('=')) {
            return refuse("a variable of the environment has no proper name");
        }
        Ok(())
    }
}

impl Assignment {
    /// Refuses what cannot be carried out by a sandbox that was started with `limits`.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Invalid(why.to_owned()));
        check_name(&self.name)?;
        if self.mounts.len() > MOUNTS_MAX {
            return refuse("there are too many mounts");
        }
        if self.mounts.iter().any(|mount| !mount.source.is_absolute()) {
            return refuse("a mount's source is not absolute");
        }
        if (self.limits.pids_max, self.limits.open_files_max) != (limits.pids_max, limits.open_files_max) {
            return refuse("the limits on processes and files of a running guest cannot be changed");
        }
        Ok(())
    }
}

/// A name that can be a directory's and a host's.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{name:?} is not a name of 1 to {NAME_BYTES_MAX} letters, digits, '-' and '_'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_that_cannot_be_carried_out_is_refused_before_anything_starts() {
        let good = Spec {
            name: "a-1".into(),
            command: vec!["/bin/true".into()],
            environment: vec![("A".into(), "=".into())],
            directory: "/".into(),
            root: Some("/some/image".into()),
            mounts: vec![Mount { source: "/usr".into(), target: "/usr".into() }],
            tmp_bytes_max: 0,
            listen: vec![9001],
            network: Network {
                networks: vec![([10, 0, 0, 0].into(), 8)],
                listen_at: vec!["127.1.0.2:443".parse().unwrap()],
                hosts: vec![([127, 1, 0, 2].into(), "api.example.com".into())],
            },
            limits: Limits::default(),
            companions: Companions { programs: vec!["/opt/x".into()], environment: vec![("B".into(), "1".into())] },
        };
        assert!(good.check().is_ok());
        let bad: [fn(&mut Spec); 19] = [
            |spec| spec.name = "../x".into(),
            |spec| spec.name = "n".repeat(NAME_BYTES_MAX + 1),
            |spec| spec.command.clear(),
            |spec| spec.command.push("a\0b".into()),
            |spec| spec.environment.push(("A=B".into(), String::new())),
            |spec| spec.companions.programs[0] = "opt/x".into(),
            |spec| spec.companions.programs = vec!["/x".into(); COMPANIONS_MAX + 1],
            |spec| spec.companions.environment[0].0 = "A=".into(),
            |spec| spec.directory = "tmp".into(),
            |spec| spec.root = Some("some/image".into()),
            |spec| spec.mounts[0].source = "usr".into(),
            |spec| spec.mounts = vec![spec.mounts[0].clone(); MOUNTS_MAX + 1],
            |spec| spec.listen.push(0),
            |spec| spec.network.listen_at.push("127.1.0.2:0".parse().unwrap()),
            |spec| spec.network.listen_at = vec![spec.network.listen_at[0]; LISTENERS_AT_MAX + 1],
            |spec| spec.network.hosts.push(([127, 1, 0, 3].into(), "a\n127.0.0.1 b".into())),
            |spec| spec.network.hosts.push(([127, 1, 0, 3].into(), String::new())),
            |spec| spec.network.networks.push(([8, 0, 0, 0].into(), 7)),
            |spec| spec.network.networks.push(([0, 0, 0, 0].into(), 8)),
        ];
        for (index, spoil) in bad.into_iter().enumerate() {
            let mut spec = good.clone();
            spoil(&mut spec);
            assert!(matches!(spec.check(), Err(Error::Invalid(_))), "case {index}");
        }
    }

    #[test]
    fn an_assignment_changes_what_can_be_changed() {
        let limits =
            Limits { memory_bytes_max: 1 << 27, cpu_millis: 1000, cpu_weight: 0, pids_max: 64, open_files_max: 256 };
        let good = Assignment {
            name: "b-2".into(),
            mounts: vec![Mount { source: "/usr".into(), target: "/var/task".into() }],
            tmp_bytes_max: 1 << 20,
            limits: Limits { memory_bytes_max: 1 << 28, cpu_millis: 0, ..limits },
            message: String::new(),
        };
        assert!(good.check(&limits).is_ok());
        let bad: [fn(&mut Assignment); 4] = [
            |assignment| assignment.name = "..".into(),
            |assignment| assignment.mounts[0].source = "usr".into(),
            |assignment| assignment.mounts = vec![assignment.mounts[0].clone(); MOUNTS_MAX + 1],
            |assignment| assignment.limits.pids_max += 1,
        ];
        for (index, spoil) in bad.into_iter().enumerate() {
            let mut assignment = good.clone();
            spoil(&mut assignment);
            assert!(matches!(assignment.check(&limits), Err(Error::Invalid(_))), "case {index}");
        }
    }
}
