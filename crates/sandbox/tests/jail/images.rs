//! Attempts by what is in a container image: a root that a stranger made.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use updraft_sandbox::{Error, ROOT_FILES, Spec};

use crate::support::{Test, ask, attempts, block_on, is_root, open_directory, spawner, spec};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    images:
    an_image_is_all_there_is_and_cannot_be_written,
    a_link_in_an_image_leads_nowhere,
    a_link_where_ours_is_mounted_ends_the_start,
    an_image_has_no_proc_dev_or_names_of_its_own,
    setuid_and_devices_of_an_image_give_nothing,
    every_mount_over_an_image_is_as_weak_as_it_can_be,
    what_an_image_took_the_place_of_cannot_be_reached,
];

/// An image with the places that every one has, a file, and room for the host's programs.
fn image() -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    fs::set_permissions(image.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for folder in ["dev", "etc", "proc", "tmp", "usr", "bin", "lib", "lib64", "srv"] {
        fs::create_dir(image.path().join(folder)).unwrap();
    }
    for file in ROOT_FILES.into_iter().chain(["etc/passwd", "srv/data"]) {
        fs::write(image.path().join(file), "the image's").unwrap();
    }
    image
}

/// With the image as its root, in which the host's programs are shown.
fn with(mut spec: Spec, image: &Path) -> Spec {
    spec.root = Some(image.into());
    spec.mounts.retain(|mount| image.join(mount.target.strip_prefix("/").unwrap()).is_dir());
    spec
}

fn inside(image: &Path, script: &str) -> String {
    ask(with(attempts(script), image))
}

fn an_image_is_all_there_is_and_cannot_be_written() {
    let image = image();
    fs::set_permissions(image.path().join("srv"), PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(image.path().join("srv/data"), PermissionsExt::from_mode(0o666)).unwrap();
    let output = inside(
        image.path(),
        r#"
print(sorted(os.listdir("/")), open("/srv/data").read(), open("/etc/passwd").read())
for path in ["/x", "/srv/x", "/srv/data", "/etc/hosts", "/etc/passwd", "/dev/x", "/proc/self/comm"]:
    print(attempt(lambda: open(path, "w").write("x")), end=" ")
print(attempt(os.chmod, "/srv/data", 0o777), attempt(os.unlink, "/srv/data"), attempt(os.mkdir, "/srv/y"))
print(attempt(lambda: open("/tmp/x", "w")), attempt(lambda: open("/dev/shm/x", "w")))"#,
    );
    let mut lines = output.lines();
    let all = "['bin', 'dev', 'etc', 'lib', 'lib64', 'proc', 'srv', 'tmp', 'usr'] the image's the image's";
    assert_eq!(lines.next(), Some(all));
    let refused: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert!(refused.len() == 10 && refused.iter().all(|answer| ["EACCES", "EROFS"].contains(answer)), "{output}");
    assert_eq!(lines.next(), Some("returned returned"));
    assert_eq!(fs::read_to_string(image.path().join("srv/data")).unwrap(), "the image's");
}

fn a_link_in_an_image_leads_nowhere() {
    let (image, host) = (image(), open_directory());
    let file = host.path().join("file");
    symlink(&file, image.path().join("srv/absolute")).unwrap();
    symlink("../".repeat(20) + file.strip_prefix("/").unwrap().to_str().unwrap(), image.path().join("srv/climbing"))
        .unwrap();
    symlink("/etc/shadow", image.path().join("srv/shadow")).unwrap();
    symlink("/srv/data", image.path().join("srv/own")).unwrap();
    let script = "
for name in ('absolute', 'climbing', 'shadow', 'own'):
    print(attempt(open, '/srv/' + name))";
    assert_eq!(inside(image.path(), script), "ENOENT\nENOENT\nENOENT\nreturned\n");
}

fn a_link_where_ours_is_mounted_ends_the_start() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "host").unwrap();
    let start = |image: &Path| {
        let spec = with(spec(&["/usr/bin/true"]), image);
        block_on(async { spawner().spawn(spec).await.map(drop) })
    };
    assert!(start(image().path()).is_ok(), "the control");
    for place in ["dev", "proc", "tmp", "etc"].into_iter().chain(ROOT_FILES) {
        let spoil: [&dyn Fn(&Path); 3] =
            [&|at| symlink(host.path().join("file"), at).unwrap(), &|at| symlink(host.path(), at).unwrap(), &|_| ()];
        for (how, spoil) in spoil.iter().enumerate() {
            let image = image();
            let at = image.path().join(place);
            if at.is_dir() {
                fs::remove_dir_all(&at).unwrap()
            } else {
                fs::remove_file(&at).unwrap()
            }
            spoil(&at);
            let started = start(image.path());
            let Err(Error::Setup { step, .. }) = started else { panic!("{place} {how}: {started:?}") };
            assert!(step.contains(place), "{place} {how}: {step}");
        }
    }
    // The other kind than ours.
    for (place, is_folder) in [("tmp", false), ("etc/hosts", true)] {
        let image = image();
        let at = image.path().join(place);
        if is_folder {
            fs::remove_file(&at).unwrap();
            fs::create_dir(&at).unwrap();
        } else {
            fs::remove_dir(&at).unwrap();
            fs::write(&at, "").unwrap();
        }
        assert!(matches!(start(image.path()), Err(Error::Setup { .. })), "{place}");
    }
    assert_eq!(fs::read_to_string(host.path().join("file")).unwrap(), "host");
}

fn an_image_has_no_proc_dev_or_names_of_its_own() {
    let image = image();
    fs::write(image.path().join("proc/version"), "forged").unwrap();
    fs::write(image.path().join("dev/null"), "forged").unwrap();
    fs::write(image.path().join("tmp/left"), "forged").unwrap();
    let script = "
print(open('/dev/null').read(), sorted(os.listdir('/dev')), 'forged' in open('/proc/version').read())
print(open('/etc/hosts').read().startswith('127.0.0.1 localhost'), open('/etc/hostname').read().strip())
print(os.listdir('/tmp'), len(open('/proc/keys').read()), attempt(os.listdir, '/proc/1/fd'), open('/proc/cmdline').read())
print([pid for pid in os.listdir('/proc') if pid.isdigit()] == [str(os.getpid())])";
    let output = inside(image.path(), script);
    let devices = "['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']";
    let expected = format!(" {devices} False\nTrue instance-1\n[] 0 ENOENT \nTrue\n");
    assert_eq!(output, expected);
}

fn setuid_and_devices_of_an_image_give_nothing() {
    if !is_root() {
        eprintln!("SKIPPED setuid_and_devices_of_an_image_give_nothing: only root can make such files");
        return;
    }
    // What unpacking leaves out, should it ever not.
    let image = image();
    fs::copy("/usr/bin/id", image.path().join("srv/id")).unwrap();
    fs::set_permissions(image.path().join("srv/id"), PermissionsExt::from_mode(0o6755)).unwrap();
    let device = image.path().join("srv/memory");
    let made = std::process::Command::new("mknod").arg(&device).args(["c", "1", "3"]).status().unwrap();
    if made.success() {
        fs::set_permissions(&device, PermissionsExt::from_mode(0o666)).unwrap();
    }
    let script = "
import subprocess
print(attempt(open, '/srv/memory') in ('EACCES', 'ENOENT'))
print(subprocess.check_output(['/srv/id', '-u']).decode().strip(), 'euid' in subprocess.check_output(['/srv/id']).decode())";
    assert_eq!(inside(image.path(), script), "True\n993 False\n");
}

fn every_mount_over_an_image_is_as_weak_as_it_can_be() {
    let image = image();
    let output = ask(with(spec(&["/bin/cat", "/proc/self/mountinfo"]), image.path()));
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

fn what_an_image_took_the_place_of_cannot_be_reached() {
    let image = image();
    let script = "
links = [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.lexists('/proc/self/fd/' + fd)]
print(all(link.startswith(('/dev/null', 'pipe:', '/proc/')) for link in links), os.readlink('/proc/self/root'))
print(sum(line.split(' ')[4] == '/' for line in open('/proc/self/mountinfo')), sorted(os.listdir('/..')) == sorted(os.listdir('/')))
print(call(PIVOT, b'/', b'/'), call(CHROOT, b'/tmp'))";
    let script = script.replace("PIVOT", &libc::SYS_pivot_root.to_string());
    let script = script.replace("CHROOT", &libc::SYS_chroot.to_string());
    assert_eq!(inside(image.path(), &script), "True /\n1 True\nEPERM EPERM\n");
}
