//! Divides a function's sandbox into what can be there before the function is known and what its assignment brings; and
//! a copy's into what can be there before its instance is.
//!
//! Pure. Invariants: nothing of the function, its account or its configuration is in the first part of the one; nothing
//! of the instance, its environment and credentials, in that of the other.

use std::{collections::BTreeMap, path::Path};

use updraft_sandbox::{Mount, Spec};
use updraft_types::Runtime;

use super::{Assignment, Limits};
use crate::environment::{self, INITIALIZATION_TYPE, LAYERS_ROOT, TASK_ROOT};

/// Bounds an interpreter without a function; all are replaced by the function's.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
const CPU_MILLIS: u32 = 1000;
/// Who has a function comes first.
const CPU_WEIGHT: u32 = 1;

/// The two parts of a sandbox.
pub(crate) struct Parts {
    /// What a blank is started as. Also its kind: equal ones can serve each other's functions.
    pub(crate) blank: Spec,
    pub(crate) assignment: Assignment,
}

/// The parts of a function's sandbox. `None` when it has to be started as a whole. `no_package` is shown where the
/// package will be.
pub(crate) fn divide(spec: &Spec, runtime: Runtime, no_package: &Path) -> Option<Parts> {
    let has_extensions = !spec.companions.programs.is_empty();
    if has_extensions || !matches!(runtime, Runtime::Python { .. } | Runtime::Nodejs { .. }) {
        return None;
    }
    let variables = environment::of_nobody(runtime);
    let is_same = |(name, value): &(String, String)| {
        !environment::is_read_at_start(name) || variables.iter().any(|(known, usual)| known == name && usual == value)
    };
    if !spec.environment.iter().all(is_same) {
        return None;
    }
    // In place, so that functions with layers and without have blanks of one kind.
    let mut late = Vec::new();
    let early = spec.mounts.iter().cloned().map(|mount| {
        if !is_late(&mount, no_package) {
            return mount;
        }
        let nothing = Mount { source: no_package.to_owned(), target: mount.target.clone() };
        late.push(mount);
        nothing
    });
    let early: Vec<Mount> = early.collect();
    let message = message(spec);
    Some(Parts {
        blank: Spec {
            name: "unassigned".to_owned(),
            environment: variables,
            directory: "/".into(),
            mounts: early,
            tmp_bytes_max: 0,
            limits: Limits {
                memory_bytes_max: MEMORY_BYTES_MAX,
                cpu_millis: CPU_MILLIS,
                cpu_weight: CPU_WEIGHT,
                ..spec.limits
            },
            ..spec.clone()
        },
        assignment: Assignment {
            name: spec.name.clone(),
            mounts: late,
            tmp_bytes_max: spec.tmp_bytes_max,
            limits: spec.limits,
            message,
        },
    })
}

/// The parts of the sandbox of a copy, whose limits on processes and files are those of its original, `limits`.
pub(crate) fn divide_copy(spec: &Spec, limits: Limits) -> Parts {
    let mut told = spec.clone();
    environment::set(&mut told.environment, INITIALIZATION_TYPE, "snap-start");
    let limits = Limits { pids_max: limits.pids_max, open_files_max: limits.open_files_max, ..spec.limits };
    Parts {
        blank: Spec {
            name: "unassigned".to_owned(),
            environment: Vec::new(),
            limits: Limits { cpu_weight: CPU_WEIGHT, ..limits },
            ..spec.clone()
        },
        assignment: Assignment {
            name: spec.name.clone(),
            mounts: Vec::new(),
            tmp_bytes_max: spec.tmp_bytes_max,
            limits,
            message: message(&told),
        },
    }
}

/// What a process that waits for its function, or to be restored, is told.
fn message(spec: &Spec) -> String {
    let environment: BTreeMap<&str, &str> =
        spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    serde_json::json!({ "environment": environment, "directory": spec.directory }).to_string()
}

/// Whether a mount is the function's own.
fn is_late(mount: &Mount, no_package: &Path) -> bool {
    mount.target.starts_with(TASK_ROOT) || (mount.target == Path::new(LAYERS_ROOT) && mount.source != no_package)
}

#[cfg(test)]
mod tests {
    use updraft_sandbox::Network;

    use super::*;

    fn spec(runtime: Runtime, more: &[(&str, &str)]) -> Spec {
        let mut environment: BTreeMap<String, String> = environment::of_nobody(runtime).into_iter().collect();
        environment.remove(environment::AWAITS_ASSIGNMENT);
        environment.insert("AWS_LAMBDA_FUNCTION_NAME".into(), "secret-name".into());
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mount = |source: &str, target: &str| Mount { source: source.into(), target: target.into() };
        Spec {
            name: "secret-id".into(),
            command: vec!["/usr/bin/python3".into()],
            environment: environment.into_iter().collect(),
            directory: TASK_ROOT.into(),
            root: None,
            mounts: vec![
                mount("/usr", "/usr"),
                mount("/layers/secret", LAYERS_ROOT),
                mount("/packages/secret", TASK_ROOT),
            ],
            tmp_bytes_max: 1 << 29,
            listen: vec![9001],
            network: Network::default(),
            limits: Limits {
                memory_bytes_max: 1 << 27,
                cpu_millis: 2000,
                cpu_weight: 0,
                pids_max: 1024,
                open_files_max: 1024,
            },
            companions: Default::default(),
        }
    }

    #[test]
    fn nothing_of_the_function_is_in_the_blank() {
        for runtime in [Runtime::Python { minor: 12 }, Runtime::Nodejs { major: 22 }] {
            let whole = spec(runtime, &[("TOKEN", "secret-token"), ("TZ", "Asia/Tokyo"), ("NODE_ENV", "secret")]);
            let parts = divide(&whole, runtime, Path::new("/nothing")).unwrap();
            let blank = serde_json::to_string(&parts.blank).unwrap();
            assert!(!blank.contains("secret") && !blank.contains("Tokyo"), "{blank}");
            assert_eq!(parts.blank.mounts.iter().filter(|mount| mount.source == Path::new("/nothing")).count(), 2);
            assert_eq!(parts.assignment.name, "secret-id");
            let late: Vec<_> = parts.assignment.mounts.iter().map(|mount| mount.source.as_path()).collect();
            assert_eq!(late, [Path::new("/layers/secret"), Path::new("/packages/secret")]);
            assert!(parts.assignment.message.contains("secret-token"));
            let mut other =
                Spec { name: "x".into(), limits: Limits { cpu_millis: 1, ..whole.limits }, ..whole.clone() };
            other.mounts[1].source = "/nothing".into();
            let other = divide(&other, runtime, Path::new("/nothing")).unwrap();
            assert_eq!(serde_json::to_string(&other.blank).unwrap(), blank, "the same kind");
        }
    }

    #[test]
    fn nothing_of_the_instance_is_in_what_becomes_its_sandbox() {
        let runtime = Runtime::Python { minor: 12 };
        let mut whole = spec(runtime, &[("AWS_SESSION_TOKEN", "own-token"), (INITIALIZATION_TYPE, "on-demand")]);
        whole.name = "own-id".into();
        let original = Limits { pids_max: 7, open_files_max: 8, memory_bytes_max: 1, ..Limits::default() };
        let parts = divide_copy(&whole, original);
        let blank = serde_json::to_string(&parts.blank).unwrap();
        assert!(!blank.contains("own-"), "{blank}");
        assert_eq!(parts.blank.mounts.len(), whole.mounts.len(), "its package is there");
        assert_eq!(parts.assignment.name, "own-id");
        assert!(parts.assignment.message.contains("own-token") && parts.assignment.message.contains("snap-start"));
        assert!(!parts.assignment.message.contains("on-demand"));
        let limits = Limits { pids_max: 7, open_files_max: 8, ..whole.limits };
        assert_eq!(parts.assignment.limits, limits);
        assert_eq!(parts.blank.limits, Limits { cpu_weight: CPU_WEIGHT, ..limits });
    }

    #[test]
    fn what_takes_effect_at_the_start_of_a_process_makes_it_start_whole() {
        let runtime = Runtime::Python { minor: 12 };
        let is_divided = |name: &str, value: &str| {
            divide(&spec(runtime, &[(name, value)]), runtime, Path::new("/nothing")).is_some()
        };
        for name in [
            "PYTHONPATH",
            "PYTHONHASHSEED",
            "NODE_OPTIONS",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LANG",
            "LC_ALL",
            "MALLOC_ARENA_MAX",
            "GLIBC_TUNABLES",
            "OPENSSL_CONF",
            "SSL_CERT_FILE",
            "UV_THREADPOOL_SIZE",
            "TZDIR",
            "AWS_LAMBDA_EXEC_WRAPPER",
        ] {
            assert!(!is_divided(name, "x"), "{name}");
        }
        for name in ["TABLE", "TZ", "PATH", "HOME", "NODE_ENV"] {
            assert!(is_divided(name, "x"), "{name}");
        }
        assert!(is_divided("LANG", "en_US.UTF-8"), "as it is anyway");
        assert!(divide(&spec(Runtime::Web, &[]), Runtime::Web, Path::new("/nothing")).is_none());
    }
}
