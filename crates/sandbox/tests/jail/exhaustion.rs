//! Attempts to use up what others need too.

use std::fs;

use updraft_sandbox::Status;

use crate::support::{
    PYTHON, Test, ask, attempts, block_on, cgroup_name, cgroups, eventually, has_limit, inside, lines, outside, run,
    spawner, spec,
};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    exhaustion:
    a_fork_bomb_stops,
    threads_are_counted_too,
    memory_has_its_limit,
    tmp_counts_as_memory,
    tmp_has_its_limit,
    tmp_has_a_limit_of_files,
    shared_memory_has_its_limits,
    open_files_have_their_limit,
    limits_cannot_be_raised,
    locked_memory_has_its_limit,
    message_queues_cannot_be_made,
    pending_signals_have_their_limit,
    inotify_instances_are_the_sandboxs_own,
    a_flood_of_output_waits_for_its_reader,
    a_flood_of_connections_leaves_the_platform_alone,
    an_endless_loop_gets_no_more_than_its_share,
];

fn a_fork_bomb_stops() {
    let mut bomb = attempts(
        r#"
import time
children = 0
try:
    while children < 1000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
except OSError as error:
    print("errno", word(error.errno))
print("children", children)
"#,
    );
    bomb.limits.pids_max = 20;
    let output = ask(bomb);
    let seen = lines(&output);
    assert_eq!((seen["errno"], seen["children"]), ("EAGAIN", "19"));
}

fn threads_are_counted_too() {
    let mut bomb = attempts(
        r#"
import threading
threads = 0
try:
    while threads < 1000:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        threads += 1
except RuntimeError:
    print("stopped", threads, flush=True)
os._exit(0)
"#,
    );
    bomb.limits.pids_max = 20;
    assert_eq!(ask(bomb), "stopped 19\n");
}

fn memory_has_its_limit() {
    if !has_limit("memory_has_its_limit", "cgroup memory") {
        return;
    }
    let mut greedy = attempts("x = bytearray(512 << 20)\nprint('GOT IT')");
    greedy.limits.memory_bytes_max = 64 << 20;
    // Killing a child is told too, and children cannot add up to more.
    let mut children = spec(&["/bin/sh", "-c", &format!("{PYTHON} -c 'bytearray(512 << 20)'; exit 3")]);
    children.limits.memory_bytes_max = 64 << 20;
    block_on(async {
        let spawner = spawner();
        let (exit, output) = run(&spawner, greedy).await;
        assert_eq!((exit.status, exit.out_of_memory, output.as_str()), (Status::Signal(9), true, ""));
        let (exit, _) = run(&spawner, children).await;
        assert_eq!((exit.status, exit.out_of_memory), (Status::Code(3), true));
    });
}

fn tmp_counts_as_memory() {
    if !has_limit("tmp_counts_as_memory", "cgroup memory") {
        return;
    }
    let mut greedy = attempts("open('/tmp/x', 'wb').write(bytes(1 << 20) * 200)\nprint('WRITTEN')");
    greedy.limits.memory_bytes_max = 64 << 20;
    greedy.tmp_bytes_max = 512 << 20;
    let (exit, output) = block_on(async { run(&spawner(), greedy).await });
    assert!(exit.out_of_memory && output.is_empty(), "{exit:?}: {output}");
}

const FILL: &str = r#"
def fill(path, most):
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < most:
                written += file.write(b"x" * 65536)
    except OSError as error:
        print("errno", word(error.errno))
    os.unlink(path)
    print("bytes", written)
def litter(directory, most):
    files = 0
    try:
        while files < most:
            open(f"{directory}/{files}", "w").close()
            files += 1
    except OSError as error:
        print("errno", word(error.errno))
    print("files", files)
"#;

fn number(output: &str, name: &str) -> u64 {
    lines(output)[name].parse().unwrap()
}

fn tmp_has_its_limit() {
    let output = inside(&format!("{FILL}fill('/tmp/big', 64 << 20)"));
    assert_eq!(lines(&output)["errno"], "ENOSPC");
    assert!((12 << 20..=16 << 20).contains(&number(&output, "bytes")), "{output}");
}

fn tmp_has_a_limit_of_files() {
    let output = inside(&format!("{FILL}litter('/tmp', 100000)"));
    assert_eq!(lines(&output)["errno"], "ENOSPC");
    assert!((1000..=16 << 8).contains(&number(&output, "files")), "{output}");
}

fn shared_memory_has_its_limits() {
    let output = inside(&format!("{FILL}fill('/dev/shm/big', 256 << 20)"));
    assert_eq!(lines(&output)["errno"], "ENOSPC");
    assert!(number(&output, "bytes") <= 64 << 20, "{output}");
    let output = inside(&format!("{FILL}litter('/dev/shm', 100000)"));
    assert_eq!(lines(&output)["errno"], "ENOSPC");
    assert!(number(&output, "files") <= 4096, "{output}");
}

fn open_files_have_their_limit() {
    let script = "
fds = 0
try:
    while fds < 5000:
        os.dup(0)
        fds += 1
except OSError as error:
    print('errno', word(error.errno))
print('fds', fds)";
    let output = inside(script);
    // Three are open from the start.
    assert_eq!((lines(&output)["errno"], number(&output, "fds")), ("EMFILE", 256 - 3));
}

fn limits_cannot_be_raised() {
    // Open files, processes, locked memory, queues, signals, real-time priority: one more than it has.
    let script = format!(
        "import resource
for limit in (7, 6, 8, 12, 11, 14):
    soft, hard = resource.getrlimit(limit)
    print(call({}, 0, limit, struct.pack('QQ', soft, hard + 1), 0))",
        libc::SYS_prlimit64
    );
    assert_eq!(inside(&script), "EPERM\n".repeat(6));
}

fn locked_memory_has_its_limit() {
    let script = format!(
        "import mmap
page = mmap.mmap(-1, 16 << 20)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
print(call({0}, address, 16 << 20), call({0}, address, 1 << 20))",
        libc::SYS_mlock
    );
    assert_eq!(inside(&script), "ENOMEM returned\n");
}

fn message_queues_cannot_be_made() {
    // Their memory is counted by user, and Landlock has no word for them.
    let script = format!("print(call({}, b'queue', os.O_CREAT | os.O_RDWR, 0o600, 0))", libc::SYS_mq_open);
    assert_eq!(inside(&script), "ENOSYS\n");
    assert_ne!(outside(&script), "ENOSYS\n");
}

fn pending_signals_have_their_limit() {
    let script = format!(
        "import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
information = struct.pack('iii', 40, 0, -1) + bytes(116)
sent = 0
while sent < 200000 and (answer := call({}, os.getpid(), 40, information)) == 'returned':
    sent += 1
print(answer, 0 < sent <= 4096)",
        libc::SYS_rt_sigqueueinfo
    );
    assert_eq!(inside(&script), "EAGAIN True\n");
}

fn inotify_instances_are_the_sandboxs_own() {
    let script = "
made = 0
while made < 1000 and _libc.inotify_init() >= 0:
    made += 1
print('made', word(ctypes.get_errno()), made, flush=True)
import time
HOLD and time.sleep(600)";
    block_on(async {
        let spawner = spawner();
        // The kernel counts by user; where an ordinary user runs the platform all sandboxes are that user.
        let mut holding = Vec::new();
        for _ in 0..3 {
            let sandbox = spawner.spawn(attempts(&script.replace("HOLD", "True"))).await.unwrap();
            assert_eq!(crate::support::Lines::of(&sandbox).next().await, "made EMFILE 16");
            holding.push(sandbox);
        }
        let (_, output) = run(&spawner, attempts(&script.replace("HOLD", "False"))).await;
        assert_eq!(output, "made EMFILE 16\n");
    });
    assert!(number(&outside(&script.replace("HOLD", "False")).replace("EMFILE ", ""), "made") > 16);
}

fn a_flood_of_output_waits_for_its_reader() {
    let script = "
import fcntl
print('larger', attempt(fcntl.fcntl, 1, 1031, 64 << 20), file=sys.stderr, flush=True)
os.set_blocking(1, False)
written = 0
try:
    while written < 64 << 20:
        written += os.write(1, b'x' * 65536)
except BlockingIOError:
    pass
s = socket.create_connection(('127.0.0.1', 9001))
s.sendall(b'%d' % written)
s.close()
os.set_blocking(1, True)
while True:
    os.write(1, b'x' * 65536)";
    let mut flood = attempts(script);
    flood.listen = vec![9001];
    block_on(async {
        let spawner = spawner();
        let mut sandbox = spawner.spawn(flood).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(sandbox.listeners.pop().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        let written: u64 = text.parse().unwrap();
        assert!((4096..=1 << 20).contains(&written), "the pipe took {written} bytes");
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0), "others are not held up");
        sandbox.kill();
        assert_eq!(sandbox.exited().await.status, Status::Signal(9));
    });
}

fn a_flood_of_connections_leaves_the_platform_alone() {
    let script = "
sockets, answer = [], 'returned'
while len(sockets) < 2000 and answer == 'returned':
    try:
        s = socket.socket()
    except OSError as error:
        answer = word(error.errno)
        break
    s.setblocking(False)
    attempt(s.connect, ('127.0.0.1', 9001))
    sockets.append(s)
print(answer, len(sockets), flush=True)";
    let mut flood = attempts(script);
    flood.listen = vec![9001];
    block_on(async {
        let spawner = spawner();
        let mut sandbox = spawner.spawn(flood).await.unwrap();
        let listener = sandbox.listeners.pop().unwrap();
        // Its own limit of open files stops it; nothing has been accepted, and the queue is the kernel's.
        assert_eq!(crate::support::output_of(&sandbox).await, "EMFILE 253\n");
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
        drop(listener);
    });
}

fn an_endless_loop_gets_no_more_than_its_share() {
    if !has_limit("an_endless_loop_gets_no_more_than_its_share", "cgroup cpu") {
        return;
    }
    let mut endless = attempts("while True: pass");
    endless.limits.cpu_millis = 50;
    block_on(async {
        let spawner = spawner();
        let sandbox = spawner.spawn(endless).await.unwrap();
        let throttled = || {
            let groups = cgroups(&cgroup_name()).into_iter().flat_map(|path| fs::read_dir(path).unwrap().flatten());
            let stats = groups.filter_map(|group| fs::read_to_string(group.path().join("cpu.stat")).ok());
            stats.filter_map(|text| lines(&text).get("nr_throttled")?.parse::<u64>().ok()).sum::<u64>()
        };
        eventually("the kernel has held it back", || throttled() > 2);
        drop(sandbox);
    });
}
