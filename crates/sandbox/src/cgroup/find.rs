//! Where our own groups are: which hierarchy holds which controller, and whether we may make groups there.

use std::{
    fs, io,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::files::FREEZE_V2;

/// The kernel's two designs of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    /// A hierarchy for each controller or few.
    V1,
    /// One for all.
    V2,
}

/// What is asked of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    Pids,
    /// Stopping everything at once. A controller in version 1, a part of every group in version 2.
    Freezer,
    /// Processor time used; part of `cpu` in version 2.
    Accounting,
    /// A group's own share where several read from one disk. Version 2 alone: version 1 would take every start
    /// another move between groups.
    Io,
}

impl Controller {
    const ALL: [Self; 6] = [Self::Memory, Self::Cpu, Self::Pids, Self::Freezer, Self::Accounting, Self::Io];

    /// Its name in lists of controllers; `None` for what is no controller in this version.
    fn name(self, version: Version) -> Option<&'static str> {
        Some(match (self, version) {
            (Self::Memory, _) => "memory",
            (Self::Pids, _) => "pids",
            (Self::Accounting, Version::V1) => "cpuacct",
            (Self::Cpu | Self::Accounting, _) => "cpu",
            (Self::Freezer, Version::V1) => "freezer",
            (Self::Io, Version::V2) => "io",
            (Self::Freezer, Version::V2) | (Self::Io, Version::V1) => return None,
        })
    }

    /// Whether every hierarchy of this version has it.
    fn is_everywhere(self, version: Version) -> bool {
        (self, version) == (Self::Freezer, Version::V2)
    }

    /// The name under which `probe` reports it.
    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            Self::Memory => "cgroup memory",
            Self::Cpu => "cgroup cpu",
            Self::Pids => "cgroup pids",
            Self::Freezer => "cgroup freezer",
            Self::Accounting => "cgroup processor time",
            Self::Io => "cgroup io",
        }
    }

    /// Whether a host without it holds less than a function's configuration promises.
    pub(crate) fn is_limit(self) -> bool {
        !matches!(self, Self::Accounting | Self::Io)
    }
}

/// One hierarchy and our own group in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
    pub(super) own: PathBuf,
}

pub(super) struct Found {
    pub(super) places: Vec<Place>,
    pub(super) missing: Vec<(Controller, String)>,
}

/// Looks at the mounted hierarchies.
pub(super) fn find(name: &str) -> Found {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (mounts, groups) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
    let unified = |own: &Path| fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let places = locate(&mounts, &groups, &format!("{name}-platform"), unified);
    let held = |controller| places.iter().any(|place: &Place| place.controllers.contains(&controller));
    let missing = Controller::ALL.into_iter().filter(|controller| !held(*controller));
    let why = "no hierarchy with this controller is mounted, or our own group does not have it";
    let missing = missing.map(|controller| (controller, why.to_owned())).collect();
    Found { places, missing }
}

/// Reads `mountinfo` and `cgroup` of /proc/self. `leaf` is the group this platform once moved itself to.
fn locate(mounts: &str, groups: &str, leaf: &str, unified: impl Fn(&Path) -> String) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for line in mounts.lines() {
        let Some((version, root, point, options)) = parse_mount(line) else { continue };
        let Some(own) = own_group(groups, version, options, root, point) else { continue };
        let own = if own.ends_with(leaf) { own.parent().map_or(own.clone(), Path::to_path_buf) } else { own };
        let names = match version {
            Version::V1 => options.replace(',', " "),
            Version::V2 => unified(&own),
        };
        let has = |controller: &Controller| {
            let is_named = names.split_whitespace().any(|name| Some(name) == controller.name(version));
            is_named || controller.is_everywhere(version)
        };
        let held = |controller: &Controller| places.iter().any(|place| place.controllers.contains(controller));
        let free = |controller: &Controller| controller.is_everywhere(version) || !held(controller);
        let controllers: Vec<_> = Controller::ALL.into_iter().filter(has).filter(free).collect();
        if !controllers.is_empty() {
            places.push(Place { version, controllers, own });
        }
    }
    prefer_version_2_for_freezing(&mut places);
    places
}

/// What version 1 has frozen cannot be killed before it is thawed; what version 2 has frozen can.
fn prefer_version_2_for_freezing(places: &mut Vec<Place>) {
    let is_v2 = |place: &Place| place.version == Version::V2;
    let Some(first) = places.iter().position(is_v2) else { return };
    for (index, place) in places.iter_mut().enumerate() {
        if index != first {
            place.controllers.retain(|controller| *controller != Controller::Freezer);
        } else if !place.controllers.contains(&Controller::Freezer) {
            place.controllers.push(Controller::Freezer);
        }
    }
    places.retain(|place| !place.controllers.is_empty());
}

/// Version, root, mount point and super options of a cgroup mount.
fn parse_mount(line: &str) -> Option<(Version, &str, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    Some((version, root, point, right.nth(1)?))
}

/// The directory of our group in a hierarchy, when its mount shows it.
fn own_group(groups: &str, version: Version, options: &str, root: &str, point: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match version {
            Version::V2 => controllers.is_empty(),
            Version::V1 => controllers.split(',').any(|name| options.split(',').any(|option| option == name)),
        };
        ours.then_some(path)
    })?;
    let below = Path::new(path).strip_prefix(root).ok()?;
    let outside = below.components().any(|part| part == std::path::Component::ParentDir);
    (!outside).then(|| Path::new(point).join(below))
}

impl Place {
    /// Makes the directory for our sandboxes' groups and, in version 2, gives it its controllers.
    pub(super) fn make(&self, name: &str) -> io::Result<()> {
        let directory = self.own.join(name);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        if self.version == Version::V2 {
            self.enable(&self.own).or_else(|error| {
                // Version 2 gives no controllers to groups below one that holds processes itself.
                if error.raw_os_error() != Some(libc::EBUSY) {
                    return Err(error);
                }
                self.step_aside(name)?;
                self.enable(&self.own)
            })?;
            self.enable(&directory)?;
            if self.controllers.contains(&Controller::Freezer) {
                // Since Linux 5.2.
                fs::metadata(directory.join(FREEZE_V2))?;
            }
        }
        Ok(())
    }

    fn enable(&self, group: &Path) -> io::Result<()> {
        let file = group.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file)?;
        let names = self.controllers.iter().filter_map(|controller| controller.name(Version::V2));
        let wanted: Vec<_> = names.filter(|name| !enabled.split_whitespace().any(|on| on == *name)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        fs::write(file, wanted.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" "))
    }

    /// Moves the platform and this helper into a group of their own beside the sandboxes'. Other processes
    /// are not ours to move; while there are any, the controllers stay out of reach.
    fn step_aside(&self, name: &str) -> io::Result<()> {
        let leaf = self.own.join(format!("{name}-platform"));
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        for pid in [parent_id(), std::process::id()] {
            fs::write(leaf.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
34 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:4 - cgroup cgroup rw,memory
39 31 0:36 /docker/7 /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn version_1_is_found_hierarchy_by_hierarchy() {
        let groups = "8:pids:/docker/7/a\n6:freezer:/\n4:memory:/x/y\n1:cpu,cpuacct:/\n0::/\n";
        let places = locate(V1_MOUNTS, groups, "u-platform", |_| String::new());
        let paths: Vec<_> = places.iter().map(|place| place.own.to_str().unwrap()).collect();
        let version_1 = ["/sys/fs/cgroup/cpu/", "/sys/fs/cgroup/memory/x/y", "/sys/fs/cgroup/pids/a"];
        assert_eq!(paths[..3], version_1);
        assert_eq!(places[0].controllers, [Controller::Cpu, Controller::Accounting]);
        // A unified hierarchy freezes even where it holds no controller.
        assert_eq!((paths[3], &places[3].controllers[..]), ("/sys/fs/cgroup/unified/", &[Controller::Freezer][..]));
        let without: String = V1_MOUNTS.lines().filter(|line| !line.contains("cgroup2")).collect::<Vec<_>>().join("\n");
        let places = locate(&without, groups, "u-platform", |_| String::new());
        assert_eq!(places[3].version, Version::V1);
        assert_eq!(places[3].controllers, [Controller::Freezer]);
    }

    #[test]
    fn version_2_offers_what_our_own_group_has() {
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let asked = |own: &Path| {
            assert_eq!(own, Path::new("/sys/fs/cgroup/user.slice/app"));
            "cpu io memory pids\n".to_owned()
        };
        let places = locate(mount, "0::/user.slice/app/u-platform\n", "u-platform", asked);
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].controllers, Controller::ALL);
    }

    #[test]
    fn a_group_outside_what_is_mounted_is_not_ours_to_use() {
        assert!(locate(V1_MOUNTS, "8:pids:/elsewhere\n", "u", |_| String::new()).is_empty());
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(locate(mount, "0::/../b\n", "u", |_| "memory".to_owned()).is_empty());
    }
}
