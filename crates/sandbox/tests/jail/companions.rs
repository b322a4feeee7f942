//! Sandboxes in which programs run beside the command.

use std::time::Duration;

use updraft_sandbox::{Companions, Ended, Error, Exit, Sandbox, Spec, Status, Who};

use crate::support::{Test, block_on, lines, open_directory, python, spawner, spec, spec_with};

pub(crate) const TESTS: &[(&str, Test)] = attempts![companions:
    companions_start_first_and_outlive_the_command,
    a_companion_that_cannot_run_keeps_the_sandbox_from_starting,
    a_command_that_cannot_run_is_told_and_the_sandbox_dies_with_its_owner,
    companions_are_jailed_as_the_command_is,
    letting_go_kills_companions,
];

/// Programs of this text at `/opt/NAME`, beside a command.
fn with(command: Spec, directory: &std::path::Path, programs: &[(&str, &str)]) -> Spec {
    for (name, text) in programs {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let companions = Companions {
        programs: programs.iter().map(|(name, _)| format!("/opt/{name}")).collect(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("WHO".into(), "companion".into())],
    };
    Spec { companions, ..spec_with(command, directory, "/opt") }
}

/// What a pipe has until it ends.
async fn all_of(pipe: std::os::fd::OwnedFd) -> String {
    let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe).unwrap();
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut pipe, &mut text).await.unwrap();
    text
}

fn companions_start_first_and_outlive_the_command() {
    let directory = open_directory();
    let first = "#!/bin/sh\necho $WHO $(pwd)\nuntil [ -e /opt/stop ]; do sleep 0.01; done\nexit 7\n";
    let waiting = "trap 'exit 3' TERM\necho ready\nwhile true; do sleep 0.01; done";
    let spec = with(spec(&["/bin/sh", "-c", waiting]), directory.path(), &[("first", first)]);
    block_on(async {
        let mut sandbox = spawner().spawn(spec).await.unwrap();
        let (output, mut notices) = sandbox.take_companions().unwrap();
        assert!(sandbox.take_companions().is_none());
        sandbox.signal(libc::SIGTERM).await.unwrap();
        sandbox.begin().await.unwrap();
        sandbox.begin().await.unwrap();
        let own = sandbox.output.try_clone().unwrap();
        let mut own = tokio::net::unix::pipe::Receiver::from_owned_fd(own).unwrap();
        let mut said = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut own, &mut said).await.unwrap();
        assert_eq!(&said, b"ready\n");
        sandbox.signal(libc::SIGTERM).await.unwrap();
        assert_eq!(notices.next().await, Some(Ended { who: Who::Command, status: Status::Code(3) }));
        std::fs::write(directory.path().join("stop"), "").unwrap();
        assert_eq!(notices.next().await, Some(Ended { who: Who::Companion(0), status: Status::Code(7) }));
        assert_eq!(notices.next().await, None);
        assert_eq!(sandbox.exited().await, Exit { status: Status::Code(3), out_of_memory: false });
        assert_eq!(all_of(output).await, "companion /\n");
    });
}

fn a_companion_that_cannot_run_keeps_the_sandbox_from_starting() {
    let directory = open_directory();
    let spec = with(spec(&["/bin/true"]), directory.path(), &[("well", "#!/bin/sh\nsleep 600\n"), ("bad", "nonsense")]);
    let Err(Error::Exec { command, source }) = block_on(async { spawner().spawn(spec).await.map(drop) }) else {
        panic!("it started")
    };
    assert_eq!((command.as_str(), source.raw_os_error()), ("/opt/bad", Some(libc::ENOEXEC)));
}

fn a_command_that_cannot_run_is_told_and_the_sandbox_dies_with_its_owner() {
    let directory = open_directory();
    let spec = with(spec(&["/nowhere"]), directory.path(), &[("first", "#!/bin/sh\nexec sleep 600\n")]);
    block_on(async {
        let mut sandbox = spawner().spawn(spec).await.unwrap();
        let (output, mut notices) = sandbox.take_companions().unwrap();
        assert!(matches!(sandbox.begin().await, Err(Error::Exec { command, .. }) if command == "/nowhere"));
        drop(sandbox);
        assert_eq!(notices.next().await, None);
        assert_eq!(all_of(output).await, "");
    });
}

/// Both see the same pid namespace, and neither has any capability.
fn companions_are_jailed_as_the_command_is() {
    let directory = open_directory();
    let look = "
import os
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
print('capabilities', status['CapEff'].strip(), status['CapBnd'].strip())
print('seccomp', status['Seccomp'].strip(), 'new', status['NoNewPrivs'].strip(), 'uid', os.getuid())
print('pid', os.readlink('/proc/self/ns/pid'))
";
    let script = format!("#!/usr/bin/python3 -I\n{look}");
    let spec = with(python(look), directory.path(), &[("look", &script)]);
    block_on(async {
        let mut sandbox = spawner().spawn(spec).await.unwrap();
        let (output, _notices) = sandbox.take_companions().unwrap();
        sandbox.begin().await.unwrap();
        sandbox.exited().await;
        let beside = all_of(output).await;
        let own = all_of(sandbox.output.try_clone().unwrap()).await;
        assert_eq!(beside, own);
        assert_eq!(lines(&beside)["seccomp"], "2 new 1 uid 993");
        assert_eq!(lines(&beside)["capabilities"], "0000000000000000 0000000000000000");
    });
}

fn letting_go_kills_companions() {
    let directory = open_directory();
    let stubborn = "#!/usr/bin/python3 -I
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0: os.setsid()
print('up', flush=True)
time.sleep(600)
";
    let spec = with(spec(&["/bin/sleep", "600"]), directory.path(), &[("stubborn", stubborn)]);
    block_on(async {
        let mut sandbox: Sandbox = spawner().spawn(spec).await.unwrap();
        let (output, _notices) = sandbox.take_companions().unwrap();
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(output).unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut pipe, &mut [0; 6]).await.unwrap();
        drop(sandbox);
        // The pipe ends when nobody holds its other end any more.
        let mut rest = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut rest);
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("something of it lives on").unwrap();
    });
}
