//! Container images on a node with a real store, fake instances and a registry on the loopback: what is pushed, what is
//! pulled, what stays and what goes.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
};
use updraft_executor::fake::FakeExecutor;
use updraft_node::{
    AdmissionLimits, CapacityLimits, Config, Draft, Executors, Handle, KeepAlivePolicy, PlacementLimits, Service,
    control::{self, Deployed, Publish, Source},
    images::{Digest, Error, Limits, Progress},
    logs,
};
use updraft_store::Store;
use updraft_types::{
    AccountId, FunctionId, Runtime,
    function::{Architecture, Configuration, TracingMode},
    image::Tagged,
};

struct Node {
    handle: Handle,
    directory: PathBuf,
    stop: tokio::sync::oneshot::Sender<()>,
    service: JoinHandle<()>,
}

impl Node {
    async fn open(directory: &Path, registries: &[&str]) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let images = updraft_node::images::Config {
            directory: directory.join("images"),
            registries: registries.iter().map(|text| text.parse().unwrap()).collect(),
            limits: Limits { bytes_max: 1 << 20, ..Limits::default() },
        };
        let config = Config {
            region: "us-east-1".parse().unwrap(),
            packages_directory: directory.join("packages"),
            images,
            capacity: CapacityLimits { memory_mb_max: 20_000, instances_max: 150 },
            admission: AdmissionLimits::default(),
            // How busy the machine is must not decide what a test sees.
            placement: PlacementLimits { busy_instances_max: 1_000, ..PlacementLimits::default() },
            burst: Default::default(),
            fair: Default::default(),
            wait_max: Duration::from_secs(20),
            keep_alive: KeepAlivePolicy::default(),
            events: Default::default(),
            logs: logs::Config::default(),
            drain_max: Duration::from_secs(10),
        };
        let executor = Arc::new(FakeExecutor::new(1, Arc::new(Ok)));
        let executors = Executors { process: executor.clone(), wasm: executor };
        let (service, handle) = Service::open(config, store, executors).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let service = tokio::spawn(service.run(async move {
            let _ = stopped.await;
        }));
        Self { handle, directory: directory.to_owned(), stop, service }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.service.await.unwrap();
    }

    async fn upload(&self, account: &AccountId, layer: &[u8]) -> Result<Progress, Error> {
        let bytes = Bytes::copy_from_slice(layer);
        self.handle.upload_image_blob(account, &Digest::of(layer), layer.len() as u64, 0, bytes).await
    }

    async fn push(&self, account: &AccountId, name: &str, image: &Image) -> Result<Tagged, Error> {
        let (manifest, config) = (image.manifest().into(), image.config().into());
        self.handle.push_image(account, name.into(), "latest".into(), manifest, config).await
    }

    async fn create(&self, account: &AccountId, name: &str, uri: &str) -> Result<Deployed, control::Error> {
        self.handle.create_with(draft(account, name), Source::Image(uri.into()), Publish::No).await
    }

    async fn is_there(&self, account: &AccountId, layer: &[u8]) -> bool {
        self.handle.image_blob(account, &Digest::of(layer)).await.unwrap().is_complete
    }

    /// The blobs and the unpacked images that there are.
    fn kept(&self) -> (usize, usize) {
        let count = |folder: PathBuf, begin: &str| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|name| name.to_string_lossy().starts_with(begin)).count()
        };
        let packages = fs::read_dir(self.directory.join("packages")).unwrap().next().unwrap().unwrap().path();
        (count(self.directory.join("blobs"), "layer-"), count(packages, "image-"))
    }
}

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn id(account: &AccountId, name: &str) -> FunctionId {
    FunctionId { account: account.clone(), name: name.parse().unwrap() }
}

fn draft(account: &AccountId, name: &str) -> Draft {
    Draft {
        id: id(account, name),
        configuration: Configuration {
            runtime: Runtime::Image,
            handler: String::new(),
            role: "arn:aws:iam::000000000000:role/r".into(),
            description: String::new(),
            timeout_s: 3,
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            environment: Default::default(),
            architecture: Architecture::X86_64,
            tracing: TracingMode::PassThrough,
            log_group: None,
            logging: Default::default(),
            egress: None,
            layers: Vec::new(),
            image: Default::default(),
            snap_start: Default::default(),
        },
        tags: Default::default(),
    }
}

/// A layer of one file.
fn layer(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(name.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, name.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

struct Image {
    layers: Vec<Vec<u8>>,
}

impl Image {
    fn of(layers: &[&[u8]]) -> Self {
        Self { layers: layers.iter().map(|layer| layer.to_vec()).collect() }
    }

    fn config(&self) -> Vec<u8> {
        json!({ "os": "linux", "architecture": "amd64", "config": { "Cmd": ["/bootstrap"] } }).to_string().into()
    }

    fn manifest(&self) -> Vec<u8> {
        let described = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
        let layers = self.layers.iter().map(|layer| described("application/vnd.oci.image.layer.v1.tar", layer));
        json!({
            "schemaVersion": 2,
            "config": described("application/vnd.oci.image.config.v1+json", &self.config()),
            "layers": layers.collect::<Vec<_>>(),
        })
        .to_string()
        .into()
    }
}

async fn until(is_so: impl AsyncFn() -> bool) {
    for _ in 0..30_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never came to be so");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_uploaded_is_one_accounts_and_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), &[]).await;
    let (mine, others) = (account("111111111111"), account("222222222222"));
    node.handle.create_account("others".into(), Some(others.clone())).await.unwrap();
    let (base, one) = (layer("base"), layer("one"));
    for account in [&mine, &others] {
        assert!(matches!(node.push(account, "app", &Image::of(&[&base])).await, Err(Error::Image(_))));
        assert!(node.upload(account, &base).await.unwrap().is_complete);
        assert!(node.upload(account, &one).await.unwrap().is_complete);
        node.push(account, "app", &Image::of(&[&base, &base])).await.unwrap();
    }
    let uploads = |account: &AccountId| directory.path().join("images").join(account.as_str());
    assert_eq!(fs::read_dir(uploads(&others)).unwrap().count(), 1, "what an image has waits no more");
    node.handle.delete_account(others.clone()).await.unwrap();
    assert!(!uploads(&others).exists());
    assert!(!node.is_there(&others, &one).await);
    assert!(node.is_there(&mine, &one).await && node.is_there(&mine, &base).await);
    until(async || node.kept() == (1, 1)).await;
    // As often as an image says that it has a layer it is read.
    node.push(&mine, "many", &Image::of(&vec![base.as_slice(); 127])).await.unwrap();
    let large = layer(&"x".repeat(90)).repeat(8);
    assert!(node.upload(&mine, &large).await.unwrap().is_complete);
    let refused = node.push(&mine, "app", &Image::of(&vec![large.as_slice(); 127])).await.unwrap_err();
    assert!(refused.to_string().contains("at most 1048576 are allowed"), "{refused}");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_share_layers_may_be_pushed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), &[]).await;
    let mine = account("111111111111");
    let base = layer("base");
    let layers: Vec<_> = (0..8).map(|number| layer(&number.to_string())).collect();
    node.upload(&mine, &base).await.unwrap();
    for layer in &layers {
        node.upload(&mine, layer).await.unwrap();
    }
    let images: Vec<_> = layers.iter().map(|layer| Image::of(&[&base, layer])).collect();
    let names: Vec<_> = (0..8).map(|number| format!("app{number}")).collect();
    let pushes = names.iter().zip(&images).map(|(name, image)| node.push(&mine, name, image));
    for pushed in futures_util::future::join_all(pushes).await {
        pushed.unwrap();
    }
    assert_eq!(node.kept(), (9, 8));
    assert_eq!(fs::read_dir(directory.path().join("images/111111111111")).unwrap().count(), 0);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_damaged_can_be_pushed_again() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), &[]).await;
    let mine = account("111111111111");
    let (base, one) = (layer("base"), layer("one"));
    let image = Image::of(&[&base, &one]);
    node.upload(&mine, &base).await.unwrap();
    node.upload(&mine, &one).await.unwrap();
    node.push(&mine, "app", &image).await.unwrap();
    node.close().await;

    let blob = directory.path().join(format!("blobs/layer-{mine}-{}", Digest::of(&base).hex()));
    fs::write(&blob, vec![b'x'; base.len()]).unwrap();
    // As after the machine was restarted.
    fs::remove_dir_all(directory.path().join("packages")).unwrap();
    let node = Node::open(directory.path(), &[]).await;
    assert!(node.is_there(&mine, &base).await, "nobody has looked yet");
    let refused = node.create(&mine, "f", "app").await.unwrap_err();
    assert!(matches!(&refused, control::Error::Package(text) if text.ends_with("push the image again")), "{refused:?}");
    assert!(!node.is_there(&mine, &base).await && node.is_there(&mine, &one).await);
    node.upload(&mine, &base).await.unwrap();
    node.push(&mine, "app", &image).await.unwrap();
    node.create(&mine, "f", "app").await.unwrap();
    assert_eq!(node.kept(), (2, 1));
    node.close().await;
}

/// A registry that gives what it has, but nothing of what it holds back until it is told to.
struct Registry {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    async fn open(images: &[(&str, &Image)], held_back: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, go_on) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let mut known: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, image) in images {
            known.push((format!("/v2/{name}/manifests/latest"), image.manifest()));
            let blobs = image.layers.iter().cloned().chain([image.config()]);
            known.extend(blobs.map(|blob| (format!("/v2/{name}/blobs/{}", Digest::of(&blob)), blob)));
        }
        let held_back = Digest::of(held_back).to_string();
        let (noted, waits) = (asked.clone(), go_on.clone());
        let task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (noted, waits, known, held_back) = (noted.clone(), waits.clone(), known.clone(), held_back.clone());
                tokio::spawn(async move {
                    let (reader, mut writer) = connection.into_split();
                    let mut lines = BufReader::new(reader).lines();
                    let mut path = String::new();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if let Some(rest) = line.strip_prefix("GET ") {
                            path = rest.split(' ').next().unwrap().to_owned();
                        }
                        if !line.is_empty() {
                            continue;
                        }
                        noted.lock().unwrap().push(path.clone());
                        if path.ends_with(&held_back) {
                            waits.notified().await;
                        }
                        let found = known.iter().find(|(known, _)| *known == path);
                        let (status, body) = found.map_or((404, &[][..]), |(_, body)| (200, body));
                        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                        let _ = writer.write_all(&[head.as_bytes(), body].concat()).await;
                    }
                });
            }
        });
        Self { url, asked, go_on, task }
    }

    fn uri(&self, name: &str) -> String {
        format!("{}/{name}", self.url.trim_start_matches("http://"))
    }

    fn has_been_asked_for(&self, blob: &[u8]) -> bool {
        let digest = Digest::of(blob).to_string();
        self.asked.lock().unwrap().iter().any(|path| path.ends_with(&digest))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pull_counts_on_stays_while_it_is_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let (base, one, two) = (layer("base"), layer("one"), layer("two"));
    let (first, second) = (Image::of(&[&base, &one]), Image::of(&[&base, &two]));
    let registry = Registry::open(&[("first", &first), ("second", &second)], &two).await;
    let node = Node::open(directory.path(), &[&registry.url]).await;
    let (mine, others) = (account("111111111111"), account("222222222222"));
    node.create(&mine, "first", &registry.uri("first")).await.unwrap();
    assert_eq!(node.kept(), (2, 1));

    let uri = registry.uri("second");
    let pull = node.create(&mine, "second", &uri);
    let meanwhile = async {
        until(async || registry.has_been_asked_for(&two)).await;
        // What the first image was the only one to have goes; what the second counts on stays.
        node.handle.delete(&id(&mine, "first")).await.unwrap();
        until(async || node.kept() == (1, 0)).await;
        // Others go on, and so does what the account does beside.
        node.create(&others, "first", &registry.uri("first")).await.unwrap();
        node.create(&mine, "again", &registry.uri("first")).await.unwrap();
        registry.go_on.notify_one();
    };
    let (pulled, ()) = tokio::join!(pull, meanwhile);
    pulled.unwrap();
    assert_eq!(node.kept(), (2 + 3, 3));

    // One that comes to nothing leaves nothing, not even what it counted on.
    let broken = Image::of(&[&base, b"no tar, but long enough to be read as one".repeat(30).as_slice()]);
    node.upload(&mine, &broken.layers[1]).await.unwrap();
    assert!(matches!(node.push(&mine, "broken", &broken).await, Err(Error::Image(_))));
    for (account, name) in [(&mine, "second"), (&mine, "again"), (&others, "first")] {
        node.handle.delete(&id(account, name)).await.unwrap();
    }
    until(async || node.kept() == (0, 0)).await;
    let left = fs::read_dir(directory.path().join("images/111111111111")).unwrap();
    assert_eq!(left.count(), 1, "what was uploaded waits for another image");
    node.close().await;
}
