//! Attempts on the kernel: calls that open ways into it, settings of the machine, privileges to win back.

use updraft_sandbox::Status;

use crate::support::{Test, attempts, block_on, forbidden, inside, is_root, lines, outside, run, spawner};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    kernel:
    keys_cannot_be_read,
    keys_cannot_be_added,
    keys_cannot_be_requested,
    bpf_cannot_be_used,
    performance_events_cannot_be_used,
    userfaultfd_cannot_be_used,
    io_uring_cannot_be_used,
    fanotify_cannot_be_used,
    memory_cannot_be_hidden_from_the_kernel,
    memory_policies_cannot_be_set,
    modules_cannot_be_loaded,
    another_kernel_cannot_be_started,
    the_machine_cannot_be_stopped,
    the_clock_cannot_be_set,
    swapping_cannot_be_changed,
    quotas_and_accounting_cannot_be_changed,
    the_kernels_log_cannot_be_read,
    the_names_of_the_host_cannot_be_set,
    ports_of_the_machine_cannot_be_used,
    address_space_layout_cannot_be_fixed,
    another_architectures_calls_kill,
    the_other_table_of_calls_is_not_there,
    unknown_calls_are_not_there,
    kernel_settings_cannot_be_written,
    the_sysrq_trigger_cannot_be_pulled,
    secrets_of_the_kernel_are_covered,
    the_filter_cannot_be_taken_off,
    privileges_cannot_be_won_back,
    disks_cannot_be_synced,
];

fn keys_cannot_be_read() {
    forbidden(&[
        (libc::SYS_keyctl, "0, -3, 0, 0, 0"),
        (libc::SYS_keyctl, "11, -4, 0, 0, 0"),
        (libc::SYS_keyctl, "1, 0"),
    ]);
    assert_eq!(inside("print(len(open('/proc/keys').read()), len(open('/proc/key-users').read()))"), "0 0\n");
}

fn keys_cannot_be_added() {
    forbidden(&[(libc::SYS_add_key, "b'user', b'updraft-test', b'x', 1, -2")]);
}

fn keys_cannot_be_requested() {
    // The kernel would start a program of the host's to find one.
    forbidden(&[(libc::SYS_request_key, "b'user', b'updraft-no-such-key', 0, 0")]);
}

fn bpf_cannot_be_used() {
    forbidden(&[(libc::SYS_bpf, "0, 0, 0"), (libc::SYS_bpf, "5, 0, 0")]);
}

fn performance_events_cannot_be_used() {
    forbidden(&[(libc::SYS_perf_event_open, "0, 0, -1, -1, 0")]);
}

fn userfaultfd_cannot_be_used() {
    // With UFFD_USER_MODE_ONLY, and without.
    forbidden(&[(libc::SYS_userfaultfd, "0"), (libc::SYS_userfaultfd, "1")]);
}

fn io_uring_cannot_be_used() {
    forbidden(&[
        (libc::SYS_io_uring_setup, "1, 0"),
        (libc::SYS_io_uring_enter, "-1, 0, 0, 0, 0, 0"),
        (libc::SYS_io_uring_register, "-1, 0, 0, 0"),
    ]);
}

fn fanotify_cannot_be_used() {
    forbidden(&[(libc::SYS_fanotify_init, "0xffffffff, 0"), (libc::SYS_fanotify_mark, "-1, 0, 0, -1, 0")]);
}

fn memory_cannot_be_hidden_from_the_kernel() {
    forbidden(&[(libc::SYS_memfd_secret, "0xff")]);
}

fn memory_policies_cannot_be_set() {
    forbidden(&[
        (libc::SYS_mbind, "0, 0, 99, 0, 0, 0"),
        (libc::SYS_set_mempolicy, "99, 0, 0"),
        (libc::SYS_get_mempolicy, "0, 0, 0, 0, 99"),
        (libc::SYS_move_pages, "0, 0, 0, 0, 0, 99"),
    ]);
}

fn modules_cannot_be_loaded() {
    forbidden(&[
        (libc::SYS_init_module, "0, 0, b''"),
        (libc::SYS_finit_module, "-1, b'', 0xff"),
        (libc::SYS_delete_module, "b'updraft-no-such-module', 0x800"),
    ]);
}

fn another_kernel_cannot_be_started() {
    forbidden(&[(libc::SYS_kexec_load, "0, 1, 0, 0xff00"), (libc::SYS_kexec_file_load, "-1, -1, 0, 0, 0xff00")]);
}

fn the_machine_cannot_be_stopped() {
    // Without the right magic numbers it does nothing, even for root.
    forbidden(&[(libc::SYS_reboot, "0, 0, 0, 0")]);
}

fn the_clock_cannot_be_set() {
    forbidden(&[
        (libc::SYS_settimeofday, "0, 0"),
        (libc::SYS_clock_settime, "99, 0"),
        (libc::SYS_adjtimex, "0"),
        (libc::SYS_clock_adjtime, "99, 0"),
    ]);
}

fn swapping_cannot_be_changed() {
    forbidden(&[(libc::SYS_swapon, "b'/nonexistent', 0"), (libc::SYS_swapoff, "b'/nonexistent'")]);
}

fn quotas_and_accounting_cannot_be_changed() {
    forbidden(&[
        (libc::SYS_quotactl, "0x80000700, b'/nonexistent', 0, 0"),
        (libc::SYS_quotactl_fd, "-1, 0, 0, 0"),
        (libc::SYS_acct, "b'/nonexistent'"),
    ]);
}

fn the_kernels_log_cannot_be_read() {
    // SYSLOG_ACTION_SIZE_BUFFER
    forbidden(&[(libc::SYS_syslog, "10, 0, 0")]);
    assert_eq!(
        inside("print(attempt(os.stat, '/dev/kmsg'), attempt(lambda: len(open('/proc/kmsg', 'rb').read(1))))"),
        "ENOENT returned\n"
    );
}

fn the_names_of_the_host_cannot_be_set() {
    forbidden(&[(libc::SYS_sethostname, "b'x', -1"), (libc::SYS_setdomainname, "b'x', -1")]);
}

#[cfg(target_arch = "x86_64")]
fn ports_of_the_machine_cannot_be_used() {
    let script = format!("print(call({}, 3), call({}, 0x70, 2, 1))", libc::SYS_iopl, libc::SYS_ioperm);
    assert_eq!(inside(&script), "ENOSYS ENOSYS\n");
}

#[cfg(not(target_arch = "x86_64"))]
fn ports_of_the_machine_cannot_be_used() {
    eprintln!("SKIPPED ports_of_the_machine_cannot_be_used: this architecture has none");
}

fn address_space_layout_cannot_be_fixed() {
    // ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, MMAP_PAGE_ZERO
    forbidden(&["0x0040000", "0x0400000", "0x0100000"].map(|persona| (libc::SYS_personality, persona)));
    assert_eq!(inside(&format!("print(call({}, 0xffffffff))", libc::SYS_personality)), "returned\n");
}

#[cfg(target_arch = "x86_64")]
fn another_architectures_calls_kill() {
    // mov eax, 20 (getpid); int 0x80; ret
    let script = r"
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b'CODE')
print('before', flush=True)
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print('after', flush=True)
os._exit(0)";
    let code = |code: &str| attempts(&script.replace("CODE", code));
    block_on(async {
        let spawner = spawner();
        let (exit, output) = run(&spawner, code(r"\xb8\x14\0\0\0\xcd\x80\xc3")).await;
        assert_eq!((exit.status, output.as_str()), (Status::Signal(libc::SIGSYS), "before\n"));
        // The control: code of one's own runs, when it makes this architecture's calls (39 is getpid).
        let (exit, output) = run(&spawner, code(r"\xb8\x27\0\0\0\x0f\x05\xc3")).await;
        assert_eq!((exit.status, output.as_str()), (Status::Code(0), "before\nafter\n"));
    });
}

#[cfg(not(target_arch = "x86_64"))]
fn another_architectures_calls_kill() {
    eprintln!("SKIPPED another_architectures_calls_kill: the code is of x86-64");
}

fn the_other_table_of_calls_is_not_there() {
    // x32: getpid, and two calls that only its own table has.
    let script = "print({call(0x40000000 + number) for number in (39, 512, 520)}, call(GETPID))";
    assert_eq!(inside(&script.replace("GETPID", &libc::SYS_getpid.to_string())), "{'ENOSYS'} returned\n");
}

fn unknown_calls_are_not_there() {
    // Past the table: listmount, statmount, lsm_*, and what is to come.
    assert_eq!(
        inside("print({call(number, 0, 0, 0, 0) for number in (457, 458, 459, 461, 470, 999, 4000)})"),
        "{'ENOSYS'}\n"
    );
}

fn kernel_settings_cannot_be_written() {
    let script = "
for name in ('kernel/core_pattern', 'kernel/hostname', 'vm/overcommit_memory', 'net/ipv4/ip_forward', 'kernel/threads-max',
             'kernel/randomize_va_space'):
    print(attempt(os.open, '/proc/sys/' + name, os.O_WRONLY), attempt(os.open, '/proc/sys/' + name, os.O_RDONLY))";
    let answers = inside(script);
    assert!(answers.lines().all(|line| line == "EROFS returned" || line == "EACCES returned"), "{answers}");
    if is_root() {
        assert_eq!(outside(script), "returned returned\n".repeat(6));
    }
}

fn the_sysrq_trigger_cannot_be_pulled() {
    let script = "print(attempt(os.open, '/proc/sysrq-trigger', os.O_WRONLY))";
    let answer = inside(script);
    assert!(["EROFS\n", "EACCES\n", "ENOENT\n"].contains(&answer.as_str()), "{answer}");
    if is_root() {
        assert!(["returned\n", "ENOENT\n"].contains(&outside(script).as_str()));
    }
}

fn secrets_of_the_kernel_are_covered() {
    let script = r#"
for name in ["kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug", "interrupts", "iomem", "ioports", "kmsg",
             "config.gz", "cmdline", "modules", "diskstats", "partitions", "softirqs"]:
    path = "/proc/" + name
    if os.path.lexists(path):
        print(name, len(open(path, "rb").read(4096)))
for name in ["acpi", "asound", "bus", "driver", "fs", "irq", "pressure", "scsi"]:
    if os.path.lexists("/proc/" + name):
        print(name, len(os.listdir("/proc/" + name)))
print("mine", len(open("/proc/self/status").read()) > 100, len(open("/proc/meminfo").read()) > 100)
"#;
    let output = inside(script);
    let mut seen = lines(&output);
    assert_eq!(seen.remove("mine"), Some("True True"));
    assert!(seen.len() >= 10, "{output}");
    assert!(seen.values().all(|bytes| *bytes == "0"), "{output}");
}

fn the_filter_cannot_be_taken_off() {
    let script = format!(
        "print('disable', call({prctl}, 22, 0, 0), 'privileges', call({prctl}, 38, 0, 0, 0, 0))
print('allow', call({prctl}, 22, 2, 0), 'trap', call({ptrace}, 0, 0, 0, 0))
print('still', *[line.split()[1] for line in open('/proc/self/status') if line.startswith(('Seccomp:', 'NoNewPrivs:'))])",
        prctl = libc::SYS_prctl,
        ptrace = libc::SYS_ptrace
    );
    let answers = inside(&script);
    assert_eq!(answers, "disable EINVAL privileges EINVAL\nallow EFAULT trap EPERM\nstill 1 2\n");
}

fn privileges_cannot_be_won_back() {
    let script = format!(
        "header = struct.pack('Ii', 0x20080522, 0)
print('capset', call({capset}, header, struct.pack('IIIIII', *[0xffffffff] * 6)))
print('ambient', call({prctl}, 47, 2, 21, 0, 0), 'bits', call({prctl}, 28, 0, 0, 0, 0), 'keep', call({prctl}, 8, 1, 0, 0, 0))
print('groups', attempt(os.setgroups, [0]), 'user', attempt(os.setresuid, 0, 0, 0))
print('sets', *sorted({{line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')}}))",
        capset = libc::SYS_capset,
        prctl = libc::SYS_prctl
    );
    let answers = inside(&script);
    let expected =
        "capset EPERM\nambient EPERM bits EPERM keep EPERM\ngroups EPERM user EINVAL\nsets 0000000000000000\n";
    assert_eq!(answers, expected);
    if is_root() {
        assert!(outside(&script).contains("groups returned user returned"));
    }
}

fn disks_cannot_be_synced() {
    // A guest has nothing there to be saved, and the others would wait.
    forbidden(&[(libc::SYS_sync, ""), (libc::SYS_syncfs, "-1")]);
}
