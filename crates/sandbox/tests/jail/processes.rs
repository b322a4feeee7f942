//! Attempts on other processes: the platform's, other sandboxes', the sandbox's own init.

use nix::{sys::signal::kill, unistd::Pid};
use updraft_sandbox::Status;

use crate::support::{
    Lines, Test, attempts, block_on, descendants, forbidden, inside, is_root, lines, outside, run, runs, sandbox_init,
    spawner, spec,
};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    processes:
    other_processes_are_not_seen,
    signals_do_not_reach_the_platform,
    killing_everyone_kills_only_its_own,
    slowing_everyone_slows_only_its_own,
    a_better_priority_is_refused,
    the_init_cannot_be_looked_into,
    the_init_survives_every_signal,
    the_init_survives_a_pidfd,
    the_inits_limits_cannot_be_changed,
    tracing_is_refused,
    memory_of_processes_cannot_be_read,
    memory_of_processes_cannot_be_written,
    descriptors_of_processes_cannot_be_taken,
    processes_cannot_be_compared,
    the_platforms_program_cannot_be_overwritten,
    there_are_no_cgroups_to_move_to,
    the_hosts_core_dump_handler_is_not_run,
];

fn other_processes_are_not_seen() {
    block_on(async {
        let spawner = spawner();
        let other = spawner.spawn(spec(&["sleep", "600"])).await.unwrap();
        let script = "print(*[p for p in os.listdir('/proc') if p.isdigit()], os.getpid())";
        let (_, seen) = run(&spawner, attempts(script)).await;
        assert_eq!(seen, "2 2\n");
        // The control: from outside all of them are seen.
        assert!(outside(script).split(' ').count() > descendants(std::process::id()).len());
        drop(other);
    });
}

fn signals_do_not_reach_the_platform() {
    block_on(async {
        let spawner = spawner();
        let other = spawner.spawn(spec(&["sleep", "600"])).await.unwrap();
        let mut targets = descendants(std::process::id());
        targets.push(std::process::id());
        assert!(targets.len() >= 4 && targets.iter().all(|pid| *pid > 10), "{targets:?}");
        // The control: these are the right numbers.
        assert!(targets.iter().all(|pid| is_root() || kill(Pid::from_raw(*pid as i32), None).is_ok()));
        let script = format!("for pid in {targets:?}:\n    print(attempt(os.kill, pid, 9))");
        let (_, answers) = run(&spawner, attempts(&script)).await;
        assert_eq!(answers, "ESRCH\n".repeat(targets.len()));
        assert!(runs(sandbox_init()));
        drop(other);
    });
}

fn killing_everyone_kills_only_its_own() {
    block_on(async {
        let spawner = spawner();
        let other = spawner.spawn(spec(&["sh", "-c", "echo up; exec sleep 600"])).await.unwrap();
        assert_eq!(Lines::of(&other).next().await, "up");
        let script = r#"
child = os.fork()
if child == 0:
    import time
    time.sleep(600)
attempt(os.kill, -1, 9)
print("child", os.waitpid(child, 0)[1])
"#;
        let (exit, answers) = run(&spawner, attempts(script)).await;
        // The control: it did kill whom it could reach.
        assert_eq!((exit.status, answers.as_str()), (Status::Code(0), "child 9\n"));
        // The other's init still answers for it.
        assert_eq!(other.connect(1).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

fn slowing_everyone_slows_only_its_own() {
    let nice = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().to_owned()
    };
    let before = nice();
    let script = "
print('user', attempt(os.setpriority, os.PRIO_USER, 0, 19), os.getpriority(os.PRIO_PROCESS, 0))
print('io', call(IOPRIO, 3, 993, 3 << 13))
";
    let answers = inside(&script.replace("IOPRIO", &libc::SYS_ioprio_set.to_string()));
    assert_eq!(lines(&answers)["user"], "returned 19", "it does reach its own");
    assert_eq!(nice(), before);
}

fn a_better_priority_is_refused() {
    let script = format!(
        "print('nice', attempt(os.setpriority, os.PRIO_PROCESS, 0, -5))
print('fifo', attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)))
print('io', call({}, 1, 0, 1 << 13))",
        libc::SYS_ioprio_set
    );
    let answers = inside(&script);
    let seen = lines(&answers);
    assert!(
        ["EPERM", "EACCES"].contains(&seen["nice"]) && seen["fifo"] == "EPERM" && seen["io"] == "EPERM",
        "{seen:?}"
    );
    if is_root() {
        assert_eq!(outside(&script).matches("returned").count(), 3);
    }
}

fn the_init_cannot_be_looked_into() {
    let script = r#"
def look(pid):
    for name in ["environ", "mem", "maps", "fd", "root", "cwd", "exe", "io", "auxv", "stat", "cmdline", "ns/mnt", "task"]:
        path = f"/proc/{pid}/{name}"
        if name in ("root", "cwd", "exe", "ns/mnt"):
            print(name, attempt(os.readlink, path))
        elif name in ("fd", "task"):
            print(name, attempt(os.listdir, path))
        else:
            print(name, attempt(lambda: open(path, "rb").close()))
look(PID)
"#;
    let init = inside(&script.replace("PID", "1"));
    assert_eq!(init.matches("ENOENT").count(), 13, "{init}");
    let own = inside(&script.replace("PID", "'self'"));
    assert_eq!(own.matches("returned").count(), 13, "{own}");
}

fn the_init_survives_every_signal() {
    let script = "
for number in range(1, 65):
    if number not in (32, 33):
        attempt(os.kill, 1, number)
for number in (9, 15, 19):
    attempt(os.killpg, 1, number)
print('parent', os.getppid())";
    assert_eq!(inside(script), "parent 1\n");
}

fn the_init_survives_a_pidfd() {
    let script = "
import signal
fd = os.pidfd_open(1)
attempt(signal.pidfd_send_signal, fd, 9)
print('parent', os.getppid())
child = os.fork()
if child == 0:
    signal.pause()
signal.pidfd_send_signal(os.pidfd_open(child), 9)
print('child', os.waitpid(child, 0)[1])";
    assert_eq!(inside(script), "parent 1\nchild 9\n");
}

fn the_inits_limits_cannot_be_changed() {
    forbidden(&[(libc::SYS_prlimit64, "1, 7, 0, 0")]);
}

fn tracing_is_refused() {
    // PTRACE_ATTACH and PTRACE_SEIZE, to nobody.
    forbidden(&[(libc::SYS_ptrace, "16, 0, 0, 0"), (libc::SYS_ptrace, "0x4206, 0, 0, 0")]);
    let script = format!(
        "child = os.fork()\nif child == 0:\n    import time; time.sleep(600)\nprint(call({}, 16, child, 0, 0))\nos.kill(child, 9)",
        libc::SYS_ptrace
    );
    assert_eq!(inside(&script), "EPERM\n", "not even its own child");
    assert_eq!(outside(&script), "returned\n");
}

fn memory_of_processes_cannot_be_read() {
    forbidden(&[(libc::SYS_process_vm_readv, "os.getpid(), 0, 0, 0, 0, 0")]);
    let script =
        "print(attempt(lambda: open('/proc/1/mem', 'rb')))\nprint(attempt(lambda: open('/proc/self/mem', 'rb')))";
    assert_eq!(inside(script), "ENOENT\nreturned\n");
}

fn memory_of_processes_cannot_be_written() {
    forbidden(&[
        (libc::SYS_process_vm_writev, "os.getpid(), 0, 0, 0, 0, 0"),
        (libc::SYS_process_madvise, "-1, 0, 0, 0, 0"),
    ]);
}

fn descriptors_of_processes_cannot_be_taken() {
    forbidden(&[(libc::SYS_pidfd_getfd, "os.pidfd_open(os.getpid()), 0, 0")]);
}

fn processes_cannot_be_compared() {
    forbidden(&[(libc::SYS_kcmp, "os.getpid(), os.getpid(), 0, 0, 0")]);
}

fn the_platforms_program_cannot_be_overwritten() {
    // What CVE-2019-5736 did to runc: reach the runtime's program through /proc and write to it.
    let script = "
for path in ('/proc/self/exe', '/proc/1/exe', sys.executable):
    print(path, attempt(os.open, path, os.O_WRONLY))";
    let answers = inside(script);
    let seen = lines(&answers);
    assert_eq!(seen["/proc/1/exe"], "ENOENT");
    assert!(seen.values().all(|answer| ["ENOENT", "EROFS", "ETXTBSY", "EACCES"].contains(answer)), "{seen:?}");
}

fn there_are_no_cgroups_to_move_to() {
    let script = "
print('sys', os.path.exists('/sys'))
print('mounted', any(' - cgroup' in line for line in open('/proc/self/mountinfo')))
print('paths', *sorted({line.strip().split(':', 2)[2] for line in open('/proc/self/cgroup')}))";
    let answers = inside(script);
    let seen = lines(&answers);
    assert_eq!((seen["sys"], seen["mounted"]), ("False", "False"));
    if is_root() {
        assert_eq!(seen["paths"], "/", "each hierarchy ends at its own group");
    }
    // CVE-2022-0492 mounts a hierarchy of version 1 to set its release_agent.
    forbidden(&[(libc::SYS_mount, "b'x', b'/nonexistent', b'cgroup', 0, b'memory'")]);
}

fn the_hosts_core_dump_handler_is_not_run() {
    // The kernel runs it for every limit but 1, whatever else the limit says.
    let script = format!(
        "import resource
limit = ctypes.create_string_buffer(16)
print('limit', *resource.getrlimit(resource.RLIMIT_CORE))
print('read', call({prlimit}, 0, 4, 0, limit))
print('prlimit', call({prlimit}, 0, 4, limit, 0))
print('setrlimit', call({setrlimit}, 4, limit))
print('other', call({setrlimit}, 13, ctypes.create_string_buffer(16)))",
        prlimit = libc::SYS_prlimit64,
        setrlimit = libc::SYS_setrlimit,
    );
    let answers = inside(&script);
    let seen = lines(&answers);
    assert_eq!((seen["limit"], seen["prlimit"], seen["setrlimit"]), ("1 1", "EPERM", "EPERM"));
    assert_eq!((seen["read"], seen["other"]), ("returned", "returned"));
    let (exit, _) = block_on(async { run(&spawner(), attempts("os.kill(os.getpid(), 11)")).await });
    assert_eq!(exit.status, Status::Signal(11));
}
