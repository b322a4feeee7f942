//! Registries on the loopback that answer as no registry should.

use std::sync::Mutex;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, tcp::OwnedWriteHalf},
    task::JoinHandle,
};

use super::*;

const CONFIG: &str = r#"{"os":"linux","architecture":"amd64","config":{"Cmd":["/bootstrap"]}}"#;
const LAYER: &[u8] = b"a layer's bytes";
/// What nobody may be shown.
const SECRET: &str = "what is in the registry's answer";

#[test]
fn only_what_is_named_is_allowed_and_plain_http_on_the_loopback_alone() {
    let read = |text: &str| text.parse::<Allowed>().map(|allowed| (allowed.host, allowed.is_plain));
    assert_eq!(read("GHCR.io"), Ok(("ghcr.io".into(), false)));
    assert_eq!(read("https://registry.example:5000/"), Ok(("registry.example:5000".into(), false)));
    assert_eq!(read("http://127.0.0.1:5000"), Ok(("127.0.0.1:5000".into(), true)));
    assert_eq!(read("http://localhost:5000"), Ok(("localhost:5000".into(), true)));
    for bad in [
        "",
        "ghcr",
        "http://ghcr.io",
        "http://10.0.0.1:5000",
        "ghcr.io/team",
        "user@ghcr.io",
        "*",
        "ftp://x.y",
        "1.2.3.256",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn no_other_registry_is_asked() {
    let registries = Registries::new(vec!["ghcr.io".parse().unwrap()]).unwrap();
    for text in ["169.254.169.254/x:latest", "evil.ghcr.io/x", "ghcr.io:444/x", "localhost:1/x", "own"] {
        let asked = registries.repository(&text.parse().unwrap());
        assert!(matches!(asked, Err(Error::NotAllowed(_))), "{text}");
    }
    let none = Registries::new(Vec::new()).unwrap();
    assert!(matches!(none.repository(&"ghcr.io/x".parse().unwrap()), Err(Error::NotAllowed(_))));
}

/// One answer: a status, headers, and a body that is as long as it says or goes on for ever.
enum Said {
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    Endless,
}

fn fine(body: impl Into<Vec<u8>>) -> Said {
    Said::Whole(200, Vec::new(), body.into())
}

fn to(place: impl Into<String>) -> Said {
    Said::Whole(307, vec![("location", place.into())], SECRET.into())
}

/// A request as a registry sees it: its path with its query, and whether it had a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    path: String,
    credential: Option<String>,
}

struct Server {
    host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request as `answer` says, which is told the server's own host.
    async fn open(answer: impl Fn(&str, &Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own, noted, answer) = (host.clone(), asked.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (own, noted, answer) = (own.clone(), noted.clone(), answer.clone());
                tokio::spawn(async move {
                    let (reader, mut writer) = connection.into_split();
                    let mut lines = BufReader::new(reader).lines();
                    let mut head = Vec::new();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if !line.is_empty() {
                            head.push(line);
                            continue;
                        }
                        let path = head[0].split(' ').nth(1).unwrap().to_owned();
                        let credential = head.iter().find_map(|line| line.strip_prefix("authorization: "));
                        let asked = Asked { path, credential: credential.map(str::to_owned) };
                        noted.lock().unwrap().push(asked.clone());
                        head.clear();
                        if write(&mut writer, answer(&own, &asked)).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { host, asked, task }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The repository `team/app` of this registry, which is the only one that is allowed.
    fn repository(&self) -> Repository {
        let registries = Registries::new(vec![format!("http://{}", self.host).parse().unwrap()]).unwrap();
        registries.repository(&format!("{}/team/app", self.host).parse().unwrap()).unwrap()
    }

    async fn describe(&self) -> Result<Described, Error> {
        self.repository().describe(&Which::Tag("latest".into()), Architecture::X86_64).await
    }

    async fn fetch(&self, layer: &Layer) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layer");
        self.repository().fetch(layer, &file).await?;
        Ok(std::fs::read(file).unwrap())
    }
}

async fn write(writer: &mut OwnedWriteHalf, said: Said) -> io::Result<()> {
    match said {
        Said::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
            headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
            writer.write_all(format!("{head}\r\n").as_bytes()).await?;
            writer.write_all(&body).await
        }
        Said::Endless => {
            writer.write_all(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                writer.write_all(b"400\r\n").await?;
                writer.write_all(&[b' '; 0x400]).await?;
                writer.write_all(b"\r\n").await?;
            }
        }
    }
}

fn layer() -> Layer {
    Layer { digest: Digest::of(LAYER), size_bytes: LAYER.len() as u64 }
}

fn manifest() -> Vec<u8> {
    let described = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() });
    json!({
        "schemaVersion": 2,
        "config": described("application/vnd.oci.image.config.v1+json", CONFIG.as_bytes()),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", LAYER)],
    })
    .to_string()
    .into_bytes()
}

/// What a good registry has at a path of the repository.
fn content(path: &str) -> Said {
    let (config, layer) = (Digest::of(CONFIG.as_bytes()), layer().digest);
    match path.strip_prefix("/v2/team/app/").unwrap_or_default() {
        "manifests/latest" => fine(manifest()),
        rest if rest == format!("blobs/{config}") => fine(CONFIG),
        rest if rest == format!("blobs/{layer}") => fine(LAYER),
        _ => Said::Whole(404, Vec::new(), SECRET.into()),
    }
}

fn why<T>(result: Result<T, Error>) -> Why {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => {
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
            match error {
                Error::Registry { why, .. } => why,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_got_where_one_is_wanted_and_shown_to_the_registry_alone() {
    let store = Server::open(|_, _| fine(LAYER)).await;
    let away = store.host.clone();
    let registry = Server::open(move |own, asked| {
        if asked.path.starts_with("/token") {
            return fine(r#"{"token":"t","expires_in":300}"#);
        }
        if asked.credential.as_deref() != Some("Bearer t") {
            let realm = format!("Basic realm=\"x\", Bearer realm=\"http://{own}/token?a=b\", service=\"the one\"");
            return Said::Whole(401, vec![("www-authenticate", realm)], SECRET.into());
        }
        match content(&asked.path) {
            Said::Whole(200, _, body) if body == LAYER => to(format!("http://{away}/signed?secret=1")),
            said => said,
        }
    })
    .await;
    let mut repository = registry.repository();
    let described = repository.describe(&Which::Tag("latest".into()), Architecture::X86_64).await.unwrap();
    assert_eq!(described.manifest.layers, [layer()]);
    let paths: Vec<String> = registry.asked().into_iter().map(|asked| asked.path).collect();
    let token = "/token?a=b&scope=repository%3Ateam%2Fapp%3Apull&service=the+one";
    let config = format!("/v2/team/app/blobs/{}", Digest::of(CONFIG.as_bytes()));
    assert_eq!(paths, ["/v2/team/app/manifests/latest", token, "/v2/team/app/manifests/latest", &config]);
    assert_eq!(registry.asked()[1].credential, None);
    // Another host's plain HTTP is out of bounds; where the operator names it, nothing of the registry's goes along.
    let refused = why(repository.fetch(&layer(), Path::new("/nonexistent")).await);
    assert!(matches!(refused, Why::Astray { reason: "which is not https", .. }), "{refused:?}");
    assert_eq!(store.asked(), []);
}

#[tokio::test]
async fn answers_are_read_as_far_as_they_may_go() {
    let endless = Server::open(|_, _| Said::Endless).await;
    let max = MANIFEST_BYTES_MAX as u64;
    assert_eq!(why(endless.describe().await), Why::TooLarge { part: "manifest", max });
    assert_eq!(why(endless.fetch(&layer()).await), Why::LayerSize);
    let promised = Server::open(|_, asked| match content(&asked.path) {
        Said::Whole(200, _, body) if body == CONFIG.as_bytes() => Said::Endless,
        said => said,
    })
    .await;
    let max = CONFIG_BYTES_MAX as u64;
    assert_eq!(why(promised.describe().await), Why::TooLarge { part: "configuration", max });
    let token = Server::open(|own, asked| match asked.path.starts_with("/token") {
        true => Said::Endless,
        false => {
            Said::Whole(401, vec![("www-authenticate", format!("Bearer realm=\"http://{own}/token\""))], Vec::new())
        }
    })
    .await;
    assert_eq!(why(token.describe().await), Why::TooLarge { part: "token", max: 64 << 10 });
}

#[tokio::test]
async fn authors_hear_our_words_for_what_a_registry_says() {
    for (status, expected) in [
        (401, Why::Login),
        (403, Why::Login),
        (404, Why::NotThere),
        (429, Why::AskedTooOften),
        (204, Why::Status(204)),
        (418, Why::Status(418)),
        (502, Why::Status(502)),
    ] {
        let server = Server::open(move |_, _| Said::Whole(status, Vec::new(), SECRET.into())).await;
        assert_eq!(why(server.describe().await), expected, "{status}");
        assert_eq!(why(server.fetch(&layer()).await), expected, "{status}");
    }
    for answer in [SECRET.as_bytes(), b"{}", br#"{"token":"a\nb"}"#, br#"{"token":7}"#] {
        let server = Server::open(move |own, asked| match asked.path.starts_with("/token") {
            true => fine(answer),
            false => {
                Said::Whole(401, vec![("www-authenticate", format!("Bearer realm=\"http://{own}/token\""))], Vec::new())
            }
        })
        .await;
        assert_eq!(why(server.describe().await), Why::NoToken, "{answer:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = Server { host: closed.to_string(), asked: Arc::default(), task: tokio::spawn(async {}) };
    assert_eq!(why(gone.describe().await), Why::Unreachable("127.0.0.1".into()));
}

#[tokio::test]
async fn nobody_is_asked_that_a_registry_only_names() {
    let victim = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = victim.local_addr().unwrap().port();
    for place in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        // A name, of which only its looking up shows where it leads.
        format!("https://localhost:{port}/"),
        "https://169.254.169.254/latest/meta-data".into(),
        "https://user@example.com/".into(),
    ] {
        let away = place.clone();
        let registry = Server::open(move |_, asked| match content(&asked.path) {
            Said::Whole(200, _, body) if body == LAYER => to(away.clone()),
            said => said,
        })
        .await;
        registry.describe().await.unwrap();
        let refused = why(registry.fetch(&layer()).await);
        assert!(matches!(refused, Why::Astray { .. }), "{place}: {refused:?}");
        let realm = format!("Bearer realm=\"{place}\"");
        let registry =
            Server::open(move |_, _| Said::Whole(401, vec![("www-authenticate", realm.clone())], Vec::new())).await;
        let refused = why(registry.describe().await);
        assert!(matches!(refused, Why::Astray { .. }), "{place}: {refused:?}");
    }
    let registry = Server::open(|_, _| to("https://example.com/v2/team/app/manifests/latest")).await;
    assert!(matches!(why(registry.describe().await), Why::Astray { .. }), "a manifest is the registry's own");
    let around = Server::open(|_, asked| to(asked.path.clone())).await;
    assert_eq!(why(around.describe().await), Why::TooManyLeads);
    let silent = Server::open(|_, _| Said::Whole(302, Vec::new(), Vec::new())).await;
    assert_eq!(why(silent.describe().await), Why::Status(302));
    let connected = tokio::time::timeout(Duration::ZERO, victim.accept()).await;
    assert!(connected.is_err(), "it has been connected to");
}

#[tokio::test]
async fn a_layer_is_what_its_manifest_says_or_nothing() {
    let good = Server::open(|_, asked| content(&asked.path)).await;
    assert_eq!(good.fetch(&layer()).await.unwrap(), LAYER);
    let moved = Server::open(|_, asked| match asked.path.as_str() {
        "/elsewhere" => fine(LAYER),
        _ => to("/elsewhere"),
    })
    .await;
    assert_eq!(moved.fetch(&layer()).await.unwrap(), LAYER, "on the registry itself it may lie anywhere");
    for (body, expected) in [
        (&b"a layer's other"[..], Why::Digest),
        (b"a layer", Why::LayerSize),
        (b"a layer's bytes and more", Why::LayerSize),
    ] {
        let lying = Server::open(move |_, _| fine(body)).await;
        assert_eq!(why(lying.fetch(&layer()).await), expected);
    }
    let cut = Server::open(|_, _| Said::Whole(200, vec![("x", "y".into())], LAYER[..3].into())).await;
    assert_eq!(why(cut.fetch(&Layer { size_bytes: 4, ..layer() }).await), Why::LayerSize);
}
