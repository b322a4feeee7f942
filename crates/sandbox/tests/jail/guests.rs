//! Ordinary guests: how they start, talk and end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use updraft_sandbox::{Error, Need, State, Status, probe};

use crate::support::{PYTHON, Test, ask, block_on, is_root, output_of, python, run, spawner, spec};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("exit_codes_and_signals_are_reported", exit_codes_and_signals_are_reported),
    ("a_command_that_cannot_run_is_the_authors_error", command_that_cannot_run),
    ("a_listener_reaches_the_platform", listener_reaches_the_platform),
    ("connect_reaches_the_guest", connect_reaches_the_guest),
    ("fifty_at_once", fifty_at_once),
    ("node_runs", node_runs),
    ("threads_and_subprocesses_work", threads_and_subprocesses_work),
    ("probe_tries_everything", probe_tries_everything),
    ("start_times", start_times),
];

fn exit_codes_and_signals_are_reported() {
    block_on(async {
        let spawner = spawner();
        for (script, status) in [
            ("exit 0", Status::Code(0)),
            ("exit 42", Status::Code(42)),
            ("kill -TERM $$", Status::Signal(15)),
            ("kill -KILL $$", Status::Signal(9)),
            ("kill -SEGV $$", Status::Signal(11)),
            ("sleep 60 & exit 7", Status::Code(7)),
        ] {
            let sandbox = spawner.spawn(spec(&["sh", "-c", script])).await.unwrap();
            let (first, second) = tokio::join!(sandbox.exited(), sandbox.exited());
            assert_eq!((first.status, first.out_of_memory), (status, false), "{script}");
            assert_eq!((first, first), (second, sandbox.exited().await));
        }
    });
}

fn command_that_cannot_run() {
    block_on(async {
        let spawner = spawner();
        for (command, errno) in [
            ("/no/such/thing", libc::ENOENT),
            ("no-such-thing", libc::ENOENT),
            ("/etc/passwd", libc::EACCES),
            ("/usr", libc::EACCES),
        ] {
            match spawner.spawn(spec(&[command])).await {
                Err(Error::Exec { command: named, source }) => {
                    assert_eq!((named.as_str(), source.raw_os_error()), (command, Some(errno)));
                }
                other => panic!("{command}: {:?}", other.map(|_| ()).map_err(|error| error.to_string())),
            }
        }
        let mut nowhere = spec(&["/bin/true"]);
        nowhere.directory = "/no/such/directory".into();
        let mut unmountable = spec(&["/bin/true"]);
        unmountable.mounts[0].source = "/no/such/source".into();
        let mut uphill = spec(&["/bin/true"]);
        uphill.mounts[0].target = "/usr/../etc".into();
        for (spec, step) in [(nowhere, "working directory"), (unmountable, "bind /no/such/source")] {
            match spawner.spawn(spec).await {
                Err(Error::Setup { step: at, source }) => {
                    assert!(at.starts_with(step) && source.raw_os_error() == Some(libc::ENOENT), "{at}: {source}");
                }
                other => panic!("{step}: {:?}", other.map(|_| ()).map_err(|error| error.to_string())),
            }
        }
        assert!(matches!(spawner.spawn(uphill).await, Err(Error::Invalid(_))));
        assert_eq!(run(&spawner, spec(&["true"])).await.0.status, Status::Code(0));
    });
}

fn listener_reaches_the_platform() {
    let mut guest = python(
        r#"
import socket
for port in (9001, 80):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"from the guest")
    s.shutdown(socket.SHUT_WR)
    print(port, s.makefile().read())
"#,
    );
    guest.listen = vec![9001, 80];
    block_on(async {
        let mut sandbox = spawner().spawn(guest).await.unwrap();
        let listeners = std::mem::take(&mut sandbox.listeners);
        assert_eq!(listeners.len(), 2);
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "from the guest");
            stream.write_all(b"from the platform").await.unwrap();
        }
        assert_eq!(output_of(&sandbox).await, "9001 from the platform\n80 from the platform\n");
        assert_eq!(sandbox.exited().await.status, Status::Code(0));
    });
}

fn connect_reaches_the_guest() {
    let guest = python(
        r#"
import socket
server = socket.create_server(("127.0.0.1", 8080))
print("up", flush=True)
for _ in range(3):
    s, _ = server.accept()
    s.sendall(s.recv(100).upper())
    s.close()
"#,
    );
    block_on(async {
        let sandbox = spawner().spawn(guest).await.unwrap();
        let output = sandbox.output.try_clone().unwrap();
        let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(output).unwrap();
        let mut up = [0; 3];
        output.read_exact(&mut up).await.unwrap();
        // A caller who gives up does not get in the way of the next.
        drop(tokio::time::timeout(Duration::ZERO, sandbox.connect(1)).await);
        let refused = sandbox.connect(8081).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        for _ in 0..3 {
            let mut stream = tokio::net::TcpStream::from_std(sandbox.connect(8080).await.unwrap()).unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "HELLO");
        }
        assert_eq!(sandbox.exited().await.status, Status::Code(0));
        let ended = sandbox.connect(8080).await.unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::NotConnected);
    });
}

fn fifty_at_once() {
    block_on(async {
        let spawner = spawner();
        let guests: Vec<_> = (0..50)
            .map(|number| {
                let spawner = spawner.clone();
                tokio::spawn(async move {
                    let mut spec = spec(&["sh", "-c", "cat /etc/hostname; exit $CODE"]);
                    spec.name = format!("guest-{number}");
                    spec.environment.push(("CODE".to_owned(), number.to_string()));
                    run(&spawner, spec).await
                })
            })
            .collect();
        for (number, guest) in guests.into_iter().enumerate() {
            let (exit, output) = guest.await.unwrap();
            assert_eq!((exit.status, output), (Status::Code(number as i32), format!("guest-{number}\n")));
        }
    });
}

fn node_runs() {
    let node = ["/usr/bin/node", "/usr/local/bin/node"].into_iter().find(|path| std::path::Path::new(path).exists());
    let Some(node) = node else {
        eprintln!("SKIPPED node_runs: there is no node under /usr");
        return;
    };
    let script = r#"
const os = require('os'), fs = require('fs'), http = require('http');
fs.writeFileSync('/tmp/x', 'x');
const server = http.createServer((_, response) => response.end('served'));
server.listen(0, '127.0.0.1', () => http.get({ port: server.address().port, host: '127.0.0.1' }, response => {
    response.on('data', data => console.log(String(data), Object.keys(os.networkInterfaces())[0], os.hostname()));
    response.on('end', () => server.close());
}));
"#;
    assert_eq!(ask(spec(&[node, "-e", script])), "served lo instance-1\n");
}

fn threads_and_subprocesses_work() {
    let output = ask(python(
        r#"
import multiprocessing, subprocess, threading, tempfile, asyncio
results = []
threads = [threading.Thread(target=results.append, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(results), subprocess.check_output(["sh", "-c", "echo sub"]).decode().strip())
queue = multiprocessing.get_context("fork").Queue()
p = multiprocessing.get_context("fork").Process(target=queue.put, args=("process",))
p.start(); print(queue.get()); p.join()
async def main():
    p = await asyncio.create_subprocess_exec("echo", "async", stdout=asyncio.subprocess.PIPE)
    return (await p.communicate())[0].decode().strip()
print(asyncio.run(main()))
"#,
    ));
    assert_eq!(output, "8 sub\nprocess\nasync\n");
}

fn probe_tries_everything() {
    let found = probe();
    for mechanism in &found {
        eprintln!("{:20} {:?} ({})", mechanism.name, mechanism.state, mechanism.consequence);
        if mechanism.need == Need::Always || mechanism.name == "own user ids" && is_root() {
            assert!(matches!(mechanism.state, State::Present(_)), "{mechanism:?}");
        }
    }
    assert!(found.len() >= 15);
}

/// Prints how long a start takes, for people to read; nothing is asserted of it.
fn start_times() {
    block_on(async {
        let mut plain: Vec<Duration> = Vec::new();
        for _ in 0..21 {
            let begun = Instant::now();
            assert!(std::process::Command::new("/bin/true").status().unwrap().success());
            plain.push(begun.elapsed());
        }
        plain.sort();
        eprintln!("for comparison, /bin/true without a sandbox: gone after {:?}", plain[10]);
        let spawner = spawner();
        for (what, command, pause) in [
            ("/bin/true, a blank ready", vec!["/bin/true"], 60),
            ("/bin/true, none ready", vec!["/bin/true"], 0),
            ("python -c pass, a blank ready", vec![PYTHON, "-c", "pass"], 60),
        ] {
            let (mut starts, mut ends) = (Vec::new(), Vec::new());
            for _ in 0..21 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let begun = Instant::now();
                let sandbox = spawner.spawn(spec(&command)).await.unwrap();
                starts.push(begun.elapsed());
                assert_eq!(sandbox.exited().await.status, Status::Code(0));
                ends.push(begun.elapsed());
            }
            starts.sort();
            ends.sort();
            let who = if is_root() { "root" } else { "user" };
            let [best, p50, worst, end] = [starts[0], starts[10], starts[20], ends[10]];
            eprintln!("{who}: {what}: executing after {p50:?} (best {best:?}, worst {worst:?}), gone after {end:?}");
        }
    });
}
