//! A store in a temporary directory, and things to put into it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use updraft_store::{Config, Store, logs::Entry, open};
use updraft_types::{
    Function, FunctionId, LayerId, LayerVersionId, RevisionId, Runtime, Timestamp,
    function::{Code, Configuration, LastUpdate, Scaling, State},
    layer::LayerUse,
};

pub(crate) struct Fixture {
    directory: TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await.unwrap();
        Self { directory, store }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(self.path()).await.unwrap();
    }

    /// Goes on from what the files held at this moment, as after a power cut; the store in use never gets to close.
    pub(crate) async fn crash(&mut self) {
        let after = tempfile::tempdir().unwrap();
        copy(self.path(), after.path());
        self.store = open(after.path()).await.unwrap();
        self.directory = after;
    }
}

/// The shared-memory file is left out: it does not outlive a machine.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) async fn open(directory: &Path) -> Result<Store, open::Error> {
    Store::open(Config { directory: PathBuf::from(directory) }).await
}

pub(crate) fn id(name: &str) -> FunctionId {
    FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
}

pub(crate) fn revision(number: u64) -> RevisionId {
    format!("{number:x}").parse().unwrap()
}

fn layer_use(version: u64) -> LayerUse {
    let layer = LayerId { account: "000000000000".parse().unwrap(), name: "tools".parse().unwrap() };
    let code = Code { sha256: "q".repeat(44), size_bytes: 1 << 20, image: None };
    LayerUse { id: LayerVersionId { layer, version }, code, unzipped_bytes: 1 << 24 }
}

/// A function with something in every corner of its document.
pub(crate) fn function(name: &str, number: u64) -> Function {
    Function {
        id: id(name),
        version: Default::default(),
        revision: revision(number),
        modified_at: Timestamp::from_ms(1_795_000_000_000 + number),
        configuration: Configuration {
            description: "\"quoted\", übung, \u{0}, \u{1F600}".into(),
            environment: [("KEY".to_owned(), number.to_string())].into(),
            egress: (number % 2 == 1).then(updraft_types::Egress::all),
            layers: (1..=number % 3).map(layer_use).collect(),
            ..Configuration::new(Runtime::Python { minor: 12 }, "app.handler", "arn:aws:iam::000000000000:role/any")
        },
        code: Code { sha256: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into(), size_bytes: number, image: None },
        state: State::Failed { reason: "no such file".into() },
        last_update: Some(LastUpdate::InProgress),
        tags: [("team".to_owned(), "core".to_owned())].into(),
        url: None,
        scaling: Scaling { reserved_concurrency: Some(7), instances_min: 1, ..Scaling::default() },
        policies: Default::default(),
        settings: Default::default(),
    }
}

/// Lines of one stream: `(at in ms, text)`.
pub(crate) fn entry(name: &str, stream: &str, lines: &[(u64, &str)]) -> Entry {
    let line = |&(at, text): &(u64, &str)| (Timestamp::from_ms(at), Bytes::copy_from_slice(text.as_bytes()));
    let ingested_at = Timestamp::from_ms(lines.last().map_or(0, |(at, _)| *at));
    Entry { group: (&id(name)).into(), stream: stream.into(), ingested_at, lines: lines.iter().map(line).collect() }
}
