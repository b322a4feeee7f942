//! What the tests share: specifications, a runtime, and looking at the host's processes and cgroups.

use std::{
    collections::HashMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::io::AsyncReadExt;
use updraft_sandbox::{Config, Exit, Limits, Mount, Network, Require, Sandbox, Spawner, Spec, Status};

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

pub(crate) fn spawner() -> Spawner {
    Spawner::start(Config { cgroup_name: cgroup_name(), require: Require::BestEffort }).unwrap()
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
        mounts: ["/usr", "/lib", "/lib64", "/bin"].iter().filter(there).map(mount).collect(),
        tmp_bytes_max: 16 << 20,
        listen: Vec::new(),
        network: Network::default(),
        limits: Limits { memory_bytes_max: 256 << 20, cpu_millis: 0, pids_max: 64, open_files_max: 256 },
    }
}

pub(crate) fn python(script: &str) -> Spec {
    spec(&[PYTHON, "-I", "-c", script])
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

/// Our directories under any cgroup hierarchy.
pub(crate) fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = next.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.ends_with(name) {
                found.push(path.clone());
            }
            if depth < 12 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                next.push((path, depth + 1));
            }
        }
    }
    found
}
