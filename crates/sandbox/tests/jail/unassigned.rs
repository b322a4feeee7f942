//! Sandboxes that start before it is known what they will serve.

use std::os::unix::fs::PermissionsExt;

use updraft_sandbox::{Assignment, Error, Exit, Limits, Mount, Sandbox, Spawner, Spec, Status};

use crate::support::{
    Test, block_on, cgroup_name, cgroups, descendants, eventually, has_limit, output_of, python, run, runs, spawner,
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("an_assigned_guest_sees_what_any_other_does", assigned_guest_sees_what_any_other_does),
    ("before_its_assignment_a_guest_has_no_privileges_either", before_its_assignment_a_guest_has_no_privileges),
    ("an_assigned_guest_keeps_to_its_limits", assigned_guest_keeps_to_its_limits),
    ("an_assignment_that_fails_ends_the_sandbox_unheard", assignment_that_fails_ends_the_sandbox),
    ("what_is_never_assigned_leaves_nothing", never_assigned_leaves_nothing),
];

/// Waits for its message as an interpreter would, then shows all there is to see.
const LOOK: &str = r#"
import os, socket, sys
message = sys.stdin.buffer.read().decode()
null = os.open("/dev/null", os.O_RDONLY)
os.dup2(null, 0)
os.close(null)
print("message", message, file=sys.stderr)
print("root", sorted(os.listdir("/")), sorted(os.listdir("/var")), sorted(os.listdir("/code")))
print("code", open("/code/file").read())
def mounts():
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        dash = fields.index("-")
        # Each sandbox is another user to the host.
        options = [option for option in fields[-1].split(",") if not option.startswith(("uid=", "gid="))]
        yield " ".join([fields[3], fields[4], fields[5]] + fields[dash + 1:-1] + options)
print("\n".join(sorted(mounts())))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for key in ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
            "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt", "Umask", "NSpid", "Threads"]:
    print(key, status.get(key))
print(open("/proc/self/limits").read())
print("oom", open("/proc/self/oom_score_adj").read())
print("host", socket.gethostname(), open("/etc/hostname").read(), open("/etc/hosts").read())
tmp = os.statvfs("/tmp")
print("tmp", os.listdir("/tmp"), tmp.f_blocks * tmp.f_frsize, tmp.f_files, oct(os.stat("/tmp").st_mode), tmp.f_flag)
print("fds", [os.readlink("/proc/self/fd/%d" % fd).split(":")[0] for fd in range(3)], os.path.exists("/proc/self/fd/3"))
print("processes", sorted(p for p in os.listdir("/proc") if p.isdigit()), os.getpid(), os.getppid(), os.getsid(0))
print("cgroup", open("/proc/self/cgroup").read())
for path in ["/x", "/etc/hosts", "/code/file", "/code/new", "/proc/sys/kernel/hostname"]:
    try:
        open(path, "w")
        print("WRITTEN", path)
    except OSError as error:
        print(path, error.errno)
for path in ["/proc/1/root", "/proc/1/fd", "/proc/1/environ", "/proc/1/mem"]:
    try:
        os.listdir(path) if not path.endswith(("environ", "mem")) else open(path).read(1)
        print("OPENED", path)
    except OSError as error:
        print(path, error.errno)
"#;

struct Code(tempfile::TempDir);

impl Code {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "the package").unwrap();
        std::fs::set_permissions(directory.path().join("file"), PermissionsExt::from_mode(0o666)).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        Self(directory)
    }

    fn mount(&self) -> Mount {
        Mount { source: self.0.path().into(), target: "/code".into() }
    }
}

/// The sandbox of `python`, with a directory for its working directory to be.
fn blank(script: &str) -> Spec {
    let mut spec = python(script);
    spec.directory = "/".into();
    spec.mounts.push(Mount { source: "/usr/share".into(), target: "/var/share".into() });
    spec
}

fn assignment_of(spec: &Spec, code: &Code, message: &str) -> Assignment {
    Assignment {
        name: spec.name.clone(),
        mounts: vec![code.mount()],
        tmp_bytes_max: spec.tmp_bytes_max,
        limits: spec.limits,
        message: message.to_owned(),
    }
}

async fn assigned(spawner: &Spawner, spec: &Spec, assignment: Assignment) -> Sandbox {
    let nobody = Spec {
        name: "nobody".into(),
        tmp_bytes_max: 0,
        limits: Limits { memory_bytes_max: 64 << 20, cpu_millis: 500, ..spec.limits },
        ..spec.clone()
    };
    spawner.spawn_unassigned(nobody).await.unwrap().assign(assignment).await.unwrap()
}

fn assigned_guest_sees_what_any_other_does() {
    let code = Code::new();
    let mut spec = blank(LOOK);
    spec.tmp_bytes_max = 3 << 20;
    block_on(async {
        let spawner = spawner();
        let message = "x".repeat(100_000);
        let sandbox = assigned(&spawner, &spec, assignment_of(&spec, &code, &message)).await;
        let late = output_of(&sandbox).await;
        assert_eq!(sandbox.exited().await.status, Status::Code(0), "{late}");
        let mut whole = spec.clone();
        whole.mounts.push(code.mount());
        let (exit, at_once) = run(&spawner, whole).await;
        assert_eq!(exit.status, Status::Code(0), "{at_once}");
        let late = late.replace(&format!("message {message}\n"), "message \n");
        assert_eq!(late, at_once);
        assert!(late.contains("code the package") && late.contains("CapEff \t0000000000000000"), "{late}");
        assert!(!late.contains("WRITTEN") && !late.contains("OPENED"), "{late}");
    });
}

fn before_its_assignment_a_guest_has_no_privileges() {
    let script = r#"
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
print(os.path.exists("/code"), os.path.exists("/tmp/x"), sorted(os.listdir("/var")))
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew", "Seccomp:"))])
print([libc.syscall(number, 0x10000000, 0, 0, 0, 0) for number in (272, 308, 165, 166)])
print([os.access("/proc/1/" + name, os.R_OK) for name in ("fd", "environ", "root", "mem")])
for signal in (9, 19):
    try:
        os.kill(1, signal)
    except PermissionError:
        # Landlock refuses what the kernel otherwise ignores.
        pass
sys.stdout.flush()
socket.create_connection(("127.0.0.1", 9001))
print("heard", sys.stdin.read(), os.path.exists("/code"))
"#;
    let code = Code::new();
    block_on(async {
        let mut spec = blank(script);
        spec.listen = vec![9001];
        let mut unassigned = spawner().spawn_unassigned(spec.clone()).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(unassigned.listeners().remove(0)).unwrap();
        let _has_looked = listener.accept().await.unwrap();
        let sandbox = unassigned.assign(assignment_of(&spec, &code, "of it")).await.unwrap();
        let output = output_of(&sandbox).await;
        let none = "'0000000000000000'";
        let lines = [
            "False False ['share']".to_owned(),
            format!("[{none}, {none}, {none}, {none}, {none}, '1', '2']"),
            "[-1, -1, -1, -1]".to_owned(),
            "[False, False, False, False]".to_owned(),
            "heard of it True".to_owned(),
        ];
        assert_eq!(output.lines().collect::<Vec<_>>(), lines);
    });
}

fn assigned_guest_keeps_to_its_limits() {
    if !has_limit("an_assigned_guest_keeps_to_its_limits", "memory") {
        return;
    }
    let code = Code::new();
    let spec = blank("import sys\nsize = int(sys.stdin.read())\nprint(len(bytearray(size)))\n");
    block_on(async {
        let spawner = spawner();
        // More than before its assignment it could have, then more than it can have after.
        let fits = assigned(&spawner, &spec, assignment_of(&spec, &code, "150000000")).await;
        assert_eq!(output_of(&fits).await, "150000000\n");
        assert_eq!(fits.exited().await, Exit { status: Status::Code(0), out_of_memory: false });
        let does_not = assigned(&spawner, &spec, assignment_of(&spec, &code, "300000000")).await;
        assert_eq!(output_of(&does_not).await, "");
        assert_eq!(does_not.exited().await, Exit { status: Status::Signal(9), out_of_memory: true });
    });
}

fn assignment_that_fails_ends_the_sandbox() {
    let script = "import sys\nprint('heard', len(sys.stdin.read()))\n";
    let code = Code::new();
    block_on(async {
        let spawner = spawner();
        let spoil: [fn(&mut Assignment); 4] = [
            |assignment| assignment.mounts[0].source = "/nowhere".into(),
            |assignment| assignment.mounts[0].target = "/var/../etc".into(),
            |assignment| assignment.name = "a/b".into(),
            |assignment| assignment.limits.open_files_max += 1,
        ];
        for (case, spoil) in spoil.into_iter().enumerate() {
            let spec = blank(script);
            let mut assignment = assignment_of(&spec, &code, "message");
            spoil(&mut assignment);
            let unassigned = spawner.spawn_unassigned(spec).await.unwrap();
            let error = unassigned.assign(assignment).await.err().unwrap();
            assert!(matches!(error, Error::Setup { .. } | Error::Invalid(_)), "case {case}: {error}");
        }
        let is_guest = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("python"))
                && runs(*pid)
        };
        eventually("no guest is left", || !descendants(std::process::id()).iter().any(is_guest));
        assert_eq!(run(&spawner, python("")).await.0.status, Status::Code(0));
    });
}

fn never_assigned_leaves_nothing() {
    let below = block_on(async {
        let spawner = spawner();
        let mut unassigned = Vec::new();
        for _ in 0..3 {
            unassigned.push(spawner.spawn_unassigned(blank("import sys\nsys.stdin.read()\n")).await.unwrap());
        }
        let mut exits = spawner.spawn_unassigned(blank("")).await.unwrap();
        assert!(exits.listeners().is_empty());
        let below = descendants(std::process::id());
        assert!(below.len() >= 8, "{below:?}");
        assert!(unassigned.iter().all(|one| one.is_alive()));
        while exits.is_alive() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        drop((unassigned, exits, spawner));
        below
    });
    eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
    eventually("no cgroup is left", || cgroups(&cgroup_name()).is_empty());
}
