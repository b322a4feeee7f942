//! Turns a function into the sandbox that runs it, and a sandbox that does not start into a fault.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use updraft_executor::Start;
use updraft_sandbox::{Companions, Error, Limits, Spec};
use updraft_types::{ExtensionFailure, Fault, Runtime, function::Configuration};

use crate::{
    ProcessExecutor,
    egress::Plan,
    environment,
    environment::{EXEC_WRAPPER, LAYERS_ROOT, RUNTIME_API_PORT, TASK_ROOT, WEB_PORT},
    extensions, image, mounts, telemetry,
};

/// Lambda's quotas (source: AWS's page of Lambda quotas): processes and threads, open files.
const PIDS_MAX: u32 = 1024;
const OPEN_FILES_MAX: u32 = 1024;

/// How the sandbox's step begins that enters the working directory.
const WORKING_DIRECTORY: &str = "working directory";

/// What a `provided` runtime starts, from its package or else from its layers.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// Memory that buys one core.
const MEMORY_MB_PER_CORE: u32 = 1769;
const MEGABYTE: u64 = 1024 * 1024;

/// Where every sandbox finds the programs of the host's system.
const SYSTEM_PATH: &[&str] = &["/usr/local/bin", "/usr/bin"];

/// Starts a wrapper as Lambda's runtimes do: with the runtime's command line as its arguments. The shell also runs one
/// that names no interpreter.
const WRAPPING: &str = r#"wrapper="$AWS_LAMBDA_EXEC_WRAPPER"
if [ ! -f "$wrapper" ]; then echo "$wrapper: does not exist"; exit 127; fi
if [ ! -x "$wrapper" ]; then echo "$wrapper: is not an executable"; exit 126; fi
exec "$wrapper" "$@""#;

/// A command, and what it needs beside the system.
#[derive(Default)]
struct Command {
    words: Vec<String>,
    prefixes: Vec<PathBuf>,
    search_path: Vec<String>,
}

impl ProcessExecutor {
    /// How an instance's egress is laid out.
    pub(crate) fn egress(&self, start: &Start) -> Plan {
        let configuration = &start.function.configuration;
        let taken = if configuration.runtime == Runtime::Web { WEB_PORT } else { RUNTIME_API_PORT };
        let plan = Plan::new(self.config.egress.policy(configuration.egress.as_ref()), taken);
        if self.config.endpoint.is_some() { plan.with_endpoint() } else { plan }
    }

    /// The sandbox of an instance.
    pub(crate) async fn spec(&self, start: &Start, egress: &Plan) -> Result<Spec, Fault> {
        let configuration = &start.function.configuration;
        let command = wrapped(self.command(start).await?, configuration);
        // An image is all that its sandbox shows: nothing of the host's system, and none of our files.
        let image = start.function.code.image.as_ref();
        let mut mounts = Vec::new();
        if image.is_none() {
            mounts.clone_from(&self.mounts);
            if let Some(layers) = &start.layers {
                mounts::show_layers(&mut mounts, layers);
            }
            mounts.extend(mounts::prefixes(&command.prefixes));
            mounts.push(mounts::package(&start.package));
        }
        let is_web = configuration.runtime == Runtime::Web;
        let mut environment =
            environment::of(start, &self.config.region, self.config.credentials.as_ref(), &command.search_path);
        environment::add_missing(&mut environment, egress.environment());
        let mut network = egress.layout().clone();
        if !is_web {
            // Where extensions have their telemetry sent to.
            network.hosts.extend(telemetry::HOSTS.map(|name| (Ipv4Addr::LOCALHOST, name.to_owned())));
        }
        let layers = if image.is_some() {
            image::layers(&start.package)
        } else {
            start.layers.as_deref().map(Path::to_path_buf)
        };
        let companions = match layers {
            Some(layers) if !is_web => extensions::of(&layers, &environment)?,
            _ => Companions::default(),
        };
        Ok(Spec {
            name: start.id.to_string(),
            command: command.words,
            environment,
            directory: image.map_or(TASK_ROOT, |image| image.program.directory(&configuration.image)).into(),
            root: image.map(|_| start.package.to_path_buf()),
            mounts,
            tmp_bytes_max: u64::from(configuration.ephemeral_storage_mb) * MEGABYTE,
            listen: if is_web { Vec::new() } else { vec![RUNTIME_API_PORT] },
            network,
            limits: Limits {
                memory_bytes_max: u64::from(configuration.memory_mb) * MEGABYTE,
                cpu_millis: cpu_millis(configuration.memory_mb, self.config.cpu_millis_min),
                cpu_weight: cpu_weight(configuration.memory_mb),
                pids_max: PIDS_MAX,
                open_files_max: OPEN_FILES_MAX,
            },
            companions,
        })
    }

    async fn command(&self, start: &Start) -> Result<Command, Fault> {
        let configuration = &start.function.configuration;
        let runtime = configuration.runtime;
        let interpreter =
            || self.interpreter(runtime).map_err(|unsupported| Fault::Entrypoint { reason: unsupported.0 });
        match runtime {
            Runtime::Python { .. } => {
                let (interpreter, _) = interpreter()?;
                let file = self.files.python(interpreter).await;
                // No `site` (host packages are not the function's, and it takes milliseconds), no writing of
                // bytecode next to a read-only package, output unbuffered.
                let words = ["-S", "-s", "-B", "-u"].map(str::to_owned);
                let path = interpreter.path.display().to_string();
                Ok(Command {
                    words: [path].into_iter().chain(words).chain([file]).collect(),
                    prefixes: interpreter.prefixes.clone(),
                    search_path: Vec::new(),
                })
            }
            Runtime::Nodejs { .. } => {
                let (interpreter, _) = interpreter()?;
                // Heap sizes as Lambda's own Node.js runtime sets them.
                let new_mb = configuration.memory_mb / 10;
                Ok(Command {
                    words: vec![
                        interpreter.path.display().to_string(),
                        format!("--max-semi-space-size={}", (new_mb / 2).max(1)),
                        format!("--max-old-space-size={}", configuration.memory_mb - new_mb),
                        self.files.nodejs(),
                    ],
                    prefixes: interpreter.prefixes.clone(),
                    search_path: Vec::new(),
                })
            }
            Runtime::Provided { .. } => {
                let layers = start.layers.as_deref().filter(|layers| layers.join(BOOTSTRAP).is_file());
                let root =
                    if layers.is_some() && !start.package.join(BOOTSTRAP).is_file() { LAYERS_ROOT } else { TASK_ROOT };
                Ok(Command { words: vec![format!("{root}/{BOOTSTRAP}")], ..Command::default() })
            }
            Runtime::Web => Ok(self.shell_command(&configuration.handler)),
            Runtime::Image => Ok(Command { words: image::words(&start.function)?, ..Command::default() }),
            Runtime::Wasm => Err(Fault::Platform { reason: "a wasm function was sent to the process executor".into() }),
        }
    }

    /// A `web` function's start command. `python3` and `node` are found even where only a version manager
    /// has them.
    fn shell_command(&self, line: &str) -> Command {
        let mut command =
            Command { words: vec!["/bin/sh".into(), "-c".into(), shell_line(line)], ..Command::default() };
        for program in ["python3", "node"] {
            if SYSTEM_PATH.iter().any(|directory| PathBuf::from(directory).join(program).exists()) {
                continue;
            }
            let newest = self.interpreters().iter().rfind(|interpreter| match interpreter.runtime {
                Runtime::Python { .. } => program == "python3",
                _ => program == "node",
            });
            if let Some((interpreter, bin)) = newest.and_then(|newest| Some((newest, newest.path.parent()?))) {
                command.prefixes.extend(interpreter.prefixes.iter().cloned());
                command.search_path.push(bin.display().to_string());
            }
        }
        command
    }
}

/// The command of a Python or Node.js function that has a wrapper. As on Lambda, a `provided` runtime has none: its
/// bootstrap is the author's already.
fn wrapped(mut command: Command, configuration: &Configuration) -> Command {
    let has_wrapper = configuration.environment.get(EXEC_WRAPPER).is_some_and(|wrapper| !wrapper.is_empty());
    if has_wrapper && matches!(configuration.runtime, Runtime::Python { .. } | Runtime::Nodejs { .. }) {
        let shell = ["/bin/sh", "-c", WRAPPING, "bootstrap"].map(str::to_owned);
        command.words.splice(0..0, shell);
    }
    command
}

/// `exec`s a simple command, so that no shell stays behind it; leaves anything more to the shell.
fn shell_line(line: &str) -> String {
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    let is_simple = !line.contains(['\n', ';', '&', '|', '(', '{', '<', '>', '#', '`', '!']) && !first.contains('=');
    let is_keyword = ["if", "for", "while", "until", "case", "exec", "export", "set", "cd", "."].contains(&first);
    if is_simple && !is_keyword { format!("exec {line}") } else { line.to_owned() }
}

fn cpu_millis(memory_mb: u32, cpu_millis_min: u32) -> u32 {
    (memory_mb * 1000 / MEMORY_MB_PER_CORE).max(cpu_millis_min)
}

/// What an instance gets of the processors where there are not enough for all: as its memory, and with a core's worth of
/// memory as much as any other program of the host.
fn cpu_weight(memory_mb: u32) -> u32 {
    (memory_mb * 100 / MEMORY_MB_PER_CORE).max(1)
}

/// What a sandbox that did not start means for the call it was started for.
pub(crate) fn fault_of(error: Error, start: &Start) -> Fault {
    let is_image = start.function.code.image.is_some();
    let (command, source) = match error {
        Error::Exec { command, source } => (command, source),
        // An image's working directory is its author's, or its function's.
        Error::Setup { step, source } if is_image && step.starts_with(WORKING_DIRECTORY) => {
            let directory = step.trim_start_matches(WORKING_DIRECTORY);
            return Fault::Entrypoint { reason: format!("chdir{directory}: {}", exec_words(&source)) };
        }
        error => return Fault::Platform { reason: format!("the sandbox did not start: {error}") },
    };
    let mut reason = format!("fork/exec {command}: {}", exec_words(&source));
    if command.starts_with(&format!("{LAYERS_ROOT}/extensions/")) {
        return Fault::Extension { failure: ExtensionFailure::Launch, reason };
    }
    let program = command
        .strip_prefix(TASK_ROOT)
        .filter(|_| !is_image)
        .map(|inside| start.package.join(inside.trim_start_matches('/')));
    if source.kind() == io::ErrorKind::NotFound && program.is_some_and(|program| program.exists()) {
        reason.push_str(" (the file is there; the interpreter or loader it names is not)");
    }
    Fault::Entrypoint { reason }
}

/// The kernel's refusals in the words of Go's `syscall`, which Lambda's messages carry.
fn exec_words(source: &io::Error) -> String {
    const ENOEXEC: i32 = 8;
    match (source.kind(), source.raw_os_error()) {
        (_, Some(ENOEXEC)) => "exec format error".to_owned(),
        (io::ErrorKind::NotFound, _) => "no such file or directory".to_owned(),
        (io::ErrorKind::PermissionDenied, _) => "permission denied".to_owned(),
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn processor_time_follows_memory_above_the_least() {
        assert_eq!(cpu_millis(128, 1000), 1000);
        assert_eq!(cpu_millis(1769, 0), 1000);
        assert_eq!(cpu_millis(3538, 1000), 2000);
        assert_eq!(cpu_millis(32_768, 1000), 18_523);
        assert_eq!(cpu_millis(128, 0), 72);
        assert_eq!([1, 128, 1769, 10_240].map(cpu_weight), [1, 7, 100, 578]);
    }

    #[test]
    fn only_a_simple_command_replaces_the_shell() {
        assert_eq!(shell_line("python3 server.py --port $PORT"), "exec python3 server.py --port $PORT");
        for line in ["cd app && node x.js", "A=1 node x.js", "exec node x.js", "node x.js; true", "if true", "a\nb"] {
            assert_eq!(shell_line(line), line);
        }
    }

    #[test]
    fn a_command_that_cannot_run_is_the_authors_in_gos_words() {
        let package = tempfile::tempdir().unwrap();
        let start = testing::start(testing::function("provided.al2023", "x"), package.path(), testing::Lines::new());
        let fault = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            fault_of(Error::Exec { command: "/var/task/bootstrap".into(), source }, &start)
        };
        let entry = |reason: &str| Fault::Entrypoint { reason: reason.into() };
        assert_eq!(fault(8), entry("fork/exec /var/task/bootstrap: exec format error"));
        assert_eq!(fault(13), entry("fork/exec /var/task/bootstrap: permission denied"));
        assert_eq!(fault(2), entry("fork/exec /var/task/bootstrap: no such file or directory"));
        std::fs::write(package.path().join("bootstrap"), "#!/nowhere\n").unwrap();
        assert!(matches!(fault(2), Fault::Entrypoint { reason } if reason.contains("the interpreter or loader")));
        assert!(matches!(fault_of(Error::HelperGone, &start), Fault::Platform { .. }));
    }
}
