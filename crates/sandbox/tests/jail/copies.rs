//! Sandboxes whose guests are copies of another's.

use updraft_sandbox::{Assignment, Error, Mount, Sandbox, Spawner, Spec, Status, Template, Unassigned};

use crate::support::{
    Test, attempts, block_on, cgroup_name, cgroups, descendants, eventually, lines, open_directory, output_of, python,
    run, runs, spawner,
};

/// What copies are; attempts are apart.
pub(crate) const OWN: &[(&str, Test)] = &[
    ("a_copy_sees_what_any_other_guest_does", copy_sees_what_any_other_guest_does),
    ("a_copy_has_the_memory_and_the_tmp_of_its_template", copy_has_the_memory_and_the_tmp),
    ("a_copy_has_what_the_kernel_keeps_for_a_process", copy_has_what_the_kernel_keeps),
    ("files_are_opened_anew_and_connections_are_dead_ends", files_are_opened_anew),
    ("the_end_of_a_copy_is_told", end_of_a_copy_is_told),
    ("what_is_left_of_copies_and_templates_is_nothing", nothing_is_left),
    ("a_template_has_room_for_so_many", template_has_room_for_so_many),
    ("one_that_does_not_wait_may_do_so_another_time", one_that_does_not_wait_may_do_so_another_time),
    ("a_copy_made_ahead_waits_for_its_assignment", copy_made_ahead_waits),
    ("a_template_whose_guest_is_gone_says_so", template_whose_guest_is_gone),
];

pub(crate) const TESTS: &[(&str, Test)] = attempts! { copies:
    a_template_cannot_join_a_namespace,
    a_copy_has_no_privileges_and_the_ordinary_filter,
    copies_do_not_reach_each_other_or_their_template,
    what_would_join_copies_is_not_copied,
    a_hostile_template_gains_nothing_by_being_copied,
    a_copy_does_not_run_before_its_init_has_given_up_its_privileges,
    what_a_copy_has_in_tmp_is_its_own_use,
};

/// Where a guest can be stopped.
const WAIT: &str = "message = os.read(0, 65536).decode()\n";

/// Dropping it ends its copies.
struct Original {
    sandbox: Sandbox,
    template: Template,
}

async fn template(spawner: &Spawner, spec: &Spec) -> Result<Original, Error> {
    let sandbox = spawner.spawn_template(spec.clone()).await?;
    Ok(Original { template: sandbox.stop().await?, sandbox })
}

async fn ahead(spawner: &Spawner, original: &Original, spec: &Spec) -> Unassigned {
    let spec = Spec { name: "unassigned".to_owned(), ..spec.clone() };
    spawner.spawn_copy(&original.template, spec).await.unwrap_or_else(|error| panic!("{error}"))
}

fn assignment(spec: &Spec, name: &str, message: &str) -> Assignment {
    Assignment {
        name: name.to_owned(),
        mounts: Vec::new(),
        tmp_bytes_max: spec.tmp_bytes_max,
        limits: spec.limits,
        message: message.to_owned(),
    }
}

async fn copy(spawner: &Spawner, original: &Original, spec: &Spec, name: &str, message: &str) -> Sandbox {
    let copied = ahead(spawner, original, spec).await.assign(assignment(spec, name, message)).await;
    copied.unwrap_or_else(|error| panic!("{error}"))
}

/// Of one copy of a template: its output, which ends with its end.
fn ask_copy(spec: &Spec, message: &str) -> String {
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, spec).await.unwrap_or_else(|error| panic!("{error}"));
        let copy = copy(&spawner, &template, spec, "copy", message).await;
        let output = output_of(&copy).await;
        assert_eq!(copy.exited().await.status, Status::Code(0), "{output}");
        output
    })
}

/// Shows all there is to see once it has had its message.
const LOOK: &str = r#"
import os, socket, sys
message = os.read(0, 65536).decode()
null = os.open("/dev/null", os.O_RDONLY)
os.dup2(null, 0)
os.close(null)
print("message", message, file=sys.stderr)
print("root", sorted(os.listdir("/")), sorted(os.listdir("/code")), open("/code/file").read())
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
            "SigBlk", "SigIgn", "SigCgt", "Umask", "NSpid", "Threads", "TracerPid"]:
    print(key, status.get(key))
print(open("/proc/self/limits").read())
print("oom", open("/proc/self/oom_score_adj").read())
print("host", socket.gethostname(), open("/etc/hostname").read(), open("/etc/hosts").read())
tmp = os.statvfs("/tmp")
print("tmp", os.listdir("/tmp"), tmp.f_blocks * tmp.f_frsize, tmp.f_files, oct(os.stat("/tmp").st_mode), tmp.f_flag)
print("fds", [os.readlink("/proc/self/fd/%d" % fd).split(":")[0] for fd in range(3)], os.path.exists("/proc/self/fd/3"))
print("processes", sorted(p for p in os.listdir("/proc") if p.isdigit()), os.getpid(), os.getpgid(0), os.getsid(0))
print("cgroup", open("/proc/self/cgroup").read())
print("directory", os.getcwd(), open("/proc/self/comm").read())
print("user namespaces", open("/proc/sys/user/max_user_namespaces").read())
for path in ["/x", "/etc/hosts", "/code/file", "/code/new", "/proc/sys/kernel/hostname", "/tmp/x", "/dev/shm/x"]:
    try:
        open(path, "w").write("x")
        print("written", path)
    except OSError as error:
        print(path, error.errno)
for path in ["/proc/1/root", "/proc/1/fd", "/proc/1/environ", "/proc/1/mem"]:
    try:
        os.listdir(path) if not path.endswith(("environ", "mem")) else open(path).read(1)
        print("OPENED", path)
    except OSError as error:
        print(path, error.errno)
if os.fork() == 0:
    os._exit(7)
print("child", os.waitstatus_to_exitcode(os.wait()[1]), any("[stack]" in line for line in open("/proc/self/maps")))
print("own pages", any("rwxp" in line for line in open("/proc/self/maps")))
"#;

fn copy_sees_what_any_other_guest_does() {
    let directory = open_directory();
    let mut spec = python(LOOK);
    spec.name = "one".to_owned();
    spec.tmp_bytes_max = 3 << 20;
    spec.mounts.push(Mount { source: directory.path().into(), target: "/code".into() });
    block_on(async {
        let spawner = spawner();
        let (exit, at_once) = run(&spawner, spec.clone()).await;
        assert_eq!(exit.status, Status::Code(0), "{at_once}");
        let template_spec = Spec { name: "another".to_owned(), ..spec.clone() };
        let template = template(&spawner, &template_spec).await.unwrap_or_else(|error| panic!("{error}"));
        for number in 0..3 {
            let message = format!("to {number}");
            let copied = copy(&spawner, &template, &spec, "one", &message).await;
            let output = output_of(&copied).await;
            assert_eq!(copied.exited().await.status, Status::Code(0), "{output}");
            assert!(output.contains(&format!("message {message}\n")), "{output}");
            assert_eq!(output.replace(&format!("message {message}\n"), "message \n"), at_once);
        }
        assert!(at_once.contains("CapEff \t0000000000000000") && at_once.contains("written /tmp/x"), "{at_once}");
        assert!(!at_once.contains("OPENED") && !at_once.contains("written /x"), "{at_once}");
    });
}

fn copy_has_the_memory_and_the_tmp() {
    let script = format!(
        r#"
import os, stat
value = os.urandom(8).hex()
os.makedirs("/tmp/a/b")
open("/tmp/a/b/file", "w").write(value)
os.chmod("/tmp/a/b/file", 0o640)
os.symlink("/nowhere", "/tmp/link")
os.chdir("/tmp/a")
print("template", value, os.getpid(), flush=True)
{WAIT}
print("copy", value, open("b/file").read(), oct(os.stat("b/file").st_mode), os.readlink("/tmp/link"), os.getcwd())
print("number", os.getpid(), "message", message)
open("/tmp/a/own", "x").write(message)
"#
    );
    let spec = python(&script);
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        for message in ["first", "second"] {
            let copied = copy(&spawner, &template, &spec, message, message).await;
            let output = output_of(&copied).await;
            let found = lines(&output);
            let words: Vec<&str> = found["copy"].split(' ').collect();
            assert_eq!(words[0], words[1], "{output}");
            assert_eq!(words[2..], ["0o100640", "/nowhere", "/tmp/a"], "{output}");
            assert_eq!(found["number"], format!("2 message {message}"), "{output}");
            assert_eq!(copied.exited().await.status, Status::Code(0), "{output}");
        }
        drop(template);
    });
}

fn copy_has_what_the_kernel_keeps() {
    // An alternate stack for signals, and restartable sequences, by which the C library knows the processor.
    let script = format!(
        r#"
import ctypes, faulthandler, os
libc = ctypes.CDLL(None)
class Stack(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
def stack():
    found = Stack()
    libc.sigaltstack(None, ctypes.byref(found))
    return found.address, found.flags, found.size
faulthandler.enable()
before = stack()
{WAIT}
print("stack", before == stack(), before[2] > 0)
def on(processor):
    os.sched_setaffinity(0, [processor])
    return libc.sched_getcpu() == processor
print("processors", all([on(processor) for processor in sorted(os.sched_getaffinity(0)) * 2]))
"#
    );
    let output = ask_copy(&python(&script), "go");
    let found = lines(&output);
    assert_eq!((found["stack"], found["processors"]), ("True True", "True"), "{output}");
}

fn files_are_opened_anew() {
    let directory = open_directory();
    std::fs::write(directory.path().join("file"), "0123456789").unwrap();
    let script = format!(
        r#"
import os, socket
file = open("/code/file", "rb", buffering=0)
file.read(4)
null = os.open("/dev/null", os.O_RDWR)
saved = os.dup(1)
connection = socket.create_connection(("127.0.0.1", 9001))
one, other = socket.socketpair()
listening = socket.create_server(("127.0.0.1", 0))
{WAIT}
print("read", file.read(3), file.read(3), os.get_inheritable(file.fileno()))
os.write(null, b"x")
os.write(saved, b"saved output\n")
def attempt(function):
    try:
        return function()
    except OSError as error:
        return type(error).__name__
print("connection", attempt(lambda: connection.recv(1)), attempt(lambda: connection.send(b"x")))
print("pair", attempt(lambda: one.recv(1)), attempt(lambda: other.send(b"x")))
print("fresh", attempt(lambda: socket.create_connection(("127.0.0.1", 9001)).recv(5)))
print("listening", attempt(lambda: listening.accept()))
"#
    );
    let mut spec = python(&script);
    spec.listen = vec![9001];
    spec.mounts.push(Mount { source: directory.path().into(), target: "/code".into() });
    block_on(async {
        let spawner = spawner();
        let mut sandbox = spawner.spawn_template(spec.clone()).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(sandbox.listeners.remove(0)).unwrap();
        let (_connection, _) = listener.accept().await.unwrap();
        let template = sandbox.stop().await.unwrap_or_else(|error| panic!("{error}"));
        let template = Original { sandbox, template };
        for name in ["a", "b"] {
            let mut copied = copy(&spawner, &template, &spec, name, "go").await;
            let listener = tokio::net::TcpListener::from_std(copied.listeners.remove(0)).unwrap();
            let (connection, _) = listener.accept().await.unwrap();
            connection.writable().await.unwrap();
            assert_eq!(connection.try_write(b"hello").unwrap(), 5);
            let output = output_of(&copied).await;
            let found = lines(&output);
            assert_eq!(found["read"], "b'456' b'789' False", "{output}");
            assert_eq!(found["saved"], "output", "{output}");
            assert_eq!(found["connection"], "b'' BrokenPipeError", "{output}");
            assert_eq!(found["pair"], "b'' BrokenPipeError", "{output}");
            assert_eq!(found["fresh"], "b'hello'", "{output}");
            assert_eq!(found["listening"], "OSError", "{output}");
        }
    });
}

fn end_of_a_copy_is_told() {
    let script = format!("import os, sys, time\n{WAIT}\nexec(message)\n");
    let spec = python(&script);
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        for (message, status) in [
            ("sys.exit(0)", Status::Code(0)),
            ("os._exit(13)", Status::Code(13)),
            ("os.kill(os.getpid(), 15)", Status::Signal(15)),
            ("os.kill(os.getpid(), 9)", Status::Signal(9)),
            ("os.fork() or time.sleep(600)\nos._exit(4)", Status::Code(4)),
        ] {
            let copied = copy(&spawner, &template, &spec, "one", message).await;
            assert_eq!(copied.exited().await.status, status, "{message}");
        }
        let copied = copy(&spawner, &template, &spec, "one", "time.sleep(600)").await;
        copied.signal(libc::SIGTERM).await.unwrap();
        assert_eq!(copied.exited().await.status, Status::Signal(15));
        let (killed, other) = (
            copy(&spawner, &template, &spec, "one", "time.sleep(600)").await,
            copy(&spawner, &template, &spec, "two", "time.sleep(600)").await,
        );
        killed.kill();
        assert_eq!(killed.exited().await.status, Status::Signal(9));
        assert!(template.sandbox.is_alive());
        drop(template);
        assert_eq!(other.exited().await.status, Status::Signal(9));
    });
}

fn nothing_is_left() {
    let script = format!("import os, time\n{WAIT}\nos.fork()\ntime.sleep(600)\n");
    let spec = python(&script);
    for end in 0..3 {
        let below = block_on(async {
            let spawner = spawner();
            let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
            let mut copies = Vec::new();
            for name in ["a", "b", "c"] {
                copies.push(copy(&spawner, &template, &spec, name, "go").await);
            }
            let below = descendants(std::process::id());
            assert!(below.len() >= 9, "{below:?}");
            match end {
                0 => drop(copies),
                1 => drop(template),
                _ => {
                    let helper = descendants(std::process::id())[0];
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper as i32), nix::sys::signal::SIGKILL)
                        .unwrap();
                    for copied in &copies {
                        assert_eq!(copied.exited().await.status, Status::Signal(9));
                    }
                    // The next helper removes the groups that this one could not.
                    assert_eq!(run(&spawner, python("")).await.0.status, Status::Code(0));
                }
            }
            below
        });
        eventually("nothing runs", || !below.iter().any(|pid| runs(*pid)));
        eventually("no cgroup is left", || cgroups(&cgroup_name()).is_empty());
    }
}

fn template_has_room_for_so_many() {
    let spec = python(&format!("import os\n{WAIT}"));
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..updraft_sandbox::COPIES_MAX {
            let copied = copy(&spawner, &template, &spec, "one", "go").await;
            assert_eq!(copied.exited().await.status, Status::Code(0));
        }
        let error = spawner.spawn_copy(&template.template, spec.clone()).await.err().unwrap();
        assert!(matches!(&error, Error::Invalid(why) if why.contains("no room")), "{error}");
    });
}

fn what_a_copy_has_in_tmp_is_its_own_use() {
    const SIZE: u64 = 32 << 20;
    let script = format!("import os, time\nopen('/tmp/large', 'wb').write(b'x' * {SIZE})\n{WAIT}\ntime.sleep(600)\n");
    let spec = Spec { tmp_bytes_max: 2 * SIZE, ..python(&script) };
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        let before = template.sandbox.memory_bytes_max();
        if before == 0 {
            eprintln!("SKIPPED what_a_copy_has_in_tmp_is_its_own_use: memory is not counted for this user here");
            return;
        }
        let mut copies = Vec::new();
        for name in ["a", "b", "c"] {
            let copied = copy(&spawner, &template, &spec, name, "go").await;
            assert!(copied.memory_bytes_max() >= SIZE, "{} of {SIZE}", copied.memory_bytes_max());
            copies.push(copied);
        }
        let after = template.sandbox.memory_bytes_max();
        assert!(after < before + SIZE / 2, "{before} before and {after} after");
    });
}

fn copy_made_ahead_waits() {
    let script = format!(
        r#"
import os, socket
{WAIT}
print(socket.gethostname(), open("/etc/hostname").read().strip(), message, flush=True)
"#
    );
    let spec = python(&script);
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        let (one, other) = (ahead(&spawner, &template, &spec).await, ahead(&spawner, &template, &spec).await);
        assert!(one.is_alive() && other.is_alive());
        // Larger than a pipe holds: it is read while it is written.
        let message = "x".repeat(100_000);
        let copied = one.assign(assignment(&spec, "mine", &message)).await.unwrap_or_else(|error| panic!("{error}"));
        let output = output_of(&copied).await;
        assert!(output.starts_with("mine mine xxx") && output.len() > 65_536, "{}", &output[..40.min(output.len())]);
        assert_eq!(copied.exited().await.status, Status::Code(0));
        // A copy that has never run goes without a trace, and so does one whose template goes.
        drop(other);
        let third = ahead(&spawner, &template, &spec).await;
        drop(template);
        third.ended().await;
        assert!(!third.is_alive());
    });
}

fn template_whose_guest_is_gone() {
    let spec = python(&format!("import os, time\n{WAIT}\nprint('on', flush=True)\ntime.sleep(600)"));
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        let copied = copy(&spawner, &template, &spec, "one", "go").await;
        assert_eq!(crate::support::Lines::of(&copied).next().await, "on");
        let held = ahead(&spawner, &template, &spec).await;
        template.sandbox.signal(libc::SIGKILL).await.unwrap();
        let error = loop {
            match spawner.spawn_copy(&template.template, spec.clone()).await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Setup { .. }), "{error}");
        // What has been copied lives on.
        assert!(copied.is_alive() && template.sandbox.is_alive());
        let held = held.assign(assignment(&spec, "two", "go")).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(crate::support::Lines::of(&held).next().await, "on");
    });
}

fn a_template_cannot_join_a_namespace() {
    let script = format!(
        r#"
namespaces = ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"]
def all_of():
    return [call(308, os.open("/proc/self/ns/" + name, os.O_RDONLY), 0) for name in namespaces]
before = all_of() + [call(272, 0x10000000), call(101, 0, 1, 0, 0), call(101, 16, os.getpid(), 0, 0)]
for fd in range(3, 64):
    try: os.close(fd)
    except OSError: pass
{WAIT}
print("template", *before)
print("copy", *all_of(), call(272, 0x10000000), call(101, 0, 1, 0, 0), call(101, 16, os.getpid(), 0, 0))
"#
    );
    let output = ask_copy(&attempts(&script), "go");
    let found = lines(&output);
    // To the template the call is not there, as nobody traces it; to the copy it is refused as to everybody.
    assert_eq!(found["template"], ["ENOSYS"; 7].into_iter().chain(["EPERM"; 3]).collect::<Vec<_>>().join(" "));
    assert_eq!(found["copy"], ["EPERM"; 10].join(" "), "{output}");
}

fn a_copy_has_no_privileges_and_the_ordinary_filter() {
    let script = format!(
        r#"
import os, socket, ctypes
{WAIT}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("capabilities", *{{status[key].strip() for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}})
print("filter", status["NoNewPrivs"].strip(), status["Seccomp"].strip(), int(status["Seccomp_filters"]) >= 4)
print("secure", hex(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0)))
print("calls", call(165, 0, 0, 0, 0, 0), call(170, 0, 0), call(161, 0), call(310, 0, 0, 0, 0, 0, 0), call(438, 0, 0, 0))
def link():
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    # Takes the loopback down.
    netlink.send(struct.pack("=IHHIIBxHiII", 32, 16, 5, 1, 0, 0, 0, 1, 0, 1))
    reply = netlink.recv(65536)
    raise OSError(-struct.unpack_from("=i", reply, 16)[0], "")
print("network", attempt(link), attempt(socket.sethostname, "x"))
print("user", os.getresuid(), os.getgroups() in ([], [993]), attempt(os.setuid, 0))
"#
    );
    let output = ask_copy(&attempts(&script), "go");
    let found = lines(&output);
    assert_eq!(found["capabilities"], "0000000000000000", "{output}");
    assert_eq!(found["filter"], "1 2 True", "{output}");
    assert_eq!(found["secure"], "0xef", "{output}");
    assert_eq!(found["calls"], ["EPERM"; 5].join(" "), "{output}");
    assert_eq!(found["network"], "EPERM EPERM", "{output}");
    assert!(found["user"].starts_with("(993, 993, 993)") && found["user"].ends_with("EINVAL"), "{output}");
}

fn copies_do_not_reach_each_other_or_their_template() {
    let script = format!(
        r#"
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 9009))
server.close()
state = bytearray(b"template")
{WAIT}
if message == "victim":
    state[:] = b"victim!!"
    open("/tmp/secret", "w").write("secret")
    open("/dev/shm/secret", "w").write("secret")
    server = socket.create_server(("127.0.0.1", 9009))
    abstract = socket.socket(socket.AF_UNIX); abstract.bind("\0victim"); abstract.listen()
    print("up", flush=True)
    time.sleep(600)
print("state", state.decode())
print("files", os.listdir("/tmp"), os.listdir("/dev/shm"))
print("processes", sorted(int(p) for p in os.listdir("/proc") if p.isdigit()))
print("kill", *[attempt(os.kill, pid, 0) for pid in range(3, 200)][:3])
print("tcp", attempt(socket.create_connection, ("127.0.0.1", 9009)))
print("abstract", attempt(socket.socket(socket.AF_UNIX).connect, "\0victim"))
print("host", socket.gethostname())
print("everybody", attempt(os.kill, -1, 9))
"#
    );
    let spec = attempts(&script);
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        let victim = copy(&spawner, &template, &spec, "victim", "victim").await;
        assert_eq!(crate::support::Lines::of(&victim).next().await, "up");
        let attacker = copy(&spawner, &template, &spec, "attacker", "attacker").await;
        let output = output_of(&attacker).await;
        let found = lines(&output);
        assert_eq!(found["state"], "template", "{output}");
        assert_eq!(found["files"], "[] []", "{output}");
        assert_eq!(found["processes"], "[2]", "{output}");
        assert_eq!(found["kill"], "ESRCH ESRCH ESRCH", "{output}");
        assert_eq!((found["tcp"], found["abstract"]), ("ECONNREFUSED", "ECONNREFUSED"), "{output}");
        assert_eq!(found["host"], "attacker", "{output}");
        assert_eq!(attacker.exited().await.status, Status::Code(0), "{output}");
        let another = copy(&spawner, &template, &spec, "another", "another").await;
        assert!(output_of(&another).await.contains("state template"));
        victim.signal(0).await.unwrap();
        assert!(template.sandbox.is_alive());
        victim.kill();
        assert_eq!(victim.exited().await.status, Status::Signal(9));
    });
}

fn what_would_join_copies_is_not_copied() {
    let cases = [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()", "run beside"),
        ("if os.fork() == 0:\n    import time; time.sleep(600)", "run beside"),
        ("kept = os.pipe()", "pipe:"),
        ("import select\nkept = select.epoll()", "eventpoll"),
        ("kept = open('/tmp/log', 'w')", "/tmp/log"),
        ("kept = open('/tmp/log', 'w+'); os.unlink('/tmp/log')", "/tmp/"),
        ("kept = os.memfd_create('x')", "memfd"),
        ("import mmap\nkept = mmap.mmap(-1, 4096)", "shares memory"),
        ("open('/dev/shm/x', 'w').close()", "/dev/shm"),
        ("os.mkfifo('/tmp/fifo')", "/tmp/fifo"),
        ("os.close(2)", "cannot be looked at"),
        ("import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)", ""),
        (
            "import ctypes, time\nif ctypes.CDLL(None).syscall(56, 0x4000 | 17, 0, 0, 0, 0) == 0:\n    print('up', flush=True)\n    time.sleep(600)",
            "run beside",
        ),
    ];
    block_on(async {
        let spawner = spawner();
        for (script, why) in cases {
            let spec = python(&format!("import os\n{script}\nprint('up', flush=True)\n{WAIT}"));
            let sandbox = spawner.spawn_template(spec).await.unwrap();
            assert_eq!(crate::support::Lines::of(&sandbox).next().await, "up", "{script}");
            match sandbox.stop().await.map(drop).err() {
                // An ordinary user may have no groups to count processes by; the init counts what it can see.
                Some(Error::Unfit(reason)) => assert!(
                    reason.contains(why) || (why == "run beside" && reason.contains("left 1")),
                    "{script}: {reason}"
                ),
                other => panic!("{script}: {other:?}"),
            }
        }
    });
}

fn one_that_does_not_wait_may_do_so_another_time() {
    block_on(async {
        let sandbox = spawner().spawn_template(python("import time\ntime.sleep(600)")).await.unwrap();
        let error = sandbox.stop().await.map(drop).err().unwrap();
        assert!(
            matches!(&error, Error::Setup { source, .. } if source.kind() == std::io::ErrorKind::TimedOut),
            "{error}"
        );
    });
}

fn a_hostile_template_gains_nothing_by_being_copied() {
    // It prepares to be called upon: handlers for every signal, a timer, memory at the instruction that its copy makes
    // calls from, and no room for descriptors.
    let script = r#"
import ctypes, mmap, resource, signal
libc = ctypes.CDLL(None, use_errno=True)
ran = []
for number in range(1, 32):
    if number not in (9, 19):
        signal.signal(number, lambda number, frame: ran.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
message = b""
while not message:
    try:
        message = os.read(0, 65536)
    except InterruptedError:
        pass
signal.setitimer(signal.ITIMER_REAL, 0, 0)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("capabilities", *{status[key].strip() for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")})
print("calls", call(308, 0, 0), call(165, 0, 0, 0, 0, 0), call(272, 0x10000000))
print("message", message.decode())
"#;
    let output = ask_copy(&attempts(script), "go");
    let found = lines(&output);
    assert_eq!(found["capabilities"], "0000000000000000", "{output}");
    assert_eq!(found["calls"], "EPERM EPERM EPERM", "{output}");
    assert_eq!(found["message"], "go", "{output}");
    // One that leaves its copy no descriptors has none.
    let script = r#"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
message = os.read(0, 65536)
print("NEVER")
"#;
    let spec = attempts(script);
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        let error = spawner.spawn_copy(&template.template, spec.clone()).await.err().unwrap();
        assert!(matches!(error, Error::Setup { .. } | Error::Invalid(_)), "{error}");
        assert_eq!(run(&spawner, python("")).await.0.status, Status::Code(0));
    });
}

fn a_copy_does_not_run_before_its_init_has_given_up_its_privileges() {
    let script = r#"
import signal, time
for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGCONT):
    signal.signal(number, lambda number, frame: print("RAN", open("/etc/hostname").read().strip(), flush=True))
message = b""
while not message:
    message = os.read(0, 65536)
print("message", message.decode(), flush=True)
"#;
    let spec = attempts(script);
    block_on(async {
        let spawner = spawner();
        let template = template(&spawner, &spec).await.unwrap_or_else(|error| panic!("{error}"));
        let held = ahead(&spawner, &template, &spec).await;
        let status_of = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |status: &str, name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().split_whitespace().last().unwrap_or_default().to_owned()
        };
        // The copy is number 2 of its namespace, its template's guest number 3 of its own.
        let is_held = |pid: &u32| field(&status_of(pid), "NSpid") == "2" && status_of(pid).contains("State:\tt");
        let copies: Vec<u32> = descendants(std::process::id()).into_iter().filter(is_held).collect();
        let [copied] = copies[..] else { panic!("{copies:?}") };
        let status = status_of(&copied);
        for (name, value) in [("CapEff", "0000000000000000"), ("CapBnd", "0000000000000000"), ("Seccomp", "2")] {
            assert_eq!(field(&status, name), value, "{status}");
        }
        for signal in [libc::SIGUSR1, libc::SIGALRM, libc::SIGCONT] {
            let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(copied as i32), signal).unwrap();
        }
        assert!(is_held(&copied), "{}", status_of(&copied));
        let copied = held.assign(assignment(&spec, "assigned", "go")).await.unwrap_or_else(|error| panic!("{error}"));
        let output = output_of(&copied).await;
        assert!(output.ends_with("message go\n"), "{output}");
        // What handlers saw was a sandbox with its name.
        assert!(output.lines().filter(|line| line.starts_with("RAN")).all(|line| line == "RAN assigned"), "{output}");
    });
}
