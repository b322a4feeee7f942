//! Attempts on devices.

use crate::support::{Test, forbidden, inside, is_root, outside};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    devices:
    a_device_cannot_be_made,
    no_device_of_the_host_is_there,
    characters_cannot_be_put_into_a_terminal,
    a_console_cannot_be_drawn_on,
    entropy_cannot_be_credited,
    the_devices_cannot_be_replaced,
];

fn a_device_cannot_be_made() {
    let script = "
import stat
for kind, major, minor in ((stat.S_IFBLK, 254, 0), (stat.S_IFCHR, 1, 1), (stat.S_IFCHR, 5, 2)):
    for directory in DIRECTORIES:
        print(attempt(os.mknod, directory + '/device', kind | 0o666, os.makedev(major, minor)))
        os.path.exists(directory + '/device') and os.unlink(directory + '/device')
print('fifo', attempt(os.mkfifo, DIRECTORIES[0] + '/fifo'))";
    let answers = inside(&script.replace("DIRECTORIES", "['/tmp', '/dev/shm']"));
    let refused = answers.lines().filter(|line| ["EPERM", "EACCES"].contains(line)).count();
    assert_eq!((refused, answers.lines().last()), (6, Some("fifo returned")), "{answers}");
    if is_root() {
        let directory = tempfile::tempdir().unwrap();
        let control = outside(&script.replace("DIRECTORIES", &format!("[{:?}]", directory.path())));
        assert_eq!(control.matches("returned").count(), 4, "{control}");
    }
}

fn no_device_of_the_host_is_there() {
    let mut devices: Vec<String> = std::fs::read_dir("/dev")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !["null", "zero", "full", "random", "urandom", "shm", "fd"].contains(&name.as_str()))
        .filter(|name| !name.starts_with("std"))
        .collect();
    assert!(devices.len() > 3, "the control: {devices:?}");
    devices.extend(["mem", "kmsg", "ptmx", "fuse", "kvm", "net/tun", "loop0", "userfaultfd"].map(str::to_owned));
    let script = format!("print({{attempt(os.stat, '/dev/' + name) for name in {devices:?}}})");
    assert_eq!(inside(&script), "{'ENOENT'}\n");
}

fn characters_cannot_be_put_into_a_terminal() {
    forbidden(&[(libc::SYS_ioctl, "0, 0x5412, b'x'"), (libc::SYS_ioctl, "0, 0x700005412, b'x'")]);
}

fn a_console_cannot_be_drawn_on() {
    forbidden(&[(libc::SYS_ioctl, "0, 0x541c, b'x'")]);
}

fn entropy_cannot_be_credited() {
    let script = format!(
        "fd = os.open('/dev/urandom', os.O_RDWR)\nprint(call({0}, fd, 0x5206, 0), call({0}, fd, 0x80045200, ctypes.create_string_buffer(4)))",
        libc::SYS_ioctl
    );
    let answer = inside(&script);
    assert!(["EPERM returned\n", "EACCES returned\n"].contains(&answer.as_str()), "{answer}");
}

fn the_devices_cannot_be_replaced() {
    let script = "
import stat
for change in (lambda: os.unlink('/dev/null'), lambda: os.rename('/dev/zero', '/tmp/zero'), lambda: os.chmod('/dev/null', 0),
               lambda: os.symlink('/tmp/x', '/dev/tty'), lambda: os.mkdir('/dev/x')):
    print(attempt(change))
print(stat.S_ISCHR(os.stat('/dev/null').st_mode), os.stat('/dev/null').st_rdev == os.makedev(1, 3))";
    let answers = inside(script);
    let refusals = ["EROFS", "EACCES", "EXDEV", "EBUSY", "EPERM"];
    assert!(answers.lines().take(5).all(|line| refusals.contains(&line)), "{answers}");
    assert!(answers.ends_with("True True\n"), "{answers}");
}
