//! Compiled components: the ones in use in memory, all of them on disk as machine code.
//!
//! A file is named by the SHA-256 of the component and by everything that shaped its compilation, so a
//! changed component, engine or processor never meets old code. Files are written whole (temporary name,
//! fsync, rename). What cannot be loaded is compiled again.
//!
//! Loading machine code is only sound if nobody else could have written it; [`open_directory`] checks that the
//! directory is ours alone, and [`load`] is the only unsafe code of this crate
//! (weighed in `docs/adr/0004-wasm.md`).

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use updraft_executor::Rejected;
use wasmtime::component::Component;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::{Config, component, engine::Platform, host::Host};

/// Components compiled at once; each compilation uses all processors already.
const COMPILATIONS_MAX: usize = 2;
/// Components loaded at once, which is mapping a file after reading the component into memory.
const LOADS_MAX: usize = 4;

/// Why a cache directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Others may write there, so its machine code cannot be trusted.
    #[error("the directory for compiled WebAssembly, {directory}, is not ours alone: {reason}")]
    NotOurs {
        /// The directory.
        directory: PathBuf,
        /// Who else may write there.
        reason: String,
    },
    /// It cannot be made or read.
    #[error("the directory for compiled WebAssembly, {directory}, cannot be used: {source}")]
    Io {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Hands out components ready to start.
pub(crate) struct Cache {
    disk: Arc<Disk>,
    loads: Arc<Semaphore>,
    compilations: Arc<Semaphore>,
    loaded: Mutex<Loaded>,
}

impl Cache {
    pub(crate) fn open(config: &Config, platform: Arc<Platform>) -> Result<Self, OpenError> {
        open_directory(&config.cache_directory)?;
        let disk = Arc::new(Disk {
            directory: config.cache_directory.clone(),
            bytes_max: config.cache_bytes_max,
            component_bytes_max: config.component_bytes_max,
            platform,
        });
        let permits = |max| Arc::new(Semaphore::new(max));
        let (loads, compilations) = (permits(LOADS_MAX), permits(COMPILATIONS_MAX));
        Ok(Self { disk, loads, compilations, loaded: Mutex::new(Loaded::new(config.loaded_max)) })
    }

    /// The component that `handler` names in `package`: from memory, from disk, or compiled now.
    pub(crate) async fn get(&self, package: &Path, handler: &str) -> Result<ProxyPre<Host>, Rejected> {
        let key = format!("{}\0{handler}", package.display());
        if let Some(component) = self.loaded.lock().get(&key) {
            return Ok(component);
        }
        let permit = permit_of(&self.loads).await;
        if let Some(component) = self.loaded.lock().get(&key) {
            return Ok(component);
        }
        let component = match self.blocking(permit, package, handler, Disk::loaded).await? {
            Some(component) => component,
            None => self.blocking(permit_of(&self.compilations).await, package, handler, Disk::get).await?,
        };
        self.loaded.lock().put(key, component.clone());
        Ok(component)
    }

    /// Does `work` where blocking does no harm. It keeps its permit until it has ended, whether or not anybody still waits
    /// for it.
    async fn blocking<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        package: &Path,
        handler: &str,
        work: fn(&Disk, &Path, &str) -> Result<T, Rejected>,
    ) -> Result<T, Rejected> {
        let (disk, package, handler) = (self.disk.clone(), package.to_owned(), handler.to_owned());
        let doing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&disk, &package, &handler)
        });
        doing.await.map_err(|error| {
            tracing::error!(%error, "compiling a component failed");
            Rejected("the compiler gave up on this component".into())
        })?
    }
}

async fn permit_of(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect("the semaphore is never closed")
}

/// The components kept loaded, the least recently used evicted first.
struct Loaded {
    entries: HashMap<String, (u64, ProxyPre<Host>)>,
    entries_max: usize,
    uses: u64,
}

impl Loaded {
    fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::new(), entries_max: entries_max.max(1), uses: 0 }
    }

    fn get(&mut self, key: &str) -> Option<ProxyPre<Host>> {
        self.uses += 1;
        let (used, component) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(component.clone())
    }

    fn put(&mut self, key: String, component: ProxyPre<Host>) {
        if self.entries.len() >= self.entries_max {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.entries.remove(&key));
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, component));
    }
}

struct Disk {
    directory: PathBuf,
    bytes_max: u64,
    component_bytes_max: u64,
    platform: Arc<Platform>,
}

impl Disk {
    /// The component as it was compiled before, if it was.
    fn loaded(&self, package: &Path, handler: &str) -> Result<Option<ProxyPre<Host>>, Rejected> {
        let bytes = component::read(package, handler, self.component_bytes_max)?;
        let kept = self.load(&self.directory.join(self.file_name(&bytes)));
        kept.map(|component| component::link(&self.platform, handler, &component)).transpose()
    }

    /// The same, or compiled now. Somebody else may have done so meanwhile.
    fn get(&self, package: &Path, handler: &str) -> Result<ProxyPre<Host>, Rejected> {
        let bytes = component::read(package, handler, self.component_bytes_max)?;
        let path = self.directory.join(self.file_name(&bytes));
        if let Some(component) = self.load(&path) {
            return component::link(&self.platform, handler, &component);
        }
        let component = component::compile(&self.platform, handler, &bytes)?;
        if let Err(error) = self.store(&path, component.instance_pre().component()) {
            tracing::warn!(%error, path = %path.display(), "compiled code could not be kept; it is compiled again");
        }
        Ok(component)
    }

    /// `<SHA-256 of the component>-<hash of what else shaped the machine code>.cwasm`.
    fn file_name(&self, bytes: &[u8]) -> String {
        let mut shaped = DefaultHasher::new();
        self.platform.engine.precompile_compatibility_hash().hash(&mut shaped);
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest}-{:016x}.cwasm", shaped.finish())
    }

    fn load(&self, path: &Path) -> Option<Component> {
        let file = File::options().write(true).open(path).ok()?;
        // The time is how `sweep` knows which code is in use; losing it costs a compilation at worst.
        drop(file.set_modified(SystemTime::now()));
        load(&self.platform, path)
            .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "kept code cannot be used"))
            .ok()
    }

    fn store(&self, path: &Path, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        self.sweep(code.len() as u64)?;
        let temporary = path.with_extension(format!("{:016x}.tmp", rand_suffix()));
        let written = write_durably(&temporary, &code).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written
    }

    /// Makes room for `bytes`, taking away what was loaded longest ago. Code in use stays mapped.
    fn sweep(&self, bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            files.push((about.modified()?, about.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = bytes + files.iter().map(|(_, length, _)| length).sum::<u64>();
        for (_, length, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }
}

fn rand_suffix() -> u64 {
    std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), std::process::id())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the directory if need be, insists that only this user can write to it, and clears what an
/// interrupted write left.
fn open_directory(directory: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { directory: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let about = fs::symlink_metadata(directory).map_err(failed)?;
    let us = nix::unistd::geteuid().as_raw();
    let reason = if !about.is_dir() {
        "it is not a directory itself".to_owned()
    } else if about.uid() != us {
        format!("it belongs to user {}, and we are user {us}", about.uid())
    } else if about.mode() & 0o022 != 0 {
        format!("its mode is {:o}; take write permission from group and others", about.mode() & 0o777)
    } else {
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        return Ok(());
    };
    Err(OpenError::NotOurs { directory: directory.to_owned(), reason })
}

/// Maps compiled code from `path` into memory.
#[allow(unsafe_code, reason = "wasmtime can only trust compiled code as far as we trust the file it is in")]
fn load(platform: &Platform, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must be what `Component::serialize` produced, and must not change while it is mapped.
    // It lies in a directory that `open_directory` found to be writable by this user alone; only `Disk::store`
    // writes there, to a temporary name that becomes this one once the bytes are whole and synced, and nothing
    // writes to a file under its final name again. A file of another engine or version is refused by wasmtime.
    unsafe { Component::deserialize_file(&platform.engine, path) }
}
