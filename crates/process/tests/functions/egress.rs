//! What functions reach outside, from real sandboxes: in a world of the test's own, and over a real network between
//! namespaces where one can be made.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use updraft_process::egress::{Config, Endpoint, Grant};
use updraft_types::Egress;

use crate::{
    host::{Deployed, Host, Running, Starts},
    testing::World,
};

crate::tests! {
    ordinary_clients_reach_what_rules_name
    clients_that_know_proxies_reach_the_public_internet_where_all_is_granted
    nothing_is_reached_without_rules
    what_is_never_reachable_is_not_from_inside_a_sandbox
    a_web_function_serves_at_a_port_that_a_rule_names_too
    connections_end_with_the_instance
    the_platforms_services_are_reached_where_the_environment_says
    over_a_real_network_only_the_neighbour_is_reached
}

/// Runs the Python it is sent and answers with what that calls `result`.
const RUNNER: &str = "
def handler(event, context):
    scope = {}
    exec(event, scope)
    return scope['result']
";

/// What can be tried from inside; each answers `open` or why not.
const ATTEMPTS: &str = "
import errno, os, socket, urllib.request
def attempt(what):
    try:
        what()
        return 'open'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
def direct(host, port):
    def what():
        s = socket.create_connection((host, port), timeout=20)
        s.sendall(b'x')
        assert s.recv(1), 'closed'
    return attempt(what)
def tunnel(target):
    s = socket.create_connection(('127.1.0.1', 3128), timeout=20)
    s.sendall(f'CONNECT {target} HTTP/1.1\\r\\n\\r\\n'.encode())
    return s.makefile().readline().split(' ')[1]
";

fn in_world(world: &Arc<World>, grant: Grant) -> Host {
    let denied = vec!["203.0.113.0/24".parse().unwrap()];
    let egress = Config { grant, denied, outside: world.clone() };
    Host::with(|config| config.egress = egress)
}

fn runner(host: &Host, rules: Option<&[&str]>) -> Deployed {
    let egress = rules.map(|rules| Egress::allow(rules.iter().map(|rule| rule.parse().unwrap())).unwrap());
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", RUNNER)]);
    function.with(|function| {
        function.configuration.egress = egress;
        function.configuration.timeout_s = 60;
    })
}

/// The value of `expression`, with [`ATTEMPTS`] at hand.
async fn evaluate(running: &Running, expression: &str) -> serde_json::Value {
    let event = serde_json::json!(format!("{ATTEMPTS}\nresult = {expression}\n"));
    serde_json::from_str(&running.answer(event.to_string()).await).unwrap()
}

/// Answers every HTTP request with its first line.
fn serve_first_lines(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => seen.push(byte),
                    Err(_) => break,
                }
            }
            let text = String::from_utf8_lossy(&seen);
            let line = text.lines().next().unwrap_or_default();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{line}", line.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}

/// Sends back what comes.
fn serve_echo(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    });
}

async fn the_platforms_services_are_reached_where_the_environment_says(_: Host) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Endpoint::default();
    door.announce(listener.local_addr().unwrap());
    serve_first_lines(listener);
    let host = Host::with(|config| config.endpoint = Some(door));
    let fetch = "urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/x').read().decode()";
    // Without a rule, and past the proxy where there is one.
    for rules in [None, Some(&["*:*"][..])] {
        let running = runner(&host, rules).start().await;
        assert_eq!(evaluate(&running, fetch).await, "GET /x HTTP/1.1", "{rules:?}");
        assert_eq!(evaluate(&running, "direct('127.0.0.1', 3129)").await, "ECONNREFUSED");
    }
    let own = runner(&host, None).with(|function| {
        let variable = ("AWS_ENDPOINT_URL".to_owned(), "http://elsewhere.example".to_owned());
        function.configuration.environment.extend([variable]);
    });
    let running = own.start().await;
    assert_eq!(evaluate(&running, "os.environ['AWS_ENDPOINT_URL']").await, "http://elsewhere.example");

    // An interpreter that ran before its function was known reaches them too.
    let door = Endpoint::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    door.announce(listener.local_addr().unwrap());
    serve_first_lines(listener);
    let host = Host::with(|config| {
        config.endpoint = Some(door);
        config.prewarmed_max = 2;
    });
    let running = runner(&host.starting(Starts::Prewarmed), None).start().await;
    assert_eq!(evaluate(&running, fetch).await, "GET /x HTTP/1.1");
}

async fn ordinary_clients_reach_what_rules_name(_: Host) {
    let world = World::new(&[("api.example.com", &["9.9.9.9"])]);
    serve_first_lines(world.place("9.9.9.9:8443").await);
    serve_echo(world.place("10.1.2.3:5432").await);
    serve_echo(world.place("10.7.7.7:22").await);
    let host = in_world(&world, Grant::Rules);
    serve_echo(world.place("10.1.2.3:9001").await);
    let rules: &[&str] = &["api.example.com:8443", "10.1.0.0/16:5432", "10.7.7.7:22", "10.1.0.0/16:9001"];
    let running = runner(&host, Some(rules)).start().await;
    let fetched = evaluate(&running, "urllib.request.urlopen('http://api.example.com:8443/x?y').read().decode()").await;
    assert_eq!(fetched, "GET /x?y HTTP/1.1");
    assert_eq!(evaluate(&running, "direct('10.1.2.3', 5432)").await, "open");
    assert_eq!(evaluate(&running, "direct('10.7.7.7', 22)").await, "open");
    assert_eq!(evaluate(&running, "direct('10.1.2.3', 5433)").await, "ECONNREFUSED");
    assert_eq!(evaluate(&running, "direct('10.2.0.1', 5432)").await, "ENETUNREACH");
    // The Runtime API's port is the Runtime API's: what is allowed there goes through the proxy.
    assert_eq!(evaluate(&running, "tunnel('10.1.2.3:9001')").await, "200");
    assert_eq!(evaluate(&running, "os.environ['HTTPS_PROXY']").await, "http://127.1.0.1:3128");
    // Allowed, and nobody there.
    assert_eq!(evaluate(&running, "direct('10.1.9.9', 5432)").await, "ECONNRESET");
    let output = running.output.text();
    assert!(output.contains("egress failed: 10.1.9.9:5432 could not be reached: "), "{output}");

    let code = "exports.handler = async () => (await fetch('http://api.example.com:8443/node')).text()";
    let nodejs = host.deploy(&host.nodejs(), "app.handler", &[("app.js", code)]);
    let nodejs = nodejs.with(|function| {
        function.configuration.egress = Some(Egress::allow(["api.example.com:8443".parse().unwrap()]).unwrap());
    });
    assert_eq!(nodejs.start().await.answer("0").await, "\"GET /node HTTP/1.1\"");
}

async fn clients_that_know_proxies_reach_the_public_internet_where_all_is_granted(_: Host) {
    let world = World::new(&[("b.example", &["8.8.8.8"])]);
    serve_first_lines(world.place("8.8.8.8:80").await);
    let host = in_world(&world, Grant::RulesOrAll);
    let running = runner(&host, None).start().await;
    let fetched = evaluate(&running, "urllib.request.urlopen('http://b.example/x').read().decode()").await;
    assert_eq!(fetched, "GET /x HTTP/1.1");
    assert_eq!(evaluate(&running, "tunnel('b.example:80')").await, "200");
    assert_eq!(evaluate(&running, "tunnel('10.1.2.3:80')").await, "403");
    assert_eq!(evaluate(&running, "tunnel('203.0.113.1:80')").await, "403");
    assert_eq!(evaluate(&running, "os.environ['no_proxy']").await, "localhost,127.0.0.1,::1");
    let output = running.output.text();
    assert!(output.contains("egress refused: 10.1.2.3:80: it is a private address, which a rule has to name as such; the rule \"10.1.2.3:80\" would\n"), "{output}");
    assert!(output.contains("egress refused: 203.0.113.1:80: the platform's operator denies it\n"), "{output}");
    // A function that says `none` has none, and one that says something has that.
    let none = runner(&host, Some(&[])).start().await;
    assert_eq!(evaluate(&none, "direct('127.1.0.1', 3128)").await, "ECONNREFUSED");
    assert_eq!(evaluate(&none, "'HTTPS_PROXY' in os.environ").await, false);
}

async fn nothing_is_reached_without_rules(_: Host) {
    let world = World::new(&[("b.example", &["8.8.8.8"])]);
    serve_echo(world.place("8.8.8.8:80").await);
    for (grant, rules) in [(Grant::Rules, None), (Grant::Off, Some(&["*:*", "b.example:80"][..]))] {
        let running = runner(&in_world(&world, grant), rules).start().await;
        assert_eq!(evaluate(&running, "direct('8.8.8.8', 80)").await, "ENETUNREACH");
        assert_eq!(evaluate(&running, "direct('127.1.0.1', 3128)").await, "ECONNREFUSED");
        assert_eq!(evaluate(&running, "direct('127.1.0.2', 80)").await, "ECONNREFUSED");
        let name = evaluate(&running, "direct('b.example', 80)").await;
        assert_ne!(name, "open");
    }
    assert_eq!(world.connected(), 0);
}

async fn what_is_never_reachable_is_not_from_inside_a_sandbox(_: Host) {
    let world = World::new(&[
        ("rebound.example", &["127.0.0.1", "169.254.169.254", World::OWN, "::1", "::ffff:127.0.0.1"]),
        ("home.example", &["10.0.0.5"]),
    ]);
    let platform = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = platform.local_addr().unwrap().port();
    let host = in_world(&world, Grant::Rules);
    let rules: &[&str] = &["*:*", "rebound.example:80", "home.example:80", "10.0.0.99:22", "192.168.0.0/16:*"];
    let running = runner(&host, Some(rules)).start().await;
    for target in [
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
        format!("localhost:{port}"),
    ]
    .iter()
    .map(String::as_str)
    .chain([
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "100.100.100.200:80",
        "rebound.example:81",
        "10.0.0.99:22",
    ]) {
        let status = evaluate(&running, &format!("tunnel({target:?})")).await;
        // The name localhost leads nowhere in this world.
        assert!(status == "403" || (target.starts_with("localhost") && status == "502"), "{target}: {status}");
    }
    // The names that have addresses of their own, and the address that is made the loopback's.
    for (name, port) in [("rebound.example", 80), ("home.example", 80), ("10.0.0.99", 22)] {
        assert_eq!(evaluate(&running, &format!("direct({name:?}, {port})")).await, "ECONNRESET", "{name}");
    }
    for address in ["169.254.169.254", "100.100.100.200", "8.8.8.8"] {
        assert_eq!(evaluate(&running, &format!("direct({address:?}, 80)")).await, "ENETUNREACH", "{address}");
    }
    assert_eq!(evaluate(&running, &format!("direct('127.0.0.1', {port})")).await, "ECONNREFUSED");
    assert_eq!(world.connected(), 0);
    let output = running.output.text();
    assert!(output.contains("169.254.169.254:80: it is link-local") || output.contains("left out"), "{output}");
}

async fn a_web_function_serves_at_a_port_that_a_rule_names_too(_: Host) {
    let world = World::new(&[("b.example", &["8.8.8.8"])]);
    serve_first_lines(world.place("8.8.8.8:8080").await);
    let host = in_world(&world, Grant::Rules);
    let code = "
import http.server, os, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        text = urllib.request.urlopen('http://b.example:8080/x').read()
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
http.server.ThreadingHTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
";
    let function = host.deploy("web", "python3 server.py", &[("server.py", code)]);
    let function = function.with(|function| {
        function.configuration.egress = Some(Egress::allow(["b.example:8080".parse().unwrap()]).unwrap());
    });
    assert_eq!(function.start().await.answer("{}").await, "GET /x HTTP/1.1");
}

async fn connections_end_with_the_instance(_: Host) {
    let world = World::new(&[("b.example", &["8.8.8.8"])]);
    let outside = world.place("8.8.8.8:1000").await;
    let host = in_world(&world, Grant::Rules);
    let running = runner(&host, Some(&["b.example:1000"])).start().await;
    let open = "
import builtins, socket
builtins.kept = socket.create_connection(('b.example', 1000))
builtins.kept.sendall(b'x')
result = 'kept'
";
    assert_eq!(running.answer(serde_json::json!(open).to_string()).await, "\"kept\"");
    let (mut stream, _) = outside.accept().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    running.instance.stop().await;
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
}

/// Set in the copy of this test that runs in a network namespace of its own.
const INNER: &str = "UPDRAFT_TEST_NETWORK";
const NAME: &str = "functions::egress::over_a_real_network_only_the_neighbour_is_reached";

async fn over_a_real_network_only_the_neighbour_is_reached(_: Host) {
    if std::env::var_os(INNER).is_some() {
        return between_namespaces().await;
    }
    if !nix::unistd::geteuid().is_root() || !runs("ip", &["link"]) || !runs("nsenter", &["--version"]) {
        println!("SKIPPED {NAME}: it takes root, and the commands ip, unshare and nsenter");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let inner =
        Command::new("unshare").args(["--net", "--"]).arg(program).args([NAME, "--exact"]).env(INNER, "1").status();
    assert!(inner.unwrap().success());
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Killed when dropped, and its network namespace with it.
struct Neighbour(Child);

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another network namespace with a server in it, joined to this one: here 10.213.0.1, there 10.213.0.2.
fn neighbour() -> Option<Neighbour> {
    let server = "
import ctypes, signal, socket
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # dies with this test, however that ends
print('up', flush=True)
input()
server = socket.create_server(('', 5432))
print('listening', flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(100))
    connection.close()
";
    let mut child = Command::new("unshare")
        .args(["--net", "--", "/usr/bin/python3", "-c", server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut input = child.stdin.take().unwrap();
    let neighbour = Neighbour(child);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let pid = neighbour.0.id().to_string();
    let there = ["-t", &pid, "-n", "--"];
    let ip = |arguments: &str| arguments.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let here = |arguments: &str| Command::new("ip").args(ip(arguments)).status().unwrap().success();
    let over_there =
        |arguments: &str| Command::new("nsenter").args(there).arg("ip").args(ip(arguments)).status().unwrap().success();
    let joined = here("link set lo up")
        && here(&format!("link add ours type veth peer name theirs netns {pid}"))
        && here("addr add 10.213.0.1/24 dev ours")
        && here("link set ours up")
        && over_there("addr add 10.213.0.2/24 dev theirs")
        && over_there("link set theirs up");
    if !joined {
        return None;
    }
    std::io::Write::write_all(&mut input, b"go\n").unwrap();
    output.read_line(&mut line).unwrap();
    Some(neighbour)
}

async fn between_namespaces() {
    let Some(_neighbour) = neighbour() else {
        println!("SKIPPED {NAME}: no network could be made between two namespaces");
        return;
    };
    // The platform's own port, at every address that this host has.
    let platform = TcpListener::bind("0.0.0.0:4566").await.unwrap();
    let host = Host::with(|config| config.egress = Config { grant: Grant::Rules, ..Config::default() });
    let rules: &[&str] = &["10.213.0.0/24:5432", "10.213.0.0/24:4566", "10.213.0.1:80", "*:*"];
    let running = runner(&host, Some(rules)).start().await;
    assert_eq!(evaluate(&running, "direct('10.213.0.2', 5432)").await, "open");
    assert_eq!(evaluate(&running, "tunnel('10.213.0.2:5432')").await, "200");
    // This very host, by an address that a rule names.
    assert_eq!(evaluate(&running, "direct('10.213.0.1', 4566)").await, "ECONNRESET");
    for target in ["10.213.0.1:4566", "[::ffff:10.213.0.1]:4566", "127.0.0.1:4566", "localhost:4566", "0.0.0.0:4566"] {
        assert_eq!(evaluate(&running, &format!("tunnel({target:?})")).await, "403", "{target}");
    }
    let output = running.output.text();
    assert!(
        output.contains("egress refused: 10.213.0.1:4566: it is the platform's own host, and never reachable\n"),
        "{output}"
    );
    assert!(futures_util::FutureExt::now_or_never(platform.accept()).is_none(), "somebody reached the platform");
}
