//! What is particular to interpreters that ran before their function was known. That they serve functions like any other
//! is shown by running the tests of both languages on them.

use updraft_types::{Fault, InstanceId};

use crate::host::{Host, Starts, init_error};

crate::tests! {
    a_python_function_sees_what_it_would_cold
    a_nodejs_function_sees_what_it_would_cold
    what_takes_effect_at_the_start_of_a_process_is_in_effect
    a_package_may_bring_modules_with_the_names_of_common_ones
    a_package_may_bring_libraries
    each_serves_one_function_and_shares_nothing
    one_that_has_died_or_cannot_load_is_the_start_it_would_have_been
    none_runs_before_the_first_start_or_when_switched_off
}

const LOOK: &str = r#"
import builtins, ctypes, locale, os, socket, sys, time
def read(path):
    with open(path) as file:
        return file.read()
def mounts():
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[4] != "/var/task" or "no-package" not in fields[3]:
            options = [option for option in fields[-1].split(",") if not option.startswith(("uid=", "gid="))]
            yield " ".join([fields[4], fields[3], fields[5]] + options)
tmp = os.statvfs("/tmp")
SEEN = {
    "environment": dict(os.environ),
    "c environment": ctypes.CDLL(None).getenv and {k: os.getenv(k) for k in ("TZ", "KEY", "UPDRAFT_AWAITS_ASSIGNMENT")},
    "directory": os.getcwd(),
    "argv": [sys.argv, getattr(sys, "orig_argv", None), sys.executable, read("/proc/self/cmdline")],
    "flags": repr(sys.flags), "path": sys.path, "hooks": [str(type(f)) for f in sys.meta_path],
    "builtins": sorted(vars(builtins)),
    "locale": [locale.setlocale(locale.LC_CTYPE), sys.getfilesystemencoding(), sys.stdout.encoding],
    "zone": [time.tzname, time.timezone, time.localtime(0)[:6]],
    "limits": read("/proc/self/limits"), "score": read("/proc/self/oom_score_adj"),
    "status": [l for l in read("/proc/self/status").splitlines() if l.startswith(("Uid", "Gid", "Groups", "Cap", "NoNew", "Sec", "Sig", "Umask", "NSpid", "Threads"))],
    "host": [socket.gethostname(), read("/etc/hostname"), read("/etc/hosts")],
    "tmp": [os.listdir("/tmp"), tmp.f_blocks * tmp.f_frsize, tmp.f_files],
    "root": sorted(os.listdir("/")), "task": sorted(os.listdir("/var/task")), "cgroup": read("/proc/self/cgroup"),
    "mounts": sorted(mounts()),
    "stdin": [os.readlink("/proc/self/fd/0"), os.read(0, 1).decode(), os.get_inheritable(0)],
    "processes": sorted(p for p in os.listdir("/proc") if p.isdigit()), "self": [os.getpid(), os.getppid(), os.getsid(0)],
}
try:
    open("/var/task/new", "w")
    SEEN["written"] = True
except OSError as error:
    SEEN["written"] = error.errno
def handler(event, context):
    return SEEN
"#;

const LOOK_NODEJS: &str = r#"
const fs = require('fs');
const os = require('os');
const read = (path) => fs.readFileSync(path, 'utf8');
const tmp = fs.statfsSync('/tmp');
const mounts = read('/proc/self/mountinfo').trim().split('\n').map((line) => line.split(' '))
  .filter((fields) => fields[4] !== '/var/task' || !fields[3].includes('no-package'))
  .map((fields) => [fields[4], fields[3], fields[5], ...fields.at(-1).split(',').filter((o) => !/^[ug]id=/.test(o))].join(' ')).sort();
const seen = {
  environment: Object.fromEntries(Object.entries(process.env).sort()),
  directory: process.cwd(), argv: [process.argv, process.execArgv, process.execPath, process.title, read('/proc/self/cmdline')],
  heap: require('v8').getHeapStatistics().heap_size_limit,
  zone: [new Date(0).toString(), Intl.DateTimeFormat().resolvedOptions()],
  globals: Object.getOwnPropertyNames(globalThis).sort(),
  paths: [module.paths, require.resolve.paths('x'), require('module').globalPaths, require.main === module, module.parent?.id],
  listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]).sort(),
  limits: read('/proc/self/limits'), score: read('/proc/self/oom_score_adj'),
  status: read('/proc/self/status').split('\n').filter((l) => /^(Uid|Gid|Groups|Cap|NoNew|Sec|Sig|Umask|NSpid|Threads)/.test(l)),
  host: [os.hostname(), read('/etc/hostname'), read('/etc/hosts'), os.userInfo()],
  tmp: [fs.readdirSync('/tmp'), tmp.blocks * tmp.bsize, tmp.files],
  root: fs.readdirSync('/').sort(), task: fs.readdirSync('/var/task').sort(), cgroup: read('/proc/self/cgroup'), mounts,
  stdin: [fs.readlinkSync('/proc/self/fd/0'), fs.readSync(0, Buffer.alloc(1))],
  child: require('child_process').spawnSync('/bin/sh', ['-c', 'env | sort; pwd; readlink /proc/self/fd/0'], { stdio: ['inherit', 'pipe', 'pipe'] }).stdout.toString(),
};
try { fs.writeFileSync('/var/task/new', ''); seen.written = true; } catch (error) { seen.written = error.code; }
exports.handler = async () => seen;
"#;

/// What a function sees cold and prewarmed, each as text with a value in each line.
async fn see(name: &str, code: &str, runtime: impl Fn(&Host) -> String) -> (String, String) {
    let id = InstanceId::random();
    let mut seen = Vec::new();
    for starts in [Starts::Cold, Starts::Prewarmed] {
        let host = Host::new(starts);
        let deployed = host.deploy(&runtime(&host), "app.handler", &[(name, code)]).with(|function| {
            let configuration = &mut function.configuration;
            configuration.environment = [("KEY", "välue \" \n"), ("TZ", "Asia/Tokyo"), ("NODE_ENV", "production")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            configuration.ephemeral_storage_mb = 513;
            configuration.memory_mb = 300;
        });
        let answer = deployed.start_as(id).await.answer("null").await;
        // The one thing that has to differ.
        let package = deployed.package.path().display().to_string();
        let runtimes = host.directory().display().to_string();
        seen.push(answer.replace(&package, "PACKAGE").replace(&runtimes, "RUNTIMES"));
    }
    let prewarmed = seen.remove(1);
    (seen.remove(0), prewarmed)
}

async fn a_python_function_sees_what_it_would_cold(_: Host) {
    let (cold, prewarmed) = see("app.py", LOOK, Host::python).await;
    assert_same(&cold, &prewarmed);
    assert!(cold.contains("\"Asia/Tokyo\"") && cold.contains("JST") && cold.contains("\"written\": 30"), "{cold}");
    assert!(cold.contains("537919488"), "{cold}");
}

async fn a_nodejs_function_sees_what_it_would_cold(_: Host) {
    let (cold, prewarmed) = see("app.js", LOOK_NODEJS, Host::nodejs).await;
    assert_same(&cold, &prewarmed);
    assert!(cold.contains("Asia/Tokyo") && cold.contains("GMT+0900") && cold.contains("EROFS"), "{cold}");
    assert!(cold.contains("537919488"), "{cold}");
}

/// Compares two long texts, and shows where they part.
fn assert_same(one: &str, other: &str) {
    let at = one.bytes().zip(other.bytes()).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    let around = |text: &str| {
        let bytes = &text.as_bytes()[at.saturating_sub(200)..text.len().min(at + 200)];
        String::from_utf8_lossy(bytes).into_owned()
    };
    assert!(one == other, "cold:      {}\nprewarmed: {}", around(one), around(other));
}

/// Counts of starts that were served a running interpreter, before and after one of `deployed` for which one was ready.
async fn is_served(host: &Host, deployed: &crate::host::Deployed) -> (bool, Result<String, Fault>) {
    host.prewarm(&deployed.function).await;
    let served = host.executor.prewarmed().served;
    let answer = deployed.start_plainly().await.call("null").await;
    (host.executor.prewarmed().served > served, answer)
}

async fn what_takes_effect_at_the_start_of_a_process_is_in_effect(_: Host) {
    let host = Host::new(Starts::Prewarmed);
    let code = "import sys\ndef handler(event, context): return [sys.flags.hash_randomization, sys.flags.optimize]\n";
    let plain = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    assert_eq!(is_served(&host, &plain).await, (true, Ok("[1, 0]".to_owned())));
    let configured = plain.with(|function| {
        let variables = [("PYTHONHASHSEED", "0"), ("PYTHONOPTIMIZE", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        function.configuration.environment = variables.into();
    });
    assert_eq!(is_served(&host, &configured).await, (false, Ok("[0, 2]".to_owned())));
    let code = "exports.handler = async () => process.execArgv.length + process.env.NODE_OPTIONS;\n";
    let configured = host.deploy(&host.nodejs(), "app.handler", &[("app.js", code)]).with(|function| {
        function.configuration.environment = [("NODE_OPTIONS".to_owned(), "--stack-trace-limit=3".to_owned())].into();
    });
    let (served, answer) = is_served(&host, &configured).await;
    assert_eq!((served, answer.unwrap().as_str()), (false, "\"2--stack-trace-limit=3\""));
}

async fn a_package_may_bring_modules_with_the_names_of_common_ones(_: Host) {
    let host = Host::new(Starts::Prewarmed);
    let files = [
        (
            "app.py",
            "import json, http, http.mine, urllib.request\ndef handler(event, context): return [json.MINE, http.mine.MINE, urllib.request.__name__]\n",
        ),
        ("json.py", "MINE = 'json'\n"),
        ("http/__init__.py", ""),
        ("http/mine.py", "MINE = 'http'\n"),
        ("urllib/__init__.py", ""),
        ("urllib/request.py", ""),
    ];
    let deployed = host.deploy(&host.python(), "app.handler", &files);
    let expected = "[\"json\", \"http\", \"urllib.request\"]".to_owned();
    assert_eq!(is_served(&host, &deployed).await, (true, Ok(expected)));
}

async fn a_package_may_bring_libraries(_: Host) {
    let library = ["/lib/x86_64-linux-gnu/libz.so.1", "/usr/lib64/libz.so.1", "/usr/lib/aarch64-linux-gnu/libz.so.1"];
    let Some(library) = library.into_iter().find(|path| std::path::Path::new(path).exists()) else {
        eprintln!("SKIPPED a_package_may_bring_libraries: no library to copy was found");
        return;
    };
    let host = Host::new(Starts::Prewarmed);
    let code = "import ctypes\ndef handler(event, context):\n    ctypes.CDLL('libmine.so')\n    ctypes.CDLL('libours.so')\n    return 'found'\n";
    let deployed = host.deploy(&host.python(), "app.handler", &[("app.py", code), ("lib/readme", "")]);
    for name in ["libmine.so", "lib/libours.so"] {
        let path = deployed.package.path().join(name);
        std::fs::copy(library, &path).unwrap();
        crate::host::readable(&path, 0o644);
    }
    assert_eq!(is_served(&host, &deployed).await, (true, Ok("\"found\"".to_owned())));
}

async fn each_serves_one_function_and_shares_nothing(_: Host) {
    let host = Host::new(Starts::Prewarmed);
    let code = "import os, random, uuid\nopen('/tmp/left', 'x').write('x')\ndef handler(event, context): return [os.listdir('/var/task'), hash('x'), random.random(), str(uuid.uuid4())]\n";
    let mut seen = std::collections::HashSet::new();
    for name in ["one", "two", "three"] {
        let deployed = host.deploy(&host.python(), "app.handler", &[("app.py", code), (name, "")]);
        let (served, answer) = is_served(&host, &deployed).await;
        let answer = answer.unwrap();
        assert!(served && answer.contains(name), "{answer}");
        let drawn = answer.rsplit("], ").next().unwrap().to_owned();
        assert!(drawn.split(", ").all(|drawn| seen.insert(drawn.to_owned())), "{drawn} again");
    }
}

async fn one_that_has_died_or_cannot_load_is_the_start_it_would_have_been(_: Host) {
    let host = Host::new(Starts::Prewarmed);
    let deployed = host.deploy(&host.python(), "app.handler", &[("app.py", "def handler(event, context): return 1\n")]);
    host.prewarm(&deployed.function).await;
    let waiting = waiting_interpreters();
    assert!(!waiting.is_empty());
    for pid in waiting.iter().copied() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    // Dead is one whose files are closed; the kernel takes a moment.
    let has_ended = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('Z'))
    };
    while !waiting.iter().all(has_ended) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(deployed.start_plainly().await.answer("null").await, "1");
    let broken = host.deploy(&host.python(), "app.handler", &[("app.py", "import nothing_of_the_kind\n")]);
    let (error_type, body) = init_error(broken.start_fault().await);
    assert_eq!(error_type, "Runtime.ImportModuleError", "{body}");
}

async fn none_runs_before_the_first_start_or_when_switched_off(host: Host) {
    let deployed = host.deploy(&host.python(), "app.handler", &[("app.py", "def handler(event, context): return 1\n")]);
    let prewarming = Host::new(Starts::Prewarmed);
    assert_eq!(prewarming.executor.prewarmed().ready, 0);
    for _ in 0..3 {
        assert_eq!(deployed.start().await.answer("null").await, "1");
    }
    assert_eq!((host.executor.prewarmed().ready, host.executor.prewarmed().served), (0, 0));
    assert_eq!(prewarming.executor.prewarmed().ready, 0);
}

/// Guests of ours that wait for their function, by the mark in their environment.
fn waiting_interpreters() -> Vec<i32> {
    let ours = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_blank = environment.windows(25).any(|window| window == b"UPDRAFT_AWAITS_ASSIGNMENT");
        if is_blank && ancestors(pid).contains(&(ours as i32)) {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn ancestors(mut pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    while pid > 1 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        pid = parent.unwrap_or(0);
        found.push(pid);
    }
    found
}
