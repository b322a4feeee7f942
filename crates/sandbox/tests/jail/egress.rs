//! A sandbox's network with more than a loopback: where its connections end up, and where they do not.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use updraft_sandbox::{Network, Status};

use crate::support::{Test, ask, block_on, lines, output_of, python, spawner};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("connections_to_given_names_and_networks_reach_the_platform", connections_reach_the_platform),
    ("a_given_network_leads_nowhere_else", given_network_leads_nowhere_else),
    ("a_guest_cannot_widen_its_network", guest_cannot_widen_its_network),
];

fn network() -> Network {
    Network {
        networks: vec![(Ipv4Addr::new(10, 20, 0, 0), 16), (Ipv4Addr::new(203, 0, 113, 7), 32)],
        listen_at: ["127.1.0.2:443", "0.0.0.0:5432", "203.0.113.7:80"].map(|text| text.parse().unwrap()).to_vec(),
        hosts: vec![(Ipv4Addr::new(127, 1, 0, 2), "api.example.com".to_owned())],
    }
}

fn connections_reach_the_platform() {
    let mut guest = python(
        r#"
import socket
for host, port in (("api.example.com", 443), ("10.20.30.40", 5432), ("10.20.0.1", 5432), ("203.0.113.7", 80)):
    s = socket.create_connection((host, port), timeout=20)
    s.sendall(b"hello")
    s.shutdown(socket.SHUT_WR)
    print(host, s.makefile().read())
"#,
    );
    guest.network = network();
    block_on(async {
        let mut sandbox = spawner().spawn(guest).await.unwrap();
        let listeners = std::mem::take(&mut sandbox.listeners);
        let listeners = listeners.into_iter().map(|listener| tokio::net::TcpListener::from_std(listener).unwrap());
        let listeners: Vec<_> = listeners.collect();
        for (listener, wanted) in
            [(0, "127.1.0.2:443"), (1, "10.20.30.40:5432"), (1, "10.20.0.1:5432"), (2, "203.0.113.7:80")]
        {
            let (mut stream, _) = listeners[listener].accept().await.unwrap();
            // What the guest connected to is the address at this end.
            assert_eq!(stream.local_addr().unwrap(), wanted.parse::<SocketAddr>().unwrap());
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            stream.write_all(format!("{text} back").as_bytes()).await.unwrap();
        }
        let expected =
            "api.example.com hello back\n10.20.30.40 hello back\n10.20.0.1 hello back\n203.0.113.7 hello back\n";
        assert_eq!(output_of(&sandbox).await, expected);
        assert_eq!(sandbox.exited().await.status, Status::Code(0));
    });
}

fn given_network_leads_nowhere_else() {
    let mut guest = python(
        r#"
import errno, socket
def attempt(name, address, kind=socket.SOCK_STREAM):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    s = socket.socket(family, kind)
    s.settimeout(5)
    try:
        s.connect(address)
        if kind == socket.SOCK_DGRAM:
            s.send(b"x")
            s.recv(1)
        print(name, "CONNECTED")
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error))
attempt("beside", ("10.21.0.1", 5432))
attempt("port", ("10.20.30.40", 5433))
attempt("host", ("127.1.0.2", 80))
attempt("metadata", ("169.254.169.254", 80))
attempt("outside", ("8.8.8.8", 443))
attempt("outside6", ("2606:4700::1111", 443))
attempt("udp-in", ("10.20.30.40", 53), socket.SOCK_DGRAM)
attempt("udp-out", ("8.8.8.8", 53), socket.SOCK_DGRAM)
try:
    print("name", socket.getaddrinfo("www.example.com", 443))
except socket.gaierror as error:
    print("name UNKNOWN")
"#,
    );
    guest.network = network();
    let output = ask(guest);
    let seen = lines(&output);
    for (name, errno) in [
        ("beside", "ENETUNREACH"),
        ("port", "ECONNREFUSED"),
        ("host", "ECONNREFUSED"),
        ("metadata", "ENETUNREACH"),
        ("outside", "ENETUNREACH"),
        ("udp-in", "ECONNREFUSED"),
        ("udp-out", "ENETUNREACH"),
        ("name", "UNKNOWN"),
    ] {
        assert_eq!(seen[name], errno, "{name}: {output}");
    }
    assert!(seen["outside6"] == "ENETUNREACH" || seen["outside6"] == "EADDRNOTAVAIL", "{output}");
}

fn guest_cannot_widen_its_network() {
    let mut guest = python(
        r#"
import errno, fcntl, socket, struct
def attempt(name, what):
    try:
        what()
        print(name, "DONE")
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
address = struct.pack("16sH2s4s8x", b"lo:9", socket.AF_INET, b"", socket.inet_aton("192.0.2.1"))
attempt("address", lambda: fcntl.ioctl(s, 0x8916, address + b"\0" * 8))
attempt("down", lambda: fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", b"lo", 0)))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("hosts", lambda: open("/etc/hosts", "w"))
"#,
    );
    guest.network = network();
    let output = ask(guest);
    for (name, refusal) in lines(&output) {
        assert!(["EPERM", "EACCES", "EROFS", "EAFNOSUPPORT"].contains(&refusal), "{name}: {output}");
    }
    assert_eq!(lines(&output).len(), 5, "{output}");
}
