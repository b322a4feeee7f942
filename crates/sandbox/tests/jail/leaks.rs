//! Attempts to find what was somebody else's: descriptors, arguments, files and shared memory of another sandbox.

use std::collections::HashSet;

use updraft_sandbox::Sandbox;

use crate::support::{Lines, Test, attempts, block_on, descendants, inside, is_root, run, sandbox_init, spawner, spec};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    leaks:
    no_descriptor_is_left_open,
    the_environment_is_the_guests_own,
    no_argument_of_the_platforms_is_seen,
    tmp_is_the_sandboxs_own,
    shared_memory_is_the_sandboxs_own,
    system_v_objects_are_the_sandboxs_own,
    names_of_files_are_not_kept,
    each_sandbox_is_another_user,
    a_killed_sandbox_leaves_nothing_to_the_next,
];

fn no_descriptor_is_left_open() {
    // Asked of the kernel number by number: the list in /proc could be read too late or too early.
    let script = format!("print([fd for fd in range(4096) if call({}, fd, 1, 0) == 'returned'])", libc::SYS_fcntl);
    assert_eq!(inside(&script), "[0, 1, 2]\n");
}

fn the_environment_is_the_guests_own() {
    // The platform's own environment (cargo sets plenty) is neither in the guest's nor in any that it can read.
    let mut guest = attempts(
        "print(sorted(name for name in os.environ if name != 'LC_CTYPE'))
seen = [open(f'/proc/{pid}/environ', 'rb').read() for pid in os.listdir('/proc') if pid.isdigit()]
print(len(seen), b'SECRET=mine' in seen[0], b'CARGO' in b''.join(seen))",
    );
    guest.environment.push(("SECRET".into(), "mine".into()));
    assert!(std::env::vars().count() > 1, "the control: there is something to leak");
    assert_eq!(crate::support::ask(guest), "['PATH', 'SECRET']\n1 True False\n");
}

fn no_argument_of_the_platforms_is_seen() {
    block_on(async {
        let spawner = spawner();
        let other = spawner.spawn(spec(&["sh", "-c", "echo up; exec sleep 600", "password=hunter2"])).await.unwrap();
        assert_eq!(Lines::of(&other).next().await, "up");
        let script = "
seen = b''
for pid in os.listdir('/proc'):
    if pid.isdigit():
        seen += open(f'/proc/{pid}/cmdline', 'rb').read() + open(f'/proc/{pid}/comm', 'rb').read()
print(b'up' + b'draft' in seen, b'hunt' + b'er2' in seen, b'python' in seen)";
        assert_eq!(run(&spawner, attempts(script)).await.1, "False False True\n");
    });
}

/// Runs `leave` in one sandbox, then `look` in another while the first lives, and again when it has ended; `look` in
/// the first itself is the control.
fn leave_and_look(leave: &str, look: &str) {
    block_on(async {
        let spawner = spawner();
        let first = attempts(&format!("{leave}\n{look}\nsys.stdout.flush()\nimport time; time.sleep(600)"));
        let first = spawner.spawn(first).await.unwrap();
        assert_eq!(Lines::of(&first).next().await, "found", "the control");
        assert_eq!(run(&spawner, attempts(look)).await.1, "nothing\n", "while it lives");
        first.kill();
        first.exited().await;
        for _ in 0..3 {
            assert_eq!(run(&spawner, attempts(look)).await.1, "nothing\n", "once it has ended");
        }
    });
}

fn tmp_is_the_sandboxs_own() {
    leave_and_look("open('/tmp/secret', 'w').close()", "print('found' if os.listdir('/tmp') else 'nothing')");
}

fn shared_memory_is_the_sandboxs_own() {
    leave_and_look("open('/dev/shm/secret', 'w').close()", "print('found' if os.listdir('/dev/shm') else 'nothing')");
}

fn system_v_objects_are_the_sandboxs_own() {
    let (shm, sem, msg) = (libc::SYS_shmget, libc::SYS_semget, libc::SYS_msgget);
    leave_and_look(
        &format!(
            "call({shm}, 0x5ec2e7, 4096, 0o1666), call({sem}, 0x5ec2e7, 1, 0o1666), call({msg}, 0x5ec2e7, 0o1666)"
        ),
        &format!(
            "answers = {{call({shm}, 0x5ec2e7, 0, 0), call({sem}, 0x5ec2e7, 0, 0), call({msg}, 0x5ec2e7, 0)}}
print({{'returned': 'found', 'ENOENT': 'nothing'}}[answers.pop()] if len(answers) == 1 else answers)"
        ),
    );
}

fn names_of_files_are_not_kept() {
    // Neither mounts of the first nor files it holds open are to be found through the second's /proc.
    leave_and_look(
        "held = open('/tmp/secret', 'w')",
        "
links = [f'/proc/{pid}/fd/{fd}' for pid in os.listdir('/proc') if pid.isdigit() for fd in os.listdir(f'/proc/{pid}/fd')]
print('found' if any('secret' in os.readlink(link) for link in links if os.path.lexists(link)) else 'nothing')",
    );
}

/// The host's user ids of everything in the only sandbox that has children.
fn users_of(pids: &[u32]) -> HashSet<String> {
    let status = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = |text: String| text.lines().find_map(|line| line.strip_prefix("Uid:").map(str::to_owned));
    pids.iter().filter_map(|pid| line(status(pid))).collect()
}

fn each_sandbox_is_another_user() {
    if !is_root() {
        eprintln!("SKIPPED each_sandbox_is_another_user: only root can give sandboxes users of their own");
        return;
    }
    async fn user(sandbox: &Sandbox, known: &HashSet<String>) -> HashSet<String> {
        assert_eq!(Lines::of(sandbox).next().await, "up");
        let helper = descendants(std::process::id())[0];
        let inits = descendants(helper).into_iter().filter(|pid| !descendants(*pid).is_empty());
        let all: Vec<u32> = inits.flat_map(|init| [vec![init], descendants(init)].concat()).collect();
        users_of(&all).difference(known).cloned().collect()
    }
    block_on(async {
        let spawner = spawner();
        let one = spawner.spawn(spec(&["sh", "-c", "echo up; exec sleep 600"])).await.unwrap();
        let first = user(&one, &HashSet::new()).await;
        let two = spawner.spawn(spec(&["sh", "-c", "echo up; exec sleep 600"])).await.unwrap();
        let second = user(&two, &first).await;
        assert_eq!((first.len(), second.len()), (1, 1), "{first:?} {second:?}");
        for ids in first.iter().chain(&second) {
            let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert!(ids.iter().all(|id| *id >= 40_000 && *id == ids[0]), "root of the host or a person: {ids:?}");
        }
    });
}

fn a_killed_sandbox_leaves_nothing_to_the_next() {
    // Killed in the middle of its work, with everything above in use.
    block_on(async {
        let spawner = spawner();
        let busy = "
open('/tmp/secret', 'w').write('x' * 100000)
s = socket.socket(socket.AF_UNIX); s.bind('\\0secret'); s.listen()
t = socket.create_server(('127.0.0.1', 9999))
print('up', flush=True)
while True:
    open('/tmp/secret', 'a').write('x')";
        let sandbox = spawner.spawn(attempts(busy)).await.unwrap();
        assert_eq!(Lines::of(&sandbox).next().await, "up");
        let init = sandbox_init();
        sandbox.kill();
        sandbox.exited().await;
        assert!(!crate::support::runs(init));
        let look = "
print(os.listdir('/tmp'), attempt(socket.socket(socket.AF_UNIX).connect, '\\0secret'),
      attempt(socket.socket().connect, ('127.0.0.1', 9999)))";
        assert_eq!(run(&spawner, attempts(look)).await.1, "[] ECONNREFUSED ECONNREFUSED\n");
    });
}
