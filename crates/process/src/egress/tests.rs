//! The forwarder against a world of its own: names and addresses that lead to listeners of the test's.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use updraft_types::egress::{Egress, Policy};

use super::*;
use crate::testing::{Lines, World};

const NAMES: &[(&str, &[&str])] = &[
    ("a.example", &["9.9.9.9"]),
    ("b.example", &["8.8.8.8"]),
    ("dark.example", &["7.7.7.7"]),
    ("rebound.example", &["127.0.0.1", "::1", "169.254.169.254"]),
    ("home.example", &["10.0.0.5"]),
];

struct Running {
    forwarder: Forwarder,
    world: Arc<World>,
    log: Arc<Lines>,
    /// Where the guest connects to reach `a.example:PORT` or the proxy.
    at: SocketAddr,
}

fn id(name: &str) -> FunctionId {
    FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
}

fn gate(world: Arc<World>, endpoint: Option<Endpoint>) -> Gate {
    Gate::with(world, endpoint, HOST_CONNECTIONS_MAX, HOST_CONNECTIONS_MAX)
}

/// A forwarder for these rules. `proxy` says what the guest's listener is; otherwise it is that of `a.example` at
/// whatever port it got.
async fn start(rules: &[&str], proxy: bool) -> Running {
    let listener = StdListener::bind(if proxy { "127.0.0.1:0" } else { "127.1.0.2:0" }).unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let own = (!proxy).then(|| format!("a.example:{}", at.port()));
    let rules = own.iter().map(String::as_str).chain(rules.iter().copied());
    let egress = Egress::allow(rules.map(|rule| rule.parse().unwrap())).unwrap();
    let mut plan = Plan::new(Policy::new(egress, [].into()), 9001);
    if let (true, SocketAddr::V4(at)) = (proxy, at) {
        plan.proxy = Some(at);
    }
    let world = World::new(NAMES);
    let gate = gate(world.clone(), None);
    let log = Lines::new();
    let forwarder = Forwarder::start(plan, vec![listener], &gate, &id("f"), log.clone()).unwrap();
    Running { forwarder, world, log, at }
}

impl Running {
    /// A listener that the world has at `address`.
    async fn place(&self, address: &str) -> TcpListener {
        self.world.place(address).await
    }

    /// An HTTP/1.1 server at `address` that answers each request with its head and body.
    async fn echo_server(&self, address: &str) {
        let listener = self.place(address).await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    let mut piece = [0; 4096];
                    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut piece).await {
                            Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
                            _ => return,
                        }
                    }
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seen.len());
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&seen).await;
                });
            }
        });
    }

    /// Says something to the proxy and hears it out.
    async fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        let mut guest = TcpStream::connect(self.at).await.unwrap();
        guest.write_all(bytes).await.unwrap();
        guest.shutdown().await.unwrap();
        let mut answer = Vec::new();
        guest.read_to_end(&mut answer).await.unwrap();
        answer
    }

    async fn ask_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.ask(text.as_bytes()).await).into_owned()
    }

    fn connected(&self) -> usize {
        self.world.connected()
    }
}

/// Reads until the head of an answer is whole.
async fn head(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn a_name_is_carried_out_without_the_guest_knowing() {
    let running = start(&[], false).await;
    let outside = running.place(&format!("9.9.9.9:{}", running.at.port())).await;
    let mut guest = TcpStream::connect(running.at).await.unwrap();
    guest.write_all(b"question").await.unwrap();
    guest.shutdown().await.unwrap();
    let (mut stream, _) = outside.accept().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    stream.write_all(format!("{text} answered").as_bytes()).await.unwrap();
    drop(stream);
    let mut answer = String::new();
    guest.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "question answered");
    assert_eq!(running.log.text(), "");
    assert_eq!(running.forwarder.totals.bytes(), (8, 17));
}

#[tokio::test]
async fn a_refusal_is_a_reset_and_a_line_in_the_log() {
    // The name is allowed; where it leads is not.
    let mut running = start(&[], false).await;
    let world = World::new(&[("a.example", &["169.254.169.254"])]);
    let listener = StdListener::bind("127.1.0.2:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    running.at = listener.local_addr().unwrap();
    let rule = format!("a.example:{}", running.at.port()).parse().unwrap();
    let plan = Plan::new(Policy::new(Egress::allow([rule]).unwrap(), [].into()), 9001);
    let gate = Gate::with(world.clone(), None, 1, 1);
    let _forwarder = Forwarder::start(plan, vec![listener], &gate, &id("f"), running.log.clone()).unwrap();
    let mut guest = TcpStream::connect(running.at).await.unwrap();
    let error = guest.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(world.connected(), 0);
    let line = format!(
        "egress refused: a.example:{} leads to 169.254.169.254: it is link-local, where clouds have their metadata service, and never reachable\n",
        running.at.port()
    );
    assert_eq!(running.log.text(), line);
}

#[tokio::test]
async fn connect_makes_a_tunnel() {
    let running = start(&["a.example:443"], true).await;
    let outside = running.place("9.9.9.9:443").await;
    let mut guest = TcpStream::connect(running.at).await.unwrap();
    guest.write_all(b"CONNECT A.example.:443 HTTP/1.1\r\nHost: x\r\n\r\nearly").await.unwrap();
    assert!(head(&mut guest).await.starts_with("HTTP/1.1 200"));
    let (mut stream, _) = outside.accept().await.unwrap();
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    guest.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut early).await.unwrap(), 0);
    stream.write_all(b"late").await.unwrap();
    drop(stream);
    let mut late = String::new();
    guest.read_to_string(&mut late).await.unwrap();
    assert_eq!(late, "late");
}

#[tokio::test]
async fn plain_http_is_fetched_and_each_request_goes_where_it_says() {
    let running = start(&["*:80", "*:8080"], true).await;
    running.echo_server("9.9.9.9:80").await;
    running.echo_server("8.8.8.8:8080").await;
    let mut guest = TcpStream::connect(running.at).await.unwrap();
    for (url, host) in [("http://a.example/x?y", "a.example"), ("http://b.example:8080/x?y", "b.example:8080")] {
        let request =
            format!("GET {url} HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\nX-A: 1\r\n\r\n");
        guest.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut guest).await.to_ascii_lowercase();
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        guest.read_exact(&mut body).await.unwrap();
        let seen = String::from_utf8(body).unwrap();
        assert!(seen.starts_with("GET /x?y HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains(&format!("host: {host}\r\n")), "{seen}");
        assert!(seen.contains("x-a: 1") && !seen.contains("proxy-connection"), "{seen}");
    }
    assert_eq!(running.connected(), 2);
}

#[tokio::test]
async fn socks_connects_by_name_and_address() {
    let running = start(&["*:443"], true).await;
    for (place, request) in [
        ("9.9.9.9:443", [&[5, 1, 0, 3, 9][..], b"a.example", &[1, 187]].concat()),
        ("8.8.4.4:443", vec![5, 1, 0, 1, 8, 8, 4, 4, 1, 187]),
    ] {
        let outside = running.place(place).await;
        let mut guest = TcpStream::connect(running.at).await.unwrap();
        // A hasty client says everything at once.
        guest.write_all(&[&[5, 1, 0][..], &request, b"early"].concat()).await.unwrap();
        let mut replies = [0; 12];
        guest.read_exact(&mut replies).await.unwrap();
        assert_eq!(replies, [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let (mut stream, _) = outside.accept().await.unwrap();
        let mut early = [0; 5];
        stream.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
        stream.write_all(b"late").await.unwrap();
        drop(stream);
        let mut late = String::new();
        guest.read_to_string(&mut late).await.unwrap();
        assert_eq!(late, "late");
    }
}

#[tokio::test]
async fn what_is_never_reachable_is_not_through_the_proxy_either() {
    let everything = &["*:*", "0.0.0.0/0:*", "[::/0]:*", "10.0.0.0/8:*"];
    let running = start(everything, true).await;
    let port = running.at.port();
    for target in [
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "100.100.100.200:80",
        "127.0.0.1:4566",
        "[::1]:4566",
        "[::ffff:127.0.0.1]:4566",
        "0.0.0.0:4566",
        "[::]:4566",
        "[::ffff:0.0.0.0]:80",
        "[64:ff9b::7f00:1]:80",
        "rebound.example:80",
        "10.0.0.99:22",
        "255.255.255.255:80",
        "224.0.0.1:80",
        "[fe80::1]:80",
        "[ff02::1]:80",
    ] {
        let answer = running.ask_text(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("never reachable"), "{target}: {answer}");
        let answer = running.ask_text(&format!("GET http://{target}/latest/meta-data/ HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{target}: {answer}");
    }
    // Spellings that a resolver would take for addresses are no hosts at all.
    for target in ["2130706433:80", "0x7f000001:80", "0177.0.0.1:80", "127.1:80", "0xa9fea9fe:80"] {
        let answer = running.ask_text(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
    }
    let address = |octets: [u8; 4]| [&[5, 1, 0, 5, 1, 0, 1][..], &octets, &port.to_be_bytes()].concat();
    let name =
        |name: &str| [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8][..], name.as_bytes(), &port.to_be_bytes()].concat();
    for (request, code) in [
        (address([169, 254, 169, 254]), 2),
        (address([127, 0, 0, 1]), 2),
        (address([0, 0, 0, 0]), 2),
        (address([10, 0, 0, 99]), 2),
        (name("rebound.example"), 2),
        (name("169.254.169.254"), 2),
        (name("::1"), 2),
        (name("::ffff:7f00:1"), 2),
        (name("2130706433"), 8),
        (name("nowhere.example"), 4),
    ] {
        let answer = running.ask(&request).await;
        assert_eq!(answer.get(..4), Some(&[5, 0, 5, code][..]), "{request:?}: {answer:?}");
    }
    assert_eq!(running.connected(), 0);
}

#[tokio::test]
async fn refusals_are_prompt_and_say_what_would_help() {
    let running = start(&["a.example:443", "dark.example:443"], true).await;
    let answer = running.ask_text("CONNECT b.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("the rule \"b.example:443\" would"), "{answer}");
    let answer = running.ask_text("CONNECT dark.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("could not be reached"), "{answer}");
    for nonsense in ["GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET https://a.example/ HTTP/1.1\r\n\r\n"] {
        assert!(running.ask_text(nonsense).await.starts_with("HTTP/1.1 400"), "{nonsense}");
    }
    assert!(
        running
            .ask_text(&format!("GET http://a.example/ HTTP/1.1\r\n{}", "x: y\r\n".repeat(200)))
            .await
            .starts_with("HTTP/1.1 431")
    );
    // UDP and listening by SOCKS, and clients that want to log in.
    assert_eq!(running.ask(&[5, 1, 0, 5, 3, 0, 1, 9, 9, 9, 9, 1, 187]).await[..4], [5, 0, 5, 7]);
    assert_eq!(running.ask(&[5, 1, 0, 5, 2, 0, 1, 9, 9, 9, 9, 1, 187]).await[..4], [5, 0, 5, 7]);
    assert_eq!(running.ask(&[5, 1, 2]).await, [5, 0xff]);
    assert_eq!(running.ask(&[5]).await, Vec::<u8>::new());
    let log = running.log.text();
    assert!(log.contains("egress refused: b.example:443: no egress rule of this function allows it; the rule \"b.example:443\" would\n"), "{log}");
    assert!(log.contains("egress failed: dark.example:443 could not be reached: "), "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[tokio::test]
async fn everything_ends_with_the_forwarder() {
    let running = start(&["a.example:443", "b.example:80"], true).await;
    let (tunnelled, fetched) = (running.place("9.9.9.9:443").await, running.place("8.8.8.8:80").await);
    let mut tunnel = TcpStream::connect(running.at).await.unwrap();
    tunnel.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
    head(&mut tunnel).await;
    let mut fetch = TcpStream::connect(running.at).await.unwrap();
    fetch.write_all(b"GET http://b.example/ HTTP/1.1\r\n\r\n").await.unwrap();
    let (mut one, _) = tunnelled.accept().await.unwrap();
    let (mut other, _) = fetched.accept().await.unwrap();
    head(&mut other).await;
    running.forwarder.stop();
    for stream in [&mut one, &mut other, &mut tunnel, &mut fetch] {
        let ended = stream.read(&mut [0]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    let refused = TcpStream::connect(running.at).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn an_instance_has_its_bound_of_connections() {
    let running = start(&[], false).await;
    let outside = running.place(&format!("9.9.9.9:{}", running.at.port())).await;
    let (mut guests, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS_MAX {
        guests.push(TcpStream::connect(running.at).await.unwrap());
        streams.push(outside.accept().await.unwrap());
    }
    let mut late = TcpStream::connect(running.at).await.unwrap();
    late.write_all(b"late").await.unwrap();
    // Time enough for what would be a connection too many.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.connected(), CONNECTIONS_MAX);
    // It is served as soon as another has gone.
    guests.pop();
    streams.pop();
    let (mut stream, _) = outside.accept().await.unwrap();
    let mut text = [0; 4];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"late");
}

/// Whatever a guest says to the proxy, it is hung up on or refused in the end, and nothing is connected to.
#[test]
fn nonsense_leads_nowhere() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let running = runtime.block_on(start(&["allowed.example:443"], true));
    let heads = prop_oneof![
        Just(&b""[..]),
        Just(&b"CONNECT "[..]),
        Just(&b"GET http://"[..]),
        Just(&b"POST / HTTP/1.1\r\n"[..]),
        Just(&[5, 1, 0, 5, 1, 0, 3][..]),
        Just(&[5, 1, 0, 5, 1, 0, 4][..]),
    ];
    let rest = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        "[ -~]{0,80}( HTTP/1.1)?(\r\n[a-zA-Z-]{0,12}:? ?[ -~]{0,20}){0,4}(\r\n\r\n)?".prop_map(String::into_bytes),
    ];
    proptest!(ProptestConfig::with_cases(200), |(head in heads, rest in rest)| {
        let bytes = [head, &rest].concat();
        runtime.block_on(async {
            let mut guest = TcpStream::connect(running.at).await.unwrap();
            // It may be hung up on before it has said everything.
            let _ = guest.write_all(&bytes).await;
            let _ = guest.shutdown().await;
            let mut answer = Vec::new();
            let _ = guest.read_to_end(&mut answer).await;
            assert!(answer.len() < 64 * 1024);
        });
        prop_assert_eq!(running.connected(), 0);
    });
}

#[test]
fn whose_word_counts() {
    let config = |grant| Config { grant, ..Config::default() };
    let some: Egress = serde_json::from_str(r#"{"allow": ["a.example:443"]}"#).unwrap();
    for (grant, said, expected) in [
        (Grant::Off, Some(&some), "none"),
        (Grant::Off, None, "none"),
        (Grant::Rules, Some(&some), "a.example:443"),
        (Grant::Rules, None, "none"),
        (Grant::RulesOrAll, Some(&some), "a.example:443"),
        (Grant::RulesOrAll, None, "all"),
        (Grant::RulesOrAll, Some(&Egress::none()), "none"),
    ] {
        assert_eq!(config(grant).policy(said).egress().to_string(), expected, "{grant:?} {said:?}");
    }
}

#[tokio::test]
async fn what_connects_to_the_endpoint_reaches_the_door_for_guests_and_nothing_before_there_is_one() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!("an IPv4 address was asked for") };
    let mut plan = Plan::new(Policy::new(Egress::none(), [].into()), 9001).with_endpoint();
    plan.endpoint = Some(at);
    let endpoint = Endpoint::default();
    let gate = gate(World::new(NAMES), Some(endpoint.clone()));
    let log = Lines::new();
    let _forwarder = Forwarder::start(plan, vec![listener], &gate, &id("f"), log.clone()).unwrap();

    let mut early = TcpStream::connect(at).await.unwrap();
    let mut bytes = Vec::new();
    let outcome = early.read_to_end(&mut bytes).await;
    assert!(outcome.is_err() || bytes.is_empty());

    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    endpoint.announce(door.local_addr().unwrap());
    let mut guest = TcpStream::connect(at).await.unwrap();
    let (mut served, _) = door.accept().await.unwrap();
    guest.write_all(b"ask").await.unwrap();
    let mut asked = [0; 3];
    served.read_exact(&mut asked).await.unwrap();
    served.write_all(b"answer").await.unwrap();
    drop(served);
    bytes.clear();
    guest.read_to_end(&mut bytes).await.unwrap();
    assert_eq!((&asked, bytes.as_slice()), (b"ask", &b"answer"[..]));
}

#[tokio::test]
async fn a_function_takes_no_more_than_its_share_of_the_hosts_connections_nor_any_of_its_endpoint() {
    let world = World::new(NAMES);
    let (endpoint, door) = (Endpoint::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    endpoint.announce(door.local_addr().unwrap());
    let gate = Gate::with(world.clone(), Some(endpoint), 8, 8);
    let outside = world.place("9.9.9.9:443").await;
    // One listener for `a.example`, another for the endpoint.
    let instance = |function: &str| {
        let listeners = ["127.0.0.1:0", "127.0.0.1:0"].map(|at| StdListener::bind(at).unwrap());
        listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        let [proxy, inside] = listeners.each_ref().map(|listener| match listener.local_addr().unwrap() {
            SocketAddr::V4(at) => at,
            SocketAddr::V6(_) => panic!("an IPv4 address was asked for"),
        });
        let egress = Egress::allow(["a.example:443".parse().unwrap()]).unwrap();
        let mut plan = Plan::new(Policy::new(egress, [].into()), 9001).with_endpoint();
        (plan.proxy, plan.endpoint) = (Some(proxy), Some(inside));
        let forwarder = Forwarder::start(plan, listeners.into(), &gate, &id(function), Lines::new()).unwrap();
        (forwarder, proxy, inside)
    };
    // The share of a function is a quarter of eight, whatever the number of its instances.
    let greedy = [instance("greedy"), instance("greedy"), instance("greedy")];
    let mut held = Vec::new();
    for (_, proxy, _) in &greedy {
        let mut guest = TcpStream::connect(proxy).await.unwrap();
        guest.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
        held.push(guest);
    }
    for _ in 0..2 {
        let (stream, _) = outside.accept().await.unwrap();
        held.push(stream);
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.connected(), 2);
    // It still reaches the platform's door.
    held.push(TcpStream::connect(greedy[0].2).await.unwrap());
    held.push(door.accept().await.unwrap().0);
    // Others have what they always had.
    let other = instance("other");
    let mut guest = TcpStream::connect(other.1).await.unwrap();
    guest.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(head(&mut guest).await.starts_with("HTTP/1.1 200"));
}
