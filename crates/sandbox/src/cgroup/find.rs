//! Where our own groups are: which hierarchy holds which controller, and whether we may make groups there.

use std::{
    fs, io,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
};

/// The kernel's two designs of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Processor time used; part of `cpu` in version 2.
    Accounting,
}

impl Controller {
    const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Pids, Self::Accounting];

    fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, _) => "memory",
            (Self::Pids, _) => "pids",
            (Self::Accounting, Version::V1) => "cpuacct",
            (Self::Cpu | Self::Accounting, _) => "cpu",
        }
    }

    /// The name under which `probe` reports it.
    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            Self::Memory => "cgroup memory",
            Self::Cpu => "cgroup cpu",
            Self::Pids => "cgroup pids",
            Self::Accounting => "cgroup processor time",
        }
    }

    pub(crate) fn is_limit(self) -> bool {
        self != Self::Accounting
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
        let has = |controller: &Controller| names.split_whitespace().any(|name| name == controller.name(version));
        let free = |controller: &Controller| !places.iter().any(|place| place.controllers.contains(controller));
        let controllers: Vec<_> = Controller::ALL.into_iter().filter(has).filter(free).collect();
        if !controllers.is_empty() {
            places.push(Place { version, controllers, own });
        }
    }
    places
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
        }
        Ok(())
    }

    fn enable(&self, group: &Path) -> io::Result<()> {
        let file = group.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file)?;
        let names = self.controllers.iter().map(|controller| controller.name(Version::V2));
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
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn version_1_is_found_hierarchy_by_hierarchy() {
        let groups = "8:pids:/docker/7/a\n4:memory:/x/y\n1:cpu,cpuacct:/\n0::/\n";
        let places = locate(V1_MOUNTS, groups, "u-platform", |_| String::new());
        let paths: Vec<_> = places.iter().map(|place| place.own.to_str().unwrap()).collect();
        assert_eq!(paths, ["/sys/fs/cgroup/cpu/", "/sys/fs/cgroup/memory/x/y", "/sys/fs/cgroup/pids/a"]);
        assert_eq!(places[0].controllers, [Controller::Cpu, Controller::Accounting]);
    }

    #[test]
    fn version_2_offers_what_our_own_group_has() {
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let asked = |own: &Path| {
            assert_eq!(own, Path::new("/sys/fs/cgroup/user.slice/app"));
            "cpu memory pids\n".to_owned()
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
