//! What the tests share: specifications, a runtime, and looking at the host's processes and cgroups.

use std::{
    collections::HashMap,
    fs,
    future::Future,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use updraft_sandbox::{Companions, Config, Exit, Limits, Mount, Network, Require, Sandbox, Spawner, Spec, Status};

pub(crate) type Test = fn();

pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Long enough for anything that happens at all on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs") })
}

pub(crate) fn cgroup_name() -> String {
    format!("updraft-test-{}", std::process::id())
}

/// Each has a name of its own below [`cgroup_name`]: a helper that is still ending removes what it finds under its.
pub(crate) fn spawner() -> Spawner {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cgroup_name = format!("{}-{}", cgroup_name(), COUNT.fetch_add(1, Ordering::Relaxed));
    Spawner::start(Config { cgroup_name, require: Require::BestEffort }).unwrap()
}

/// Whether a limit can be held here; says so when it cannot.
pub(crate) fn has_limit(test: &str, name: &str) -> bool {
    let config = Config { cgroup_name: format!("{}-all", cgroup_name()), require: Require::All };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    match Spawner::start(config) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("SKIPPED {test}: {name} is not to be had for this user here: {error}");
            false
        }
    }
}

pub(crate) fn spec(command: &[&str]) -> Spec {
    let mount = |path: &&str| Mount { source: path.into(), target: path.into() };
    let there = |path: &&&str| Path::new(path).exists();
    Spec {
        name: "instance-1".to_owned(),
        command: command.iter().map(ToString::to_string).collect(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        directory: "/tmp".into(),
        root: None,
        mounts: ["/usr", "/lib", "/lib64", "/bin"].iter().filter(there).map(mount).collect(),
        tmp_bytes_max: 16 << 20,
        listen: Vec::new(),
        network: Network::default(),
        limits: Limits { memory_bytes_max: 256 << 20, cpu_millis: 0, cpu_weight: 0, pids_max: 64, open_files_max: 256 },
        companions: Companions::default(),
    }
}

/// With a directory of the host shown at a place inside.
pub(crate) fn spec_with(mut spec: Spec, directory: &Path, at: &str) -> Spec {
    spec.mounts.push(Mount { source: directory.into(), target: at.into() });
    spec
}

pub(crate) fn python(script: &str) -> Spec {
    spec(&[PYTHON, "-I", "-c", script])
}

/// Begins every script of attempts: raw system calls, and what became of an attempt in one word.
const PRELUDE: &str = r#"
import ctypes, errno, os, socket, struct, sys
_libc = ctypes.CDLL(None, use_errno=True)
def word(number):
    return errno.errorcode.get(number, str(number))
def call(number, *arguments):
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)]
    return "returned" if _libc.syscall(*longs) >= 0 else word(ctypes.get_errno())
def attempt(function, *arguments):
    try:
        function(*arguments)
        return "returned"
    except OSError as error:
        return word(error.errno)
"#;

/// A guest that makes attempts and prints what became of them.
pub(crate) fn attempts(script: &str) -> Spec {
    python(&format!("{PRELUDE}{script}"))
}

/// What a script of attempts prints in a sandbox.
pub(crate) fn inside(script: &str) -> String {
    ask(attempts(script))
}

/// What it prints without a sandbox, as the same user: the control that an attempt can succeed at all.
pub(crate) fn outside(script: &str) -> String {
    let mut command = std::process::Command::new(PYTHON);
    let output = command.args(["-I", "-c", &format!("{PRELUDE}{script}")]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Each system call, given with its arguments as Python, answers EPERM in a sandbox. For root outside it answers
/// something else, which shows that the call as made here does reach the kernel; an ordinary user is refused many
/// of them by the kernel too.
pub(crate) fn forbidden(calls: &[(libc::c_long, &str)]) {
    let lines = calls.iter().map(|(number, arguments)| format!("print({number}, call({number}, {arguments}))\n"));
    let script: String = lines.collect();
    let output = inside(&script);
    assert_eq!(output.lines().count(), calls.len(), "{output}");
    for (line, (number, _)) in output.lines().zip(calls) {
        assert_eq!(line, format!("{number} EPERM"));
    }
    if is_root() {
        let output = outside(&script);
        assert_eq!(output.lines().count(), calls.len(), "{output}");
        assert!(output.lines().all(|line| !line.ends_with(" EPERM")), "without a sandbox: {output}");
    }
}

/// A directory of the platform's with one file, both of which everybody may write on the host.
pub(crate) fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "host").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    directory
}

/// A guest that makes attempts on a directory of the host's, which it sees as `/code`.
pub(crate) fn attempts_on(directory: &Path, script: &str) -> Spec {
    let mut spec = attempts(script);
    spec.mounts.push(Mount { source: directory.into(), target: "/code".into() });
    spec
}

/// The init of the one sandbox that this process has: the process below the helper that has children.
pub(crate) fn sandbox_init() -> u32 {
    let helper = descendants(std::process::id())[0];
    descendants(helper).into_iter().find(|pid| !descendants(*pid).is_empty()).unwrap()
}

/// Reads lines a sandbox writes.
pub(crate) struct Lines(tokio::io::BufReader<tokio::net::unix::pipe::Receiver>);

impl Lines {
    pub(crate) fn of(sandbox: &Sandbox) -> Self {
        let output = sandbox.output.try_clone().unwrap();
        Self(tokio::io::BufReader::new(tokio::net::unix::pipe::Receiver::from_owned_fd(output).unwrap()))
    }

    /// The next line, without its end.
    pub(crate) async fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

/// All it writes until nothing holds the pipe any more.
pub(crate) async fn output_of(sandbox: &Sandbox) -> String {
    let output = sandbox.output.try_clone().unwrap();
    let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(output).unwrap();
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) async fn run(spawner: &Spawner, spec: Spec) -> (Exit, String) {
    let sandbox = spawner.spawn(spec).await.unwrap();
    let output = output_of(&sandbox).await;
    (sandbox.exited().await, output)
}

/// Runs a script that must exit with 0, and returns what it printed.
pub(crate) fn ask(spec: Spec) -> String {
    let (exit, output) = block_on(async { run(&spawner(), spec).await });
    assert_eq!(exit, Exit { status: Status::Code(0), out_of_memory: false }, "{output}");
    output
}

/// The `key value` lines of an output.
pub(crate) fn lines(output: &str) -> HashMap<&str, &str> {
    output.lines().filter_map(|line| line.split_once(' ')).collect()
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "never so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All processes below one, by the host's /proc.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut parents: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect::<Vec<_>>());
        if let Some(parent) = fields.and_then(|fields| fields.get(1)?.parse().ok()) {
            parents.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in parents.get(&parent).into_iter().flatten() {
            found.push(*child);
            next.push(*child);
        }
    }
    found
}

/// Whether a process still runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('Z') && !fields.starts_with('X'))
}

/// Our directories under any cgroup hierarchy, by name or the beginning of it.
pub(crate) fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = next.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let rest = entry.file_name().to_str().and_then(|entry| Some(entry.strip_prefix(name)?.to_owned()));
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
                found.push(path.clone());
            }
            if depth < 12 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                next.push((path, depth + 1));
            }
        }
    }
    found
}
