//! A stopped guest that is made to call the kernel: registers and memory by `ptrace(2)`, on x86-64.
//!
//! What is called comes as a table that a few instructions of ours work off, in a page that exists for that alone.
//! Whoever the guest is, none of its own instructions runs meanwhile: it is stopped before and after, its signals are
//! held back, and the page is private to it (looked up in its memory map, not believed).
//!
//! A process cannot enter a pid namespace, only have a child born there. So a copy is the child of a *vehicle*: a process
//! that has the guest's memory, as `vfork(2)` gives it, joins whatever is to be joined, and is gone when it has forked.
//!
//! Invariants: a call that fails ends the table there, and whoever asked is told which one it was; a vehicle runs calls
//! of ours and nothing else, one at a time.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut},
    thread,
    time::Duration,
};

use libc::{PTRACE_EVENT_FORK, PTRACE_EVENT_STOP, PTRACE_EVENT_VFORK, c_long};
use nix::{
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        uio::{RemoteIoVec, process_vm_readv, process_vm_writev},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    sys,
    wire::{Failure, Step},
};

/// The page's parts: instructions, table, data. Bytes from its beginning.
const TABLE: u64 = 0x400;
const DATA: u64 = 0x5000;
const PAGE_BYTES: u64 = 0x9000;

/// Calls in one table, at most.
const CALLS_MAX: usize = ((DATA - TABLE) / CALL_BYTES) as usize - 1;
const CALL_BYTES: u64 = 64;

/// Ends a table.
const END: u64 = u64::MAX;

/// Works off the table that RBX points at, stops at its end or after a call that failed:
/// `loop: mov rax,[rbx]; cmp rax,-1; je done; mov rdi,[rbx+8]; mov rsi,[rbx+16]; mov rdx,[rbx+24]; mov r10,[rbx+32];
/// mov r8,[rbx+40]; mov r9,[rbx+48]; syscall; mov [rbx+56],rax; test rax,rax; js done; add rbx,64; jmp loop;
/// done: int3`.
const WORKER: [u8; 51] = [
    0x48, 0x8b, 0x03, 0x48, 0x83, 0xf8, 0xff, 0x74, 0x29, 0x48, 0x8b, 0x7b, 0x08, 0x48, 0x8b, 0x73, 0x10, 0x48, 0x8b,
    0x53, 0x18, 0x4c, 0x8b, 0x53, 0x20, 0x4c, 0x8b, 0x43, 0x28, 0x4c, 0x8b, 0x4b, 0x30, 0x0f, 0x05, 0x48, 0x89, 0x43,
    0x38, 0x48, 0x85, 0xc0, 0x78, 0x06, 0x48, 0x83, 0xc3, 0x40, 0xeb, 0xce, 0xcc,
];
/// Most signals that may come before one call has been made.
const SIGNALS_MAX: usize = 1000;

/// How often, and how many times, it is looked whether a guest has stopped. One in the middle of `vfork(2)` does not before
/// its child lets it.
const PAUSE: Duration = Duration::from_millis(1);
const LOOKS_MAX: usize = 3000;

const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// One call: its number and arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call(pub(crate) c_long, pub(crate) [u64; 6]);

impl Call {
    pub(crate) fn new<const N: usize>(number: c_long, arguments: [u64; N]) -> Self {
        let mut six = [0; 6];
        six[..N].copy_from_slice(&arguments);
        Self(number, six)
    }
}

type Registers = libc::user_regs_struct;

/// A guest that waits to read from its standard input, stopped for good.
pub(crate) struct Stopped {
    pid: Pid,
    /// As it will be when it goes on: about to read again.
    resume: Registers,
    page: u64,
    restartable: Restartable,
}

/// What becomes of a guest's restartable sequences (`rseq(2)`), which the C library registers and a vehicle loses.
#[derive(Debug, Clone, Copy)]
enum Restartable {
    None,
    Registered {
        address: u64,
        size: u32,
        signature: u32,
    },
    /// The kernel does not say. Then vehicles are forked, and lose nothing.
    Unknown,
}

impl Restartable {
    fn of(pid: Pid) -> Self {
        match sys::traced_rseq(pid.as_raw()) {
            Ok((0, ..)) => Self::None,
            Ok((address, size, signature)) => Self::Registered { address, size, signature },
            Err(_) => Self::Unknown,
        }
    }
}

/// Why a guest is not where it can be stopped.
pub(crate) enum Refusal {
    /// It may be soon.
    NotYet,
    Never(Failure),
}

fn errno(error: nix::errno::Errno, step: &str) -> Failure {
    Failure::Setup { step: step.to_owned(), errno: error as i32 }
}

fn failed(step: &str) -> Failure {
    Failure::Setup { step: step.to_owned(), errno: libc::ECHILD }
}

/// What stopped a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Signal(Signal),
    Event(i32),
}

/// Waits until a process stops that has nothing of its own to do: it makes calls of ours.
fn wait(pid: Pid) -> Result<Stop, Failure> {
    look(pid, WaitPidFlag::empty())?.ok_or_else(|| failed("follow a guest"))
}

/// What has stopped a process; nothing where it runs and `flags` say not to wait.
fn look(pid: Pid, flags: WaitPidFlag) -> Result<Option<Stop>, Failure> {
    loop {
        return match waitpid(pid, Some(WaitPidFlag::__WALL | flags)) {
            Ok(WaitStatus::Stopped(_, signal)) => Ok(Some(Stop::Signal(signal))),
            Ok(WaitStatus::PtraceEvent(_, _, event)) => Ok(Some(Stop::Event(event))),
            Ok(WaitStatus::StillAlive) => Ok(None),
            Ok(_) => Err(failed("follow a guest, which has ended")),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => Err(errno(error, "follow a guest")),
        };
    }
}

/// Waits, not for ever, until a guest stops that has been asked to. Signals that were on their way are delivered.
fn await_stop(pid: Pid) -> Result<(), Failure> {
    for _ in 0..LOOKS_MAX {
        match look(pid, WaitPidFlag::WNOHANG)? {
            Some(Stop::Event(_)) => return Ok(()),
            Some(Stop::Signal(signal)) => ptrace::cont(pid, signal).step("stop the guest")?,
            None => thread::sleep(PAUSE),
        }
    }
    Err(Failure::Setup { step: "stop the guest".to_owned(), errno: libc::ETIMEDOUT })
}

/// Steps over one call, up to where that stops it. Signals that come first are dropped: whoever they are for never runs.
fn step_over(pid: Pid, what: &str, expected: Stop) -> Result<(), Failure> {
    for _ in 0..SIGNALS_MAX {
        ptrace::step(pid, None).step(what)?;
        match wait(pid)? {
            stop if stop == expected => return Ok(()),
            Stop::Signal(signal) if signal != Signal::SIGTRAP => {}
            // Somebody has sent it a signal to stop or to go on.
            Stop::Event(PTRACE_EVENT_STOP) => {}
            _ => break,
        }
    }
    Err(failed(what))
}

impl Stopped {
    /// Begins to trace a guest, which goes on running. What its filter leaves to a tracer stays closed to it.
    pub(crate) fn seize(pid: libc::pid_t) -> Result<(), Failure> {
        ptrace::seize(Pid::from_raw(pid), Options::PTRACE_O_EXITKILL).step("trace the guest")
    }

    /// Stops a guest that is traced, if it waits to read from its standard input; else lets it go on.
    pub(crate) fn stop(pid: libc::pid_t) -> Result<Self, Refusal> {
        let pid = Pid::from_raw(pid);
        let never = |failure| Refusal::Never(failure);
        ptrace::interrupt(pid).step("stop the guest").map_err(never)?;
        await_stop(pid).map_err(never)?;
        let registers = ptrace::getregs(pid).step("read the guest's registers").map_err(never)?;
        let is_reading = registers.orig_rax == libc::SYS_read as u64 && registers.rdi == 0;
        let before = registers.rip.wrapping_sub(SYSCALL.len() as u64);
        let mut bytes = [0; 2];
        let is_call = is_reading && read_memory(pid, before, &mut bytes).is_ok() && bytes == SYSCALL;
        if !is_call {
            ptrace::cont(pid, None).step("let the guest go on").map_err(never)?;
            return Err(Refusal::NotYet);
        }
        let options = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).step("trace the guest").map_err(never)?;
        let resume = Registers { rip: before, rax: registers.orig_rax, orig_rax: END, ..registers };
        let page = make_page(pid, resume).map_err(never)?;
        Ok(Self { pid, resume, page, restartable: Restartable::of(pid) })
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.pid.as_raw()
    }

    /// Has a vehicle do something, a child of this process's own which is gone when that is done.
    pub(crate) fn with_vehicle<T>(&self, work: impl FnOnce(Copy) -> Result<T, Failure>) -> Result<T, Failure> {
        let what = "copy the guest";
        let (sharing, event) = match self.restartable {
            Restartable::Unknown => (0, PTRACE_EVENT_FORK),
            _ => (libc::CLONE_VM | libc::CLONE_VFORK, PTRACE_EVENT_VFORK),
        };
        let flags = (libc::CLONE_PARENT | libc::SIGCHLD | sharing) as u64;
        let registers = Registers { rax: libc::SYS_clone as u64, rdi: flags, rsi: 0, ..self.resume };
        let registers = Registers { rdx: 0, r10: 0, r8: 0, ..registers };
        ptrace::setregs(self.pid, registers).step(what)?;
        step_over(self.pid, what, Stop::Event(event))?;
        let child = ptrace::getevent(self.pid).step(what)?;
        let done = Copy::born(Pid::from_raw(child as i32), self.resume, self.page, 0).and_then(work);
        // To where the call returns, so that the next one begins like this one.
        step_over(self.pid, what, Stop::Signal(Signal::SIGTRAP))?;
        done
    }

    /// What a copy has to call to have back what its vehicle had lost.
    pub(crate) fn restoration(&self) -> Option<Call> {
        match self.restartable {
            Restartable::Registered { address, size, signature } => {
                Some(Call::new(libc::SYS_rseq, [address, size.into(), 0, signature.into()]))
            }
            Restartable::None | Restartable::Unknown => None,
        }
    }
}

/// Makes the page that everything is called from, in a guest that has been stopped.
fn make_page(pid: Pid, resume: Registers) -> Result<u64, Failure> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let call = Call::new(libc::SYS_mmap, [0, PAGE_BYTES, protection, flags, u64::MAX, 0]);
    let page = single(pid, resume, call)?;
    // The instruction that made the call was the guest's own: whether there is such a page, the kernel says.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).step("read the guest's memory map")?;
    if !maps.lines().any(|line| is_private(line, page)) {
        return Err(failed("make a page in the guest"));
    }
    write_memory(pid, page, &WORKER)?;
    Ok(page)
}

/// One call by the instruction that a guest has stopped at.
fn single(pid: Pid, resume: Registers, call: Call) -> Result<u64, Failure> {
    let what = "call the kernel";
    let Call(number, [rdi, rsi, rdx, r10, r8, r9]) = call;
    let registers = Registers { rax: number as u64, rdi, rsi, rdx, r10, r8, r9, ..resume };
    ptrace::setregs(pid, registers).step(what)?;
    step_over(pid, what, Stop::Signal(Signal::SIGTRAP))?;
    Ok(ptrace::getregs(pid).step(what)?.rax)
}

/// A vehicle, or a copy that has not run yet, and does not before [`Copy::release`]. Dropping it kills it.
pub(crate) struct Copy {
    pid: Pid,
    resume: Registers,
    page: u64,
    used: u64,
    is_over: bool,
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.is_over {
            // Whatever it has become, nothing else answers for it.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
        }
    }
}

impl Copy {
    fn born(pid: Pid, resume: Registers, page: u64, used: u64) -> Result<Self, Failure> {
        let copy = Self { pid, resume, page, used, is_over: false };
        wait(pid)?;
        // From here on nothing but our own calls is made, so that the joining of namespaces may be let through.
        let options = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACESECCOMP | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).step("trace the copy")?;
        Ok(copy)
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.pid.as_raw()
    }

    /// Puts bytes where the copy's calls can refer to them. Returns the address.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let address = self.page + DATA + self.used;
        let length = (bytes.len() as u64).next_multiple_of(16);
        if DATA + self.used + length > PAGE_BYTES {
            return Err(Failure::Invalid("the guest holds more than a copy can be told about".to_owned()));
        }
        self.used += length;
        self.write(address, bytes)?;
        Ok(address)
    }

    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        read_memory(self.pid, address, bytes).step("read the copy's memory")
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        write_memory(self.pid, address, bytes)
    }

    /// Has it make these calls. Returns what each returned, all of them no error.
    pub(crate) fn run(&self, calls: &[Call], what: &str) -> Result<Vec<u64>, Failure> {
        match self.work(calls, what)? {
            (results, None) => Ok(results),
            (_, Some(child)) => {
                drop(Self::born(child, self.resume, self.page, self.used)?);
                Err(failed(what))
            }
        }
    }

    /// Has it make these calls, the last of which forks, and is gone. Returns the child, which has not run yet.
    pub(crate) fn run_and_fork(mut self, calls: &[Call], what: &str) -> Result<Self, Failure> {
        let (_, child) = self.work(calls, what)?;
        let child = Self::born(child.ok_or_else(|| failed(what))?, self.resume, self.page, self.used)?;
        kill(self.pid, Signal::SIGKILL).step(what)?;
        waitpid(self.pid, Some(WaitPidFlag::__WALL)).step(what)?;
        self.is_over = true;
        Ok(child)
    }

    /// Stops at the end of the table, or when a child is born.
    fn work(&self, calls: &[Call], what: &str) -> Result<(Vec<u64>, Option<Pid>), Failure> {
        if calls.len() > CALLS_MAX {
            return Err(Failure::Invalid("the guest holds more than a copy can be told about".to_owned()));
        }
        let mut table = Vec::with_capacity((calls.len() + 1) * CALL_BYTES as usize);
        for Call(number, arguments) in calls {
            table.extend((*number as u64).to_ne_bytes());
            arguments.iter().for_each(|argument| table.extend(argument.to_ne_bytes()));
            table.extend(0_u64.to_ne_bytes());
        }
        table.extend(END.to_ne_bytes());
        self.write(self.page + TABLE, &table)?;
        let registers = Registers { rip: self.page, rbx: self.page + TABLE, orig_rax: END, ..self.resume };
        ptrace::setregs(self.pid, registers).step(what)?;
        loop {
            ptrace::cont(self.pid, None).step(what)?;
            match wait(self.pid)? {
                Stop::Signal(Signal::SIGTRAP) => break,
                Stop::Event(PTRACE_EVENT_FORK) => {
                    let child = ptrace::getevent(self.pid).step(what)?;
                    return Ok((Vec::new(), Some(Pid::from_raw(child as i32))));
                }
                // A namespace is being joined, as the table says.
                Stop::Event(_) => {}
                Stop::Signal(Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGSYS) => {
                    return Err(failed(what));
                }
                // A signal that somebody sent it has come too early.
                Stop::Signal(_) => {}
            }
        }
        let registers = ptrace::getregs(self.pid).step(what)?;
        let done = registers.rbx.wrapping_sub(self.page + TABLE) / CALL_BYTES;
        let mut table = vec![0; table.len()];
        self.read(self.page + TABLE, &mut table)?;
        let results = (0..calls.len()).map(|index| {
            let at = (index + 1) * CALL_BYTES as usize - 8;
            u64::from_ne_bytes(std::array::from_fn(|byte| table[at + byte]))
        });
        let results: Vec<u64> = results.collect();
        match results.get(done as usize) {
            None => Ok((results, None)),
            Some(result) => {
                let number = calls[done as usize].0;
                let errno = -(*result as i64) as i32;
                Err(Failure::Setup { step: format!("{what} (call {number})"), errno })
            }
        }
    }

    /// It has ended and been reaped: its number may be another's by now.
    pub(crate) fn forget(mut self) {
        self.is_over = true;
    }

    /// Takes the page away and lets it go, to read from its standard input.
    pub(crate) fn release(mut self) -> Result<libc::pid_t, Failure> {
        single(self.pid, self.resume, Call::new(libc::SYS_munmap, [self.page, PAGE_BYTES]))?;
        ptrace::setregs(self.pid, self.resume).step("let the copy go")?;
        ptrace::detach(self.pid, None).step("let the copy go")?;
        self.is_over = true;
        Ok(self.pid.as_raw())
    }
}

/// Whether a line of `/proc/PID/maps` is of private, anonymous memory that has all of a page of ours at `page`. The
/// kernel may have joined it with what lies beside.
fn is_private(line: &str, page: u64) -> bool {
    let mut fields = line.split_ascii_whitespace();
    let (Some(range), Some(flags)) = (fields.next(), fields.next()) else { return false };
    let is_anonymous = fields.nth(1) == Some("00:00") && fields.nth(1).is_none();
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let Some((first, end)) = range.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?))) else {
        return false;
    };
    is_anonymous && flags == "rwxp" && first <= page && page + PAGE_BYTES <= end
}

fn read_memory(pid: Pid, address: u64, bytes: &mut [u8]) -> io::Result<()> {
    let length = bytes.len();
    let remote = [RemoteIoVec { base: address as usize, len: length }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(bytes)], &remote)?;
    if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn write_memory(pid: Pid, address: u64, bytes: &[u8]) -> Result<(), Failure> {
    let remote = [RemoteIoVec { base: address as usize, len: bytes.len() }];
    match process_vm_writev(pid, &[IoSlice::new(bytes)], &remote) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(failed("write the guest's memory")),
        Err(error) => Err(errno(error, "write the guest's memory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_jumps_lead_where_they_should() {
        let at = |index: usize| (index as i64 + 2 + i64::from(WORKER[index + 1] as i8)) as usize;
        let (je, js, jmp) = (7, 42, 48);
        assert_eq!((WORKER[je], WORKER[js], WORKER[jmp]), (0x74, 0x78, 0xeb));
        assert_eq!((WORKER[at(je)], WORKER[at(js)], at(jmp)), (0xcc, 0xcc, 0));
        assert_eq!(WORKER[33..35], SYSCALL);
    }

    #[test]
    fn a_page_is_believed_when_it_is_private_and_anonymous() {
        let page = 0x7f00_0000_0000;
        let line = |flags: &str, rest: &str| format!("7f0000000000-7f0000009000 {flags} 00000000 {rest}");
        assert!(is_private(&line("rwxp", "00:00 0"), page));
        assert!(!is_private(&line("rwxs", "00:00 0"), page));
        assert!(!is_private(&line("rwxs", "00:01 77   /memfd:x (deleted)"), page));
        assert!(!is_private(&line("rwxp", "00:1c 5    /tmp/x"), page));
        assert!(!is_private(&line("rwxp", "00:00 0"), page + 0x1000));
    }
}
