//! The file system a guest sees: a small tmpfs root that ends up read-only, with the given binds, a private
//! `/tmp`, a minimal `/dev`, a read-only `/proc` of its own pid namespace and a generated `/etc`.
//!
//! Built with descriptors (`open_tree`, `move_mount`, `openat2`), so no path of the guest's choosing is ever
//! followed out of the new root. Mount events of the host still reach the sandbox until [`Root::enter`];
//! nothing goes the other way.
//!
//! Invariant: besides `/tmp` and `/dev/shm` nothing in it can be written, and neither holds devices or setuid.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Write},
    net::Ipv4Addr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, fstat, mkdirat},
    unistd::{fchdir, pivot_root, symlinkat},
};

use crate::{
    spec::ROOT_FILES,
    sys::{self, attribute},
    wire::{Failure, Step},
};

/// Most bytes and files of the root itself: mount points and generated files.
const ROOT_OPTIONS: [(&CStr, &CStr); 3] = [(c"size", c"4m"), (c"nr_inodes", c"4096"), (c"mode", c"0755")];

const SHARED_MEMORY_OPTIONS: [(&CStr, &CStr); 3] = [(c"size", c"64m"), (c"nr_inodes", c"4096"), (c"mode", c"1777")];

/// `/tmp` holds one file for so many bytes of its size, and never fewer than [`TMP_FILES_MIN`].
const TMP_BYTES_PER_FILE: u64 = 4096;
const TMP_FILES_MIN: u64 = 1024;

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

const DEVICE_LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
];

/// Files of `/proc` that say much about the host and nothing about the guest; `/dev/null` covers them. All of
/// `/proc` is read-only besides, so `sys` and `sysrq-trigger` need no cover of their own.
const MASKED_FILES: [&CStr; 18] = [
    c"proc/cmdline",
    c"proc/diskstats",
    c"proc/kcore",
    c"proc/kmsg",
    c"proc/keys",
    c"proc/key-users",
    c"proc/modules",
    c"proc/partitions",
    c"proc/softirqs",
    c"proc/kallsyms",
    c"proc/timer_list",
    c"proc/timer_stats",
    c"proc/sched_debug",
    c"proc/latency_stats",
    c"proc/interrupts",
    c"proc/iomem",
    c"proc/ioports",
    c"proc/config.gz",
];

/// The same for directories; an empty one covers them.
const MASKED_DIRECTORIES: [&CStr; 8] = [
    c"proc/acpi",
    c"proc/asound",
    c"proc/bus",
    c"proc/driver",
    c"proc/fs",
    c"proc/irq",
    c"proc/pressure",
    c"proc/scsi",
];

/// Processes that the guest may not look into, which is the init alone, are not shown at all.
const PROC_OPTIONS: [(&CStr, &CStr); 1] = [(c"hidepid", c"invisible")];

const PASSWD: &str = "root:x:0:0:root:/:/usr/sbin/nologin\nsandbox:x:993:993:sandbox:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nsandbox:x:993:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
const RESOLV: &str = "# A sandbox reaches the platform and nothing else; there is no name server.\n";

/// A root file system under construction, attached on top of the init's old root until [`Root::enter`].
pub(crate) struct Root {
    top: OwnedFd,
    /// Made before, and not attached yet.
    tmp: Option<OwnedFd>,
}

/// The writable and the generated part of a root, made before anybody lives there.
///
/// A process under Landlock takes its rules along when it is copied into another sandbox, and rules are about file
/// systems, not about paths. So a template's guest is given rules for these while they are empty and out of its reach.
pub(crate) struct Vacant {
    top: OwnedFd,
    shared: OwnedFd,
    tmp: OwnedFd,
}

impl Vacant {
    /// With a `/tmp` of that size. Call as the guest's user in new mount namespaces.
    pub(crate) fn make(tmp_bytes_max: u64) -> Result<Self, Failure> {
        let top = new_top()?;
        let vacant = Self { top, shared: new_shared()?, tmp: new_tmp(tmp_bytes_max)? };
        mkdirat(&vacant.top, c"dev", Mode::from_bits_truncate(0o755)).step("make a directory in the new root")?;
        Ok(vacant)
    }

    /// The root, its `dev`, and what will be `/dev/shm` and `/tmp`.
    pub(crate) fn directories(&self) -> io::Result<[OwnedFd; 4]> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let devices = openat(&self.top, c"dev", flags, Mode::empty())?;
        Ok([self.top.try_clone()?, devices, self.shared.try_clone()?, self.tmp.try_clone()?])
    }

    /// What will be `/tmp`.
    pub(crate) fn tmp(&self) -> BorrowedFd<'_> {
        self.tmp.as_fd()
    }

    /// In the order that [`Vacant::of_descriptors`] takes.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.top.as_fd(), self.shared.as_fd(), self.tmp.as_fd()]
    }

    /// One that came over a socket, with what came after it.
    pub(crate) fn of_descriptors(descriptors: Vec<OwnedFd>) -> Option<(Self, impl Iterator<Item = OwnedFd>)> {
        let mut descriptors = descriptors.into_iter();
        let (top, shared, tmp) = (descriptors.next()?, descriptors.next()?, descriptors.next()?);
        Some((Self { top, shared, tmp }, descriptors))
    }
}

fn new_top() -> Result<OwnedFd, Failure> {
    sys::new_filesystem(c"tmpfs", &ROOT_OPTIONS, attribute::NOSUID | attribute::NODEV).step("new root")
}

fn new_shared() -> Result<OwnedFd, Failure> {
    let attributes = attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    sys::new_filesystem(c"tmpfs", &SHARED_MEMORY_OPTIONS, attributes).step("/dev/shm")
}

fn new_tmp(bytes_max: u64) -> Result<OwnedFd, Failure> {
    let [size, files] = tmp_limits(bytes_max).map(|number| CString::new(number).expect("a number holds no NUL"));
    let options: [(&CStr, &CStr); 3] = [(c"size", &size), (c"nr_inodes", &files), (c"mode", c"1777")];
    sys::new_filesystem(c"tmpfs", &options, attribute::NOSUID | attribute::NODEV).step("/tmp")
}

impl Root {
    /// Everything that is the same for all sandboxes, in `vacant` where there is one. Call as the guest's user in new
    /// mount and pid namespaces.
    pub(crate) fn build(vacant: Option<Vacant>) -> Result<Self, Failure> {
        let (top, shared, tmp) = match vacant {
            Some(Vacant { top, shared, tmp }) => (top, shared, Some(tmp)),
            None => (new_top()?, new_shared()?, None),
        };
        let under = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).step("open /")?;
        sys::attach(top.as_fd(), under.as_fd()).step("attach the new root")?;
        let root = Self { top, tmp };
        for directory in [c"dev", c"dev/shm", c"etc", c"proc", c"tmp"] {
            root.make_directory(directory)?;
        }
        root.write("etc/passwd", PASSWD)?;
        root.write("etc/group", GROUP)?;
        root.write("etc/nsswitch.conf", NSSWITCH)?;
        root.write("etc/resolv.conf", RESOLV)?;
        root.make_devices()?;
        root.attach(&shared, Path::new("dev/shm")).step("mount /dev/shm")?;
        root.mount_proc()?;
        Ok(root)
    }

    /// A bind of one of the specification's mounts, made by [`open_source`].
    pub(crate) fn bind(&self, tree: &OwnedFd, target: &Path) -> Result<(), Failure> {
        let inside = relative(target)?;
        let step = format!("mount {}", target.display());
        let kind = SFlag::from_bits_truncate(fstat(tree).step(&step)?.st_mode) & SFlag::S_IFMT;
        self.make_target(&inside, kind == SFlag::S_IFDIR).step(&step)?;
        self.attach(tree, &inside).step(&step)
    }

    /// The private `/tmp`.
    pub(crate) fn mount_tmp(&self, bytes_max: u64) -> Result<(), Failure> {
        let made;
        let tmp = match &self.tmp {
            Some(tmp) => tmp,
            None => {
                made = new_tmp(bytes_max)?;
                &made
            }
        };
        self.attach(tmp, Path::new("tmp")).step("mount /tmp")
    }

    /// What is in `/tmp`, once that is mounted, to be looked at and no more.
    pub(crate) fn view_of_tmp(&self) -> Result<OwnedFd, Failure> {
        let view = sys::open_tree(self.top.as_fd(), c"tmp", false).step("a view of /tmp")?;
        let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
        sys::set_mount_attributes(view.as_fd(), attributes, false).step("a view of /tmp")?;
        Ok(view)
    }

    /// Changes the limits of `/tmp`, once this is the root. It stays the same mount, which rules about it may name.
    pub(crate) fn resize_tmp(&self, bytes_max: u64) -> Result<(), Failure> {
        let [size, files] = tmp_limits(bytes_max);
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("size={size},nr_inodes={files}");
        mount(None::<&str>, "/tmp", None::<&str>, flags, Some(options.as_str())).step("resize /tmp")
    }

    /// The files that carry the sandbox's name.
    pub(crate) fn write_names(&self, name: &str, hosts: &[(Ipv4Addr, String)]) -> Result<(), Failure> {
        self.write("etc/hostname", &format!("{name}\n"))?;
        let mut text = format!("127.0.0.1 localhost {name}\n::1 localhost\n");
        text.extend(hosts.iter().map(|(address, host)| format!("{address} {host}\n")));
        self.write("etc/hosts", &text)
    }

    /// Exchanges this root, entered and complete, for a directory of the host made by [`open_source`]: what is ours of
    /// it is mounted over what is there, and nothing else of it stays.
    ///
    /// A stranger made what is in that directory. Its places for ours are taken as they are or not at all: a link where
    /// a directory or a file should be ends the start.
    pub(crate) fn exchange(&self, tree: OwnedFd) -> Result<Self, Failure> {
        let place = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).step("open /")?;
        sys::attach(tree.as_fd(), place.as_fd()).step("attach the given root")?;
        let given = Self { top: tree, tmp: None };
        for directory in [c"dev", c"proc", c"tmp"] {
            let step = format!("/{} of the given root", directory.to_string_lossy());
            let ours = sys::open_tree(self.top.as_fd(), directory, true).step(&step)?;
            if directory == c"dev" {
                // The directory alone: what is mounted in it is what it was.
                let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NOEXEC;
                sys::set_mount_attributes(ours.as_fd(), attributes, false).step(&step)?;
            }
            given.cover(&ours, directory, OFlag::O_DIRECTORY).step(&step)?;
        }
        for file in ROOT_FILES {
            let step = format!("/{file} of the given root");
            let path = CString::new(file).expect("the list holds no NUL");
            let ours = sys::open_tree(self.top.as_fd(), &path, false).step(&step)?;
            sys::set_mount_attributes(ours.as_fd(), attribute::RDONLY | attribute::NOEXEC, false).step(&step)?;
            given.cover(&ours, &path, OFlag::empty()).step(&step)?;
        }
        given.enter()?;
        Ok(given)
    }

    /// Mounts a tree over what is at exactly this path, of the same kind. No link is followed on the way.
    fn cover(&self, tree: &OwnedFd, path: &CStr, kind: OFlag) -> io::Result<()> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | kind)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let target = openat2(&self.top, path, how)?;
        let is_same = |found: SFlag, wanted: SFlag| found & SFlag::S_IFMT == wanted;
        let wanted = if kind == OFlag::O_DIRECTORY { SFlag::S_IFDIR } else { SFlag::S_IFREG };
        if !is_same(SFlag::from_bits_truncate(fstat(&target)?.st_mode), wanted) {
            return Err(Errno::ENOTDIR.into());
        }
        sys::attach(tree.as_fd(), target.as_fd())
    }

    /// Makes this the root of the calling process and lets go of the old one.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        let old = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).step("open /")?;
        fchdir(&self.top).step("enter the new root")?;
        pivot_root(".", ".").step("pivot_root")?;
        fchdir(&old).step("enter the old root")?;
        umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
        nix::unistd::chdir("/").step("chdir /")
    }

    /// No more changes.
    pub(crate) fn seal(&self) -> Result<(), Failure> {
        sys::set_mount_attributes(self.top.as_fd(), attribute::RDONLY, false).step("make the root read-only")
    }

    fn make_directory(&self, path: &CStr) -> Result<(), Failure> {
        match mkdirat(&self.top, path, Mode::from_bits_truncate(0o755)) {
            Err(Errno::EEXIST) => Ok(()),
            made => made.step("make a directory in the new root"),
        }
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&self.top, path, flags, Mode::from_bits_truncate(0o644)).step(path)?;
        File::from(file).write_all(text.as_bytes()).step(path)
    }

    fn make_devices(&self) -> Result<(), Failure> {
        for device in DEVICES {
            let source = CString::new(format!("/dev/{device}")).expect("the list holds no NUL");
            let inside = PathBuf::from(format!("dev/{device}"));
            let step = format!("bind /dev/{device}");
            let tree = sys::open_tree(AT_FDCWD, &source, false).step(&step)?;
            let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NOEXEC;
            sys::set_mount_attributes(tree.as_fd(), attributes, false).step(&step)?;
            self.make_target(&inside, false).step(&step)?;
            self.attach(&tree, &inside).step(&step)?;
        }
        for (points_to, link) in DEVICE_LINKS {
            symlinkat(points_to, &self.top, link).step("link in /dev")?;
        }
        Ok(())
    }

    fn mount_proc(&self) -> Result<(), Failure> {
        let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
        let proc = sys::new_filesystem(c"proc", &PROC_OPTIONS, attributes).step("mount /proc")?;
        self.attach(&proc, Path::new("proc")).step("mount /proc")?;
        for path in MASKED_FILES {
            self.mask(path, c"dev/null")?;
        }
        for path in MASKED_DIRECTORIES {
            // Empty still, and out of sight once the private one lies over it.
            self.mask(path, c"tmp")?;
        }
        Ok(())
    }

    /// Covers `path`, if it exists, with `cover`.
    fn mask(&self, path: &CStr, cover: &CStr) -> Result<(), Failure> {
        let target = match openat(&self.top, path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.step("mask in /proc")?,
        };
        let tree = sys::open_tree(self.top.as_fd(), cover, false).step("mask in /proc")?;
        sys::set_mount_attributes(tree.as_fd(), attribute::RDONLY, false).step("mask in /proc")?;
        sys::attach(tree.as_fd(), target.as_fd()).step("mask in /proc")
    }

    /// Makes what is missing of `path`: directories, and at its end a directory or an empty file.
    fn make_target(&self, path: &Path, directory: bool) -> nix::Result<()> {
        if self.find(path).is_ok() {
            return Ok(());
        }
        let mut at = PathBuf::new();
        let mut parent = self.top.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        let names: Vec<_> = path.iter().collect();
        for (index, name) in names.iter().enumerate() {
            at.push(name);
            parent = match self.find(&at) {
                Err(Errno::ENOENT) if directory || index + 1 < names.len() => {
                    mkdirat(&parent, *name, Mode::from_bits_truncate(0o755))?;
                    self.find(&at)?
                }
                Err(Errno::ENOENT) => {
                    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                    openat(&parent, *name, flags, Mode::from_bits_truncate(0o444))?
                }
                found => found?,
            };
        }
        Ok(())
    }

    /// Opens a path of the new root as if it were the root already: links in it cannot lead out.
    fn find(&self, path: &Path) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.top, path, how)
    }

    fn attach(&self, tree: &OwnedFd, path: &Path) -> io::Result<()> {
        sys::attach(tree.as_fd(), self.find(path)?.as_fd())
    }
}

/// A detached read-only copy of what lies at `source`, with what is mounted below it.
///
/// The helper calls this: an init has no power over directories that only their owner may enter, and sees nothing
/// of the host once it has entered its own root.
pub(crate) fn open_source(source: &Path) -> Result<OwnedFd, Failure> {
    let step = format!("bind {}", source.display());
    let path = CString::new(source.as_os_str().as_bytes())
        .map_err(|_| Failure::Invalid(format!("the mount source {} holds a NUL", source.display())))?;
    let anywhere: BorrowedFd<'_> = AT_FDCWD;
    let tree = sys::open_tree(anywhere, &path, true).step(&step)?;
    let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV;
    sys::set_mount_attributes(tree.as_fd(), attributes, true).step(&step)?;
    Ok(tree)
}

/// Most bytes and files of `/tmp`.
fn tmp_limits(bytes_max: u64) -> [String; 2] {
    [bytes_max.max(1).to_string(), (bytes_max / TMP_BYTES_PER_FILE).max(TMP_FILES_MIN).to_string()]
}

/// A target as a path below the root: absolute, not the root itself, without `.` and `..`.
fn relative(target: &Path) -> Result<PathBuf, Failure> {
    let refused = || Failure::Invalid(format!("the mount target {} is not a plain absolute path", target.display()));
    let mut components = target.components();
    if components.next() != Some(Component::RootDir) {
        return Err(refused());
    }
    let inside: PathBuf = components.clone().collect();
    let plain = components.all(|component| matches!(component, Component::Normal(_)));
    if plain && !inside.as_os_str().is_empty() { Ok(inside) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_plain_and_absolute() {
        assert_eq!(relative(Path::new("/var//task")).unwrap(), Path::new("var/task"));
        for bad in ["", "/", "var/task", "/var/../etc", "/.."] {
            assert!(relative(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
