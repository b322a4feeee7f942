//! What components reach outside, in a world of the test's own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use http_body_util::BodyExt;
use support::{Log, Place, answer, call, function, get, guest_asking};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use updraft_executor::{
    Instance, Reply,
    egress::{Config as Egress, Grant, Outside},
};
use updraft_types::{Egress as Rules, Fault, egress::HostName};
use updraft_wasm::{Config, WasmExecutor};

/// What the guest of most tests does, and the same over TLS.
const RELAY: &str = "(call $relay (local.get $reply) (call $go (call $ask (i32.const 0)) (i32.const 0) (i32.const 0)))";
const RELAY_TLS: &str =
    "(call $relay (local.get $reply) (call $go (call $ask (i32.const 1)) (i32.const 0) (i32.const 0)))";

// How `$relay` tells error codes: 400 and the case's place in `error-code`.
const DNS_ERROR: u16 = 401;
const DESTINATION_IP_PROHIBITED: u16 = 404;
const CONNECTION_REFUSED: u16 = 406;
const CONNECTION_READ_TIMEOUT: u16 = 409;
const CONNECTION_LIMIT_REACHED: u16 = 411;
const TLS_PROTOCOL_ERROR: u16 = 412;
const TLS_CERTIFICATE_ERROR: u16 = 413;
const HTTP_REQUEST_DENIED: u16 = 415;
const HTTP_RESPONSE_INCOMPLETE: u16 = 425;
const HTTP_RESPONSE_HEADER_SECTION_SIZE: u16 = 426;
const HTTP_PROTOCOL_ERROR: u16 = 435;

/// Names that lead to addresses, and addresses that lead to listeners on the loopback.
#[derive(Default)]
struct World {
    names: HashMap<&'static str, &'static str>,
    places: Mutex<HashMap<SocketAddr, SocketAddr>>,
    connected: Mutex<Vec<SocketAddr>>,
}

impl World {
    /// What the platform's host calls itself in it.
    const OWN: &str = "10.0.0.99";

    fn new(names: &[(&'static str, &'static str)]) -> Arc<Self> {
        Arc::new(Self { names: names.iter().copied().collect(), ..Self::default() })
    }

    async fn place(&self, address: &str) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.places.lock().unwrap().insert(address.parse().unwrap(), listener.local_addr().unwrap());
        listener
    }

    /// A server that answers each request with `text`, as it is, and closes.
    async fn answering(&self, address: &str, text: impl Into<Vec<u8>>) {
        let (listener, text) = (self.place(address).await, text.into());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                head(&mut stream).await;
                let _ = stream.write_all(&text).await;
            }
        });
    }
}

#[async_trait]
impl Outside for World {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        let found = self.names.get(name.as_str()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(vec![found.parse().unwrap()])
    }

    fn is_own(&self, address: IpAddr) -> io::Result<bool> {
        Ok(address == Self::OWN.parse::<IpAddr>().unwrap())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().unwrap().push(address);
        let place = self.places.lock().unwrap().get(&address).copied();
        TcpStream::connect(place.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?).await
    }
}

/// Reads the head of a request.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Answers a request with its own head.
async fn echo_head(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let head = head(&mut stream).await;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}", head.len());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// A guest in a world; what it has to live in comes first.
struct Running {
    _place: Place,
    _executor: WasmExecutor,
    instance: Arc<dyn Instance>,
    log: Arc<Log>,
}

async fn start(world: &Arc<World>, rules: Option<&[&str]>, component: &[u8]) -> Running {
    let place = Place::new(component);
    let egress =
        Egress { grant: Grant::Rules, denied: vec!["203.0.113.0/24".parse().unwrap()], outside: world.clone() };
    let authorities = vec![include_bytes!("tls/authority.der").to_vec()];
    let executor = WasmExecutor::new(Config { egress, authorities, ..place.config() }).unwrap();
    let mut function = function();
    function.configuration.egress =
        rules.map(|rules| Rules::allow(rules.iter().map(|rule| rule.parse().unwrap())).unwrap());
    let (instance, log) = place.start_as(&executor, function).await.unwrap();
    Running { _place: place, _executor: executor, instance, log }
}

/// What a guest that asks `authority` in the way of `body` answers.
async fn asking(world: &Arc<World>, rules: &[&str], authority: &str, body: &str) -> (u16, String) {
    let running = start(world, Some(rules), &guest_asking(authority, body)).await;
    let (parts, text) = answer(&running.instance, get("/")).await.unwrap();
    (parts.status.as_u16(), String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn what_a_rule_names_is_fetched() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    for (at, authority) in [("9.9.9.9:80", "api.example"), ("9.9.9.9:8080", "API.example:8080")] {
        let listener = world.place(at).await;
        tokio::spawn(async move {
            loop {
                echo_head(listener.accept().await.unwrap().0).await;
            }
        });
        let (status, text) = asking(&world, &["api.example:80", "api.example:8080"], authority, RELAY).await;
        assert_eq!((status, text), (200, format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n")));
    }
    assert_eq!(world.connected.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_large_answer_comes_through_whole_and_its_instance_goes_on() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    let large: String = (0..300_000).map(|number| format!("{number:010}")).collect();
    world.answering("9.9.9.9:80", format!("HTTP/1.1 203 Fine\r\n\r\n{large}")).await;
    let running = start(&world, Some(&["api.example:80"]), &guest_asking("api.example", RELAY)).await;
    for _ in 0..3 {
        let (parts, text) = answer(&running.instance, get("/")).await.unwrap();
        assert_eq!(parts.status, 203);
        assert!(text == large);
    }
}

#[tokio::test]
async fn a_request_has_a_body() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    let listener = world.place("9.9.9.9:80").await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        (head, String::from_utf8(body).unwrap())
    });
    // More pieces than wait anywhere: the request is on its way while they are written.
    let words = "(call $write)".repeat(20);
    let post = format!(
        "(local $request i32) (local $future i32)
        (local.set $request (call $ask (i32.const 0)))
        (drop (call $set_method (local.get $request) (i32.const 2) (i32.const 0) (i32.const 0)))
        (call $request_body (local.get $request) (i32.const 64))
        (global.set $body (i32.load (i32.const 68)))
        (call $body_stream (global.get $body) (i32.const 64))
        (global.set $stream (i32.load (i32.const 68)))
        (local.set $future (call $go (local.get $request) (i32.const 0) (i32.const 0)))
        {words} (call $finish)
        (call $relay (local.get $reply) (local.get $future))"
    );
    assert_eq!(asking(&world, &["api.example:80"], "api.example", &post).await, (200, String::new()));
    let (head, body) = server.await.unwrap();
    assert!(head.starts_with("POST / ") && head.contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(body.matches("some words").count(), 20, "{body}");
}

#[tokio::test]
async fn nothing_is_reached_without_rules_nor_looked_up() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    world.answering("9.9.9.9:80", "HTTP/1.1 200 OK\r\n\r\n").await;
    let component = guest_asking("api.example", RELAY);
    for rules in [None, Some(&[] as &[&str]), Some(&["api.example:443", "*.example:443", "other.example:80"])] {
        let running = start(&world, rules, &component).await;
        assert_eq!(answer(&running.instance, get("/")).await.unwrap().0.status, HTTP_REQUEST_DENIED);
        let log = running.log.text();
        assert!(log.starts_with("egress refused: api.example:80: no egress rule"), "{log}");
    }
    assert!(world.connected.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_never_reachable_is_not_whatever_the_rules() {
    let world = World::new(&[
        ("rebound.example", "127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
        ("myself.example", World::OWN),
        ("inner.example", "10.1.2.3"),
        ("denied.example", "203.0.113.5"),
    ]);
    let rules = &["*:*", "10.0.0.0/24:*"];
    for authority in [
        "127.0.0.1:4566",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.99:4566",
        "rebound.example",
        "metadata.example",
        "myself.example:4566",
        "inner.example",
        "10.1.2.3",
    ] {
        assert_eq!(asking(&world, rules, authority, RELAY).await.0, DESTINATION_IP_PROHIBITED, "{authority}");
    }
    assert_eq!(asking(&world, rules, "denied.example", RELAY).await.0, HTTP_REQUEST_DENIED);
    assert!(world.connected.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_failure_has_its_error_code() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    world.answering("9.9.9.9:81", "").await;
    world.answering("9.9.9.9:82", "HTTP/1.1 200 OK\r\ncontent-le").await;
    world.answering("9.9.9.9:83", "220 mail.example ESMTP\r\n").await;
    world.answering("9.9.9.9:84", format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(300_000))).await;
    for (authority, code) in [
        ("nowhere.example", DNS_ERROR),
        ("api.example:80", CONNECTION_REFUSED),
        ("api.example:81", HTTP_RESPONSE_INCOMPLETE),
        ("api.example:82", HTTP_RESPONSE_INCOMPLETE),
        ("api.example:83", HTTP_PROTOCOL_ERROR),
        ("api.example:84", HTTP_RESPONSE_HEADER_SECTION_SIZE),
    ] {
        assert_eq!(asking(&world, &["*:*"], authority, RELAY).await.0, code, "{authority}");
    }
    // A body that ends before its length is one that broke off.
    world.answering("9.9.9.9:85", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await;
    let running = start(&world, Some(&["*:*"]), &guest_asking("api.example:85", RELAY)).await;
    let Err(Fault::Crash { .. }) = answer(&running.instance, get("/")).await else { panic!("it came whole") };
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_given_up() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    let listener = world.place("9.9.9.9:80").await;
    let patience = |setter: &str| {
        format!(
            "(local $options i32) (local.set $options (call $options))
            (drop (call {setter} (local.get $options) (i32.const 1) (i64.const 20000000)))
            (call $relay (local.get $reply) (call $go (call $ask (i32.const 0)) (i32.const 1) (local.get $options)))"
        )
    };
    let impatient = patience("$set_first_byte_timeout");
    assert_eq!(asking(&world, &["*:*"], "api.example", &impatient).await.0, CONNECTION_READ_TIMEOUT);
    drop(listener.accept().await.unwrap());

    let component = guest_asking("api.example", &patience("$set_between_bytes_timeout"));
    let running = start(&world, Some(&["*:*"]), &component).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
        // Until the other end has gone.
        stream.read_u8().await.unwrap_err();
    });
    let Err(Fault::Crash { .. }) = answer(&running.instance, get("/")).await else { panic!("it came whole") };
    server.await.unwrap();
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from(include_bytes!("tls/server.der").to_vec());
    let key = PrivateKeyDer::try_from(include_bytes!("tls/server.key.der").to_vec()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap()).into()
}

#[tokio::test]
async fn https_is_spoken_with_whom_the_certificate_names() {
    let world = World::new(&[("api.example", "9.9.9.9"), ("other.example", "9.9.9.9")]);
    let (listener, acceptor) = (world.place("9.9.9.9:443").await, acceptor());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                echo_head(stream).await;
            }
        }
    });
    let rules = &["*:*"];
    let expected = |host: &str| (200, format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    assert_eq!(asking(&world, rules, "api.example", RELAY_TLS).await, expected("api.example"));
    assert_eq!(asking(&world, rules, "9.9.9.9", RELAY_TLS).await, expected("9.9.9.9"));
    assert_eq!(asking(&world, rules, "other.example", RELAY_TLS).await.0, TLS_CERTIFICATE_ERROR);

    // Mozilla's authorities have not signed it.
    let place = Place::new(&guest_asking("api.example", RELAY_TLS));
    let egress = Egress { grant: Grant::RulesOrAll, denied: Vec::new(), outside: world.clone() };
    let executor = WasmExecutor::new(Config { egress, ..place.config() }).unwrap();
    let (instance, _) = place.start(&executor).await.unwrap();
    assert_eq!(answer(&instance, get("/")).await.unwrap().0.status, TLS_CERTIFICATE_ERROR);

    let plain = world.place("9.9.9.9:8443").await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        // Until the other end has gone.
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    });
    assert_eq!(asking(&world, rules, "api.example:8443", RELAY_TLS).await.0, TLS_PROTOCOL_ERROR);
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_ends_with_the_call_that_made_it() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    let listener = world.place("9.9.9.9:80").await;
    // It waits for an answer for a moment, so that the request is out, and goes without it.
    let forgetful = "(local $options i32) (local.set $options (call $options))
        (drop (call $go (call $ask (i32.const 0)) (i32.const 0) (i32.const 0)))
        (drop (call $set_first_byte_timeout (local.get $options) (i32.const 1) (i64.const 20000000)))
        (call $relay (local.get $reply) (call $go (call $ask (i32.const 0)) (i32.const 1) (local.get $options)))";
    let running = start(&world, Some(&["*:*"]), &guest_asking("api.example", forgetful)).await;
    let Ok(Reply::Http(reply)) = running.instance.clone().call(call(get("/"))).await else { panic!("no reply") };
    reply.into_body().collect().await.unwrap();
    assert!(running.instance.is_alive());
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.read_u8().await.unwrap_err();
    }
}

#[tokio::test]
async fn an_instance_has_so_many_connections_and_no_more() {
    let world = World::new(&[("api.example", "9.9.9.9")]);
    let listener = world.place("9.9.9.9:80").await;
    let greedy = "(local $options i32) (local $count i32) (local.set $options (call $options))
        (loop $more
          (drop (call $go (call $ask (i32.const 0)) (i32.const 0) (i32.const 0)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $count) (i32.const 40))))
        (drop (call $set_connect_timeout (local.get $options) (i32.const 1) (i64.const 20000000)))
        (call $relay (local.get $reply) (call $go (call $ask (i32.const 0)) (i32.const 1) (local.get $options)))";
    let (status, _) = asking(&world, &["*:*"], "api.example", greedy).await;
    assert_eq!(status, CONNECTION_LIMIT_REACHED);
    assert_eq!(world.connected.lock().unwrap().len(), 32);
    drop(listener);
}
