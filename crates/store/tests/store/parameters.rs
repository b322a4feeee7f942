//! Conformance: parameters and secrets, which are sealed at rest.

use std::{collections::BTreeMap, sync::Arc};

use updraft_store::{
    parameters::{self, Kind, Tier},
    secrets::{self, ChangeError, Secret},
};
use updraft_types::{AccountId, Timestamp};

use crate::fixture::Fixture;

fn account() -> AccountId {
    "000000000000".parse().unwrap()
}

fn other() -> AccountId {
    "111111111111".parse().unwrap()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn put(name: &str, value: &str, kind: Kind) -> parameters::Put {
    parameters::Put {
        name: name.into(),
        value: value.into(),
        kind: Some(kind),
        tier: None,
        description: None,
        data_type: "text".into(),
        overwrites: true,
        at: at(1),
        by: "arn".into(),
    }
}

/// Whether a file of the data directory has these bytes in it.
fn is_on_disk(fixture: &Fixture, text: &str) -> bool {
    std::fs::read_dir(fixture.path())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file())
        .any(|entry| std::fs::read(entry.path()).unwrap().windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test]
async fn parameters_have_versions_and_secure_ones_are_sealed() {
    let mut fixture = Fixture::open().await;
    let parameters = fixture.store.parameters().clone();
    let plain = parameters.put(account(), put("/a/plain", "visible-text", Kind::String)).await.unwrap();
    assert_eq!(plain, (1, Tier::Standard));
    for number in 1..=105 {
        let text = format!("hidden-text-{number}");
        let put = parameters.put(account(), put("/a/secret", &text, Kind::SecureString)).await.unwrap();
        assert_eq!(put.0, number);
    }
    parameters.put(other(), put("/a/secret", "theirs", Kind::SecureString)).await.unwrap();
    let refused = parameters::Put { overwrites: false, ..put("/a/plain", "x", Kind::String) };
    assert!(matches!(parameters.put(account(), refused).await, Err(parameters::PutError::Exists)));
    let refused = put("/a/plain", "x", Kind::SecureString);
    assert!(matches!(parameters.put(account(), refused).await, Err(parameters::PutError::OtherKind)));
    let refused = parameters::Put { kind: None, ..put("/new", "x", Kind::String) };
    assert!(matches!(parameters.put(account(), refused).await, Err(parameters::PutError::NoKind)));
    let large = put("/large", &"x".repeat(5_000), Kind::String);
    assert_eq!(parameters.put(account(), large.clone()).await.unwrap(), (1, Tier::Advanced));
    let refused = parameters::Put { name: "/l2".into(), tier: Some(Tier::Standard), ..large };
    assert!(matches!(parameters.put(account(), refused).await, Err(parameters::PutError::TooLarge)));

    drop(parameters);
    fixture.reopen().await;
    let parameters = fixture.store.parameters();
    let newest = parameters.get(account(), "/a/secret".into(), None).await.unwrap().unwrap();
    assert_eq!((newest.number, parameters.open(&account(), &newest).unwrap().as_str()), (105, "hidden-text-105"));
    assert!(parameters.open(&other(), &newest).is_err(), "it is sealed for its account");
    assert!(parameters.get(account(), "/a/secret".into(), Some(5)).await.unwrap().is_none());
    let sixth = parameters.get(account(), "/a/secret".into(), Some(6)).await.unwrap().unwrap();
    assert_eq!(parameters.open(&account(), &sixth).unwrap(), "hidden-text-6");
    let history = parameters.history(account(), "/a/secret".into(), 100, 3).await.unwrap();
    assert_eq!(history.iter().map(|version| version.number).collect::<Vec<_>>(), [101, 102, 103]);
    let names = async |prefix: &str, after: &str, limit| {
        let all: parameters::Filter = Arc::new(|_, _| true);
        let listed = parameters.list(account(), prefix.into(), after.into(), all, limit).await.unwrap();
        listed.into_iter().map(|parameter| (parameter.name, parameter.number)).collect::<Vec<_>>()
    };
    let all = [("/a/plain".to_owned(), 1), ("/a/secret".to_owned(), 105), ("/large".to_owned(), 1)];
    assert_eq!(names("", "", 10).await, all);
    assert_eq!(names("/a/", "", 1).await, all[..1]);
    assert_eq!(names("/a/", "/a/plain", 10).await, all[1..2]);
    assert!(parameters.delete(account(), "/a/secret".into()).await.unwrap());
    assert!(!parameters.delete(account(), "/a/secret".into()).await.unwrap());
    assert!(parameters.get(other(), "/a/secret".into(), None).await.unwrap().is_some());
    assert!(is_on_disk(&fixture, "visible-text") && !is_on_disk(&fixture, "hidden-text"));
}

#[tokio::test]
async fn a_name_without_levels_is_one_parameter_with_its_slash_and_without() {
    let fixture = Fixture::open().await;
    let parameters = fixture.store.parameters();
    let get = async |name: &str| parameters.get(account(), name.into(), None).await.unwrap();
    for (first, second) in [("one", "/one"), ("/two", "two")] {
        parameters.put(account(), put(first, "1", Kind::SecureString)).await.unwrap();
        let refused = parameters::Put { overwrites: false, ..put(second, "2", Kind::SecureString) };
        assert!(matches!(parameters.put(account(), refused).await, Err(parameters::PutError::Exists)));
        let again = parameters.put(account(), put(second, "2", Kind::SecureString)).await.unwrap();
        assert_eq!(again.0, 2);
        for name in [first, second] {
            let found = get(name).await.unwrap();
            let text = parameters.open(&account(), &found).unwrap();
            assert_eq!((found.name.as_str(), found.number, text.as_str()), (first, 2, "2"), "{name}");
            assert_eq!(parameters.history(account(), name.into(), 0, 9).await.unwrap().len(), 2, "{name}");
        }
        assert!(parameters.delete(account(), second.into()).await.unwrap());
        assert!(get(first).await.is_none() && get(second).await.is_none());
    }
    parameters.put(account(), put("/a/b", "1", Kind::String)).await.unwrap();
    for name in ["a/b", "//a/b", "b", "/b", "/", ""] {
        assert!(get(name).await.is_none(), "{name}");
    }
}

fn secret(now: u64) -> Secret {
    Secret {
        suffix: "AbCdEf".into(),
        description: None,
        created_at: at(now),
        changed_at: at(now),
        deleted: None,
        tags: BTreeMap::new(),
    }
}

fn version(id: &str, value: &str, now: u64) -> secrets::Put {
    let stages = vec![secrets::CURRENT.to_owned()];
    secrets::Put { id: id.into(), value: value.into(), is_binary: false, stages, at: at(now) }
}

#[tokio::test]
async fn secrets_have_labelled_versions_are_sealed_and_go_when_their_time_is_over() {
    let mut fixture = Fixture::open().await;
    let secrets = fixture.store.secrets().clone();
    let create = |put| secrets.create(account(), "s".into(), secret(1), Some(put));
    let made = create(version("v1", "hidden-1", 1)).await.unwrap();
    assert_eq!(create(version("v1", "hidden-1", 2)).await.unwrap(), made);
    assert!(matches!(create(version("v1", "other", 2)).await, Err(ChangeError::Exists)));
    assert!(matches!(create(version("v2", "hidden-1", 2)).await, Err(ChangeError::Exists)));
    let add = |put| secrets.put(account(), "s".into(), put);
    add(version("v2", "hidden-2", 2)).await.unwrap();
    let twice = add(version("v2", "hidden-2", 9)).await.unwrap();
    assert_eq!(twice.secret.changed_at, at(2));
    assert!(matches!(add(version("v2", "other", 3)).await, Err(ChangeError::Exists)));
    let third = add(version("v3", "hidden-3", 3)).await.unwrap();
    assert_eq!(third.staged(secrets::CURRENT).unwrap(), "v3");
    assert_eq!(third.staged(secrets::PREVIOUS).unwrap(), "v2");
    assert_eq!(third.versions["v1"].stages, [""; 0]);
    let pending = secrets::Put { stages: vec!["AWSPENDING".into()], ..version("v4", "hidden-4", 4) };
    assert_eq!(add(pending).await.unwrap().staged(secrets::CURRENT).unwrap(), "v3");
    assert!(matches!(secrets.put(other(), "s".into(), version("v9", "x", 5)).await, Err(ChangeError::NotFound)));

    drop(secrets);
    fixture.reopen().await;
    let secrets = fixture.store.secrets().clone();
    let value = async |account, id: &str| secrets.value(account, "s".into(), id.into()).await.unwrap();
    assert_eq!(value(account(), "v3").await.as_deref(), Some(&b"hidden-3"[..]));
    assert_eq!(value(other(), "v3").await, None);
    assert!(!is_on_disk(&fixture, "hidden-"));

    let mark = |secret: &mut Secret| {
        secret.deleted = Some([at(10), at(20)]);
        Ok(())
    };
    secrets.update(account(), "s".into(), at(10), mark).await.unwrap();
    let add = |put| secrets.put(account(), "s".into(), put);
    assert!(matches!(add(version("v5", "x", 11)).await, Err(ChangeError::Deleted)));
    let again = secrets.create(account(), "s".into(), secret(12), None).await;
    assert!(matches!(again, Err(ChangeError::Deleted)));
    assert!(secrets.find(account(), "s".into(), at(19)).await.unwrap().is_some());
    assert!(secrets.find(account(), "s".into(), at(20)).await.unwrap().is_none());
    assert_eq!(secrets.list(account(), at(20)).await.unwrap(), []);
    let fresh = secrets.create(account(), "s".into(), secret(21), None).await.unwrap();
    assert!(fresh.versions.is_empty() && value(account(), "v3").await.is_none());
    secrets.remove(account(), "s".into(), at(22)).await.unwrap();
    assert!(matches!(secrets.remove(account(), "s".into(), at(22)).await, Err(ChangeError::NotFound)));
}

#[tokio::test]
async fn only_so_many_versions_of_a_secret_are_kept() {
    let fixture = Fixture::open().await;
    let secrets = fixture.store.secrets();
    secrets.create(account(), "s".into(), secret(0), None).await.unwrap();
    for number in 1..=secrets::VERSIONS_MAX as u64 + 5 {
        secrets.put(account(), "s".into(), version(&format!("v{number}"), "x", number)).await.unwrap();
    }
    let kept = secrets.find(account(), "s".into(), at(999)).await.unwrap().unwrap();
    assert_eq!(kept.versions.len(), secrets::VERSIONS_MAX);
    assert!(!kept.versions.contains_key("v5") && kept.versions.contains_key("v6"));
}

#[tokio::test]
async fn labels_are_bounded_and_so_are_labelled_versions() {
    let fixture = Fixture::open().await;
    let secrets = fixture.store.secrets();
    secrets.create(account(), "s".into(), secret(0), Some(version("first", "x", 1))).await.unwrap();
    let add = |id: String, stages: &[String]| {
        secrets.put(account(), "s".into(), secrets::Put { stages: stages.to_vec(), ..version(&id, "x", 2) })
    };
    let label = |number: usize| format!("label-{number}");
    for number in 1..secrets::LABELS_MAX {
        add(format!("v{number}"), &[label(number)]).await.unwrap();
    }
    let before = secrets.find(account(), "s".into(), at(3)).await.unwrap();
    for refused in [vec![label(0)], vec![label(1), label(0)], vec![secrets::CURRENT.to_owned()]] {
        assert!(matches!(add("refused".into(), &refused).await, Err(ChangeError::TooManyLabels)), "{refused:?}");
    }
    assert_eq!(secrets.find(account(), "s".into(), at(3)).await.unwrap(), before, "it is as it was");
    assert_eq!(secrets.value(account(), "s".into(), "refused".into()).await.unwrap(), None);
    for number in 0..secrets::VERSIONS_MAX {
        add(format!("moved{number}"), &[label(1)]).await.unwrap();
    }
    let kept = secrets.find(account(), "s".into(), at(3)).await.unwrap().unwrap();
    assert_eq!((kept.versions.len(), kept.staged("label-2").unwrap().as_str()), (secrets::VERSIONS_MAX, "v2"));
    secrets.create(account(), "t".into(), secret(0), None).await.unwrap();
    let many = (0..=secrets::LABELS_MAX).map(label).collect();
    let many = secrets::Put { stages: many, ..version("v", "x", 1) };
    assert!(matches!(secrets.put(account(), "t".into(), many).await, Err(ChangeError::TooManyLabels)));
}
