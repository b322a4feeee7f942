//! Asks executables what they are. Each runs for at most [`ANSWER_MS_MAX`], a few at a time.

use std::{
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use updraft_types::Runtime;

use super::{
    Interpreter, Search,
    search::{Candidate, Language},
};

/// Long enough for a machine that is busy and has read none of the interpreter yet: one that does not answer in time is not
/// there until the platform starts again.
const ANSWER_MS_MAX: u64 = 20_000;
const AT_ONCE: usize = 4;
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The oldest versions that our runtimes support.
const PYTHON_MINOR_MIN: u8 = 8;
const NODEJS_MAJOR_MIN: u8 = 18;

const PYTHON: &str = "import sys
from _frozen_importlib_external import MAGIC_NUMBER
print('%d.%d.%d' % sys.version_info[:3])
print(getattr(sys, '_base_executable', '') or sys.executable)
print(MAGIC_NUMBER.hex())
print(sys.implementation.cache_tag or '')
print(sys.base_prefix)
print(sys.base_exec_prefix)";

/// It has a cache of compiled modules where `bootstrap/compiled.cjs` has what it needs.
const NODEJS: &str =
    "const has = require('node:zlib').crc32 && require('node:vm').constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
[process.versions.node, process.execPath, has ? 'node-' + process.versions.node : ''].join('\\n')";

/// Asks all candidates; those that turn out to be interpreters keep their order.
pub(super) fn all(candidates: &[Candidate], search: &Search) -> Vec<Interpreter> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, Interpreter)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(candidates.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(candidate) = candidates.get(index) else { return };
                    if let Some(interpreter) = one(candidate, search) {
                        answers.lock().push((index, interpreter));
                    }
                }
            });
        }
    });
    let mut answers = answers.into_inner();
    answers.sort_by_key(|(index, _)| *index);
    let mut found: Vec<Interpreter> = Vec::with_capacity(answers.len());
    for (_, interpreter) in answers {
        if found.iter().all(|known| known.path != interpreter.path) {
            found.push(interpreter);
        }
    }
    found
}

fn one(candidate: &Candidate, search: &Search) -> Option<Interpreter> {
    let mut command = Command::new(&candidate.path);
    match candidate.language {
        Language::Python => command.args(["-I", "-S", "-B", "-c", PYTHON]),
        Language::Nodejs => command.args(["-p", NODEJS]).env_remove("NODE_OPTIONS"),
    };
    let text = answer(command)?;
    match candidate.language {
        Language::Python => python(&text, search.home.as_deref()),
        Language::Nodejs => nodejs(&text, search.home.as_deref()),
    }
}

fn answer(mut command: Command) -> Option<String> {
    let give_up_at = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
    // A socket instead of a pipe, because reading from it can time out.
    let (mut ours, theirs) = UnixStream::pair().ok()?;
    let mut child = command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(Stdio::null()).spawn().ok()?;
    drop(command);
    let text = read_until(&mut ours, give_up_at);
    if text.is_none() {
        // Fails only if it has ended after all.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    text.filter(|_| status.success())
}

fn read_until(stream: &mut UnixStream, give_up_at: Instant) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = give_up_at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut piece) {
            Ok(0) => return String::from_utf8(bytes).ok(),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            // The end of another child; a read that may time out is not resumed by the system.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return None;
        }
    }
}

fn python(text: &str, home: Option<&Path>) -> Option<Interpreter> {
    let mut lines = text.lines();
    let version = lines.next()?;
    let minor: u8 = version.strip_prefix("3.")?.split('.').next()?.parse().ok()?;
    let path = Path::new(lines.next()?).canonicalize().ok()?;
    let bytecode = lines.next()?;
    let cache_tag = lines.next()?;
    if !is_plain(cache_tag) {
        return None;
    }
    if minor < PYTHON_MINOR_MIN || bytecode.is_empty() || !bytecode.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let prefixes = lines.map(PathBuf::from).collect();
    Some(Interpreter {
        runtime: Runtime::Python { minor },
        version: version.to_owned(),
        prefixes: mountable(prefixes, &path, home),
        path,
        bytecode: bytecode.to_owned(),
        cache_tag: cache_tag.to_owned(),
    })
}

/// A tag becomes part of file names.
fn is_plain(tag: &str) -> bool {
    tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn nodejs(text: &str, home: Option<&Path>) -> Option<Interpreter> {
    let mut lines = text.lines();
    let version = lines.next()?;
    let major: u8 = version.split('.').next()?.parse().ok()?;
    let path = Path::new(lines.next()?).canonicalize().ok()?;
    let cache_tag = lines.next()?;
    let bin = path.parent()?;
    let prefix = if bin.file_name()? == "bin" { bin.parent()? } else { path.as_path() };
    if major < NODEJS_MAJOR_MIN || !is_plain(cache_tag) {
        return None;
    }
    Some(Interpreter {
        runtime: Runtime::Nodejs { major },
        version: version.to_owned(),
        prefixes: mountable(vec![prefix.to_owned()], &path, home),
        path,
        bytecode: String::new(),
        cache_tag: cache_tag.to_owned(),
    })
}

/// The directories to show to guests: the prefixes, each once, as long as none of them is or holds the home
/// directory; otherwise the executable alone.
fn mountable(prefixes: Vec<PathBuf>, executable: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    for prefix in prefixes.into_iter().filter_map(|prefix| prefix.canonicalize().ok()) {
        let is_too_wide = prefix.parent().is_none() || home.is_some_and(|home| home.starts_with(&prefix));
        let directory = if is_too_wide { executable.to_owned() } else { prefix };
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    if !directories.iter().any(|directory| executable.starts_with(directory)) {
        directories.push(executable.to_owned());
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_believed_only_when_they_make_sense() {
        let text = "3.11.7\n/bin/sh\na70d0d0a\ncpython-311\n/usr\n/usr\n";
        let interpreter = python(text, None).unwrap();
        assert_eq!(interpreter.runtime, Runtime::Python { minor: 11 });
        assert_eq!(interpreter.prefixes[0], Path::new("/usr"));
        for text in [
            "",
            "2.7.18\n/bin/sh\nff\nt\n/usr\n",
            "3.7.1\n/bin/sh\nff\nt\n/usr\n",
            "3.11.7\n/bin/sh\n../x\nt\n/usr\n",
            "3.11.7\n/bin/sh\nff\n../x\n/usr\n",
        ] {
            assert_eq!(python(text, None), None, "{text}");
        }
        assert_eq!(nodejs("16.0.0\n/bin/sh\n\n", None), None);
        assert_eq!(nodejs("20.1.0\n/bin/sh\n../x\n", None), None);
        assert_eq!(nodejs("20.1.0\n/bin/sh\n\n", None).unwrap().runtime, Runtime::Nodejs { major: 20 });
        assert_eq!(nodejs("22.9.0\n/bin/sh\nnode-22.9.0\n", None).unwrap().cache_tag, "node-22.9.0");
    }

    #[test]
    fn a_home_directory_is_never_a_prefix() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let executable = home.join("bin/node");
        std::fs::create_dir(home.join("bin")).unwrap();
        std::fs::write(&executable, "").unwrap();
        assert_eq!(mountable(vec![home.clone()], &executable, Some(&home)), std::slice::from_ref(&executable));
        assert_eq!(mountable(vec!["/".into()], &executable, Some(&home)), std::slice::from_ref(&executable));
        assert_eq!(mountable(vec![home.join("bin")], &executable, Some(&home)), [home.join("bin")]);
    }

    #[test]
    fn what_fails_or_is_no_program_is_not_there() {
        let search = Search::default();
        let candidate = |path: &str| Candidate { language: Language::Python, path: path.into() };
        assert!(all(&[candidate("/bin/false"), candidate("/etc/passwd"), candidate("/nowhere")], &search).is_empty());
    }
}
