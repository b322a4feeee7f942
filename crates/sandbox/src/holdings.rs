//! What a stopped guest holds that a copy of a process does not simply have: open files, a working directory, `/tmp`.
//!
//! A copy made by `fork(2)` shares open files and shared memory with the original and so with every other copy. What
//! would join them is looked for here: connections become dead ends, files of the package are opened anew, and anything
//! else is a reason not to copy at all.

use std::{collections::BTreeMap, fs, io, path::Path};

/// What becomes of a descriptor in a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Writes to the copy's own output.
    Output,
    /// Nobody is at the other end.
    DeadEnd,
    /// Opened anew, to read on from there.
    Reopened { path: String, offset: u64 },
}

/// Of one guest.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// By number; standard input, output and error are not among them. With whether an `exec` closes it.
    pub(crate) descriptors: BTreeMap<u32, (Fate, bool)>,
    pub(crate) directory: String,
    /// Whether it has left anything in `/tmp`.
    pub(crate) has_tmp: bool,
}

/// Where a path that can be written lies.
const WRITABLE: [&str; 2] = ["/tmp", "/dev/shm"];

impl Holdings {
    /// Whether a guest, stopped or not, is the only process in its sandbox. The error says why it cannot be copied.
    pub(crate) fn is_alone(pid: libc::pid_t) -> Result<(), String> {
        let processes = fs::read_dir("/proc").map_err(|error| format!("it cannot be looked at: {error}"))?;
        let others = processes.flatten().filter(|entry| {
            let number = entry.file_name().to_str().and_then(|name| name.parse::<libc::pid_t>().ok());
            number.is_some_and(|number| number != 1 && number != pid)
        });
        match others.count() {
            0 => Ok(()),
            count => Err(format!("it has left {count} processes running")),
        }
    }

    /// Looks at a stopped guest. The error says why it cannot be copied.
    pub(crate) fn of(pid: libc::pid_t) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("it cannot be looked at: {error}");
        Self::is_alone(pid)?;
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let threads = field(&read("status").map_err(cannot)?, "Threads:").unwrap_or(0);
        if threads != 1 {
            return Err(format!("it has left {} threads running", threads.saturating_sub(1)));
        }
        if let Some(shared) = read("maps").map_err(cannot)?.lines().find_map(shared_memory) {
            return Err(format!("it shares memory that it can write: {shared}"));
        }
        let link = |number: &str| fs::read_link(format!("/proc/{pid}/fd/{number}")).map_err(cannot);
        let outputs = [link("1")?, link("2")?];
        link("0")?;
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).map_err(cannot)? {
            let name = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
            let number: u32 = name.parse().map_err(|_| "it cannot be looked at".to_owned())?;
            if number <= 2 {
                continue;
            }
            let target = link(&name)?;
            let about = read(&format!("fdinfo/{name}")).map_err(cannot)?;
            let flags = octal(&about, "flags:").unwrap_or(0);
            let closes = flags & libc::O_CLOEXEC as u64 != 0;
            if outputs.contains(&target) {
                descriptors.insert(number, (Fate::Output, closes));
            } else if let Some(fate) = fate_of(&target, flags, field(&about, "pos:").unwrap_or(0))? {
                descriptors.insert(number, (fate, closes));
            }
        }
        let directory = fs::read_link(format!("/proc/{pid}/cwd")).map_err(cannot)?;
        let directory = directory.to_str().ok_or("its working directory has no proper name")?.to_owned();
        if fs::read_dir("/dev/shm").map_err(cannot)?.next().is_some() {
            return Err("it has left files in /dev/shm".to_owned());
        }
        let has_tmp = fs::read_dir("/tmp").map_err(cannot)?.next().is_some();
        if has_tmp {
            check_tmp(Path::new("/tmp"))?;
        }
        Ok(Self { descriptors, directory, has_tmp })
    }
}

/// What becomes of a descriptor that leads to `target`; nothing where a copy may share it.
fn fate_of(target: &Path, flags: u64, offset: u64) -> Result<Option<Fate>, String> {
    let text = target.to_str().ok_or("it has opened a file without a proper name")?;
    if text.starts_with("socket:") {
        return Ok(Some(Fate::DeadEnd));
    }
    let is_device = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"].contains(&text);
    if is_device {
        return Ok(None);
    }
    let is_read_only = flags & libc::O_ACCMODE as u64 == 0 && flags & libc::O_PATH as u64 == 0;
    let is_plain = text.starts_with('/') && !text.ends_with(" (deleted)") && !text.starts_with("/proc");
    if is_plain && is_read_only && !WRITABLE.iter().any(|place| target.starts_with(place)) {
        return Ok(Some(Fate::Reopened { path: text.to_owned(), offset }));
    }
    Err(format!("it keeps {text} open"))
}

/// The name of a mapping that is shared and can be written, or could be again, from a line of `/proc/PID/maps`. What it
/// allows now says little: whoever made it may have it writable again in every copy. Only a file that lies where nothing
/// can be written was never opened for writing.
fn shared_memory(line: &str) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let flags = fields.nth(1)?;
    let name = fields.nth(3).unwrap_or("without a name");
    let is_kept_file = name.starts_with('/')
        && !line.ends_with(" (deleted)")
        && !WRITABLE.iter().any(|place| Path::new(name).starts_with(place));
    (flags.ends_with('s') && (flags.contains('w') || !is_kept_file)).then(|| name.to_owned())
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

fn octal(text: &str, name: &str) -> Option<u64> {
    u64::from_str_radix(text.lines().find_map(|line| line.strip_prefix(name))?.trim(), 8).ok()
}

/// Whether all of it can be copied.
fn check_tmp(directory: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| format!("its /tmp cannot be read: {error}");
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let about = fs::symlink_metadata(&path).map_err(cannot)?;
        let kind = about.file_type();
        if kind.is_dir() {
            check_tmp(&path)?;
        } else if kind.is_file() {
            fs::File::open(&path).map_err(cannot)?;
        } else if !kind.is_symlink() {
            return Err(format!("{} is neither a file nor a directory", path.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_join_copies_is_a_reason_or_becomes_something_else() {
        let fate = |target: &str, flags| fate_of(Path::new(target), flags, 7);
        assert_eq!(fate("socket:[1]", 2), Ok(Some(Fate::DeadEnd)));
        assert_eq!(fate("/dev/urandom", 0), Ok(None));
        let reopened = Fate::Reopened { path: "/var/task/x".into(), offset: 7 };
        assert_eq!(fate("/var/task/x", 0o2_100_000), Ok(Some(reopened)));
        for (target, flags) in [
            ("pipe:[3]", 0),
            ("anon_inode:[eventpoll]", 2),
            ("/memfd:x (deleted)", 2),
            ("/tmp/log", 1),
            ("/tmp/read", 0),
            ("/dev/shm/x", 0),
            ("/var/task/x", 0o10_000_000),
            ("/usr/x (deleted)", 0),
            ("/proc/7/maps", 0),
        ] {
            assert!(fate(target, flags).unwrap_err().contains(target), "{target}");
        }
    }

    #[test]
    fn shared_memory_is_found_where_it_can_be_written() {
        assert_eq!(shared_memory("7f0-7f1 rw-s 00000000 00:01 5 /dev/zero (deleted)").as_deref(), Some("/dev/zero"));
        for (name, end) in [("/dev/zero", " (deleted)"), ("/memfd:x", " (deleted)"), ("/tmp/x", ""), ("anon", "")] {
            for flags in ["r--s", "---s"] {
                assert_eq!(
                    shared_memory(&format!("7f0-7f1 {flags} 00000000 00:01 5 {name}{end}")).as_deref(),
                    Some(name)
                );
            }
        }
        assert_eq!(shared_memory("7f0-7f1 r--s 00000000 fe:00 5 /usr/lib/gconv-modules.cache"), None);
        assert_eq!(shared_memory("7f0-7f1 rw-p 00000000 00:00 0"), None);
    }
}
