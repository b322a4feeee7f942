//! Which interpreters this host has, and which of them runs a function.
//!
//! Every candidate is asked itself what and where it is, because links, wrappers and version managers hide that.
//! Invariant: discovery never fails and is bounded in time; what does not answer properly is not there.

mod ask;
mod search;

use std::{fmt::Write, path::PathBuf};

use updraft_executor::{Support, Unsupported};
use updraft_types::Runtime;

pub use search::Search;

/// One interpreter of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The runtime it is.
    pub runtime: Runtime,
    /// Its exact version, such as `3.11.7`.
    pub version: String,
    /// The executable itself, links resolved.
    pub path: PathBuf,
    /// What has to be mounted for it to run: its installation's directories, or just the executable.
    pub prefixes: Vec<PathBuf>,
    /// The format of compiled Python it reads, in hexadecimal; empty for others.
    pub(crate) bytecode: String,
    /// What the names of its compiled modules hold, such as `cpython-311` or `node-22.9.0`; empty where it can keep none.
    pub(crate) cache_tag: String,
}

/// What to do about a version that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Refuse it.
    #[default]
    Exact,
    /// Run the nearest version of the same language, the newer one of two equally near, and say so.
    Nearest,
}

/// Every interpreter found, by runtime; of one runtime the preferred one first. Takes up to some hundred
/// milliseconds; blocks.
pub fn discover(search: &Search) -> Vec<Interpreter> {
    let mut found = ask::all(&search.candidates(), search);
    found.sort_by_key(|interpreter| interpreter.runtime);
    found
}

/// The interpreter that runs `runtime`.
pub(crate) fn choose(
    interpreters: &[Interpreter],
    runtime: Runtime,
    policy: Policy,
) -> Result<(&Interpreter, Support), Unsupported> {
    if let Some(exact) = interpreters.iter().find(|interpreter| interpreter.runtime == runtime) {
        return Ok((exact, Support::Exact));
    }
    let same_language = || interpreters.iter().filter_map(|one| Some((distance(one.runtime, runtime)?, one)));
    let nearest = same_language().min_by_key(|(distance, one)| (distance.unsigned_abs(), -distance, &one.path));
    match nearest {
        None => Err(Unsupported(format!("{runtime} is not on this host, and no other version of it either"))),
        Some((_, nearest)) if policy == Policy::Nearest => {
            let text = format!(
                "{runtime} is not on this host; {} {} runs instead ({})",
                nearest.runtime,
                nearest.version,
                nearest.path.display()
            );
            Ok((nearest, Support::Nearest(text)))
        }
        Some(_) => {
            let mut text = format!("{runtime} is not on this host; it has ");
            let mut listed: Vec<Runtime> = Vec::new();
            for (_, interpreter) in same_language() {
                if listed.contains(&interpreter.runtime) {
                    continue;
                }
                let separator = if listed.is_empty() { "" } else { ", " };
                listed.push(interpreter.runtime);
                let _ = write!(text, "{separator}{} ({})", interpreter.runtime, interpreter.path.display());
            }
            Err(Unsupported(text))
        }
    }
}

/// How much newer `there` is than `wanted`; `None` for another language.
fn distance(there: Runtime, wanted: Runtime) -> Option<i16> {
    match (there, wanted) {
        (Runtime::Python { minor: there }, Runtime::Python { minor: wanted })
        | (Runtime::Nodejs { major: there }, Runtime::Nodejs { major: wanted }) => {
            Some(i16::from(there) - i16::from(wanted))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<Interpreter> {
        let names = ["python3.10", "python3.12", "python3.12", "nodejs20.x"];
        let interpreter = |(index, name): (usize, &&str)| Interpreter {
            runtime: name.parse().unwrap(),
            version: format!("{name}.0"),
            path: format!("/opt/{index}/{name}").into(),
            prefixes: Vec::new(),
            bytecode: String::new(),
            cache_tag: String::new(),
        };
        names.iter().enumerate().map(interpreter).collect()
    }

    fn chosen(runtime: &str, policy: Policy) -> Result<String, String> {
        let host = host();
        let choice = choose(&host, runtime.parse().unwrap(), policy);
        choice.map(|(interpreter, _)| interpreter.path.display().to_string()).map_err(|unsupported| unsupported.0)
    }

    #[test]
    fn the_exact_version_is_preferred_and_the_first_of_several() {
        assert_eq!(chosen("python3.12", Policy::Nearest).unwrap(), "/opt/1/python3.12");
        assert_eq!(chosen("nodejs20.x", Policy::Exact).unwrap(), "/opt/3/nodejs20.x");
    }

    #[test]
    fn a_missing_version_names_what_is_there() {
        assert_eq!(
            chosen("python3.14", Policy::Exact).unwrap_err(),
            "python3.14 is not on this host; it has python3.10 (/opt/0/python3.10), python3.12 (/opt/1/python3.12)"
        );
        assert!(chosen("provided.al2023", Policy::Exact).unwrap_err().contains("no other version"));
    }

    #[test]
    fn the_nearest_version_is_the_newer_of_two() {
        assert_eq!(chosen("python3.11", Policy::Nearest).unwrap(), "/opt/1/python3.12");
        assert_eq!(chosen("python3.9", Policy::Nearest).unwrap(), "/opt/0/python3.10");
        assert_eq!(chosen("nodejs24.x", Policy::Nearest).unwrap(), "/opt/3/nodejs20.x");
        let host = host();
        let (_, support) = choose(&host, Runtime::Python { minor: 14 }, Policy::Nearest).unwrap();
        assert!(matches!(support, Support::Nearest(text) if text.contains("python3.12")));
    }
}
