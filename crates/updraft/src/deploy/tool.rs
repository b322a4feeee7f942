//! Runs the tools a build needs (pip, npm, cargo, a folder's own command) and finds the interpreters on this host.
//!
//! A tool's output is kept, up to a bound, and shown whole when the tool fails; meanwhile its last line is on
//! the progress line. A tool does not outlive the command: [`Cancel`] ends it.

use std::{
    env,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use updraft_process::discover::{Search, discover};
use updraft_types::Runtime;

use crate::{
    output::Step,
    problem::{Exit, Problem},
};

/// Most output of a tool kept, bytes; of more the end is kept.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// How often a running tool is looked at, and how long its output is waited for after its end.
const TICK: Duration = Duration::from_millis(20);

/// Tells running tools to stop. Clones share one switch.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops what runs now and whatever is started later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that has happened.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a tool's standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// For people: shown when the tool fails.
    Text,
    /// For us to read: not shown.
    Data,
}

/// Runs `command` to its end and returns its standard output. Anything but success is a [`Problem`] that
/// carries what the tool said.
pub fn run(
    command: &mut Command,
    name: &str,
    output: Stdout,
    step: &Step,
    cancel: &Cancel,
) -> Result<Vec<u8>, Problem> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(name, &error))?;
    let (chunks, arriving) = mpsc::sync_channel::<Chunk>(64);
    if let Some(stdout) = child.stdout.take() {
        read_in_background(stdout, Chunk::Stdout, chunks.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        read_in_background(stderr, Chunk::Stderr, chunks.clone());
    }
    drop(chunks);

    let (mut stdout, mut said) = (Vec::new(), Vec::new());
    let mut take = |chunk: Chunk| match chunk {
        Chunk::Stdout(bytes) => {
            append(&mut stdout, &bytes);
            if output == Stdout::Text {
                append(&mut said, &bytes);
            }
        }
        Chunk::Stderr(bytes) => {
            append(&mut said, &bytes);
            if let Some(line) = String::from_utf8_lossy(&bytes).lines().rfind(|line| !line.trim().is_empty()) {
                step.detail(line.trim());
            }
        }
    };
    let status = loop {
        match arriving.recv_timeout(TICK) {
            Ok(chunk) => take(chunk),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break wait(&mut child, cancel),
        }
        if cancel.is_cancelled() {
            break end(&mut child);
        }
        // A grandchild may hold the pipes open for ever; what the tool itself said has arrived by then.
        if let Some(status) = child.try_wait().transpose() {
            while let Ok(chunk) = arriving.recv_timeout(TICK * 5) {
                take(chunk);
            }
            break status;
        }
    };
    let status = status.map_err(|error| cannot_start(name, &error))?;
    if cancel.is_cancelled() {
        return Err(Problem::new(Exit::Build, format!("{name} was stopped")));
    }
    if status.success() {
        return Ok(stdout);
    }
    Err(Problem::new(Exit::Build, format!("{name} failed: {}", describe(status)))
        .with_detail(String::from_utf8_lossy(&said)))
}

enum Chunk {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

fn read_in_background(
    mut from: impl Read + Send + 'static,
    kind: fn(Vec<u8>) -> Chunk,
    chunks: mpsc::SyncSender<Chunk>,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = from.read(&mut buffer)
            && count > 0
            && chunks.send(kind(buffer[..count].to_vec())).is_ok()
        {}
    });
}

fn append(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    if kept.len() > 2 * OUTPUT_BYTES_MAX {
        kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
    }
}

fn wait(child: &mut Child, cancel: &Cancel) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            return end(child);
        }
        thread::sleep(TICK);
    }
}

fn end(child: &mut Child) -> io::Result<ExitStatus> {
    child.kill()?;
    child.wait()
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

fn cannot_start(name: &str, error: &io::Error) -> Problem {
    let problem = Problem::new(Exit::Build, format!("{name} could not be run")).because(error);
    if error.kind() == io::ErrorKind::NotFound {
        return problem.try_next(format!("install {name} and make sure that it is on the PATH"));
    }
    problem
}

/// A program on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A Python interpreter of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The program.
    pub program: PathBuf,
    /// The 11 of 3.11.
    pub minor: u8,
}

/// The interpreter for `python3.MINOR`, from the PATH or wherever the platform finds its own; where there is none
/// of that version, or none is asked for, the host's usual `python3`.
pub fn find_python(minor: Option<u8>) -> Result<Python, Problem> {
    let named = minor.map(|minor| format!("python3.{minor}"));
    let names = named.iter().map(String::as_str).chain(["python3", "python"]);
    let mut found: Vec<Python> = names.filter_map(find_program).filter_map(ask_python).collect();
    let is_wanted = |python: &Python| minor.is_none_or(|minor| python.minor == minor);
    if !found.iter().any(is_wanted) {
        let elsewhere = discover(&Search::of_host(Vec::new())).into_iter();
        found.extend(elsewhere.filter_map(|interpreter| match interpreter.runtime {
            Runtime::Python { minor } => Some(Python { program: interpreter.path, minor }),
            _ => None,
        }));
    }
    found.iter().find(|python| is_wanted(python)).or(found.first()).cloned().ok_or_else(|| {
        Problem::new(Exit::Build, "there is no Python on this host")
            .because("looked for python3 on the PATH and in the usual places")
            .try_next("install Python 3, or say the runtime and build the package yourself ([build] in function.toml)")
    })
}

/// The version of what may be a Python 3.
fn ask_python(program: PathBuf) -> Option<Python> {
    let question = "import sys; print(sys.version_info[0] * 1000 + sys.version_info[1])";
    let answer = first_line(&program, &["-c", question])?;
    let minor = answer.parse::<u32>().ok()?.checked_sub(3000)?.try_into().ok()?;
    Some(Python { program, minor })
}

/// The major version of the host's Node.js.
pub fn find_node() -> Result<u8, Problem> {
    let version = find_program("node").and_then(|program| first_line(&program, &["--version"]));
    version.and_then(|text| text.trim_start_matches('v').split('.').next()?.parse().ok()).ok_or_else(|| {
        Problem::new(Exit::Build, "there is no Node.js on this host")
            .because("looked for node on the PATH")
            .try_next("install Node.js, or say the runtime in function.toml")
    })
}

/// The first line a program prints, if it succeeds.
pub fn first_line(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;

    fn shell(script: &str, cancel: &Cancel) -> Result<Vec<u8>, Problem> {
        let step = Output::new(true).step("testing");
        run(Command::new("sh").args(["-c", script]), "sh", Stdout::Text, &step, cancel)
    }

    #[test]
    fn output_is_returned_on_success_and_shown_on_failure() {
        assert_eq!(shell("echo out; echo err >&2", &Cancel::default()).unwrap(), b"out\n");
        let problem = format!("{:?}", shell("echo wrong >&2; exit 3", &Cancel::default()).unwrap_err());
        assert!(problem.contains("exit code 3") && problem.contains("wrong"), "{problem}");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipes_does_not_hold_up_the_build() {
        let printed = shell("sleep 60 & echo $!", &Cancel::default()).unwrap();
        let sleeper = String::from_utf8(printed).unwrap().trim().to_owned();
        assert!(Command::new("kill").arg(&sleeper).status().unwrap().success(), "{sleeper} still sleeps");
    }

    #[test]
    fn cancelling_ends_the_tool() {
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(shell("exec sleep 60", &cancel).unwrap_err().to_string().contains("was stopped"));
    }

    #[test]
    fn a_missing_tool_is_named() {
        let step = Output::new(true).step("testing");
        let problem =
            run(&mut Command::new("/nowhere/pip"), "pip", Stdout::Text, &step, &Cancel::default()).unwrap_err();
        assert!(format!("{problem:?}").contains("install pip"));
    }
}
