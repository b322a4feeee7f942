//! What a guest can see and do, tried from inside.

use std::os::unix::fs::{PermissionsExt, symlink};

use updraft_sandbox::{Mount, Status};

use crate::support::{PYTHON, Test, ask, block_on, has_limit, is_root, lines, python, run, spawner, spec};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_guest_sees_only_what_it_was_given", sees_only_what_it_was_given),
    ("a_guest_has_no_privileges", has_no_privileges),
    ("only_tmp_can_be_written", only_tmp_can_be_written),
    ("tmp_has_its_limit", tmp_has_its_limit),
    ("what_could_open_the_jail_is_refused", what_could_open_the_jail_is_refused),
    ("the_init_is_out_of_reach", init_is_out_of_reach),
    ("proc_says_nothing_about_the_host", proc_says_nothing_about_the_host),
    ("the_network_is_a_loopback", network_is_a_loopback),
    ("a_link_in_a_mount_leads_nowhere", link_in_a_mount_leads_nowhere),
    ("too_much_memory_is_reported", too_much_memory_is_reported),
    ("a_fork_bomb_stops", fork_bomb_stops),
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

fn only_tmp_can_be_written() {
    let directory = open_directory();
    let mut guest = python(
        r#"
import os
for path in ["/x", "/etc/x", "/etc/passwd", "/dev/x", "/usr/x", "/proc/x", "/proc/self/comm", "/proc/sys/kernel/hostname",
             "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/code/x", "/code/file", "/bin/x"]:
    try:
        open(path, "w").write("x")
        print("WRITTEN", path)
    except OSError as error:
        print("refused", error.errno)
for path in ["/tmp/x", "/dev/shm/x", "/dev/null"]:
    open(path, "w").write("x")
os.makedirs("/tmp/a/b")
for change in [lambda: os.chmod("/code/file", 0o777), lambda: os.chmod("/", 0o777), lambda: os.unlink("/etc/hosts"),
               lambda: os.mkdir("/var"), lambda: os.utime("/code/file")]:
    try:
        change()
        print("WRITTEN something")
    except OSError:
        pass
"#,
    );
    guest.mounts.push(Mount { source: directory.path().into(), target: "/code".into() });
    let output = ask(guest);
    assert!(!output.contains("WRITTEN"), "{output}");
    assert_eq!(output.matches("refused").count(), 13, "{output}");
    assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "host");
}

/// A directory of the platform's with one file, both of which everybody may write on the host.
fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "host").unwrap();
    std::fs::set_permissions(directory.path().join("file"), PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    directory
}

fn tmp_has_its_limit() {
    let output = ask(python(
        r#"
import os
written = 0
try:
    with open("/tmp/big", "wb", buffering=0) as file:
        while written < 64 << 20:
            written += file.write(b"x" * 65536)
except OSError as error:
    print("errno", error.errno)
print("written", written)
os.unlink("/tmp/big")
files = 0
try:
    while files < 100000:
        open(f"/tmp/{files}", "w").close()
        files += 1
except OSError as error:
    print("files_errno", error.errno)
"#,
    ));
    let seen = lines(&output);
    assert_eq!(seen["errno"], "28");
    assert_eq!(seen["files_errno"], "28");
    let written: u64 = seen["written"].parse().unwrap();
    assert!((12 << 20..=16 << 20).contains(&written), "{written}");
}

fn what_could_open_the_jail_is_refused() {
    let calls: Vec<String> = [
        ("unshare", libc::SYS_unshare, "0x10000000"),
        ("setns", libc::SYS_setns, "0, 0"),
        ("mount", libc::SYS_mount, "b'none', b'/tmp', b'tmpfs', 0, None"),
        ("umount", libc::SYS_umount2, "b'/tmp', 2"),
        ("pivot_root", libc::SYS_pivot_root, "b'/tmp', b'/tmp'"),
        ("chroot", libc::SYS_chroot, "b'/tmp'"),
        ("open_tree", libc::SYS_open_tree, "-100, b'/', 1"),
        ("fsopen", libc::SYS_fsopen, "b'tmpfs', 0"),
        ("clone_user", libc::SYS_clone, "0x10000000 | 17, 0, 0, 0, 0"),
        ("ptrace", libc::SYS_ptrace, "16, 1, 0, 0"),
        ("process_vm_readv", libc::SYS_process_vm_readv, "1, 0, 0, 0, 0, 0"),
        ("bpf", libc::SYS_bpf, "0, 0, 0"),
        ("perf_event_open", libc::SYS_perf_event_open, "0, 0, -1, -1, 0"),
        ("userfaultfd", libc::SYS_userfaultfd, "0"),
        ("io_uring_setup", libc::SYS_io_uring_setup, "1, 0"),
        ("keyctl", libc::SYS_keyctl, "0, -1, 0, 0, 0"),
        ("add_key", libc::SYS_add_key, "b'user', b'x', b'x', 1, -1"),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, "-100, 0, 0"),
        ("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0"),
        ("init_module", libc::SYS_init_module, "0, 0, b''"),
        ("packet_socket", libc::SYS_socket, "17, 3, 0"),
        ("vsock", libc::SYS_socket, "40, 1, 0"),
        ("alg_socket", libc::SYS_socket, "38, 5, 0"),
        ("netfilter_socket", libc::SYS_socket, "16, 3, 12"),
        ("personality", libc::SYS_personality, "0x0040000"),
        ("inject_input", libc::SYS_ioctl, "0, 0x5412, b'x'"),
        ("limit_of_the_init", libc::SYS_prlimit64, "1, 7, 0, 0"),
    ]
    .iter()
    .map(|(name, number, arguments)| format!("attempt('{name}', {number}, {arguments})\n"))
    .collect();
    let script = format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         def attempt(name, *arguments):\n    result = libc.syscall(*arguments)\n    \
         print(name, 'error', ctypes.get_errno()) if result < 0 else print(name, 'RETURNED', result)\n\
         attempt('clone3', {}, 0, 0)\nattempt('unknown', 4000)\n{}",
        libc::SYS_clone3,
        calls.concat()
    );
    let output = ask(python(&script));
    let seen = lines(&output);
    assert_eq!(seen.len(), calls.len() + 2, "{output}");
    for (name, result) in seen {
        let expected = if ["clone3", "unknown"].contains(&name) { "error 38" } else { "error 1" };
        assert_eq!(result, expected, "{name}");
    }
}

fn init_is_out_of_reach() {
    let output = ask(python(
        r#"
import os, resource, signal
for path in ["environ", "mem", "maps", "fd", "root", "cwd", "exe", "io", "auxv"]:
    path = "/proc/1/" + path
    try:
        os.readlink(path) if path[8:] in ("root", "cwd", "exe") else os.listdir(path) if path.endswith("fd") else open(path, "rb").read(1)
        print("REACHED", path)
    except OSError as error:
        print("refused", error.errno)
for number in range(1, 65):
    if number not in (32, 33):
        try:
            os.kill(1, number)
        except PermissionError:
            pass
print("parent", os.getppid())
"#,
    ));
    assert!(!output.contains("REACHED"), "{output}");
    assert_eq!(output.matches("refused").count(), 9, "{output}");
    assert!(output.contains("parent 1"));
}

fn proc_says_nothing_about_the_host() {
    let output = ask(python(
        r#"
import os
for name in ["kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug", "interrupts", "iomem", "kmsg", "config.gz"]:
    path = "/proc/" + name
    if os.path.lexists(path):
        try:
            print(name, len(open(path, "rb").read(4096)))
        except OSError as error:
            print(name, 0)
for name in ["acpi", "scsi", "asound"]:
    if os.path.lexists("/proc/" + name):
        print(name, len(os.listdir("/proc/" + name)))
print("mine", len(open("/proc/self/status").read()) > 100, len(open("/proc/meminfo").read()) > 100)
"#,
    ));
    let mut seen = lines(&output);
    assert_eq!(seen.remove("mine"), Some("True True"));
    assert!(seen.len() >= 3, "{output}");
    assert!(seen.values().all(|bytes| *bytes == "0"), "{output}");
}

fn network_is_a_loopback() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let output = ask(python(&format!(
        r#"
import errno, socket
def attempt(name, family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(5)
    try:
        s.connect(address)
        print(name, "CONNECTED")
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error))
attempt("host", socket.AF_INET, ("127.0.0.1", {port}))
attempt("outside", socket.AF_INET, ("192.0.2.1", 80))
attempt("outside6", socket.AF_INET6, ("2001:db8::1", 80))
server = socket.create_server(("127.0.0.1", 0))
attempt("own", socket.AF_INET, server.getsockname())
print("interfaces", " ".join(name for _, name in socket.if_nameindex()))
print("localhost", socket.gethostbyname("localhost"))
"#
    )));
    let seen = lines(&output);
    assert_eq!(seen["host"], "ECONNREFUSED");
    assert_eq!(seen["outside"], "ENETUNREACH");
    assert!(seen["outside6"] == "ENETUNREACH" || seen["outside6"] == "EADDRNOTAVAIL", "{output}");
    assert_eq!(seen["own"], "CONNECTED");
    assert_eq!(seen["interfaces"], "lo");
    assert_eq!(seen["localhost"], "127.0.0.1");
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

fn fork_bomb_stops() {
    let mut bomb = python(
        r#"
import os, time
children = 0
try:
    while children < 1000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
except OSError as error:
    print("errno", error.errno)
print("children", children)
"#,
    );
    bomb.limits.pids_max = 20;
    let output = ask(bomb);
    let seen = lines(&output);
    assert_eq!(seen["errno"], "11");
    assert_eq!(seen["children"], "19");
}
