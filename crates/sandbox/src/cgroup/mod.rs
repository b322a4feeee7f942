//! Control groups: memory, processor time and number of processes of a whole sandbox.
//!
//! Each hierarchy that holds one of these controllers gets a directory `<our own group>/<cgroup_name>` with one
//! group `slot-N` in it for each sandbox. In the hierarchy of version 2 the helper makes it and forks the init
//! into it; in those of version 1 the init makes and joins its group while it still has our identity. The helper
//! reads the last figures and removes the group.
//!
//! Invariant: a guest is in its group, with every limit written, before its first instruction.

mod files;
mod find;
mod freezer;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use files::Setting;
pub(crate) use find::Version;
use find::{Controller, Found};
pub(crate) use freezer::{Freezer, FreezerFile};

use nix::{fcntl::OFlag, sys::stat::Mode};

use crate::{
    spec::Limits,
    wire::{Failure, Gauges, Step},
};

/// How long leftovers of a predecessor may take to die.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(5);

/// The groups of one helper.
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    missing: Vec<(Controller, String)>,
}

struct Hierarchy {
    version: Version,
    controllers: Vec<Controller>,
    directory: PathBuf,
}

impl Cgroups {
    /// Finds the hierarchies this process may use, kills and removes what a predecessor left there, and makes
    /// the directories. What cannot be used ends up in [`Cgroups::missing`]. What can, but is still taken up by what a
    /// predecessor left, is an error: sandboxes without their limits would be the alternative.
    pub(crate) fn prepare(name: &str) -> Result<Self, String> {
        let Found { places, mut missing } = find::find(name);
        let mut hierarchies = Vec::new();
        for place in places {
            let hierarchy = Hierarchy {
                version: place.version,
                controllers: place.controllers.clone(),
                directory: place.own.join(name),
            };
            let why = |error: &io::Error| format!("{}: {error}", hierarchy.directory.display());
            let cleared = hierarchy.remove_leftovers();
            if let Err(error) = &cleared
                && error.kind() == io::ErrorKind::ResourceBusy
            {
                return Err(why(error));
            }
            match cleared.and_then(|()| place.make(name)) {
                Ok(()) => hierarchies.push(hierarchy),
                Err(error) => {
                    let why = why(&error);
                    missing.extend(place.controllers.into_iter().map(|controller| (controller, why.clone())));
                }
            }
        }
        Ok(Self { hierarchies, missing })
    }

    /// The limits that cannot be held here, with the reason. Accounting alone is not a limit.
    pub(crate) fn missing(&self) -> Vec<(String, String)> {
        self.missing
            .iter()
            .filter(|(controller, _)| controller.is_limit())
            .map(|(controller, why)| (controller.mechanism().to_owned(), why.clone()))
            .collect()
    }

    /// Why a mechanism's controller cannot be used, where it cannot.
    pub(crate) fn why_missing(&self, mechanism: &str) -> Option<&str> {
        let missing = self.missing.iter().find(|(controller, _)| controller.mechanism() == mechanism);
        missing.map(|(_, why)| why.as_str())
    }

    /// The version that holds a mechanism's controller, where one does.
    pub(crate) fn version(&self, mechanism: &str) -> Option<Version> {
        let holds = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|c| c.mechanism() == mechanism);
        self.hierarchies.iter().find(holds).map(|hierarchy| hierarchy.version)
    }

    /// Makes the group of version 2 of a slot, to fork into: nothing has to be moved, which takes the kernel a
    /// grace period. `None` where there is no such hierarchy.
    pub(crate) fn make_birthplace(&self, slot: u32) -> Result<Option<OwnedFd>, Failure> {
        let Some(hierarchy) = self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2) else {
            return Ok(None);
        };
        let group = hierarchy.make_group(slot)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(&group, flags, Mode::empty()).step(&format!("cgroup {}", group.display())).map(Some)
    }

    /// Files to join a slot's groups with, by writing `0` to each. They are the helper's, so whoever gets them may.
    pub(crate) fn open_doors(&self, slot: u32) -> Result<Vec<OwnedFd>, Failure> {
        let open = |hierarchy: &Hierarchy| {
            let group = hierarchy.make_group(slot)?;
            let file = if hierarchy.version == Version::V1 { "tasks" } else { "cgroup.procs" };
            let opened = OpenOptions::new().write(true).open(group.join(file));
            opened.map(OwnedFd::from).step(&format!("cgroup {}", group.display()))
        };
        self.hierarchies.iter().map(open).collect()
    }

    /// Makes the groups of a slot that are not there yet and moves the calling process into them. The settings stay open, to be
    /// written when the limits are known and our identity is gone.
    pub(crate) fn join(&self, slot: u32) -> Result<OpenLimits, Failure> {
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1) {
            let group = hierarchy.make_group(slot)?;
            // The init has one thread. Moving the caller's thread alone spares the kernel a grace period, which it
            // would spend holding the lock that making, freezing and thawing any group needs (since Linux 5.19).
            fs::write(group.join("tasks"), "0").step(&format!("cgroup {}", group.display()))?;
        }
        self.open_limits(slot)
    }

    /// Opens the settings of a slot's groups, made where they are not there yet. They are the caller's, so whoever gets
    /// them may write them.
    pub(crate) fn open_limits(&self, slot: u32) -> Result<OpenLimits, Failure> {
        let mut open = OpenLimits { files: Vec::new() };
        for hierarchy in &self.hierarchies {
            let group = hierarchy.make_group(slot)?;
            for setting in hierarchy.settings(&Limits::default()) {
                match OpenOptions::new().write(true).open(group.join(setting.file)) {
                    Ok(file) => open.files.push((setting.file, file)),
                    Err(error) if setting.optional && error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).step(&format!("cgroup {}/{}", group.display(), setting.file)),
                }
            }
        }
        Ok(open)
    }

    /// Settings that another process has opened, by their names. `None` when these are not of here.
    pub(crate) fn opened(&self, names: &[String], files: impl ExactSizeIterator<Item = OwnedFd>) -> Option<OpenLimits> {
        if names.len() != files.len() {
            return None;
        }
        let settings: Vec<Setting> = self.hierarchies.iter().flat_map(|h| h.settings(&Limits::default())).collect();
        let known = |name: &String| settings.iter().map(|setting| setting.file).find(|file| file == name);
        let files = names.iter().zip(files).map(|(name, file)| Some((known(name)?, File::from(file))));
        Some(OpenLimits { files: files.collect::<Option<_>>()? })
    }

    /// Writes a sandbox's limits, for the first time or anew.
    pub(crate) fn limit(&self, open: &OpenLimits, limits: &Limits) -> Result<(), Failure> {
        let settings: Vec<Setting> = self.hierarchies.iter().flat_map(|h| h.settings(limits)).collect();
        let write = |(name, mut file): (&str, &File)| {
            let setting = settings.iter().find(|setting| setting.file == name).expect("opened from the same list");
            file.write_all(setting.value.as_bytes()).or_else(|error| if setting.optional { Ok(()) } else { Err(error) })
        };
        let refused = |file: &(&str, &File)| write(*file).is_err();
        // Version 1 takes no memory limit above the one on memory with swap: raising both takes a second turn.
        let files = open.files.iter().map(|(name, file)| (*name, file));
        let refused: Vec<_> = files.filter(refused).collect();
        refused.into_iter().try_for_each(|file| write(file).step(&format!("cgroup {}", file.0)))
    }

    /// Where to read a living sandbox's use.
    pub(crate) fn gauges(&self, slot: u32) -> Gauges {
        let path = |gauge: fn(&Hierarchy) -> Option<&'static str>| {
            self.hierarchies.iter().find_map(|h| gauge(h).map(|file| h.group(slot).join(file)))
        };
        Gauges {
            memory_peak: path(|h| h.holds(Controller::Memory).then(|| h.version.memory_peak())),
            processor_time: path(|h| h.holds(Controller::Accounting).then(|| h.version.processor_time())),
            freezer: self.freezer_file(slot),
        }
    }

    fn freezer_file(&self, slot: u32) -> Option<FreezerFile> {
        let hierarchy = self.hierarchies.iter().find(|hierarchy| hierarchy.holds(Controller::Freezer))?;
        let (file, _) = hierarchy.version.freezer();
        Some(FreezerFile { path: hierarchy.group(slot).join(file), version: hierarchy.version })
    }

    /// Lets a slot's killed processes die: those that version 1 has frozen do not before they are thawed.
    pub(crate) fn release(&self, slot: u32) {
        if let Some(file) = self.freezer_file(slot) {
            file.release();
        }
    }

    /// Whether the kernel has killed something in this slot's group for want of memory.
    pub(crate) fn out_of_memory(&self, slot: u32) -> bool {
        let memory = self.hierarchies.iter().find(|hierarchy| hierarchy.holds(Controller::Memory));
        memory.is_some_and(|hierarchy| {
            let events = fs::read_to_string(hierarchy.group(slot).join(hierarchy.version.memory_events()));
            events.is_ok_and(|text| files::field(&text, "oom_kill").is_some_and(|kills| kills > 0))
        })
    }

    /// Removes a slot's groups. `false` while something in them has not quite gone.
    pub(crate) fn remove(&self, slot: u32) -> bool {
        self.hierarchies.iter().all(|hierarchy| match fs::remove_dir(hierarchy.group(slot)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        })
    }

    /// Removes the directories themselves, as far as they are empty.
    pub(crate) fn remove_directories(&self) {
        for hierarchy in &self.hierarchies {
            // A directory still in use stays for the next start to remove.
            let _ = fs::remove_dir(&hierarchy.directory);
        }
    }
}

/// Reads a gauge; `None` when the group is gone or the kernel does not keep it.
pub(crate) fn read_gauge(file: &Option<PathBuf>) -> Option<u64> {
    let file = file.as_ref()?;
    let text = fs::read_to_string(file).ok()?;
    // Version 2 keeps microseconds in a table where version 1 keeps nanoseconds alone.
    files::field(&text, "usage_usec").map(|us| us.saturating_mul(1000)).or_else(|| text.trim().parse().ok())
}

/// Reads an open gauge that is one number, from its beginning; `None` when the group is gone.
pub(crate) fn read_number(file: &File) -> Option<u64> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
}

/// The settings of one group, open for writing.
pub(crate) struct OpenLimits {
    files: Vec<(&'static str, File)>,
}

impl OpenLimits {
    /// In the order of [`OpenLimits::files`].
    pub(crate) fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(|(_, file)| file.as_fd())
    }
}

impl Hierarchy {
    fn group(&self, slot: u32) -> PathBuf {
        self.directory.join(format!("slot-{slot}"))
    }

    fn make_group(&self, slot: u32) -> Result<PathBuf, Failure> {
        let group = self.group(slot);
        match fs::create_dir(&group) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.step(&format!("cgroup {}", group.display()))?,
        }
        Ok(group)
    }

    fn holds(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    fn settings(&self, limits: &Limits) -> Vec<Setting> {
        self.controllers.iter().flat_map(|controller| files::settings(self.version, *controller, limits)).collect()
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let groups = entries.collect::<io::Result<Vec<_>>>()?.into_iter().map(|entry| entry.path());
        let groups: Vec<PathBuf> = groups.filter(|path| path.is_dir()).collect();
        let until = Instant::now() + LEFTOVERS_TIMEOUT;
        for group in groups {
            match self.empty_and_remove(&group, until) {
                // Its own helper, which is ending, was faster.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn empty_and_remove(&self, group: &Path, until: Instant) -> io::Result<()> {
        loop {
            let members = fs::read_to_string(group.join("cgroup.procs"))?;
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
                // One that has ended in between is what we want.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
            }
            if self.holds(Controller::Freezer) && self.version == Version::V1 {
                let (file, [_, thaw]) = self.version.freezer();
                fs::write(group.join(file), thaw)?;
            }
            match fs::remove_dir(group) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(5));
                }
                other => return other,
            }
        }
    }
}
