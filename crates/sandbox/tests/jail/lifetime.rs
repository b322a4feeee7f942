//! Attempts to outlive: the main process, the sandbox, a kill, a freeze.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use updraft_sandbox::{Sandbox, Status};

use crate::{
    ending,
    support::{
        Lines, Test, attempts, block_on, cgroup_name, cgroups, descendants, eventually, is_root, run, runs,
        sandbox_init, spawner, spec,
    },
};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    lifetime:
    ignoring_signals_does_not_help,
    a_daemon_ends_with_its_main_process,
    a_daemon_ends_with_its_sandbox,
    a_stopped_guest_can_be_killed,
    a_subreaper_keeps_no_children,
    nothing_runs_while_frozen,
    freezing_loses_no_wake_up,
    a_frozen_sandbox_can_be_killed,
    a_frozen_sandbox_dies_with_its_helper,
    a_frozen_sandbox_dies_with_its_platform,
    version_1_freezes_alike,
    an_ordinary_user_freezes_in_a_group_of_its_own,
];

/// The tests that need a freezer.
const FREEZING: [&str; 5] = [
    "nothing_runs_while_frozen",
    "freezing_loses_no_wake_up",
    "a_frozen_sandbox_can_be_killed",
    "a_frozen_sandbox_dies_with_its_helper",
    "a_frozen_sandbox_dies_with_its_platform",
];

/// Whether freezing was to be had, or its absence said.
fn can_freeze(test: &str, sandbox: &Sandbox) -> bool {
    let frozen = sandbox.freeze().and_then(|()| sandbox.thaw());
    if let Err(error) = &frozen {
        assert!(!is_root(), "root's groups freeze: {error}");
        eprintln!("SKIPPED {test}: no group to freeze for this user here: {error}");
    }
    frozen.is_ok()
}

/// Whether the kernel says that all in our sandboxes' groups stands still.
fn is_frozen() -> bool {
    let groups = cgroups(&cgroup_name()).into_iter().flat_map(|path| std::fs::read_dir(path).unwrap().flatten());
    groups.map(|group| group.path()).any(|group| {
        let says = |file: &str, word: &str| std::fs::read_to_string(group.join(file)).is_ok_and(|t| t.contains(word));
        says("cgroup.events", "frozen 1") || says("freezer.state", "FROZEN")
    })
}

fn ignoring_signals_does_not_help() {
    let script = "
import signal, time
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
os.kill(os.getpid(), 15)
print('up', flush=True)
time.sleep(600)";
    block_on(async {
        let sandbox = spawner().spawn(attempts(script)).await.unwrap();
        assert_eq!(Lines::of(&sandbox).next().await, "up");
        let inside = descendants(sandbox_init());
        sandbox.kill();
        assert_eq!(sandbox.exited().await.status, Status::Signal(9));
        assert!(!inside.iter().any(|pid| runs(*pid)));
    });
}

/// A guest that starts a child which leaves its session and its parent, and goes on as `then` says.
fn with_daemon(then: &str) -> updraft_sandbox::Spec {
    attempts(&format!(
        "
import signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    for number in set(signal.Signals) - {{signal.SIGKILL, signal.SIGSTOP}}:
        signal.signal(number, signal.SIG_IGN)
    os.close(1); os.close(2)
    time.sleep(600)
os.wait()
print('up', flush=True)
{then}"
    ))
}

fn a_daemon_ends_with_its_main_process() {
    block_on(async {
        let spawner = spawner();
        let mut guest = with_daemon("socket.create_connection(('127.0.0.1', 9001)).recv(1)");
        guest.listen = vec![9001];
        let mut sandbox = spawner.spawn(guest).await.unwrap();
        assert_eq!(Lines::of(&sandbox).next().await, "up");
        let init = sandbox_init();
        let inside = descendants(init);
        assert_eq!(inside.len(), 2, "the guest and its daemon");
        // Lets it go on, and end.
        let listener = tokio::net::TcpListener::from_std(sandbox.listeners.pop().unwrap()).unwrap();
        drop(listener.accept().await.unwrap());
        assert_eq!(sandbox.exited().await.status, Status::Code(0));
        assert!(!inside.iter().any(|pid| runs(*pid)), "what is said to have exited runs no more");
    });
}

fn a_daemon_ends_with_its_sandbox() {
    block_on(async {
        let sandbox = spawner().spawn(with_daemon("time.sleep(600)")).await.unwrap();
        assert_eq!(Lines::of(&sandbox).next().await, "up");
        let init = sandbox_init();
        let inside = descendants(init);
        assert_eq!(inside.len(), 2);
        drop(sandbox);
        eventually("all are dead", || !runs(init) && !inside.iter().any(|pid| runs(*pid)));
    });
}

fn a_stopped_guest_can_be_killed() {
    let script = "print('up', flush=True)\nos.kill(os.getpid(), 19)";
    block_on(async {
        let sandbox = spawner().spawn(attempts(script)).await.unwrap();
        assert_eq!(Lines::of(&sandbox).next().await, "up");
        sandbox.kill();
        assert_eq!(sandbox.exited().await.status, Status::Signal(9));
    });
}

fn a_subreaper_keeps_no_children() {
    // PR_SET_CHILD_SUBREAPER, and no signal when its parent dies.
    let script = format!("call({0}, 36, 1, 0, 0, 0); call({0}, 1, 0, 0, 0, 0)", libc::SYS_prctl);
    block_on(async {
        let mut guest = with_daemon("time.sleep(600)");
        let last = guest.command.pop().unwrap();
        guest.command.push(last.replacen("import signal, time", &format!("import signal, time\n{script}"), 1));
        let sandbox = spawner().spawn(guest).await.unwrap();
        assert_eq!(Lines::of(&sandbox).next().await, "up");
        let inside = descendants(sandbox_init());
        sandbox.kill();
        sandbox.exited().await;
        assert!(inside.len() == 2 && !inside.iter().any(|pid| runs(*pid)));
    });
}

/// A guest that answers bytes on a connection, and otherwise writes as fast as it can.
const SPINNING: &str = "
import threading
s = socket.create_connection(('127.0.0.1', 9001))
def spin():
    while True:
        os.write(1, b'x' * 100)
threading.Thread(target=spin, daemon=True).start()
while byte := s.recv(1):
    s.sendall(byte)
os._exit(0)";

async fn spinning(spawner: &updraft_sandbox::Spawner) -> (Sandbox, tokio::net::TcpStream) {
    let mut guest = attempts(SPINNING);
    guest.listen = vec![9001];
    let mut sandbox = spawner.spawn(guest).await.unwrap();
    let listener = tokio::net::TcpListener::from_std(sandbox.listeners.pop().unwrap()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (sandbox, stream)
}

/// Reads all there is.
fn drain(sandbox: &Sandbox) -> usize {
    let mut bytes = [0; 65536];
    let mut total = 0;
    while let Ok(read @ 1..) = nix::unistd::read(&sandbox.output, &mut bytes) {
        total += read;
    }
    total
}

fn nothing_runs_while_frozen() {
    block_on(async {
        let spawner = spawner();
        let (sandbox, mut stream) = spinning(&spawner).await;
        if !can_freeze("nothing_runs_while_frozen", &sandbox) {
            return;
        }
        eventually("it writes", || drain(&sandbox) > 0);
        sandbox.freeze().unwrap();
        eventually("it stands still", is_frozen);
        drain(&sandbox);
        stream.write_all(b"a").await.unwrap();
        let time = sandbox.processor_time();
        // While others work, and after a good while of it.
        for _ in 0..3 {
            assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
        }
        assert_eq!((drain(&sandbox), sandbox.processor_time()), (0, time));
        assert!(!is_root() || sandbox.memory_bytes_max() > 0, "figures can be read all the while");
        sandbox.thaw().unwrap();
        let mut byte = [0];
        // The pipe must not fill meanwhile.
        let reading = AtomicBool::new(true);
        let drained = async {
            while reading.load(Ordering::Relaxed) {
                drain(&sandbox);
                tokio::task::yield_now().await;
            }
        };
        let answered = async {
            stream.read_exact(&mut byte).await.unwrap();
            reading.store(false, Ordering::Relaxed);
        };
        tokio::join!(drained, answered);
        assert_eq!(&byte, b"a", "what came while it was frozen is answered afterwards");
        eventually("it writes again", || drain(&sandbox) > 0);
    });
}

fn freezing_loses_no_wake_up() {
    let echo = "
s = socket.create_connection(('127.0.0.1', 9001))
while byte := s.recv(1):
    s.sendall(byte)";
    block_on(async {
        let mut guest = attempts(echo);
        guest.listen = vec![9001];
        let mut sandbox = spawner().spawn(guest).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(sandbox.listeners.pop().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        if !can_freeze("freezing_loses_no_wake_up", &sandbox) {
            return;
        }
        let mut byte = [0];
        for number in 0..=255_u8 {
            // Now before it has read, now after, now while it freezes.
            if number % 3 == 0 {
                stream.write_all(&[number]).await.unwrap();
            }
            sandbox.freeze().unwrap();
            if number % 5 == 0 {
                eventually("it stands still", is_frozen);
            }
            if number % 3 == 1 {
                stream.write_all(&[number]).await.unwrap();
            }
            sandbox.thaw().unwrap();
            if number % 3 == 2 {
                stream.write_all(&[number]).await.unwrap();
            }
            stream.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [number]);
        }
        drop(stream);
        assert_eq!(sandbox.exited().await.status, Status::Code(0));
    });
}

fn a_frozen_sandbox_can_be_killed() {
    block_on(async {
        let spawner = spawner();
        for way in ["kill", "drop", "kill, then freeze again"] {
            let (sandbox, _stream) = spinning(&spawner).await;
            if !can_freeze("a_frozen_sandbox_can_be_killed", &sandbox) {
                return;
            }
            let init = sandbox_init();
            let inside = descendants(init);
            sandbox.freeze().unwrap();
            eventually("it stands still", is_frozen);
            if way == "drop" {
                drop(sandbox);
            } else {
                sandbox.kill();
                if way != "kill" {
                    let _ = sandbox.freeze();
                }
                assert_eq!(sandbox.exited().await.status, Status::Signal(9), "{way}");
            }
            eventually("all are dead", || !runs(init) && !inside.iter().any(|pid| runs(*pid)));
        }
    });
    eventually("no cgroup is left", || cgroups(&cgroup_name()).is_empty());
}

fn a_frozen_sandbox_dies_with_its_helper() {
    block_on(async {
        let spawner = spawner();
        let (sandbox, _stream) = spinning(&spawner).await;
        if !can_freeze("a_frozen_sandbox_dies_with_its_helper", &sandbox) {
            return;
        }
        let below = descendants(std::process::id());
        sandbox.freeze().unwrap();
        eventually("it stands still", is_frozen);
        kill(Pid::from_raw(below[0] as i32), Signal::SIGKILL).unwrap();
        assert_eq!(sandbox.exited().await.status, Status::Signal(9));
        eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
        // The next helper removes the group that the killed one could not.
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
    });
    eventually("no cgroup is left", || cgroups(&cgroup_name()).is_empty());
}

fn a_frozen_sandbox_dies_with_its_platform() {
    let name = format!("{}-victim", cgroup_name());
    let (mut platform, below) = ending::platform(&name, "frozen");
    platform.kill();
    eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
    eventually("no cgroup is left", || cgroups(&name).is_empty());
}

/// Where a kind of cgroup is mounted, with an option.
fn mount_of(kind: &str, option: &str) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        fields[2] == kind && (option.is_empty() || fields[3].split(',').any(|o| o == option))
    });
    line.map(|line| line.split(' ').nth(1).unwrap().to_owned())
}

fn version_1_freezes_alike() {
    if !is_root() || mount_of("cgroup", "freezer").is_none() {
        eprintln!("SKIPPED version_1_freezes_alike: no freezer of version 1 for this user here");
        return;
    }
    // In a mount namespace of its own, where only the older hierarchies are left.
    let hide = mount_of("cgroup2", "").map_or(String::new(), |unified| format!("umount {unified} && "));
    let program = std::env::current_exe().unwrap();
    for name in FREEZING {
        let script = format!("{hide}exec {} root::lifetime::{name} --exact", program.display());
        let status = Command::new("unshare").args(["-m", "sh", "-c", &script]).status().unwrap();
        assert!(status.success(), "{name} with version 1");
    }
}

/// What systemd calls delegation: a group of version 2 that belongs to the user.
fn an_ordinary_user_freezes_in_a_group_of_its_own() {
    const USER: u32 = 65534;
    let unified = mount_of("cgroup2", "").filter(|_| is_root());
    let group = unified.map(|unified| std::path::Path::new(&unified).join(format!("{}-user", cgroup_name())));
    let Some(group) = group.filter(|group| std::fs::create_dir(group).is_ok()) else {
        eprintln!("SKIPPED an_ordinary_user_freezes_in_a_group_of_its_own: no version 2 where one could be made");
        return;
    };
    for path in [group.clone(), group.join("cgroup.procs"), group.join("cgroup.subtree_control")] {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
    }
    let program = std::env::current_exe().unwrap();
    let mut failed = Vec::new();
    for name in FREEZING {
        let script = format!(
            "echo $$ > {}/cgroup.procs && cd / && exec setpriv --reuid {USER} --regid {USER} --clear-groups -- {} \
             user::lifetime::{name} --exact",
            group.display(),
            program.display()
        );
        if !Command::new("sh").args(["-c", &script]).status().unwrap().success() {
            failed.push(name);
        }
    }
    eventually("its group is empty", || std::fs::remove_dir(&group).is_ok());
    assert!(failed.is_empty(), "{failed:?}");
}
