//! Our runtimes' own files, as sandboxes see them at `/var/runtime`.
//!
//! Embedded in the binary and written at start to a directory named by their content. Python's is compiled for
//! each bytecode format when first needed, because compiling takes longer than all the rest of a cold start.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::{discover::Interpreter, environment::RUNTIME_ROOT};

const PYTHON: &str = include_str!("../bootstrap/python.py");
const NODEJS: &str = include_str!("../bootstrap/nodejs.cjs");
/// All files by name.
const FILES: [(&str, &str); 5] = [
    ("python.py", PYTHON),
    ("nodejs.cjs", NODEJS),
    ("compiled.cjs", include_str!("../bootstrap/compiled.cjs")),
    ("compile.py", include_str!("../bootstrap/compile.py")),
    ("compile.cjs", include_str!("../bootstrap/compile.cjs")),
];
const COMPILE_MS_MAX: u64 = 20_000;

/// Writes the file as `python -m py_compile` would, but never checked against its source.
const COMPILE: &str = "import sys
from _frozen_importlib_external import _code_to_hash_pyc
source, shown, target = sys.argv[1:]
with open(source, 'rb') as file:
    code = compile(file.read(), shown, 'exec', dont_inherit=True, optimize=2)
with open(target, 'wb') as file:
    file.write(_code_to_hash_pyc(code, bytes(8), False))";

/// The written files.
pub(crate) struct RuntimeFiles {
    directory: PathBuf,
    nothing: PathBuf,
    compiling: Mutex<()>,
}

impl RuntimeFiles {
    /// Writes the files below `parent` and removes what other versions of the platform left there.
    pub(crate) fn write(parent: &Path) -> io::Result<Self> {
        let add = |digest: Sha256, (_, text): (&str, &str)| digest.chain_update(text).chain_update([0]);
        let digest = FILES.into_iter().fold(Sha256::new(), add).finalize();
        let name: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let (directory, nothing) = (parent.join(&name), parent.join("no-package"));
        for path in [&directory, &nothing, &nothing.join("lib")] {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        for (file, content) in FILES {
            let path = directory.join(file);
            if fs::read(&path).ok().as_deref() != Some(content.as_bytes()) {
                let unfinished = directory.join(format!("{file}.new"));
                fs::write(&unfinished, content)?;
                put(&unfinished, &path)?;
            }
        }
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && ![&directory, &nothing].contains(&&entry.path()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let compiling = Mutex::new(());
        let [directory, nothing] = [directory, nothing].map(|path| path.canonicalize());
        Ok(Self { directory: directory?, nothing: nothing?, compiling })
    }

    /// The directory to mount.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What lies where a package and layers will be, until there are any. The dynamic linker remembers for good which directories
    /// of its search path were not there when it first looked, and packages bring libraries in `lib`.
    pub(crate) fn no_package(&self) -> &Path {
        &self.nothing
    }

    /// Where a sandbox finds the Python runtime, compiled if that can be had.
    pub(crate) async fn python(&self, interpreter: &Interpreter) -> String {
        let compiled = format!("python-{}.pyc", interpreter.bytecode);
        let path = self.directory.join(&compiled);
        if !path.exists() {
            let _one_at_a_time = self.compiling.lock().await;
            if !path.exists()
                && let Err(error) = self.compile(interpreter, &path).await
            {
                tracing::warn!(
                    %error,
                    interpreter = %interpreter.path.display(),
                    "the Python runtime could not be compiled; every cold start will compile it again"
                );
                return format!("{RUNTIME_ROOT}/python.py");
            }
        }
        format!("{RUNTIME_ROOT}/{compiled}")
    }

    /// Where a sandbox finds the Node.js runtime.
    pub(crate) fn nodejs(&self) -> String {
        format!("{RUNTIME_ROOT}/nodejs.cjs")
    }

    async fn compile(&self, interpreter: &Interpreter, target: &Path) -> io::Result<()> {
        let unfinished = target.with_extension("new");
        let mut command = tokio::process::Command::new(&interpreter.path);
        command.args(["-I", "-S", "-B", "-c", COMPILE]).arg(self.directory.join("python.py"));
        command.arg(format!("{RUNTIME_ROOT}/python.py")).arg(&unfinished);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_millis(COMPILE_MS_MAX), command.output()).await;
        let output = output.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        put(&unfinished, target)
    }
}

/// Makes a finished file readable for every guest, whatever our umask, and gives it its name.
fn put(unfinished: &Path, target: &Path) -> io::Result<()> {
    fs::set_permissions(unfinished, fs::Permissions::from_mode(0o644))?;
    fs::rename(unfinished, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::{Search, discover};

    #[test]
    fn files_are_written_once_and_old_ones_go() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join("0123old")).unwrap();
        let files = RuntimeFiles::write(parent.path()).unwrap();
        assert!(files.directory().join("python.py").is_file());
        assert!(!parent.path().join("0123old").exists());
        fs::write(files.directory().join("nodejs.cjs"), "cut off").unwrap();
        let again = RuntimeFiles::write(parent.path()).unwrap();
        assert_eq!(again.directory(), files.directory());
        assert_eq!(fs::read_to_string(again.directory().join("nodejs.cjs")).unwrap(), NODEJS);
    }

    #[tokio::test]
    async fn python_is_compiled_once_for_each_format() {
        let parent = tempfile::tempdir().unwrap();
        let files = RuntimeFiles::write(parent.path()).unwrap();
        let found = discover(&Search::of_host(Vec::new()));
        let python = found.iter().find(|one| !one.bytecode.is_empty()).expect("the tests need a Python");
        let shown = files.python(python).await;
        assert_eq!(shown, format!("/var/runtime/python-{}.pyc", python.bytecode));
        let missing = Interpreter { path: "/nowhere".into(), bytecode: "00".into(), ..python.clone() };
        assert_eq!(files.python(&missing).await, "/var/runtime/python.py");
    }
}
