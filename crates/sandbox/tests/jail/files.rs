//! Attempts on files: the host's, the package's, other functions'.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use updraft_sandbox::{Mount, State, probe};

use crate::support::{
    Test, ask, attempts_on, block_on, forbidden, inside, is_root, open_directory, outside, spawner, spec,
};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    files:
    the_hosts_files_are_not_there,
    only_tmp_can_be_written,
    a_package_cannot_be_changed,
    another_functions_package_is_not_there,
    dots_do_not_lead_out_of_a_package,
    a_link_in_a_package_leads_nowhere,
    a_link_in_tmp_leads_nowhere,
    a_mount_over_a_link_stays_inside,
    a_package_cannot_be_hard_linked,
    a_package_cannot_be_exchanged,
    a_setuid_program_gives_nothing,
    every_mount_is_as_weak_as_it_can_be,
    a_file_cannot_carry_capabilities,
    a_file_cannot_be_given_to_root,
    a_file_cannot_be_opened_by_its_handle,
    a_deleted_root_cannot_be_reached,
    landlock_stands_behind_the_mounts,
];

fn the_hosts_files_are_not_there() {
    let program = std::env::current_exe().unwrap();
    let directory = open_directory();
    let mut paths: Vec<_> = ["/etc/shadow", "/root", "/home", "/var", "/run", "/sys", "/boot", "/srv", "/opt", "/mnt"]
        .into_iter()
        .map(Path::new)
        .filter(|path| path.exists())
        .collect();
    assert!(paths.len() >= 5, "the control: on the host they are there");
    paths.extend([program.as_path(), directory.path()]);
    let script = format!("for path in {paths:?}:\n    print(attempt(os.stat, path))");
    assert_eq!(inside(&script), "ENOENT\n".repeat(paths.len()));
}

fn only_tmp_can_be_written() {
    let output = inside(
        r#"
for path in ["/x", "/etc/x", "/etc/passwd", "/etc/hosts", "/dev/x", "/usr/x", "/proc/x", "/proc/self/comm",
             "/proc/self/oom_score_adj", "/bin/x"]:
    print("write", path, attempt(lambda: open(path, "w").write("x")))
print("chmod", "/", attempt(os.chmod, "/", 0o777))
print("unlink", "/etc/hosts", attempt(os.unlink, "/etc/hosts"))
print("mkdir", "/var", attempt(os.mkdir, "/var"))
print("rename", "/etc", attempt(os.rename, "/etc", "/tmp/etc"))
for path in ["/tmp/x", "/dev/shm/x", "/dev/null"]:
    print("control", path, attempt(lambda: open(path, "w").write("x")))
os.makedirs("/tmp/a/b")
open("/tmp/a/b/c", "w").close()
print("control", "move", attempt(os.rename, "/tmp/a/b/c", "/tmp/c"))
"#,
    );
    let (control, writes): (Vec<_>, Vec<_>) = output.lines().partition(|line| line.starts_with("control"));
    assert!(control.len() == 4 && control.iter().all(|line| line.ends_with("returned")), "{control:?}");
    let refusals = ["EROFS", "EACCES", "ENOENT", "EXDEV", "EBUSY"];
    assert!(writes.len() == 14 && writes.iter().all(|line| refusals.iter().any(|r| line.ends_with(r))), "{writes:?}");
}

fn a_package_cannot_be_changed() {
    let directory = open_directory();
    let script = r#"
base = BASE
print("create", attempt(lambda: open(base + "/new", "w")))
print("write", attempt(lambda: open(base + "/file", "r+").write("x")))
print("truncate", attempt(os.truncate, base + "/file", 0))
print("mode", attempt(os.chmod, base + "/file", 0o777))
print("times", attempt(os.utime, base + "/file"))
print("attribute", attempt(os.setxattr, base + "/file", "user.x", b"x"))
print("link", attempt(os.link, base + "/file", base + "/link"))
print("rename", attempt(os.rename, base + "/file", base + "/moved"))
print("mkdir", attempt(os.mkdir, base + "/directory"))
print("unlink", attempt(os.unlink, base + "/moved" if os.path.exists(base + "/moved") else base + "/file"))
"#;
    let answers = ask(attempts_on(directory.path(), &script.replace("BASE", "'/code'")));
    assert_eq!(answers.lines().count(), 10);
    assert!(answers.lines().all(|line| line.ends_with(" EROFS")), "{answers}");
    assert_eq!(fs::read_to_string(directory.path().join("file")).unwrap(), "host");
    // The control: whoever owns it may do all that.
    let mine = open_directory();
    let answers = outside(&script.replace("BASE", &format!("{:?}", mine.path())));
    let can = answers.lines().filter(|line| line.ends_with(" returned") || line.starts_with("attribute")).count();
    assert_eq!(can, 10, "{answers}");
}

fn another_functions_package_is_not_there() {
    let packages = open_directory();
    for name in ["mine", "other"] {
        fs::create_dir(packages.path().join(name)).unwrap();
        fs::write(packages.path().join(name).join("secret"), name).unwrap();
    }
    let script = format!(
        "for path in ('/code/secret', '/code/../other/secret', {:?}, '/other/secret', '/proc/self/root/code/../other'):
    print(attempt(os.stat, path))",
        packages.path().join("other/secret")
    );
    let answers = ask(attempts_on(&packages.path().join("mine"), &script));
    assert_eq!(answers, "returned\nENOENT\nENOENT\nENOENT\nENOENT\n");
}

fn dots_do_not_lead_out_of_a_package() {
    let directory = open_directory();
    let script = "
root = sorted(os.listdir('/'))
os.chdir('/code')
for path in ('..', '../..', '../../../../..', '/code/../..', '/proc/self/cwd/..', '/proc/self/root', '/proc/self/root/..'):
    print(sorted(os.listdir(path)) == root)
fd = os.open('/code', os.O_RDONLY)
print(sorted(os.listdir(os.open('../..', os.O_RDONLY, dir_fd=fd))) == root, 'boot' in root, 'file' in os.listdir('/code'))";
    assert_eq!(ask(attempts_on(directory.path(), script)), format!("{}True False True\n", "True\n".repeat(7)));
}

fn a_link_in_a_package_leads_nowhere() {
    let (directory, secret) = (open_directory(), open_directory());
    let target = secret.path().join("file");
    symlink(&target, directory.path().join("absolute")).unwrap();
    symlink("../".repeat(12) + target.to_str().unwrap(), directory.path().join("relative")).unwrap();
    symlink("/etc/shadow", directory.path().join("shadow")).unwrap();
    symlink("/proc/1/root/etc/shadow", directory.path().join("magic")).unwrap();
    let script = "for name in ('absolute', 'relative', 'shadow', 'magic', 'file'):
    print(name, attempt(lambda: open('/code/' + name).read()))";
    let answers = ask(attempts_on(directory.path(), script));
    assert_eq!(answers, "absolute ENOENT\nrelative ENOENT\nshadow ENOENT\nmagic ENOENT\nfile returned\n");
    for control in ["absolute", "relative"] {
        assert_eq!(fs::read_to_string(directory.path().join(control)).unwrap(), "host");
    }
}

fn a_link_in_tmp_leads_nowhere() {
    let secret = open_directory();
    let script = format!(
        "for target in ({:?}, '/etc/shadow', '/proc/1/root', '../../../../etc/shadow'):
    os.symlink(target, '/tmp/link')
    print(attempt(lambda: open('/tmp/link').read()), attempt(os.link, '/tmp/link', '/tmp/hard'))
    os.unlink('/tmp/link'); os.path.lexists('/tmp/hard') and os.unlink('/tmp/hard')",
        secret.path().join("file")
    );
    assert_eq!(inside(&script), "ENOENT returned\n".repeat(4));
    assert!(secret.path().join("file").exists());
}

fn a_mount_over_a_link_stays_inside() {
    let directory = open_directory();
    let aside = open_directory();
    symlink(aside.path(), directory.path().join("link")).unwrap();
    let mut guest = attempts_on(directory.path(), "print(attempt(os.stat, '/code/link'))");
    // The link's target exists on the host and not inside; a mount there must not land on the host's.
    guest.mounts.push(Mount { source: "/usr/share".into(), target: "/code/link/below".into() });
    let started = block_on(async { spawner().spawn(guest).await.map(drop) });
    assert!(started.is_err(), "it must not be made up outside");
    assert_eq!(fs::read_dir(aside.path()).unwrap().count(), 1, "nothing was made there");
}

fn a_package_cannot_be_hard_linked() {
    let directory = open_directory();
    let script = "
print(attempt(os.link, '/code/file', '/tmp/file'), attempt(os.link, '/usr/bin/env', '/dev/shm/env'))
fd = os.open('/code/file', os.O_RDONLY)
print(attempt(lambda: os.link(f'/proc/self/fd/{fd}', '/tmp/file', follow_symlinks=True)))
open('/tmp/mine', 'w').close()
print(attempt(os.link, '/tmp/mine', '/tmp/again'))";
    assert_eq!(ask(attempts_on(directory.path(), script)), "EXDEV EXDEV\nEXDEV\nreturned\n");
    let file = directory.path().join("file");
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&fs::metadata(file).unwrap()), 1);
}

fn a_package_cannot_be_exchanged() {
    let directory = open_directory();
    let script = format!(
        "open('/tmp/mine', 'w').close(); open('/tmp/other', 'w').close()
print(call({0}, -100, b'/tmp/mine', -100, b'/code/file', 2), call({0}, -100, b'/tmp/mine', -100, b'/tmp/other', 2))",
        libc::SYS_renameat2
    );
    assert_eq!(ask(attempts_on(directory.path(), &script)), "EXDEV returned\n");
}

fn a_setuid_program_gives_nothing() {
    if !is_root() {
        eprintln!("SKIPPED a_setuid_program_gives_nothing: only root can make a program that is root's");
        return;
    }
    let directory = open_directory();
    let program = directory.path().join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o6755)).unwrap();
    let script = "import subprocess\nprint(subprocess.check_output(['/code/id']).decode().strip())";
    let seen = ask(attempts_on(directory.path(), script));
    assert!(seen.starts_with("uid=993(sandbox) gid=993(sandbox)") && !seen.contains("euid"), "{seen}");
    let as_user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let output = Command::new("setpriv").args(as_user).arg(&program).output().unwrap();
    let control = String::from_utf8(output.stdout).unwrap();
    assert!(control.contains("euid=0"), "without a sandbox: {control}");
}

fn every_mount_is_as_weak_as_it_can_be() {
    let output = ask(spec(&["/bin/cat", "/proc/self/mountinfo"]));
    assert!(output.lines().count() > 10, "{output}");
    for line in output.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (target, options) = (fields[4], fields[5].split(',').collect::<Vec<_>>());
        let has = |option| options.contains(&option);
        assert!(has("nosuid"), "{line}");
        assert_eq!(has("rw"), ["/tmp", "/dev/shm"].contains(&target), "{line}");
        let is_device = target.starts_with("/dev/") && target != "/dev/shm";
        let is_mask = target.starts_with("/proc/");
        assert!(has("nodev") || is_device || is_mask, "{line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
    }
}

fn a_file_cannot_carry_capabilities() {
    let script = "
open('FILE', 'w').close()
print(attempt(os.setxattr, 'FILE', 'security.capability', bytes.fromhex('0100000202000000000000000000000000000000')))
print(attempt(os.setxattr, 'FILE', 'trusted.x', b'x'))";
    assert_eq!(inside(&script.replace("FILE", "/tmp/file")), "EPERM\nEPERM\n");
    if is_root() {
        let directory = tempfile::tempdir().unwrap();
        let control = outside(&script.replace("FILE", directory.path().join("file").to_str().unwrap()));
        assert_eq!(control, "returned\nreturned\n");
    }
}

fn a_file_cannot_be_given_to_root() {
    let script = "
open('/tmp/file', 'w').close()
for who in (0, 65534, 200000):
    print(attempt(os.chown, '/tmp/file', who, -1), attempt(os.chown, '/tmp/file', -1, who))
print(attempt(os.chown, '/tmp/file', 993, 993), attempt(os.setuid, 0), attempt(os.setgid, 0))";
    let answers = inside(script);
    let refused = answers.lines().take(3).all(|line| line.split(' ').all(|a| ["EINVAL", "EPERM"].contains(&a)));
    assert!(refused && answers.ends_with("returned EINVAL EINVAL\n"), "{answers}");
}

fn a_file_cannot_be_opened_by_its_handle() {
    // How "shocker" walked out of early containers.
    forbidden(&[(libc::SYS_name_to_handle_at, "-100, b'/', 0, 0, 0"), (libc::SYS_open_by_handle_at, "-100, 0, 0")]);
}

fn a_deleted_root_cannot_be_reached() {
    // The old root is detached; nothing of the sandbox's own start keeps a descriptor of it.
    let script = "
links = [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.lexists('/proc/self/fd/' + fd)]
print(all(link.startswith(('/dev/null', 'pipe:', '/proc/')) for link in links), os.readlink('/proc/self/root'))
print(sum(' / / ' in line for line in open('/proc/self/mountinfo')))";
    assert_eq!(inside(script), "True /\n1\n");
}

fn landlock_stands_behind_the_mounts() {
    let landlock = probe().into_iter().find(|mechanism| mechanism.name == "landlock").unwrap().state;
    let State::Present(version) = landlock else {
        eprintln!("SKIPPED landlock_stands_behind_the_mounts: {landlock:?}");
        return;
    };
    // It answers EACCES where a want of capabilities would answer EPERM, and shields the init from its own user.
    let script = "
print('device', attempt(os.mknod, '/tmp/device', 0o20666, os.makedev(1, 1)))
print('init', attempt(os.kill, 1, 0), 'own', attempt(os.kill, os.getpid(), 0))
os.makedirs('/tmp/a'); os.makedirs('/tmp/b'); open('/tmp/a/x', 'w').close()
print('move', attempt(os.rename, '/tmp/a/x', '/tmp/b/x'), attempt(os.link, '/tmp/b/x', '/tmp/a/y'))
print('shm', attempt(lambda: open('/dev/shm/x', 'w')), attempt(lambda: open('/dev/null', 'w')), attempt(os.mkfifo, '/tmp/f'))";
    let has_scopes = version.rsplit(' ').next().and_then(|number| number.parse::<u32>().ok()).unwrap() >= 6;
    let init = if has_scopes { "EPERM" } else { "returned" };
    let expected =
        format!("device EACCES\ninit {init} own returned\nmove returned returned\nshm returned returned returned\n");
    assert_eq!(inside(script), expected);
}
