//! Conformance: layers.

use futures_util::future::join_all;
use updraft_store::layers::{Policy, PolicyError};
use updraft_types::{
    LayerId, LayerVersionId, Timestamp,
    function::{Architecture, Code},
    layer::{LayerStatement, LayerVersion},
};

use crate::fixture::Fixture;

const POLICY_BYTES_MAX: usize = 1_000;

fn layer(name: &str) -> LayerId {
    LayerId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
}

fn version_id(name: &str, version: u64) -> LayerVersionId {
    LayerVersionId { layer: layer(name), version }
}

fn draft(name: &str, runtime: &str) -> LayerVersion {
    LayerVersion {
        id: version_id(name, 0),
        code: Code { sha256: format!("hash of {name}"), size_bytes: 7, image: None },
        unzipped_bytes: 9,
        description: "\"quoted\", \u{1F600}".into(),
        license: Some("MIT".into()),
        runtimes: Some(vec![runtime.into()]),
        architectures: Some(vec![Architecture::X86_64]),
        created_at: Timestamp::from_ms(1_795_000_000_000),
    }
}

fn statement(sid: &str) -> LayerStatement {
    LayerStatement { sid: sid.into(), principal: "*".into(), organization: None }
}

#[tokio::test]
async fn versions_count_up_and_are_read_back_as_they_were_also_after_a_crash() {
    let mut fixture = Fixture::open().await;
    let layers = fixture.store.layers().clone();
    let first = layers.publish(draft("a", "python3.12")).await.unwrap();
    assert_eq!(first, LayerVersion { id: version_id("a", 1), ..draft("a", "python3.12") });
    assert_eq!(layers.publish(draft("a", "nodejs22.x")).await.unwrap().id.version, 2);
    assert_eq!(layers.publish(draft("b", "nodejs22.x")).await.unwrap().id.version, 1);
    fixture.crash().await;
    let layers = fixture.store.layers();
    assert_eq!(layers.get(version_id("a", 1)).await.unwrap(), Some((first, Policy::default())));
    for missing in [version_id("a", 3), version_id("a", 0), version_id("c", 1), version_id("a", u64::MAX)] {
        assert_eq!(layers.get(missing).await.unwrap(), None);
    }
    let mut elsewhere = version_id("a", 1);
    elsewhere.layer.account = "111111111111".parse().unwrap();
    assert_eq!(layers.get(elsewhere).await.unwrap(), None);
}

#[tokio::test]
async fn no_number_is_given_twice() {
    let mut fixture = Fixture::open().await;
    let layers = fixture.store.layers();
    let published = join_all((0..40).map(|_| layers.publish(draft("a", "python3.12")))).await;
    let mut numbers: Vec<u64> = published.into_iter().map(|one| one.unwrap().id.version).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    for version in 1..=40 {
        assert!(layers.delete(version_id("a", version)).await.unwrap().is_some());
    }
    assert!(layers.delete(version_id("a", 40)).await.unwrap().is_none());
    fixture.reopen().await;
    assert_eq!(fixture.store.layers().publish(draft("a", "python3.12")).await.unwrap().id.version, 41);
}

#[tokio::test]
async fn lists_are_in_order_and_in_pages_and_show_what_matches() {
    let fixture = Fixture::open().await;
    let layers = fixture.store.layers();
    for (name, runtime) in [("b", "python3.12"), ("a", "python3.12"), ("a", "nodejs22.x"), ("a", "python3.12")] {
        layers.publish(draft(name, runtime)).await.unwrap();
    }
    let mut elsewhere = draft("z", "python3.12");
    elsewhere.id.layer.account = "111111111111".parse().unwrap();
    layers.publish(elsewhere).await.unwrap();

    let of = |runtime: &'static str| {
        move |version: &LayerVersion| version.runtimes.iter().flatten().any(|known| known.contains(runtime))
    };
    let numbers = async |before, count, runtime| {
        let found = layers.versions(layer("a"), before, count, of(runtime)).await.unwrap();
        found.into_iter().map(|version| version.id.version).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None, 9, "").await, [3, 2, 1]);
    assert_eq!(numbers(None, 2, "").await, [3, 2]);
    assert_eq!(numbers(Some(2), 9, "").await, [1]);
    assert_eq!(numbers(None, 9, "nodejs").await, [2]);
    let names = async |after: Option<&str>, count, runtime| {
        let after = after.map(|name| name.parse().unwrap());
        let found = layers.layers(layer("a").account, after, count, of(runtime)).await.unwrap();
        found.into_iter().map(|one| (one.id.layer.name.to_string(), one.id.version)).collect::<Vec<_>>()
    };
    let row = |name: &str, version: u64| (name.to_owned(), version);
    assert_eq!(names(None, 9, "").await, [row("a", 3), row("b", 1)]);
    assert_eq!(names(None, 9, "nodejs").await, [row("a", 2)]);
    assert_eq!(names(None, 1, "").await, [row("a", 3)]);
    assert_eq!(names(Some("a"), 9, "").await, [row("b", 1)]);
    let mut packages: Vec<String> = layers.packages(None).await.unwrap().into_iter().map(|code| code.sha256).collect();
    packages.sort();
    packages.dedup();
    assert_eq!(packages, ["hash of a", "hash of b", "hash of z"]);
}

#[tokio::test]
async fn a_policy_grows_and_shrinks_under_its_revision_and_goes_with_its_version() {
    let mut fixture = Fixture::open().await;
    let layers = fixture.store.layers().clone();
    let id = || version_id("a", 1);
    let add = |sid: &str, expected: Option<&str>| {
        layers.add_statement(id(), statement(sid), expected.map(str::to_owned), POLICY_BYTES_MAX)
    };
    let remove =
        |sid: &str, expected: Option<&str>| layers.remove_statement(id(), sid.into(), expected.map(str::to_owned));
    assert!(matches!(add("s1", None).await, Err(PolicyError::NotFound)));
    assert!(matches!(remove("s1", None).await, Err(PolicyError::NotFound)));
    layers.publish(draft("a", "python3.12")).await.unwrap();
    assert!(matches!(add("s1", Some("0")).await, Err(PolicyError::Stale)));
    let first = add("s1", None).await.unwrap();
    assert!(matches!(add("s1", None).await, Err(PolicyError::Exists)));
    assert!(matches!(add("s2", Some("0")).await, Err(PolicyError::Stale)));
    let second = add("s2", Some(first.as_str())).await.unwrap();
    assert_ne!(first, second);
    let long = LayerStatement { organization: Some("o".repeat(POLICY_BYTES_MAX)), ..statement("s3") };
    let long = layers.add_statement(id(), long, None, POLICY_BYTES_MAX).await;
    assert!(matches!(long, Err(PolicyError::TooLong)), "{long:?}");

    fixture.crash().await;
    let layers = fixture.store.layers();
    let (_, policy) = layers.get(id()).await.unwrap().unwrap();
    assert_eq!(policy, Policy { statements: vec![statement("s1"), statement("s2")], revision: Some(second.clone()) });
    let remove =
        |sid: &str, expected: Option<&str>| layers.remove_statement(id(), sid.into(), expected.map(str::to_owned));
    assert!(matches!(remove("s3", None).await, Err(PolicyError::NoStatement)));
    assert!(matches!(remove("s1", Some(first.as_str())).await, Err(PolicyError::Stale)));
    remove("s1", Some(second.as_str())).await.unwrap();
    let (_, policy) = layers.get(id()).await.unwrap().unwrap();
    assert_eq!(policy.statements, [statement("s2")]);
    assert!(policy.revision.is_some_and(|revision| revision != second));

    layers.delete(id()).await.unwrap().unwrap();
    layers.publish(draft("a", "python3.12")).await.unwrap();
    let (_, policy) = layers.get(version_id("a", 2)).await.unwrap().unwrap();
    assert_eq!(policy, Policy::default());
}
