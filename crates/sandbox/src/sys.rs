//! System calls that neither the standard library nor nix offers, each behind a safe function.
//!
//! Nothing here decides anything; names and arguments follow the manual pages. Constants the C library crate
//! lacks come from the kernel's `linux/mount.h`, `linux/capability.h` and `linux/ptrace.h`.
#![allow(unsafe_code, reason = "system calls without a safe wrapper anywhere else; each block says why it is sound")]

use std::{
    ffi::CStr,
    io, mem,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use libc::{c_int, c_long, c_uint, c_ulong, pid_t};

/// Mount attributes, `MOUNT_ATTR_*`.
pub(crate) mod attribute {
    pub(crate) const RDONLY: u64 = 0x1;
    pub(crate) const NOSUID: u64 = 0x2;
    pub(crate) const NODEV: u64 = 0x4;
    pub(crate) const NOEXEC: u64 = 0x8;
}

const OPEN_TREE_CLONE: c_uint = 1;
const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
pub(crate) const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const PTRACE_GET_RSEQ_CONFIGURATION: c_uint = 0x420f;
const LANDLOCK_CREATE_RULESET_VERSION: c_uint = 1;
const LANDLOCK_RULE_PATH_BENEATH: c_uint = 1;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// The kernel's `landlock_ruleset_attr` as of version 6; earlier versions take the part that they know.
#[repr(C)]
pub(crate) struct LandlockRights {
    pub(crate) handled_files: u64,
    pub(crate) handled_network: u64,
    pub(crate) scoped: u64,
}

#[repr(C, packed)]
struct LandlockPathBeneath {
    allowed: u64,
    parent: i32,
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a descriptor that a system call has just returned.
fn own(result: c_long) -> io::Result<OwnedFd> {
    let fd = check(result)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes ownership of descriptors received over a socket.
pub(crate) fn own_received(raw: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: `recvmsg` has just installed each of these in our table; the caller passes every number once.
    raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// The caller's standard input as an owned descriptor.
pub(crate) fn take_standard_input() -> OwnedFd {
    // SAFETY: called once, at the helper's start, before anything could have used standard input; the helper
    // never touches `std::io::stdin`.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// What a fork returned.
pub(crate) enum Forked {
    Parent { pid: pid_t, pidfd: OwnedFd },
    Child,
}

/// Forks with `clone3(2)`: into the namespaces `flags` names and the cgroup (version 2) whose directory `group`
/// is, with a pidfd.
///
/// The process must have a single thread, as the helper and every init do: the child goes on with ordinary
/// Rust code, which would find locks held by threads that no longer exist.
pub(crate) fn fork(flags: c_int, group: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut pidfd: RawFd = -1;
    let into_group = if group.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let arguments = CloneArgs {
        flags: (flags | libc::CLONE_PIDFD) as u64 | into_group,
        pidfd: &raw mut pidfd as u64,
        // A sibling ends with the signal that this process itself would end with.
        exit_signal: if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        cgroup: group.map_or(0, |group| group.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: the structure is the kernel's `clone_args`, its size is given, and `pidfd` outlives the call.
    // Without CLONE_VM the child has its own copy of this single thread, stack included, so both may return.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, mem::size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    Ok(Forked::Parent { pid: pid as pid_t, pidfd: own(c_long::from(pidfd))? })
}

/// Ends this process at once, without running anything registered to run at exit.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and never returns.
    unsafe { libc::_exit(code) }
}

/// Replaces this process. Returns only the error. Both arrays hold strings that outlive the call.
pub(crate) fn execute(program: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let pointers = |strings: &[&CStr]| {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the three pointers are to NUL-terminated strings and NULL-terminated arrays that live until here.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Sets every signal to its default action and unblocks all.
pub(crate) fn reset_signals() {
    // SAFETY: `SIG_DFL` installs no handler of ours; the signals that cannot be set answer an error, ignored.
    // The empty set is initialised by `sigemptyset` before it is read.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Closes every descriptor from `first` upwards.
pub(crate) fn close_from(first: c_uint) -> io::Result<()> {
    // SAFETY: only called where nothing at or above `first` is owned by a live value of this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Sends a signal through a pidfd: never to another process that got the same number.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let no_information = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what `kill` would send.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_information, 0) }).map(drop)
}

/// A descriptor for a process that cannot come to mean another one.
pub(crate) fn pidfd_open(pid: pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes a number and flags.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// A copy of another process's descriptor.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes descriptors as numbers, and flags.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

/// Where a traced process has registered its restartable sequences, the bytes of that, and its signature; address 0 where it
/// has none.
pub(crate) fn traced_rseq(pid: pid_t) -> io::Result<(u64, u32, u32)> {
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        address: u64,
        size: u32,
        signature: u32,
        flags: u32,
        padding: u32,
    }
    let mut found = Configuration::default();
    let size = mem::size_of::<Configuration>();
    // SAFETY: the kernel writes no more than the size that it is given, into a structure that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_ptrace, PTRACE_GET_RSEQ_CONFIGURATION, pid, size, &raw mut found) })?;
    Ok((found.address, found.size, found.signature))
}

/// A detached copy of the mount tree at `path`, with what is mounted below it when `recursive`.
pub(crate) fn open_tree(at: BorrowedFd<'_>, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | if recursive { libc::AT_RECURSIVE as c_uint } else { 0 };
    // SAFETY: `path` is NUL-terminated and outlives the call.
    own(unsafe { libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), path.as_ptr(), flags) })
}

/// Adds attributes to a mount, and to all below it when `recursive`.
pub(crate) fn set_mount_attributes(tree: BorrowedFd<'_>, set: u64, recursive: bool) -> io::Result<()> {
    let attributes = MountAttributes { set, ..MountAttributes::default() };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is the kernel's `mount_attr`, its size is given; the empty path is NUL-terminated.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            mem::size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

/// Attaches a detached tree where `target` points; `target` is an `O_PATH` descriptor.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both empty paths are NUL-terminated.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// A new, detached filesystem of `kind` with `options`, mounted with `attributes`.
pub(crate) fn new_filesystem(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is NUL-terminated and outlives the call.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (key, value) in options {
        // SAFETY: key and value are NUL-terminated and outlive the call, as FSCONFIG_SET_STRING wants them.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
        })?;
    }
    let none = ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) })?;
    // SAFETY: plain integers only.
    own(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes as c_uint) })
}

/// Gives up every capability this process holds in all three sets.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let header = Header { version: CAPABILITY_VERSION_3, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: version 3 reads a header and two triples of 32-bit masks, which is what the pointers refer to.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
}

/// `prctl` for the operations that take plain numbers.
pub(crate) fn prctl(operation: c_int, first: c_ulong, second: c_ulong) -> io::Result<()> {
    // SAFETY: the operations used in this crate read their arguments as numbers, never as addresses.
    check(c_long::from(unsafe { libc::prctl(operation, first, second, 0, 0) })).map(drop)
}

/// Reads or writes the flags of the network interface `lo` through an `ioctl` on any socket.
pub(crate) fn bring_loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero is a valid `ifreq`; its name stays NUL-terminated, as only two of sixteen bytes are set.
    // Both requests read or write that one structure, which outlives the calls.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(c_long::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request)))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(c_long::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)))?;
    }
    Ok(())
}

/// Gives the loopback one more address, under the label `lo:NUMBER`, with all that shares its prefix.
pub(crate) fn add_loopback_address(
    socket: BorrowedFd<'_>,
    number: u32,
    address: Ipv4Addr,
    prefix: u8,
) -> io::Result<()> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let label = format!("lo:{number}");
    for (request, value) in [(libc::SIOCSIFADDR, address.to_bits()), (libc::SIOCSIFNETMASK, mask)] {
        // SAFETY: all-zero is a valid `ifreq`; its name stays NUL-terminated, as a label of `lo:` and a `u32` has at
        // most thirteen bytes of sixteen. The union is large enough for a `sockaddr_in` and aligned for it. The
        // request reads that one structure, which outlives the call.
        unsafe {
            let mut ifreq: libc::ifreq = mem::zeroed();
            for (to, from) in ifreq.ifr_name.iter_mut().zip(label.bytes()) {
                *to = from as libc::c_char;
            }
            let inet = (&raw mut ifreq.ifr_ifru).cast::<libc::sockaddr_in>();
            (*inet).sin_family = libc::AF_INET as libc::sa_family_t;
            (*inet).sin_addr.s_addr = value.to_be();
            check(c_long::from(libc::ioctl(socket.as_raw_fd(), request, &raw const ifreq)))?;
        }
    }
    Ok(())
}

/// Which version of Landlock the kernel offers.
pub(crate) fn landlock_version() -> io::Result<c_long> {
    let none = ptr::null::<libc::c_void>();
    // SAFETY: asking for the version takes a null attribute of size zero.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, LANDLOCK_CREATE_RULESET_VERSION) })
}

/// A new, empty ruleset that will govern `rights`.
pub(crate) fn landlock_ruleset(rights: &LandlockRights) -> io::Result<OwnedFd> {
    let size = mem::size_of::<LandlockRights>();
    // SAFETY: the structure is the kernel's, its size is given, and it outlives the call.
    own(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *rights, size, 0) })
}

/// Lets what lies at or below the directory `parent` be used as `allowed` says.
pub(crate) fn landlock_allow(ruleset: BorrowedFd<'_>, parent: BorrowedFd<'_>, allowed: u64) -> io::Result<()> {
    let rule = LandlockPathBeneath { allowed, parent: parent.as_raw_fd() };
    // SAFETY: the structure is the kernel's `landlock_path_beneath_attr` and outlives the call.
    check(unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), LANDLOCK_RULE_PATH_BENEATH, &raw const rule, 0)
    })
    .map(drop)
}

/// Puts the calling thread and all it starts under a ruleset, for good.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a descriptor and flags.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) }).map(drop)
}

/// One child that has ended, if any has: its pid, wait status, and the processor time of it and its children.
pub(crate) fn reap() -> Option<(pid_t, c_int, std::time::Duration)> {
    let mut status: c_int = 0;
    // SAFETY: all-zero is a valid `rusage`; both out-pointers outlive the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    let time = |t: libc::timeval| std::time::Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    (pid > 0).then(|| (pid, status, time(usage.ru_utime) + time(usage.ru_stime)))
}

/// Forks this single-threaded process within its namespaces, by the older call that the filter allows.
/// `None` in the child.
pub(crate) fn fork_here() -> io::Result<Option<pid_t>> {
    // SAFETY: there is one thread, so the child finds no lock held and may run ordinary code.
    let pid = check(c_long::from(unsafe { libc::fork() }))? as pid_t;
    Ok((pid > 0).then_some(pid))
}

/// Closes everything above standard error but `kept`, in a process just forked that uses nothing else of what
/// it inherited.
pub(crate) fn keep_only(kept: &OwnedFd) -> io::Result<OwnedFd> {
    const KEPT: RawFd = 3;
    if kept.as_raw_fd() != KEPT {
        // SAFETY: replaces descriptor 3, whose owner in this copy of the parent's memory is never used again.
        check(c_long::from(unsafe { libc::dup3(kept.as_raw_fd(), KEPT, libc::O_CLOEXEC) }))?;
    }
    close_from(KEPT as c_uint + 1)?;
    // SAFETY: descriptor 3 is open and, everything else having been left behind, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(KEPT) })
}

/// Registers a nonblocking descriptor with the current Tokio runtime.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always the same number, and ours until it is dropped.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd)? })
}
