//! Packages and layers compiled at deploy, so that no cold start compiles them again.
//!
//! They are mounted read-only and shared by functions with equal code, so an interpreter cannot keep what it compiles.
//! This puts files where each version of Python, and our runtime of Node.js, looks for its own (`language`): those that
//! are not there yet, and nothing else. A sandbox compiles; the platform writes what leaves it.
//!
//! Invariants: nothing is executed; no file of the author's is changed; nothing outside the package is written, whatever
//! links it holds; a compiler that fails, crashes or takes too long costs the function speed and nothing more.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver, sync::Semaphore};
use updraft_sandbox::{Companions, Limits, Mount, Network, Spawner, Spec};

mod language;

use self::language::Language;
use crate::{discover::Interpreter, mounts};

/// Bounds of one package: what lies beyond them is compiled when it is loaded.
const MODULES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 4096;
const MODULE_BYTES_MAX: usize = 16 * 1024 * 1024;
const PACKAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a deployment waits for it; what takes longer goes on beside whatever comes next.
const WAIT: Duration = Duration::from_secs(2);

/// Most packages compiled at once.
const AT_ONCE: usize = 2;

const LIMITS: Limits =
    Limits { memory_bytes_max: 512 << 20, cpu_millis: 1000, cpu_weight: 0, pids_max: 32, open_files_max: 64 };

/// How many packages are remembered as compiled; then all are looked at anew.
const REMEMBERED_MAX: usize = 10_000;

/// Compiles packages.
pub(crate) struct Bytecode {
    compiler: Arc<Compiler>,
    begun: Mutex<HashSet<Begun>>,
}

/// A package and what it was compiled for. One that failed is not tried again by this platform. A folder that was made
/// anew under the same name is another package.
#[derive(PartialEq, Eq, Hash)]
struct Begun {
    package: PathBuf,
    cache_tag: String,
    made_at: Option<SystemTime>,
}

struct Compiler {
    spawner: Spawner,
    /// The mounts of all sandboxes.
    shared: Vec<Mount>,
    turns: Semaphore,
}

/// Why a package was not compiled to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Sandbox(#[from] updraft_sandbox::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it took longer than {TIMEOUT:?}")]
    TimedOut,
    #[error("the compiler's output is no sequence of files, or too large")]
    Nonsense,
}

impl Bytecode {
    /// `shared` are the mounts of all sandboxes.
    pub(crate) fn new(spawner: Spawner, shared: Vec<Mount>) -> Self {
        let compiler = Compiler { spawner, shared, turns: Semaphore::new(AT_ONCE) };
        Self { compiler: Arc::new(compiler), begun: Mutex::default() }
    }

    /// Compiles what an interpreter would have to compile itself of a package or of layers, which functions see at `root`,
    /// and waits a while for the end of that.
    pub(crate) async fn prepare(&self, interpreter: &Interpreter, package: &Path, root: &'static str) {
        let Some(language) = Language::of(interpreter.runtime).filter(|_| !interpreter.cache_tag.is_empty()) else {
            return;
        };
        {
            let mut begun = self.begun.lock();
            if begun.len() >= REMEMBERED_MAX {
                begun.clear();
            }
            let made_at = fs::metadata(package).and_then(|metadata| metadata.created()).ok();
            let cache_tag = interpreter.cache_tag.clone();
            if !begun.insert(Begun { package: package.to_owned(), cache_tag, made_at }) {
                return;
            }
        }
        let (compiler, interpreter, package) = (self.compiler.clone(), interpreter.clone(), package.to_owned());
        let compiling = tokio::spawn(async move {
            if let Err(error) = compiler.compile(language, &interpreter, &package, root).await {
                tracing::warn!(%error, package = %package.display(), "a package is not compiled ahead, or not all of it");
            }
        });
        // It goes on when nobody waits any more.
        let _ = tokio::time::timeout(WAIT, compiling).await;
    }
}

impl Compiler {
    async fn compile(
        &self,
        language: Language,
        interpreter: &Interpreter,
        package: &Path,
        root: &'static str,
    ) -> Result<(), Error> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let (folder, tag) = (package.to_owned(), interpreter.cache_tag.clone());
        let missing = tokio::task::spawn_blocking(move || missing(language, &folder, &tag));
        let missing = missing.await.map_err(io::Error::other)??;
        if missing.is_empty() {
            return Ok(());
        }
        let sandbox = self.spawner.spawn(Spec {
            name: "compiler".to_owned(),
            command: language.command(&interpreter.path, root),
            environment: Vec::new(),
            directory: "/".into(),
            root: None,
            mounts: self
                .shared
                .iter()
                .filter(|mount| mount.target != Path::new(root))
                .cloned()
                .chain(mounts::prefixes(&interpreter.prefixes))
                .chain([Mount { source: package.to_owned(), target: root.into() }])
                .collect(),
            tmp_bytes_max: 0,
            listen: Vec::new(),
            network: Network::default(),
            limits: LIMITS,
            companions: Companions::default(),
        });
        let sandbox = sandbox.await?;
        let output = Receiver::from_owned_fd(sandbox.output.try_clone()?)?;
        let taken = tokio::time::timeout(TIMEOUT, take(output, &missing)).await;
        sandbox.kill();
        taken.map_err(|_| Error::TimedOut)?
    }
}

/// Modules without a compiled file, by their path below the package, with the place for that file.
fn missing(language: Language, package: &Path, tag: &str) -> io::Result<HashMap<PathBuf, PathBuf>> {
    let mut found = HashMap::new();
    let mut next = vec![(package.to_owned(), 0)];
    let (compiled, mut bytes) = (language.folder(tag), 0);
    while let Some((directory, depth)) = next.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() && depth < DEPTH_MAX && entry.file_name() != *compiled {
                next.push((path, depth + 1));
                continue;
            }
            let module_bytes = entry.metadata()?.len();
            if !kind.is_file() || !language.is_module(&path, module_bytes) {
                continue;
            }
            bytes += module_bytes;
            if let Ok(inside) = path.strip_prefix(package)
                && let Some(place) = language.place(inside, tag)
                && is_free(&package.join(&place))
                && found.len() < MODULES_MAX
            {
                found.insert(inside.to_owned(), package.join(place));
            }
        }
    }
    if bytes < language.bytes_min() {
        found.clear();
    }
    Ok(found)
}

/// Whether a file may be put there: nothing is there yet, and no link stands for its folder, which may lead anywhere.
fn is_free(place: &Path) -> bool {
    let folder = place.parent().and_then(|folder| fs::symlink_metadata(folder).ok());
    folder.is_none_or(|folder| folder.is_dir()) && fs::symlink_metadata(place).is_err()
}

/// Reads the compiler's results to their end and writes those that are missing.
async fn take(mut output: Receiver, missing: &HashMap<PathBuf, PathBuf>) -> Result<(), Error> {
    let mut total = 0;
    loop {
        let path_bytes = match output.read_u32().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other? as usize,
        };
        let content_bytes = output.read_u32().await? as usize;
        total += content_bytes;
        if path_bytes > PATH_BYTES_MAX || content_bytes > MODULE_BYTES_MAX || total > PACKAGE_BYTES_MAX {
            return Err(Error::Nonsense);
        }
        let mut both = vec![0; path_bytes + content_bytes];
        output.read_exact(&mut both).await?;
        let content = both.split_off(path_bytes);
        let path = String::from_utf8(both).map_err(|_| Error::Nonsense)?;
        if let Some(target) = missing.get(Path::new(&path)) {
            put(target, &content)?;
        }
    }
}

/// Writes a file whole or not at all, readable for every guest, unless it is there.
fn put(target: &Path, content: &[u8]) -> io::Result<()> {
    let directory = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => {
            other?;
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        }
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let unfinished = target.with_extension(format!("{}-{}.new", number.0, number.1));
    // One left by a platform with the same process id that was killed.
    let _ = fs::remove_file(&unfinished);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
    let written = io::Write::write_all(&mut file, content)
        .and_then(|()| fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&unfinished, target));
    if written.is_err() {
        // The disk is full, most likely; what is left of the file is in nobody's way.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn package(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x = 1\n").unwrap();
        }
        directory
    }

    #[test]
    fn what_is_there_and_what_is_a_link_is_left_alone() {
        let elsewhere = package(&["secret.py"]);
        let files = ["app.py", "data.txt", "sub/a.py", "sub/b.py", "sub/__pycache__/b.t.pyc", "odd/c.py"];
        let package = package(&files);
        let at = |path: &str| package.path().join(path);
        symlink(elsewhere.path(), at("linked")).unwrap();
        symlink(elsewhere.path().join("secret.py"), at("linked.py")).unwrap();
        symlink(elsewhere.path(), at("odd/__pycache__")).unwrap();
        let found = missing(Language::Python, package.path(), "t").unwrap();
        let expected = [("app.py", "__pycache__/app.t.pyc"), ("sub/a.py", "sub/__pycache__/a.t.pyc")];
        assert_eq!(found, expected.map(|(source, target)| (PathBuf::from(source), at(target))).into());
    }

    #[test]
    fn one_folder_at_the_root_holds_what_node_finds() {
        let package = package(&["node_modules/a/index.js", "node_modules/b/b.cjs", ".updraft-t/b.js"]);
        let at = |path: &str| package.path().join(path);
        let big = format!("module.exports = 1; // {}\n", "x".repeat(20_000));
        for file in ["app.js", "node_modules/a/index.js", "node_modules/b/b.cjs", "b.mjs", ".updraft-t/b.js", "c.js"] {
            fs::write(at(file), &big).unwrap();
        }
        fs::write(at("small.js"), "module.exports = 1;\n").unwrap();
        for file in [".updraft-t/app.js.code", ".updraft-t/c.js.code"] {
            fs::write(at(file), "").unwrap();
        }
        let found = missing(Language::Nodejs, package.path(), "t").unwrap();
        let expected = ["node_modules/a/index.js", "node_modules/b/b.cjs"]
            .map(|file| (PathBuf::from(file), at(&format!(".updraft-t/{}.code", file.replace('/', "%2F")))));
        assert_eq!(found, expected.into());
        fs::remove_file(at("node_modules/b/b.cjs")).unwrap();
        assert_eq!(missing(Language::Nodejs, package.path(), "t").unwrap(), HashMap::new(), "it is small");
        fs::write(at("node_modules/b/b.cjs"), &big).unwrap();
        fs::remove_dir_all(at(".updraft-t")).unwrap();
        symlink(package.path(), at(".updraft-t")).unwrap();
        assert_eq!(missing(Language::Nodejs, package.path(), "t").unwrap(), HashMap::new());
    }

    #[tokio::test]
    async fn results_are_written_where_they_are_missing_and_nowhere_else() {
        let package = package(&["app.py"]);
        let target = package.path().join("__pycache__/app.t.pyc");
        let missing: HashMap<_, _> = [("app.py".into(), target.clone())].into();
        let frame = |path: &str, content: &[u8]| {
            let lengths = [path.len() as u32, content.len() as u32].map(u32::to_be_bytes).concat();
            [&lengths, path.as_bytes(), content].concat()
        };
        let run = async |bytes: Vec<u8>| {
            let (reader, mut writer) = io::pipe().unwrap();
            let writing = std::thread::spawn(move || io::Write::write_all(&mut writer, &bytes));
            let taken = take(Receiver::from_owned_fd(reader.into()).unwrap(), &missing).await;
            writing.join().unwrap().unwrap();
            taken
        };
        run([frame("../evil.py", b"x"), frame("app.py", b"compiled")].concat()).await.unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"compiled");
        let all: Vec<_> = fs::read_dir(package.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(all.len(), 2, "{all:?}");
        let huge = [[0, 0, 0, 6], [0xff; 4]].concat();
        assert!(matches!(run(huge).await, Err(Error::Nonsense)));
        let cut_off = frame("app.py", b"more").split_at(12).0.to_vec();
        assert!(matches!(run(cut_off).await, Err(Error::Io(_))));
    }
}
