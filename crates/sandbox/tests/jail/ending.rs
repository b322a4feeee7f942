//! However things end, nothing is left.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use updraft_sandbox::{Config, Error, Require, Spawner, Status};

use crate::support::{
    Lines, Test, block_on, cgroup_name, cgroups, descendants, eventually, is_root, python, run, runs, sandbox_init,
    spawner, spec,
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("dropping_a_sandbox_kills_everything_in_it", dropping_a_sandbox_kills_everything),
    ("giving_up_a_spawn_leaves_nothing", giving_up_a_spawn_leaves_nothing),
    ("dropping_the_spawner_ends_the_helper", dropping_the_spawner_ends_the_helper),
    ("killing_the_platform_leaves_nothing", killing_the_platform_leaves_nothing),
    (
        "a_killed_helper_takes_its_sandboxes_along_and_is_replaced",
        a_killed_helper_takes_its_sandboxes_along_and_is_replaced,
    ),
    ("a_start_removes_what_was_left", start_removes_what_was_left),
    ("without_its_limits_a_strict_platform_does_not_start", strict_platform_does_not_start),
];

/// First argument that makes this binary a platform to be killed.
pub(crate) const PLATFORM: &str = "--platform";

/// A guest that leaves its parent and forks on.
const SPREADING: &str = r#"
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
print("up", flush=True)
time.sleep(600)
"#;

pub(crate) fn be_a_platform(arguments: &[String]) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config { cgroup_name: arguments[0].clone(), require: Require::BestEffort };
        let spawner = Spawner::start(config).unwrap();
        let mut sandboxes = Vec::new();
        for _ in 0..3 {
            sandboxes.push(spawner.spawn(python(SPREADING)).await.unwrap());
        }
        if arguments.get(1).is_some_and(|word| word == "frozen") {
            for sandbox in &sandboxes {
                assert_eq!(Lines::of(sandbox).next().await, "up");
                // An ordinary user may have nothing to freeze.
                let _ = sandbox.freeze();
            }
        }
        let unassigned = spawner.spawn_unassigned(python("import sys; sys.stdin.read()")).await;
        let _unassigned = unassigned.unwrap_or_else(|error| panic!("{error}"));
        println!("up");
        std::future::pending::<()>().await;
    });
    unreachable!("pending forever")
}

/// A platform in a process of its own, which a test that fails does not leave behind.
pub(crate) struct Platform(Child);

impl Platform {
    /// Kills it, and nothing else.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // Fails when it has been killed already, as it should have.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It, with every process below it once there are this many.
pub(crate) fn platform(name: &str, word: &str) -> (Platform, Vec<u32>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut platform = Platform(command.args([PLATFORM, name, word]).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(platform.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    // The helper, three inits with four guests each, and one with a guest that waits.
    eventually("all guests run", || descendants(platform.0.id()).len() >= 18);
    let below = descendants(platform.0.id());
    (platform, below)
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

fn dropping_a_sandbox_kills_everything() {
    block_on(async {
        let spawner = spawner();
        let sandbox = spawner.spawn(python(SPREADING)).await.unwrap();
        // The helper and the init; the guest and its three.
        while descendants(std::process::id()).len() < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let init = sandbox_init();
        let inside = descendants(init);
        assert!(inside.len() >= 4, "{inside:?}");
        drop(sandbox);
        eventually("all are dead", || !runs(init) && !inside.iter().any(|pid| runs(*pid)));
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
    });
}

fn giving_up_a_spawn_leaves_nothing() {
    block_on(async {
        let spawner = spawner();
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
        for patience_us in (0..6000).step_by(150) {
            let patience = Duration::from_micros(patience_us);
            drop(tokio::time::timeout(patience, spawner.spawn(spec(&["sleep", "600"]))).await);
        }
        // Answers come in order: by now each of the forgotten has been answered, and so killed.
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
        let sleeping = || {
            let is_sleep =
                |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "sleep\n");
            descendants(std::process::id()).iter().filter(|pid| is_sleep(pid) && runs(**pid)).count()
        };
        eventually("no guest runs", || sleeping() == 0);
    });
}

fn dropping_the_spawner_ends_the_helper() {
    let below = block_on(async {
        let spawner = spawner();
        let sandbox = spawner.spawn(spec(&["sleep", "600"])).await.unwrap();
        let below = descendants(std::process::id());
        assert!(below.len() >= 3);
        drop(spawner);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(below.iter().all(|pid| runs(*pid)), "a sandbox keeps its helper");
        drop(sandbox);
        below
    });
    eventually("the helper is gone", || !below.iter().any(|pid| runs(*pid)));
    eventually("so are its cgroups", || cgroups(&cgroup_name()).is_empty());
}

fn killing_the_platform_leaves_nothing() {
    let name = format!("{}-victim", cgroup_name());
    let (mut platform, below) = platform(&name, "running");
    assert!(!is_root() || !cgroups(&name).is_empty(), "root has cgroups");
    platform.kill();
    eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
    eventually("no cgroup is left", || cgroups(&name).is_empty());
}

fn a_killed_helper_takes_its_sandboxes_along_and_is_replaced() {
    block_on(async {
        let spawner = spawner();
        let sandbox = spawner.spawn(python(SPREADING)).await.unwrap();
        let below = descendants(std::process::id());
        signal(below[0], Signal::SIGKILL);
        assert_eq!(sandbox.exited().await.status, Status::Signal(9));
        eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
        assert!(sandbox.connect(1).await.is_err());
        // The next spawn starts another helper, which first removes what the killed one could not.
        let next = spawner.spawn(spec(&["true"])).await.unwrap();
        assert_eq!(next.exited().await.status, Status::Code(0));
    });
    eventually("no cgroup is left", || cgroups(&cgroup_name()).is_empty());
}

fn start_removes_what_was_left() {
    let name = format!("{}-victim", cgroup_name());
    let (mut platform, below) = platform(&name, "running");
    // A helper that is stopped cannot clean up when its platform dies.
    signal(below[0], Signal::SIGSTOP);
    platform.kill();
    signal(below[0], Signal::SIGKILL);
    eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
    let slots = || {
        cgroups(&name)
            .iter()
            .flat_map(|path| std::fs::read_dir(path).unwrap().flatten())
            .filter(|e| e.path().is_dir())
            .count()
    };
    if slots() == 0 {
        assert!(!is_root(), "root's cgroups are left");
        eprintln!("SKIPPED a_start_removes_what_was_left: no cgroups for this user here");
        return;
    }
    block_on(async {
        let spawner = Spawner::start(Config { cgroup_name: name.clone(), require: Require::BestEffort }).unwrap();
        assert_eq!(slots(), 0);
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
    });
    eventually("no cgroup is left", || cgroups(&name).is_empty());
}

fn strict_platform_does_not_start() {
    block_on(async {
        let started = Spawner::start(Config { cgroup_name: cgroup_name(), require: Require::All });
        match (started, is_root()) {
            (Ok(spawner), _) => assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0)),
            (Err(Error::Missing { mechanism, why }), false) => {
                assert!(mechanism.starts_with("cgroup ") && !why.is_empty(), "{mechanism}: {why}");
            }
            (Err(error), _) => panic!("{error}"),
        }
    });
}
