//! Takes a copy of a stopped guest into the sandbox that another init has built for it.
//!
//! All of it is calls that the copy is made to make (`tracee`), in the order: groups, namespaces, a fork into the pid
//! namespace, descriptors, working directory, privileges, filter. Invariant: each has worked or there is no copy.

use std::os::fd::{AsFd, OwnedFd};

use libc::pid_t;

use crate::{
    holdings::{Fate, Holdings},
    init::Jail,
    privileges::{SECURE_BITS, capabilities},
    seccomp::Role,
    sys,
    tracee::{Call, Copy, Stopped},
    wire::{self, Failure, Step},
};

/// `recvmsg`'s flag: what is received is closed by an `exec`.
const CLOEXEC_RECEIVED: u64 = libc::MSG_CMSG_CLOEXEC as u64;
/// Bytes before the descriptors of a control message.
const HEADER_BYTES: usize = 16;
/// Input and output, which come before the namespaces.
const STREAMS: usize = 2;

/// Makes a copy that joins groups through `doors`, and the sandbox whose input, output and namespaces are `given`. It stays
/// stopped. With its number in its own pid namespace.
pub(crate) fn transfer(
    jail: &Jail,
    stopped: &Stopped,
    holdings: &Holdings,
    doors: &[OwnedFd],
    given: &[OwnedFd],
) -> Result<(Copy, pid_t), Failure> {
    let (mut copy, pair, numbers) = stopped.with_vehicle(|mut vehicle| {
        let (pair, numbers) = hand_over(&mut vehicle, doors, given)?;
        let (doors, given) = numbers.split_at(doors.len());
        let zero = vehicle.place(b"0")?;
        let mut calls: Vec<Call> = doors.iter().map(|door| Call::new(libc::SYS_write, [*door, zero, 1])).collect();
        calls.extend(given[STREAMS..].iter().map(|namespace| Call::new(libc::SYS_setns, [*namespace, 0])));
        calls.push(Call::new(libc::SYS_clone, [(libc::CLONE_PARENT | libc::SIGCHLD) as u64]));
        Ok((vehicle.run_and_fork(&calls, "join the copy's sandbox")?, pair, numbers))
    })?;
    let [input, output] = [numbers[doors.len()], numbers[doors.len() + 1]];
    settle(&mut copy, holdings, [input, output], pair[1], stopped.restoration())?;
    let closed = numbers.iter().chain(&pair);
    let calls: Vec<Call> = closed.map(|number| Call::new(libc::SYS_close, [*number])).collect();
    copy.run(&calls, "close what the copy was handed")?;
    give_up_all(&mut copy, jail)?;
    let inner = inner_number(copy.pid()).ok_or_else(|| Failure::Invalid("the copy has no number".to_owned()))?;
    Ok((copy, inner))
}

/// Gives the copy descriptors of ours. Returns those of the socket they came over, whose other end is gone then,
/// and theirs, in order.
fn hand_over(copy: &mut Copy, doors: &[OwnedFd], given: &[OwnedFd]) -> Result<([u64; 2], Vec<u64>), Failure> {
    let what = "hand the copy its descriptors";
    let pair_at = copy.place(&[0; 8])?;
    let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as u64;
    copy.run(&[Call::new(libc::SYS_socketpair, [libc::AF_UNIX as u64, kind, 0, pair_at])], what)?;
    let mut pair = [0; 8];
    copy.read(pair_at, &mut pair)?;
    let pair = numbers_in(&pair);
    let pidfd = sys::pidfd_open(copy.pid()).step(what)?;
    let ours = sys::pidfd_getfd(pidfd.as_fd(), pair[0] as i32).step(what)?;
    let all: Vec<_> = doors.iter().chain(given).map(AsFd::as_fd).collect();
    wire::send(ours.as_fd(), &(), &all).step(what)?;
    let control_bytes = HEADER_BYTES + (all.len() * 4).next_multiple_of(8);
    let (text, control) = (copy.place(&[0; 16])?, copy.place(&vec![0; control_bytes])?);
    let slices = copy.place(&words(&[text, 16]))?;
    let message = copy.place(&words(&[0, 0, slices, 1, control, control_bytes as u64, 0]))?;
    copy.run(&[Call::new(libc::SYS_recvmsg, [pair[1], message, CLOEXEC_RECEIVED])], what)?;
    let mut received = vec![0; control_bytes];
    copy.read(control, &mut received)?;
    let length = u64::from_ne_bytes(std::array::from_fn(|byte| received[byte]));
    if length != (HEADER_BYTES + all.len() * 4) as u64 {
        return Err(Failure::Invalid("the guest has no room for more descriptors".to_owned()));
    }
    let numbers = numbers_in(&received[HEADER_BYTES..HEADER_BYTES + all.len() * 4]);
    Ok(([pair[0], pair[1]], numbers))
}

/// Gives it a session, input and output, puts something in place of what it must not share, and takes it to its working directory.
/// `dead_end` is a socket whose other end will be closed.
fn settle(
    copy: &mut Copy,
    holdings: &Holdings,
    [input, output]: [u64; 2],
    dead_end: u64,
    restoration: Option<Call>,
) -> Result<(), Failure> {
    let here = libc::AT_FDCWD as i64 as u64;
    let mut opened = Vec::new();
    for (number, (fate, closes)) in &holdings.descriptors {
        if let Fate::Reopened { path, offset } = fate {
            let path = copy.place(&c_string(path))?;
            opened.push((Call::new(libc::SYS_openat, [here, path, libc::O_CLOEXEC as u64]), *number, *closes, *offset));
        }
    }
    let opens: Vec<Call> = opened.iter().map(|(call, ..)| *call).collect();
    let fresh = if opens.is_empty() { Vec::new() } else { copy.run(&opens, "open the copy's files")? };
    let onto = |from: u64, number: u32, closes: bool| {
        Call::new(libc::SYS_dup3, [from, number.into(), if closes { libc::O_CLOEXEC as u64 } else { 0 }])
    };
    let mut calls: Vec<Call> = restoration.into_iter().chain([Call::new(libc::SYS_setsid, [])]).collect();
    calls.extend([onto(input, 0, false), onto(output, 1, false), onto(output, 2, false)]);
    for ((_, number, closes, offset), fresh) in opened.iter().zip(&fresh) {
        calls.push(Call::new(libc::SYS_lseek, [*fresh, *offset, libc::SEEK_SET as u64]));
        calls.push(onto(*fresh, *number, *closes));
        calls.push(Call::new(libc::SYS_close, [*fresh]));
    }
    for (number, (fate, closes)) in &holdings.descriptors {
        match fate {
            Fate::Output => calls.push(onto(output, *number, *closes)),
            Fate::DeadEnd => calls.push(onto(dead_end, *number, *closes)),
            Fate::Reopened { .. } => {}
        }
    }
    let directory = copy.place(&c_string(&holdings.directory))?;
    calls.push(Call::new(libc::SYS_chdir, [directory]));
    copy.run(&calls, "settle the copy").map(drop)
}

/// As [`crate::privileges::drop_all`] for this process: joining a user namespace has brought all capabilities there.
fn give_up_all(copy: &mut Copy, jail: &Jail) -> Result<(), Failure> {
    let prctl = |operation: i32, first: u64| Call::new(libc::SYS_prctl, [operation as u64, first]);
    let mut calls = vec![
        prctl(libc::PR_SET_SECUREBITS, SECURE_BITS as u64),
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64),
    ];
    calls.extend((0..capabilities()).map(|capability| prctl(libc::PR_CAPBSET_DROP, capability)));
    let header = copy.place(&words(&[sys::CAPABILITY_VERSION_3.into()]))?;
    let none = copy.place(&[0; 24])?;
    calls.push(Call::new(libc::SYS_capset, [header, none]));
    calls.push(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
    for program in jail.filters.programs(Role::Ordinary) {
        let bytes = program.iter().flat_map(|instruction| {
            let [low, high] = instruction.code.to_ne_bytes();
            let [a, b, c, d] = instruction.k.to_ne_bytes();
            [low, high, instruction.jt, instruction.jf, a, b, c, d]
        });
        let at = copy.place(&bytes.collect::<Vec<u8>>())?;
        let filter = copy.place(&words(&[program.len() as u64, at]))?;
        calls.push(Call::new(libc::SYS_seccomp, [libc::SECCOMP_SET_MODE_FILTER.into(), 0, filter]));
    }
    copy.run(&calls, "give up the copy's privileges").map(drop)
}

/// What a process here is called in its own pid namespace.
fn inner_number(pid: pid_t) -> Option<pid_t> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_ascii_whitespace().last()?.parse().ok()
}

fn c_string(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn numbers_in(bytes: &[u8]) -> Vec<u64> {
    let number = |four: &[u8]| u64::from(u32::from_ne_bytes(std::array::from_fn(|byte| four[byte])));
    bytes.chunks_exact(4).map(number).collect()
}
