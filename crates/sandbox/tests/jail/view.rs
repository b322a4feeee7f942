//! What a guest sees, as a whole; single attempts to get out are in the files beside this one.

use std::os::unix::fs::{PermissionsExt, symlink};

use updraft_sandbox::{Mount, Status};

use crate::support::{PYTHON, Test, ask, block_on, has_limit, is_root, lines, python, run, spawner, spec};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_guest_sees_only_what_it_was_given", sees_only_what_it_was_given),
    ("a_guest_has_no_privileges", has_no_privileges),
    ("a_link_in_a_mount_leads_nowhere", link_in_a_mount_leads_nowhere),
    ("too_much_memory_is_reported", too_much_memory_is_reported),
];

fn sees_only_what_it_was_given() {
    let output = ask(python(
        r#"
import os, socket
print("root", " ".join(sorted(os.listdir("/"))))
print("dev", " ".join(sorted(os.listdir("/dev"))))
print("etc", " ".join(sorted(os.listdir("/etc"))))
print("pids", " ".join(sorted(p for p in os.listdir("/proc") if p.isdigit())))
print("interfaces", " ".join(l.split(":")[0].strip() for l in open("/proc/net/dev") if ":" in l))
print("environment", sorted(k for k in os.environ if k != "LC_CTYPE"))
fds = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
print("fds", " ".join(sorted(fds)))
print("who", os.getuid(), os.geteuid(), os.getgid(), os.getegid())
print("host", socket.gethostname(), open("/etc/hostname").read().strip())
print("directory", os.getcwd())
print("session", os.getsid(0) == os.getpid())
print("cgroup", " ".join(sorted({l.strip().split(":")[2] for l in open("/proc/self/cgroup")})))
print("stdin", repr(os.read(0, 10)))
open("/dev/stdout", "w").write("stdout open\n")
"#,
    ));
    let seen = lines(&output);
    let listed = if std::path::Path::new("/lib64").exists() {
        "bin dev etc lib lib64 proc tmp usr"
    } else {
        "bin dev etc lib proc tmp usr"
    };
    assert_eq!(seen["root"], listed);
    assert_eq!(seen["dev"], "fd full null random shm stderr stdin stdout urandom zero");
    assert_eq!(seen["etc"], "group hostname hosts nsswitch.conf passwd resolv.conf");
    // The init is there, and not to be seen.
    assert_eq!(seen["pids"], "2");
    assert_eq!(seen["interfaces"], "lo");
    assert_eq!(seen["environment"], "['PATH']");
    assert_eq!(seen["fds"], "0 1 2");
    assert_eq!(seen["who"], "993 993 993 993");
    assert_eq!(seen["host"], "instance-1 instance-1");
    assert_eq!(seen["directory"], "/tmp");
    assert_eq!(seen["session"], "True");
    assert_eq!(seen["stdin"], "b''");
    assert_eq!(seen["stdout"], "open");
    if is_root() {
        assert_eq!(seen["cgroup"], "/");
    }
}

fn has_no_privileges() {
    let output = ask(python("print(open('/proc/self/status').read())"));
    let field = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned()).unwrap_or_else(|| panic!("no {name}"))
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
}

fn link_in_a_mount_leads_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("/etc", directory.path().join("link")).unwrap();
    std::fs::create_dir(directory.path().join("hollow")).unwrap();
    let mut spec = spec(&["/bin/ls", "/code/hollow", "/etc"]);
    spec.mounts.push(Mount { source: directory.path().into(), target: "/code".into() });
    spec.mounts.push(Mount { source: "/usr/share".into(), target: "/code/hollow".into() });
    // Lands on the sandbox's own /etc, not the host's, which would be read-only anyway.
    spec.mounts.push(Mount { source: directory.path().into(), target: "/code/link".into() });
    let output = ask(spec);
    assert!(output.contains("doc") && output.contains("hollow"), "{output}");
}

fn too_much_memory_is_reported() {
    if !has_limit("too_much_memory_is_reported", "cgroup memory") {
        return;
    }
    let mut greedy = python("x = bytearray(512 << 20)\nprint('GOT IT')");
    greedy.limits.memory_bytes_max = 64 << 20;
    let mut child = spec(&["/bin/sh", "-c", &format!("{PYTHON} -c 'bytearray(512 << 20)'; exit 3")]);
    child.limits.memory_bytes_max = 64 << 20;
    let modest = python("x = bytearray(8 << 20)");
    block_on(async {
        let spawner = spawner();
        let sandbox = spawner.spawn(greedy).await.unwrap();
        let exit = sandbox.exited().await;
        assert_eq!((exit.status, exit.out_of_memory), (Status::Signal(9), true));
        let peak = sandbox.memory_bytes_max();
        assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
        assert!(!sandbox.processor_time().is_zero());
        let (exit, _) = run(&spawner, child).await;
        assert_eq!((exit.status, exit.out_of_memory), (Status::Code(3), true));
        let (exit, _) = run(&spawner, modest).await;
        assert_eq!((exit.status, exit.out_of_memory), (Status::Code(0), false));
    });
}
