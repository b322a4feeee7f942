//! The fork that becomes the guest's command.
//!
//! Everything that can be prepared is, before the fork; between fork and exec only plain system calls remain.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
};

use libc::pid_t;
use nix::{
    fcntl::{OFlag, open},
    sys::{resource::Resource, stat::Mode},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid},
};

use crate::{
    landlock::{Landlock, Rules},
    privileges,
    rootfs::Vacant,
    seccomp::{Filters, Role},
    spec::Spec,
    sys,
    wire::{Failure, Step, errno_of},
};

/// Where a program without a slash is looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Limits that are the same for every guest: what Linux gives an ordinary user, or less; no real-time priority and
/// no better one than the platform's. The core limit is the helper's (`privileges::CORE_BYTES_MAX`).
const FIXED_LIMITS: [(Resource, u64); 5] = [
    (Resource::RLIMIT_MEMLOCK, 8 << 20),
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_SIGPENDING, 4096),
    (Resource::RLIMIT_NICE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
];

/// A started guest: its main process, and the read end of its output.
pub(crate) struct Guest {
    pub(crate) pid: pid_t,
    pub(crate) output: OwnedFd,
}

/// What differs for a guest that does not simply inherit what its init has become.
pub(crate) struct Early<'a> {
    /// Its standard input.
    pub(crate) input: OwnedFd,
    /// It drops its privileges, where its init has not, and enters the filter of this role itself, in the last moment
    /// before it executes.
    pub(crate) filters: &'a Filters,
    pub(crate) role: Role,
    /// Where copies of it will live, which its Landlock rules have to name.
    pub(crate) vacant: &'a [Vacant],
}

/// Starts the command and waits until it executes or cannot. Without `early` the init has given up its
/// privileges before, and the guest inherits that.
pub(crate) fn start(spec: &Spec, landlock: Option<Landlock>, early: Option<&Early<'_>>) -> Result<Guest, Failure> {
    // Made here, as the guest's user: what opens /dev/stdout is asked for permission on the pipe.
    let (output, writer) = pipe2(OFlag::O_CLOEXEC).step("output pipe")?;
    Ok(Guest { pid: start_into(spec, &writer, landlock, early)?, output })
}

/// The same, with a pipe for its output that is there already. Returns its pid.
pub(crate) fn start_into(
    spec: &Spec,
    output_writer: &OwnedFd,
    landlock: Option<Landlock>,
    early: Option<&Early<'_>>,
) -> Result<pid_t, Failure> {
    let program = Program::of(spec)?;
    let flags = OFlag::O_CLOEXEC;
    let (mut verdict, verdict_writer) = {
        let (reader, writer) = pipe2(flags).step("verdict pipe")?;
        (File::from(reader), File::from(writer))
    };
    let null = open("/dev/null", OFlag::O_RDONLY | flags, Mode::empty()).step("open /dev/null")?;
    let input = early.map_or(&null, |early| &early.input);
    let vacant = early.map_or(&[][..], |early| early.vacant);
    let rules = landlock.map(|landlock| landlock.rules(vacant)).transpose()?;
    let pid = match sys::fork_here().step("fork the guest")? {
        None => {
            drop(verdict);
            let prepare = || {
                make_ready(spec, input, output_writer)?;
                if early.is_some_and(|early| early.role == Role::Ordinary) {
                    privileges::drop_all()?;
                }
                rules.as_ref().map_or(Ok(()), Rules::restrict)?;
                early.map_or(Ok(()), |early| early.filters.install(early.role).step("seccomp"))
            };
            become_guest(prepare, &program, verdict_writer)
        }
        Some(pid) => pid,
    };
    drop(verdict_writer);
    let mut words = Vec::new();
    verdict.read_to_end(&mut words).step("read the verdict")?;
    match words.split_first_chunk::<4>() {
        None => Ok(pid),
        Some((errno, step)) => {
            let (errno, step) = (i32::from_ne_bytes(*errno), String::from_utf8_lossy(step).into_owned());
            Err(if step.is_empty() {
                Failure::Exec { command: spec.command[0].clone(), errno }
            } else {
                Failure::Setup { step, errno }
            })
        }
    }
}

/// Runs in the child. Says why on the verdict pipe if it comes back; a successful exec closes that pipe.
fn become_guest(prepare: impl Fn() -> Result<(), Failure>, program: &Program, mut verdict: File) -> ! {
    let (errno, step) = match prepare() {
        Ok(()) => (errno_of(&program.execute()), String::new()),
        Err(Failure::Setup { step, errno }) => (errno, step),
        Err(_) => (libc::EINVAL, "prepare the guest".to_owned()),
    };
    let mut words = errno.to_ne_bytes().to_vec();
    words.extend(step.as_bytes());
    // Nobody is left to tell should this fail; the exit code stands.
    let _ = verdict.write_all(&words);
    sys::exit_now(127)
}

fn make_ready(spec: &Spec, input: &OwnedFd, output: &OwnedFd) -> Result<(), Failure> {
    setsid().step("setsid")?;
    dup2_stdin(input.as_fd()).step("stdin")?;
    dup2_stdout(output.as_fd()).step("stdout")?;
    dup2_stderr(output.as_fd()).step("stderr")?;
    let limits = &spec.limits;
    privileges::limit(Resource::RLIMIT_NOFILE, limits.open_files_max.into()).step("RLIMIT_NOFILE")?;
    // Counted within the user namespace, the init included.
    privileges::limit(Resource::RLIMIT_NPROC, u64::from(limits.pids_max) + 1).step("RLIMIT_NPROC")?;
    for (resource, most) in FIXED_LIMITS {
        privileges::limit(resource, most).step("rlimits")?;
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    let step = format!("working directory {}", spec.directory.display());
    nix::unistd::chdir(&spec.directory).step(&step)?;
    sys::reset_signals();
    Ok(())
}

/// A command in the form `execve` takes.
struct Program {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    fn of(spec: &Spec) -> Result<Self, Failure> {
        let c_string = |text: String| {
            CString::new(text).map_err(|_| Failure::Invalid("the command or its environment holds a NUL".to_owned()))
        };
        let name = &spec.command[0];
        let candidates = if name.contains('/') {
            vec![name.clone()]
        } else {
            let path = spec.environment.iter().find(|(key, _)| key == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
            path.split(':').filter(|directory| !directory.is_empty()).map(|d| format!("{d}/{name}")).collect()
        };
        let environment = spec.environment.iter().map(|(key, value)| format!("{key}={value}"));
        Ok(Self {
            candidates: candidates.into_iter().map(c_string).collect::<Result<_, _>>()?,
            arguments: spec.command.iter().cloned().map(c_string).collect::<Result<_, _>>()?,
            environment: environment.map(c_string).collect::<Result<_, _>>()?,
        })
    }

    /// Tries each candidate. As shells do: a candidate that is not there is passed over, one that may not be
    /// executed is remembered.
    fn execute(&self) -> io::Error {
        let arguments: Vec<_> = self.arguments.iter().map(CString::as_c_str).collect();
        let environment: Vec<_> = self.environment.iter().map(CString::as_c_str).collect();
        let mut verdict = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            let error = sys::execute(candidate, &arguments, &environment);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::EACCES) => verdict = error,
                _ => return error,
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &str, path: Option<&str>) -> Spec {
        Spec {
            name: "n".into(),
            command: vec![command.into()],
            environment: path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect(),
            directory: "/".into(),
            root: None,
            mounts: Vec::new(),
            tmp_bytes_max: 0,
            listen: Vec::new(),
            network: crate::Network::default(),
            limits: crate::Limits::default(),
            companions: crate::Companions::default(),
        }
    }

    #[test]
    fn a_bare_name_is_looked_up_along_the_guests_path() {
        let candidates = |spec: &Spec| {
            let program = Program::of(spec).ok().unwrap();
            program.candidates.into_iter().map(|c| c.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(candidates(&spec("/x/y", Some("/a"))), ["/x/y"]);
        assert_eq!(candidates(&spec("sh", Some("/a::/b"))), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates(&spec("sh", None)).len(), 3);
        assert!(Program::of(&spec("a\0b", None)).is_err());
    }
}
