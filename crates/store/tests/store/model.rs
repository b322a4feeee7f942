//! The store against a model in memory: random verbs, reopening and crashing, and after each the two must agree.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use updraft_store::{
    aliases,
    functions::{CreateError, DeleteError, ReplaceError},
    logs::{Entry, Retention, Sweep},
};
use updraft_types::{Alias, Function, Timestamp, Version, VersionId, version::Additional};

use crate::fixture::{Fixture, function, id, revision};

/// Times in milliseconds, and texts.
type Lines = Vec<(u64, Vec<u8>)>;

#[derive(Debug, Clone)]
enum Step {
    Create { name: u8, is_published: bool },
    Replace { name: u8, stale: bool },
    Publish { name: u8, stale: bool },
    Delete { name: u8 },
    ReplaceVersion { name: u8, number: u64, stale: bool },
    DeleteVersion { name: u8, number: u64 },
    CreateAlias { name: u8, alias: u8 },
    ReplaceAlias { name: u8, alias: u8, stale: bool },
    DeleteAlias { name: u8, alias: u8 },
    PutBlob { key: u8, length: usize },
    DeleteBlob { key: u8 },
    Append { entries: Vec<(u8, u8, Lines)> },
    ReadLogs { name: u8, since: u64, limit: usize },
    DeleteLogs { name: u8 },
    Retain { older_than: u64 },
    Reopen,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..3_u8;
    let number = || 0..5_u64;
    let stale = || prop::bool::weighted(0.3);
    let at = || 0..100_u64;
    let lines = proptest::collection::vec((at(), proptest::collection::vec(any::<u8>(), 0..20)), 0..5);
    let entries = proptest::collection::vec((name(), 0..2_u8, lines), 0..4);
    let step = prop_oneof![
        4 => (name(), any::<bool>()).prop_map(|(name, is_published)| Step::Create { name, is_published }),
        6 => (name(), stale()).prop_map(|(name, stale)| Step::Replace { name, stale }),
        6 => (name(), stale()).prop_map(|(name, stale)| Step::Publish { name, stale }),
        2 => (name(), number(), stale()).prop_map(|(name, number, stale)| Step::ReplaceVersion { name, number, stale }),
        2 => (name(), number()).prop_map(|(name, number)| Step::DeleteVersion { name, number }),
        3 => (name(), name()).prop_map(|(name, alias)| Step::CreateAlias { name, alias }),
        3 => (name(), name(), stale()).prop_map(|(name, alias, stale)| Step::ReplaceAlias { name, alias, stale }),
        1 => (name(), name()).prop_map(|(name, alias)| Step::DeleteAlias { name, alias }),
        2 => name().prop_map(|name| Step::Delete { name }),
        2 => (name(), 0..10_000_usize).prop_map(|(key, length)| Step::PutBlob { key, length }),
        1 => name().prop_map(|key| Step::DeleteBlob { key }),
        6 => entries.prop_map(|entries| Step::Append { entries }),
        4 => (name(), at(), 0..8_usize).prop_map(|(name, since, limit)| Step::ReadLogs { name, since, limit }),
        1 => name().prop_map(|name| Step::DeleteLogs { name }),
        1 => at().prop_map(|older_than| Step::Retain { older_than }),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    functions: BTreeMap<u8, Function>,
    versions: BTreeMap<(u8, u64), Function>,
    /// The last number given of each name, ever.
    numbers: BTreeMap<u8, u64>,
    aliases: BTreeMap<(u8, u8), Alias>,
    blobs: BTreeMap<String, Bytes>,
    /// Chunks in the order they were appended.
    logs: BTreeMap<u8, Vec<Entry>>,
    revisions: u64,
}

impl Model {
    fn fresh(&mut self, name: u8) -> Function {
        self.revisions += 1;
        function(&format!("f{name}"), self.revisions)
    }

    fn fresh_alias(&mut self, name: u8, alias: u8) -> Alias {
        self.revisions += 1;
        Alias {
            function: id(&format!("f{name}")),
            name: format!("a{alias}").parse().unwrap(),
            version: Version::Number(self.revisions),
            additional: (self.revisions % 2 == 1).then_some(Additional { version: 7, weight: 0.1 }),
            description: "übung".into(),
            revision: revision(self.revisions),
            url: None,
            provisioned: None,
        }
    }

    /// What must come of publishing `version` of a name.
    fn publish(&mut self, name: u8, mut version: Function) -> Function {
        let number = self.numbers.entry(name).or_default();
        *number += 1;
        version.version = Version::Number(*number);
        self.versions.insert((name, *number), version.clone());
        version
    }

    fn newest(&self, name: u8, since: u64, limit: usize) -> Vec<(Timestamp, String, Bytes)> {
        let chunks = self.logs.get(&name).into_iter().flatten();
        let mut lines: Vec<_> = chunks
            .flat_map(|chunk| {
                chunk.lines.iter().map(|(at, text)| (at, chunk.stream.to_string(), Bytes::copy_from_slice(text)))
            })
            .filter(|(at, ..)| at.as_ms() >= since)
            .collect();
        lines.sort_by_key(|(at, ..)| *at);
        lines.split_off(lines.len().saturating_sub(limit))
    }
}

async fn apply(fixture: &mut Fixture, model: &mut Model, step: Step) {
    let store = fixture.store.clone();
    match step {
        Step::Create { name, is_published } => {
            let (new, version) = (model.fresh(name), model.fresh(name));
            let created = match is_published {
                false => store.functions().create(new.clone()).await.map(|()| None),
                true => store.functions().create_published(new.clone(), version.clone()).await.map(Some),
            };
            match created {
                Ok(published) => {
                    assert!(model.functions.insert(name, new).is_none());
                    assert_eq!(published, is_published.then(|| model.publish(name, version)));
                }
                Err(CreateError::Exists) => assert!(model.functions.contains_key(&name)),
                Err(other) => panic!("{other}"),
            }
        }
        Step::Replace { name, stale } => {
            let new = model.fresh(name);
            let present = model.functions.get(&name).map(|function| function.revision.clone());
            let expected = present.clone().filter(|_| !stale).unwrap_or(revision(0));
            match store.functions().replace(new.clone(), expected).await {
                Ok(()) => {
                    assert!(present.is_some() && !stale);
                    model.functions.insert(name, new);
                }
                Err(ReplaceError::Stale) => assert!(present.is_some() && stale),
                Err(ReplaceError::NotFound) => assert!(present.is_none()),
                Err(other) => panic!("{other}"),
            }
        }
        Step::Publish { name, stale } => {
            let (new, version) = (model.fresh(name), model.fresh(name));
            let present = model.functions.get(&name).map(|function| function.revision.clone());
            let expected = present.clone().filter(|_| !stale).unwrap_or(revision(0));
            match store.functions().replace_published(new.clone(), expected, version.clone()).await {
                Ok(published) => {
                    assert!(present.is_some() && !stale);
                    model.functions.insert(name, new);
                    assert_eq!(published, model.publish(name, version));
                }
                Err(ReplaceError::Stale) => assert!(present.is_some() && stale),
                Err(ReplaceError::NotFound) => assert!(present.is_none()),
                Err(other) => panic!("{other}"),
            }
        }
        Step::ReplaceVersion { name, number, stale } => {
            let new = Function { version: Version::Number(number), ..model.fresh(name) };
            let present = model.versions.get(&(name, number)).map(|version| version.revision.clone());
            let expected = present.clone().filter(|_| !stale).unwrap_or(revision(0));
            match store.versions().replace(new.clone(), expected).await {
                Ok(()) => {
                    assert!(present.is_some() && !stale);
                    model.versions.insert((name, number), new);
                }
                Err(ReplaceError::Stale) => assert!(present.is_some() && stale),
                Err(ReplaceError::NotFound) => assert!(present.is_none()),
                Err(other) => panic!("{other}"),
            }
        }
        Step::DeleteVersion { name, number } => {
            let version = VersionId { function: id(&format!("f{name}")), version: Version::Number(number) };
            match store.versions().delete(version).await {
                Ok(()) => assert!(model.versions.remove(&(name, number)).is_some()),
                Err(DeleteError::NotFound) => assert!(!model.versions.contains_key(&(name, number))),
                Err(other) => panic!("{other}"),
            }
        }
        Step::CreateAlias { name, alias } => {
            let new = model.fresh_alias(name, alias);
            match store.aliases().create(new.clone()).await {
                Ok(()) => {
                    assert!(model.functions.contains_key(&name));
                    assert!(model.aliases.insert((name, alias), new).is_none());
                }
                Err(aliases::CreateError::Exists) => assert!(model.aliases.contains_key(&(name, alias))),
                Err(aliases::CreateError::NoFunction) => assert!(!model.functions.contains_key(&name)),
                Err(other) => panic!("{other}"),
            }
        }
        Step::ReplaceAlias { name, alias, stale } => {
            let new = model.fresh_alias(name, alias);
            let present = model.aliases.get(&(name, alias)).map(|alias| alias.revision.clone());
            let expected = present.clone().filter(|_| !stale).unwrap_or(revision(0));
            match store.aliases().replace(new.clone(), expected).await {
                Ok(()) => {
                    assert!(present.is_some() && !stale);
                    model.aliases.insert((name, alias), new);
                }
                Err(ReplaceError::Stale) => assert!(present.is_some() && stale),
                Err(ReplaceError::NotFound) => assert!(present.is_none()),
                Err(other) => panic!("{other}"),
            }
        }
        Step::DeleteAlias { name, alias } => {
            let deleted = store.aliases().delete(id(&format!("f{name}")), format!("a{alias}").parse().unwrap()).await;
            match deleted {
                Ok(()) => assert!(model.aliases.remove(&(name, alias)).is_some()),
                Err(DeleteError::NotFound) => assert!(!model.aliases.contains_key(&(name, alias))),
                Err(other) => panic!("{other}"),
            }
        }
        Step::Delete { name } => match store.functions().delete(id(&format!("f{name}"))).await {
            Ok(_) => {
                assert!(model.functions.remove(&name).is_some());
                model.versions.retain(|(of, _), _| *of != name);
                model.aliases.retain(|(of, _), _| *of != name);
            }
            Err(DeleteError::NotFound) => assert!(!model.functions.contains_key(&name)),
            Err(other) => panic!("{other}"),
        },
        Step::PutBlob { key, length } => {
            let (key, bytes) = (format!("k{key}-{length}"), Bytes::from(vec![key; length]));
            store.blobs().put(&key, bytes.clone()).await.unwrap();
            model.blobs.insert(key, bytes);
        }
        Step::DeleteBlob { key } => {
            let key = model.blobs.keys().nth(key.into()).cloned().unwrap_or_else(|| "none".into());
            store.blobs().delete(&key).await.unwrap();
            model.blobs.remove(&key);
        }
        Step::Append { entries } => {
            let lines = |lines: Lines| lines.into_iter().map(|(at, text)| (Timestamp::from_ms(at), text)).collect();
            let mut appended = Vec::new();
            for (name, stream, texts) in entries {
                let entry = Entry {
                    group: (&id(&format!("f{name}"))).into(),
                    stream: format!("s{stream}").into(),
                    ingested_at: Timestamp::from_ms(1),
                    lines: lines(texts),
                };
                appended.push(entry.clone());
                model.logs.entry(name).or_default().push(entry);
            }
            store.logs().append(appended).await.unwrap();
        }
        Step::ReadLogs { name, since, limit } => {
            let read = store.logs().read(&id(&format!("f{name}")), Timestamp::from_ms(since), limit).await.unwrap();
            let read: Vec<_> = read.into_iter().map(|line| (line.at, line.stream, line.text)).collect();
            assert_eq!(read, model.newest(name, since, limit));
        }
        Step::DeleteLogs { name } => {
            store.logs().delete(&id(&format!("f{name}"))).await.unwrap();
            model.logs.remove(&name);
        }
        Step::Retain { older_than } => {
            let older_than = Timestamp::from_ms(older_than);
            let retention = Retention { now: Timestamp::from_ms(0), older_than, bytes_max_per_function: u64::MAX };
            while store.logs().retain(retention).await.unwrap() == Sweep::Unfinished {}
            for chunks in model.logs.values_mut() {
                chunks.retain(|chunk| chunk.lines.iter().any(|(at, _)| at >= older_than));
            }
        }
        Step::Reopen => {
            drop(store);
            fixture.reopen().await;
        }
        Step::Crash => fixture.crash().await,
    }
}

async fn agree(fixture: &Fixture, model: &Model) {
    let functions = fixture.store.functions().all().await.unwrap();
    assert!(functions.iter().eq(model.functions.values()));
    assert!(fixture.store.versions().all().await.unwrap().iter().eq(model.versions.values()));
    assert!(fixture.store.aliases().all().await.unwrap().iter().eq(model.aliases.values()));
    let keys = fixture.store.blobs().list().await.unwrap();
    assert!(keys.iter().eq(model.blobs.keys()));
    for (key, bytes) in &model.blobs {
        assert_eq!(fixture.store.blobs().get(key).await.unwrap().as_ref(), Some(bytes));
    }
    for name in 0..3 {
        let read =
            fixture.store.logs().read(&id(&format!("f{name}")), Timestamp::from_ms(0), usize::MAX).await.unwrap();
        let read: Vec<_> = read.into_iter().map(|line| (line.at, line.stream, line.text)).collect();
        assert_eq!(read, model.newest(name, 0, usize::MAX));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_a_model_through_reopening_and_crashes(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut fixture, mut model) = (Fixture::open().await, Model::default());
            for step in steps {
                apply(&mut fixture, &mut model, step).await;
                agree(&fixture, &model).await;
            }
        });
    }
}
