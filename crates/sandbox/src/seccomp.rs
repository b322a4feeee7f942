//! Which system calls a guest may make.
//!
//! Two tables. What neither names is newer than the tables (or `clone3`, whose flags no filter can read) and
//! answers `ENOSYS`, as on a kernel without it, so C libraries fall back. What [`REFUSED`] names or [`refusals`]
//! matches answers `EPERM`. A foreign architecture's calls kill the process.
//!
//! The tables become a search tree of our own making: a filter that compares with one number after the other
//! takes the kernel a millisecond to accept, which every cold start would pay. Arguments are seccompiler's work.
//!
//! The allow-list is of the class of Docker's default profile without capabilities (moby's
//! `profiles/seccomp/default.json`), less what lets one process reach into another (`ptrace`, `process_vm_*`,
//! `pidfd_getfd`), file handles, io_uring, `sync` of the whole host, and socket families and protocols beyond the
//! ordinary, whose first use loads a kernel module.
//!
//! Invariant: compiled once, in the helper; in force for the guest before it executes, and for the init too before code
//! of an author's runs.

use std::{collections::BTreeMap, io, mem};

use libc::{self as c, c_long};
use seccompiler::{
    BpfProgram, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp as Op, SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch, sock_filter,
};

/// Namespaces `clone` must not make.
const NEW_NAMESPACES: [i32; 8] = [
    c::CLONE_NEWNS,
    c::CLONE_NEWCGROUP,
    c::CLONE_NEWUTS,
    c::CLONE_NEWIPC,
    c::CLONE_NEWUSER,
    c::CLONE_NEWPID,
    c::CLONE_NEWNET,
    CLONE_NEWTIME,
];
const CLONE_NEWTIME: i32 = 0x80;

/// Execution domains of ordinary programs: Linux, and Linux with `uname` pretending to be 2.6; 0xffffffff asks.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Protocols of IPv4 and IPv6 sockets: the family's own choice, TCP, UDP, and TCP over several paths.
const PROTOCOLS: [i32; 4] = [0, c::IPPROTO_TCP, c::IPPROTO_UDP, c::IPPROTO_MPTCP];

/// Calls allowed with any arguments that [`refusals`] does not match.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Files and directories.
    c::SYS_openat, c::SYS_openat2, c::SYS_close, c::SYS_close_range, c::SYS_read, c::SYS_write, c::SYS_readv,
    c::SYS_writev, c::SYS_pread64, c::SYS_pwrite64, c::SYS_preadv, c::SYS_pwritev, c::SYS_preadv2, c::SYS_pwritev2,
    c::SYS_lseek, c::SYS_fstat, c::SYS_newfstatat, c::SYS_statx, c::SYS_statfs, c::SYS_fstatfs, c::SYS_faccessat,
    c::SYS_faccessat2, c::SYS_readlinkat, c::SYS_getdents64, c::SYS_getcwd, c::SYS_chdir, c::SYS_fchdir,
    c::SYS_mkdirat, c::SYS_unlinkat, c::SYS_renameat, c::SYS_renameat2, c::SYS_linkat, c::SYS_symlinkat,
    c::SYS_mknodat, c::SYS_fchmod, c::SYS_fchmodat, SYS_FCHMODAT2, c::SYS_fchown, c::SYS_fchownat, c::SYS_utimensat,
    c::SYS_truncate, c::SYS_ftruncate, c::SYS_fallocate, c::SYS_fsync, c::SYS_fdatasync, c::SYS_sync_file_range,
    c::SYS_umask, c::SYS_flock, c::SYS_fcntl, c::SYS_ioctl, c::SYS_dup, c::SYS_dup3,
    c::SYS_pipe2, c::SYS_splice, c::SYS_tee, c::SYS_vmsplice, c::SYS_sendfile, c::SYS_copy_file_range,
    c::SYS_fadvise64, c::SYS_readahead, c::SYS_getxattr, c::SYS_lgetxattr, c::SYS_fgetxattr, c::SYS_listxattr,
    c::SYS_llistxattr, c::SYS_flistxattr, c::SYS_setxattr, c::SYS_lsetxattr, c::SYS_fsetxattr, c::SYS_removexattr,
    c::SYS_lremovexattr, c::SYS_fremovexattr, c::SYS_inotify_init1, c::SYS_inotify_add_watch,
    c::SYS_inotify_rm_watch, c::SYS_memfd_create, SYS_CACHESTAT,
    // Waiting for things.
    c::SYS_ppoll, c::SYS_pselect6, c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_pwait, c::SYS_epoll_pwait2,
    c::SYS_eventfd2, c::SYS_signalfd4, c::SYS_timerfd_create, c::SYS_timerfd_settime, c::SYS_timerfd_gettime,
    c::SYS_io_setup, c::SYS_io_destroy, c::SYS_io_submit, c::SYS_io_cancel, c::SYS_io_getevents,
    // Memory.
    c::SYS_brk, c::SYS_mmap, c::SYS_munmap, c::SYS_mprotect, c::SYS_mremap, c::SYS_madvise, c::SYS_msync,
    c::SYS_mincore, c::SYS_mlock, c::SYS_mlock2, c::SYS_munlock, c::SYS_mlockall, c::SYS_munlockall,
    c::SYS_remap_file_pages, c::SYS_membarrier, c::SYS_pkey_alloc, c::SYS_pkey_free, c::SYS_pkey_mprotect,
    c::SYS_process_mrelease, SYS_MSEAL,
    // Processes, threads and signals.
    c::SYS_clone, c::SYS_execve, c::SYS_execveat, c::SYS_exit, c::SYS_exit_group, c::SYS_wait4, c::SYS_waitid,
    c::SYS_getpid, c::SYS_getppid, c::SYS_gettid, c::SYS_getpgid, c::SYS_setpgid, c::SYS_getsid, c::SYS_setsid,
    c::SYS_set_tid_address, c::SYS_set_robust_list, c::SYS_get_robust_list, c::SYS_rseq, c::SYS_futex,
    SYS_FUTEX_WAITV, SYS_FUTEX_WAKE, SYS_FUTEX_WAIT, SYS_FUTEX_REQUEUE, c::SYS_kill, c::SYS_tkill, c::SYS_tgkill,
    c::SYS_pidfd_open, c::SYS_pidfd_send_signal, c::SYS_rt_sigaction, c::SYS_rt_sigprocmask, c::SYS_rt_sigpending,
    c::SYS_rt_sigreturn, c::SYS_rt_sigsuspend, c::SYS_rt_sigtimedwait, c::SYS_rt_sigqueueinfo,
    c::SYS_rt_tgsigqueueinfo, c::SYS_sigaltstack, c::SYS_restart_syscall, c::SYS_prctl, c::SYS_seccomp,
    c::SYS_landlock_create_ruleset, c::SYS_landlock_add_rule, c::SYS_landlock_restrict_self, c::SYS_personality,
    c::SYS_prlimit64, c::SYS_getrlimit, c::SYS_setrlimit, c::SYS_getrusage, c::SYS_times, c::SYS_getpriority,
    c::SYS_setpriority, c::SYS_ioprio_get, c::SYS_ioprio_set, c::SYS_sched_yield, c::SYS_sched_getaffinity,
    c::SYS_sched_setaffinity, c::SYS_sched_getparam, c::SYS_sched_setparam, c::SYS_sched_getscheduler,
    c::SYS_sched_setscheduler, c::SYS_sched_getattr, c::SYS_sched_setattr, c::SYS_sched_get_priority_max,
    c::SYS_sched_get_priority_min, c::SYS_sched_rr_get_interval, c::SYS_getcpu, c::SYS_capget, c::SYS_capset,
    // Identity: there is one, and nobody to become.
    c::SYS_getuid, c::SYS_geteuid, c::SYS_getgid, c::SYS_getegid, c::SYS_getgroups, c::SYS_getresuid,
    c::SYS_getresgid, c::SYS_setuid, c::SYS_setgid, c::SYS_setreuid, c::SYS_setregid, c::SYS_setresuid,
    c::SYS_setresgid, c::SYS_setfsuid, c::SYS_setfsgid, c::SYS_setgroups,
    // Time.
    c::SYS_clock_gettime, c::SYS_clock_getres, c::SYS_clock_nanosleep, c::SYS_nanosleep, c::SYS_gettimeofday,
    c::SYS_getitimer, c::SYS_setitimer, c::SYS_timer_create, c::SYS_timer_delete, c::SYS_timer_getoverrun,
    c::SYS_timer_gettime, c::SYS_timer_settime,
    // Sockets, which reach no further than the loopback.
    c::SYS_socket, c::SYS_socketpair, c::SYS_bind, c::SYS_listen, c::SYS_accept, c::SYS_accept4, c::SYS_connect,
    c::SYS_shutdown, c::SYS_getsockname, c::SYS_getpeername, c::SYS_getsockopt, c::SYS_setsockopt, c::SYS_sendto,
    c::SYS_recvfrom, c::SYS_sendmsg, c::SYS_recvmsg, c::SYS_sendmmsg, c::SYS_recvmmsg,
    // System V semaphores, queues and shared memory of its own ipc namespace. POSIX queues are left out: the kernel
    // counts their memory by user, and where Landlock is it refuses to open them, so no function could rely on them.
    c::SYS_shmget, c::SYS_shmat, c::SYS_shmdt, c::SYS_shmctl, c::SYS_semget, c::SYS_semop, c::SYS_semtimedop,
    c::SYS_semctl, c::SYS_msgget, c::SYS_msgsnd, c::SYS_msgrcv, c::SYS_msgctl,
    // What the system is.
    c::SYS_uname, c::SYS_sysinfo, c::SYS_getrandom,
];

/// Calls that only the older table of x86-64 has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_LEGACY: &[c_long] = &[
    c::SYS_open, c::SYS_creat, c::SYS_stat, c::SYS_lstat, c::SYS_access, c::SYS_readlink, c::SYS_getdents, c::SYS_mkdir,
    c::SYS_rmdir, c::SYS_unlink, c::SYS_rename, c::SYS_link, c::SYS_symlink, c::SYS_mknod, c::SYS_chmod, c::SYS_chown,
    c::SYS_lchown, c::SYS_utime, c::SYS_utimes, c::SYS_futimesat, c::SYS_dup2, c::SYS_pipe, c::SYS_poll, c::SYS_select,
    c::SYS_epoll_create, c::SYS_epoll_wait, c::SYS_eventfd, c::SYS_signalfd, c::SYS_inotify_init, c::SYS_fork,
    c::SYS_vfork, c::SYS_getpgrp, c::SYS_pause, c::SYS_alarm, c::SYS_time, c::SYS_arch_prctl,
];

/// Calls that only the older table of x86-64 has: none here.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_LEGACY: &[c_long] = &[];

/// Calls refused with any arguments.
#[rustfmt::skip]
const REFUSED: &[c_long] = &[
    // Mounts and namespaces.
    c::SYS_mount, c::SYS_umount2, c::SYS_pivot_root, c::SYS_chroot, c::SYS_open_tree, c::SYS_move_mount, c::SYS_fsopen,
    c::SYS_fsconfig, c::SYS_fsmount, c::SYS_fspick, c::SYS_mount_setattr, c::SYS_unshare, c::SYS_setns,
    c::SYS_sethostname, c::SYS_setdomainname, c::SYS_swapon, c::SYS_swapoff, c::SYS_quotactl, c::SYS_quotactl_fd,
    // Other processes.
    c::SYS_ptrace, c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_pidfd_getfd, c::SYS_kcmp,
    c::SYS_process_madvise, c::SYS_move_pages, c::SYS_migrate_pages, c::SYS_get_mempolicy, c::SYS_set_mempolicy,
    c::SYS_mbind,
    // Writing back what others have changed, on every disk of the host: a guest has nothing there to be saved.
    c::SYS_sync, c::SYS_syncfs,
    // Ways into the kernel that nothing here needs.
    c::SYS_bpf, c::SYS_perf_event_open, c::SYS_userfaultfd, c::SYS_io_uring_setup, c::SYS_io_uring_enter,
    c::SYS_io_uring_register, c::SYS_add_key, c::SYS_request_key, c::SYS_keyctl, c::SYS_name_to_handle_at,
    c::SYS_open_by_handle_at, c::SYS_fanotify_init, c::SYS_fanotify_mark, c::SYS_memfd_secret, c::SYS_lookup_dcookie,
    c::SYS_nfsservctl,
    // The machine itself.
    c::SYS_kexec_load, c::SYS_kexec_file_load, c::SYS_init_module, c::SYS_finit_module, c::SYS_delete_module,
    c::SYS_reboot, c::SYS_acct, c::SYS_syslog, c::SYS_vhangup, c::SYS_settimeofday, c::SYS_clock_settime,
    c::SYS_clock_adjtime, c::SYS_adjtimex,
];

// The same number on every architecture.
const SYS_FUTEX_WAITV: c_long = 449;
const SYS_CACHESTAT: c_long = 451;
const SYS_FCHMODAT2: c_long = 452;
const SYS_FUTEX_WAKE: c_long = 454;
const SYS_FUTEX_WAIT: c_long = 455;
const SYS_FUTEX_REQUEUE: c_long = 456;
const SYS_MSEAL: c_long = 462;

/// Calls refused by what they ask for; any rule of a call's list is enough.
fn refusals() -> Result<BTreeMap<c_long, Vec<Rule>>, seccompiler::Error> {
    let is = |argument, value: u64| Condition::new(argument, Dword, Op::Eq, value);
    let is_not = |argument, value: u64| Condition::new(argument, Dword, Op::Ne, value);
    let has = |argument, bits: u64| Condition::new(argument, Dword, Op::MaskedEq(bits), bits);
    let rule = |conditions: Vec<Result<Condition, seccompiler::BackendError>>| {
        Rule::new(conditions.into_iter().collect::<Result<_, _>>()?)
    };
    let mut refusals: BTreeMap<c_long, Vec<Rule>> = BTreeMap::new();
    let namespaces = NEW_NAMESPACES.into_iter().map(|flag| rule(vec![has(0, flag as u64)]));
    refusals.insert(c::SYS_clone, namespaces.collect::<Result<_, _>>()?);
    let family = |family: i32| is_not(0, family as u64);
    let other_protocol = |family: i32| {
        let others = PROTOCOLS.map(|known| is_not(2, known as u64));
        rule([is(0, family as u64)].into_iter().chain(others).collect())
    };
    refusals.insert(
        c::SYS_socket,
        vec![
            rule(vec![family(c::AF_UNIX), family(c::AF_INET), family(c::AF_INET6), family(c::AF_NETLINK)])?,
            other_protocol(c::AF_INET)?,
            other_protocol(c::AF_INET6)?,
            // The routing family tells programs their interfaces (a loopback); changing them needs privileges.
            rule(vec![is(0, c::AF_NETLINK as u64), is_not(2, c::NETLINK_ROUTE as u64)])?,
        ],
    );
    refusals.insert(c::SYS_socketpair, vec![rule(vec![family(c::AF_UNIX)])?]);
    refusals.insert(c::SYS_personality, vec![rule(PERSONALITIES.map(|known| is_not(0, known)).into())?]);
    // Putting characters into a terminal's input, and drawing on a console.
    refusals.insert(c::SYS_ioctl, vec![rule(vec![is(1, c::TIOCSTI)])?, rule(vec![is(1, c::TIOCLINUX)])?]);
    // Limits of another process: the init has the same user. And its own core limit, whose value keeps the
    // host's handler of core dumps away (see `privileges`).
    let core = c::RLIMIT_CORE as u64;
    let is_given = Condition::new(2, Qword, Op::Ne, 0);
    refusals.insert(c::SYS_prlimit64, vec![rule(vec![is_not(0, 0)])?, rule(vec![is(1, core), is_given])?]);
    refusals.insert(c::SYS_setrlimit, vec![rule(vec![is(0, core)])?]);
    Ok(refusals)
}

/// What becomes of a call whatever its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    AskTracer,
    Refuse,
    Unknown,
}

/// Whom a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Every guest, and every init but one.
    Ordinary,
    /// The guest of a template: as everybody, but a tracer may let it join a namespace. Only its init can trace it;
    /// without one the call is not there.
    Template,
    /// The init of a template, which copies it. It has no capabilities, so that what it may call beside reaches no
    /// further than its own user's processes in its own namespaces.
    Tracer,
}

/// What the init of a template may call beside.
const TRACING: [c_long; 5] =
    [c::SYS_ptrace, c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_pidfd_getfd, c::SYS_setns];

impl Verdict {
    fn by(role: Role, call: c_long) -> Self {
        match role {
            Role::Template if call == c::SYS_setns => Self::AskTracer,
            Role::Tracer if TRACING.contains(&call) => Self::Allow,
            _ => Self::of(call),
        }
    }

    fn of(call: c_long) -> Self {
        if ALLOWED.contains(&call) || ALLOWED_LEGACY.contains(&call) {
            Self::Allow
        } else if REFUSED.contains(&call) {
            Self::Refuse
        } else {
            Self::Unknown
        }
    }

    fn answer(self) -> u32 {
        match self {
            Self::Allow => c::SECCOMP_RET_ALLOW,
            Self::AskTracer => c::SECCOMP_RET_TRACE,
            Self::Refuse => c::SECCOMP_RET_ERRNO | c::EPERM as u32,
            Self::Unknown => c::SECCOMP_RET_ERRNO | c::ENOSYS as u32,
        }
    }
}

/// The tables as stretches of numbers with one verdict: where each begins. The last has no end.
fn stretches(role: Role) -> Vec<(u32, Verdict)> {
    let last = ALLOWED.iter().chain(ALLOWED_LEGACY).chain(REFUSED).max().copied().unwrap_or(0);
    let mut stretches: Vec<(u32, Verdict)> = Vec::new();
    for call in 0..=last + 1 {
        let verdict = Verdict::by(role, call);
        if stretches.last().is_none_or(|(_, previous)| *previous != verdict) {
            stretches.push((call as u32, verdict));
        }
    }
    stretches
}

fn instruction(code: u32, jump_if: u8, jump_else: u8, operand: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: jump_if, jf: jump_else, k: operand }
}

/// A program that checks the architecture and searches the stretches for the call's number.
fn search_program(architecture: u32, role: Role) -> BpfProgram {
    let load = |offset: usize| instruction(c::BPF_LD | c::BPF_W | c::BPF_ABS, 0, 0, offset as u32);
    let mut program = vec![
        load(mem::offset_of!(c::seccomp_data, arch)),
        instruction(c::BPF_JMP | c::BPF_JEQ | c::BPF_K, 1, 0, architecture),
        instruction(c::BPF_RET | c::BPF_K, 0, 0, c::SECCOMP_RET_KILL_PROCESS),
        load(mem::offset_of!(c::seccomp_data, nr)),
    ];
    program.extend(search(&stretches(role)));
    program
}

/// Splits the stretches in halves until one is left.
fn search(stretches: &[(u32, Verdict)]) -> BpfProgram {
    if let [(_, verdict)] = stretches {
        return vec![instruction(c::BPF_RET | c::BPF_K, 0, 0, verdict.answer())];
    }
    let (low, high) = stretches.split_at(stretches.len() / 2);
    let (first_high, low, high) = (high[0].0, search(low), search(high));
    let compare = c::BPF_JMP | c::BPF_JGE | c::BPF_K;
    let mut program = match u8::try_from(low.len()) {
        Ok(distance) => vec![instruction(compare, distance, 0, first_high)],
        // A conditional jump reaches 255 instructions, an unconditional one all.
        Err(_) => {
            vec![instruction(compare, 0, 1, first_high), instruction(c::BPF_JMP | c::BPF_JA, 0, 0, low.len() as u32)]
        }
    };
    program.extend(low);
    program.extend(high);
    program
}

/// The kernel's name for this architecture: `AUDIT_ARCH_*` of `linux/audit.h`.
fn architecture() -> io::Result<u32> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(0xc000_003e),
        "aarch64" => Ok(0xc000_00b7),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("no system call table for {other}"))),
    }
}

/// The compiled filters.
pub(crate) struct Filters {
    numbers: BpfProgram,
    arguments: BpfProgram,
    template_numbers: BpfProgram,
    tracer_numbers: BpfProgram,
}

impl Filters {
    /// Compiles the tables for this architecture.
    pub(crate) fn compile() -> io::Result<Self> {
        let arguments = || -> Result<BpfProgram, seccompiler::Error> {
            let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
            let refuse = SeccompAction::Errno(c::EPERM as u32);
            Ok(SeccompFilter::new(refusals()?, SeccompAction::Allow, refuse, architecture)?.try_into()?)
        };
        let numbers = |role| architecture().map(|architecture| search_program(architecture, role));
        Ok(Self {
            numbers: numbers(Role::Ordinary)?,
            arguments: arguments().map_err(io::Error::other)?,
            template_numbers: numbers(Role::Template)?,
            tracer_numbers: numbers(Role::Tracer)?,
        })
    }

    /// The programs of a role, in the order in which they are to be installed.
    pub(crate) fn programs(&self, role: Role) -> [&[sock_filter]; 2] {
        let numbers = match role {
            Role::Ordinary => &self.numbers,
            Role::Template => &self.template_numbers,
            Role::Tracer => &self.tracer_numbers,
        };
        [numbers, &self.arguments]
    }

    /// Puts the calling thread and all it starts under the filters. The harsher answer of the two counts.
    pub(crate) fn install(&self, role: Role) -> io::Result<()> {
        let install = |program: &[sock_filter]| {
            seccompiler::apply_filter(program).map_err(|error| match error {
                seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
                other => io::Error::other(other),
            })
        };
        self.programs(role).into_iter().try_for_each(install)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_refused_and_none_is_named_twice() {
        let all: Vec<_> = [ALLOWED, ALLOWED_LEGACY, REFUSED].concat();
        assert_eq!(all.len(), all.iter().collect::<HashSet<_>>().len());
        assert!(!all.contains(&c::SYS_clone3));
        for (call, rules) in refusals().unwrap() {
            assert!(!rules.is_empty() && ALLOWED.contains(&call), "call {call}");
        }
    }

    /// Runs a program as the kernel would.
    fn answer(program: &[sock_filter], architecture: u32, call: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let step = |condition| if condition { usize::from(jt) } else { usize::from(jf) };
            at += 1;
            match u32::from(code) {
                code if code == c::BPF_LD | c::BPF_W | c::BPF_ABS => loaded = if k == 0 { call } else { architecture },
                code if code == c::BPF_JMP | c::BPF_JEQ | c::BPF_K => at += step(loaded == k),
                code if code == c::BPF_JMP | c::BPF_JGE | c::BPF_K => at += step(loaded >= k),
                code if code == c::BPF_JMP | c::BPF_JA => at += k as usize,
                code if code == c::BPF_RET | c::BPF_K => return k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_search_finds_every_calls_own_verdict() {
        let ours = architecture().unwrap();
        for (role, call) in
            [Role::Template, Role::Tracer].into_iter().flat_map(|role| (0..2000).map(move |n| (role, n)))
        {
            let is_own = match role {
                Role::Tracer => TRACING.contains(&c_long::from(call)),
                _ => c_long::from(call) == c::SYS_setns,
            };
            let verdict = Verdict::by(role, call.into());
            assert_eq!(verdict == Verdict::of(call.into()), !is_own, "call {call} of {role:?}");
            assert_eq!(answer(&search_program(ours, role), ours, call), verdict.answer(), "call {call} of {role:?}");
        }
        let program = search_program(ours, Role::Ordinary);
        for call in 0..2000 {
            assert_eq!(answer(&program, ours, call), Verdict::of(call.into()).answer(), "call {call}");
        }
        let foreign_table = 0x4000_0000;
        assert_eq!(answer(&program, ours, foreign_table), Verdict::Unknown.answer());
        assert_eq!(answer(&program, 0x4000_0003, c::SYS_read as u32), c::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(Verdict::of(c::SYS_clone3), Verdict::Unknown);
    }

    #[test]
    fn the_filters_compile_and_stay_small() {
        let filters = Filters::compile().unwrap();
        let lengths = (filters.numbers.len(), filters.arguments.len());
        assert!(lengths.0 < 512 && lengths.1 < 256, "{lengths:?}");
    }
}
