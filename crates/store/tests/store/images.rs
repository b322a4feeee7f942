//! Conformance: container images.

use updraft_store::images::Error;
use updraft_types::{
    AccountId, Timestamp,
    function::Architecture,
    image::{Contents, LayerBlob, Program, Tagged},
};

use crate::fixture::Fixture;

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn contents(digest: &str) -> Contents {
    Contents {
        digest: digest.into(),
        layers: vec![LayerBlob { digest: "l".into(), size_bytes: 7 }; 2],
        architecture: Architecture::X86_64,
        program: Program { command: vec!["/b".into()], ..Program::default() },
    }
}

fn tagged(name: &str, tag: &str, digest: &str) -> Tagged {
    Tagged { name: name.into(), tag: tag.into(), contents: contents(digest), pushed_at: Timestamp::from_ms(5) }
}

#[tokio::test]
async fn an_image_is_found_by_its_names_and_stays_without_them() {
    let mut fixture = Fixture::open().await;
    let images = fixture.store.images().clone();
    let (mine, others) = (account("111111111111"), account("222222222222"));
    assert_eq!(images.tag(mine.clone(), tagged("app", "v1", "a"), 2).await.unwrap(), None);
    assert_eq!(images.tag(mine.clone(), tagged("app", "v1", "a"), 2).await.unwrap(), None, "nothing has changed");
    assert_eq!(images.tag(mine.clone(), tagged("app", "v2", "a"), 2).await.unwrap(), None);
    assert!(matches!(images.tag(mine.clone(), tagged("app", "v3", "b"), 2).await, Err(Error::TooMany)));
    assert_eq!(images.tag(mine.clone(), tagged("app", "v2", "b"), 2).await.unwrap(), Some("a".into()));

    fixture.reopen().await;
    let images = fixture.store.images().clone();
    let find = |account: &AccountId, tag: &str| images.find(account.clone(), "app".into(), tag.into());
    assert_eq!(find(&mine, "v1").await.unwrap(), Some(contents("a")));
    assert_eq!(find(&mine, "v2").await.unwrap(), Some(contents("b")));
    assert_eq!((find(&mine, "v3").await.unwrap(), find(&others, "v1").await.unwrap()), (None, None));
    let by_digest = |account: &AccountId, name: &str| images.find_digest(account.clone(), name.into(), "b".into());
    assert_eq!(by_digest(&mine, "app").await.unwrap(), Some(contents("b")));
    assert_eq!((by_digest(&mine, "other").await.unwrap(), by_digest(&others, "app").await.unwrap()), (None, None));
    let list = images.list(mine.clone()).await.unwrap();
    assert_eq!(list, [tagged("app", "v1", "a"), tagged("app", "v2", "b")]);
    assert_eq!(list[0].contents.size_bytes(), 7, "a layer that is there twice is kept once");
    assert_eq!(images.list(others.clone()).await.unwrap(), []);

    images.delete(mine.clone(), "b".into()).await.unwrap();
    assert!(find(&mine, "v2").await.unwrap().is_some(), "one with a name is not forgotten");
    assert_eq!(images.untag(mine.clone(), "app".into(), "v2".into()).await.unwrap(), Some("b".into()));
    assert_eq!(images.untag(mine.clone(), "app".into(), "v2".into()).await.unwrap(), None);
    images.put(others.clone(), contents("a")).await.unwrap();
    let mut all: Vec<_> = images.all().await.unwrap();
    all.sort_by(|one, other| (&one.account, &one.contents.digest).cmp(&(&other.account, &other.contents.digest)));
    let shown: Vec<_> =
        all.iter().map(|held| (held.account.as_str(), held.contents.digest.as_str(), held.is_tagged)).collect();
    assert_eq!(shown, [("111111111111", "a", true), ("111111111111", "b", false), ("222222222222", "a", false)]);
    images.delete(mine.clone(), "b".into()).await.unwrap();
    assert_eq!(images.all().await.unwrap().len(), 2);
    assert_eq!(images.get(mine.clone(), "a".into()).await.unwrap(), Some(contents("a")));
}

#[tokio::test]
async fn layers_are_found_as_long_as_an_image_has_them() {
    let mut fixture = Fixture::open().await;
    let images = fixture.store.images().clone();
    let (mine, others) = (account("111111111111"), account("222222222222"));
    let layer = |digest: &str, size_bytes| LayerBlob { digest: digest.into(), size_bytes };
    let made_of = |digest: &str, layers: &[LayerBlob]| Contents { layers: layers.into(), ..contents(digest) };
    images.put(mine.clone(), made_of("a", &[layer("base", 5), layer("one", 1), layer("base", 5)])).await.unwrap();
    images.put(mine.clone(), made_of("b", &[layer("base", 5), layer("two", 2)])).await.unwrap();
    images.put(mine.clone(), made_of("b", &[layer("base", 5), layer("two", 2)])).await.unwrap();
    let found = async |images: &updraft_store::Images, account: &AccountId| {
        let asked = ["two", "none", "base", "one", "base"].map(str::to_owned).into();
        images.layers(account.clone(), asked).await.unwrap()
    };
    assert_eq!(found(&images, &mine).await, [layer("two", 2), layer("base", 5), layer("one", 1)]);
    assert_eq!(found(&images, &others).await, []);
    fixture.reopen().await;
    let images = fixture.store.images().clone();
    images.delete(mine.clone(), "a".into()).await.unwrap();
    assert_eq!(found(&images, &mine).await, [layer("two", 2), layer("base", 5)]);
    images.delete(mine.clone(), "b".into()).await.unwrap();
    assert_eq!(found(&images, &mine).await, []);
}
