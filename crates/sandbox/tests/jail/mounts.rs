//! Attempts to mount, and to make or join namespaces.

use crate::support::{Test, forbidden, inside, is_root, outside};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    mounts:
    a_file_system_cannot_be_mounted,
    a_mount_cannot_be_made_writable,
    a_mask_cannot_be_lifted,
    the_root_cannot_be_exchanged,
    the_newer_calls_cannot_mount_either,
    a_user_namespace_cannot_be_made,
    no_other_namespace_can_be_made,
    a_clone_cannot_make_namespaces,
    the_newer_clone_is_not_there,
    no_namespace_can_be_joined,
    the_namespace_itself_allows_no_other_in_it,
    unshare_does_not_work,
];

fn a_file_system_cannot_be_mounted() {
    forbidden(&[
        (libc::SYS_mount, "b'x', b'/nonexistent', b'tmpfs', 0, 0"),
        (libc::SYS_mount, "b'x', b'/nonexistent', b'proc', 0, 0"),
        (libc::SYS_mount, "b'/', b'/nonexistent', 0, 4096, 0"),
    ]);
}

fn a_mount_cannot_be_made_writable() {
    // MS_REMOUNT | MS_BIND
    forbidden(&[
        (libc::SYS_mount, "0, b'/nonexistent', 0, 0x1020, 0"),
        (libc::SYS_mount_setattr, "-100, b'/nonexistent', 0, ctypes.create_string_buffer(32), 32"),
    ]);
}

fn a_mask_cannot_be_lifted() {
    forbidden(&[(libc::SYS_umount2, "b'/nonexistent', 0"), (libc::SYS_umount2, "b'/nonexistent', 2")]);
    let script = format!("print(call({}, b'/proc/keys', 2), len(open('/proc/keys').read()))", libc::SYS_umount2);
    assert_eq!(inside(&script), "EPERM 0\n");
}

fn the_root_cannot_be_exchanged() {
    forbidden(&[(libc::SYS_pivot_root, "b'/nonexistent', b'/nonexistent'"), (libc::SYS_chroot, "b'/nonexistent'")]);
}

fn the_newer_calls_cannot_mount_either() {
    forbidden(&[
        (libc::SYS_open_tree, "-100, b'/nonexistent', 1"),
        (libc::SYS_move_mount, "-1, b'', -1, b'', 0x44"),
        (libc::SYS_fsopen, "b'nonexistent', 0"),
        (libc::SYS_fsconfig, "-1, 6, 0, 0, 0"),
        (libc::SYS_fsmount, "-1, 0, 0"),
        (libc::SYS_fspick, "-100, b'/nonexistent', 0"),
    ]);
}

fn a_user_namespace_cannot_be_made() {
    let script = format!("print(call({}, 0x10000000))", libc::SYS_unshare);
    assert_eq!(inside(&script), "EPERM\n");
    assert_eq!(outside(&script), "returned\n", "the control: anybody may outside");
}

fn no_other_namespace_can_be_made() {
    let flags = [0x80, 0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x2000_0000, 0x4000_0000_u32];
    let calls: Vec<_> = flags.map(|flag| flag.to_string()).into_iter().collect();
    let calls: Vec<_> = calls.iter().map(|flag| (libc::SYS_unshare, flag.as_str())).collect();
    forbidden(&calls);
}

fn a_clone_cannot_make_namespaces() {
    // With CLONE_FS or CLONE_THREAD, which no namespace goes with: outside it fails too, for another reason.
    let flags = [0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000_u32];
    let arguments: Vec<_> = flags.iter().map(|flag| format!("{}, 0, 0, 0, 0", flag | 0x10000)).collect();
    let calls: Vec<_> = arguments.iter().map(|arguments| (libc::SYS_clone, arguments.as_str())).collect();
    forbidden(&calls);
    // The control: it is the flags that are refused.
    let script = format!("print(call({}, 0x10000, 0, 0, 0, 0))", libc::SYS_clone);
    assert_eq!(inside(&script), "EINVAL\n");
}

fn the_newer_clone_is_not_there() {
    // No filter can read its flags, which lie in memory.
    let script = format!("print(call({}, 0, 0))", libc::SYS_clone3);
    assert_eq!(inside(&script), "ENOSYS\n");
    assert_eq!(outside(&script), "EINVAL\n");
}

fn no_namespace_can_be_joined() {
    forbidden(&[(libc::SYS_setns, "-1, 0"), (libc::SYS_setns, "os.pidfd_open(os.getpid()), 0x20000")]);
    let script = "
for name in ('mnt', 'net', 'pid', 'user'):
    print(attempt(os.open, '/proc/1/ns/' + name, os.O_RDONLY), attempt(os.open, '/proc/self/ns/' + name, os.O_RDONLY))";
    assert_eq!(inside(script), "ENOENT returned\n".repeat(4));
}

fn the_namespace_itself_allows_no_other_in_it() {
    // Behind the filter: the kernel would refuse even if the call were let through.
    let script = "print(open('/proc/sys/user/max_user_namespaces').read().strip())";
    assert_eq!(inside(script), "0\n");
    assert_ne!(outside(script), "0\n");
}

fn unshare_does_not_work() {
    let script = "
import subprocess
for command in (['unshare', '-r', 'id'], ['unshare', '-m', 'id'], ['nsenter', '-t', '1', '-m', 'id']):
    print(subprocess.run(command, env={'PATH': '/usr/bin:/bin'}, stdout=-3, stderr=-3).returncode != 0)";
    assert_eq!(inside(script), "True\nTrue\nTrue\n");
    if is_root() {
        assert!(outside(script).starts_with("False\nFalse\n"));
    }
}
