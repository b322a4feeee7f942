//! Attempts to reach anybody over a socket, and to change the network.

use std::{
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use crate::support::{
    Lines, Test, attempts, attempts_on, block_on, forbidden, inside, is_root, lines, open_directory, output_of,
    outside, run, spawner,
};

pub(crate) const TESTS: &[(&str, Test)] = attempts![
    network:
    the_hosts_loopback_is_another,
    the_world_is_out_of_reach,
    the_clouds_metadata_is_out_of_reach,
    another_sandboxs_server_is_out_of_reach,
    the_hosts_abstract_sockets_are_out_of_reach,
    another_sandboxs_abstract_sockets_are_out_of_reach,
    the_hosts_socket_files_are_not_there,
    raw_sockets_are_refused,
    packet_sockets_are_refused,
    other_socket_families_are_refused,
    other_protocols_are_refused,
    netlink_talks_of_interfaces_alone,
    the_interfaces_cannot_be_changed_by_netlink,
    the_interfaces_cannot_be_changed_by_ioctl,
    credentials_cannot_be_forged,
    the_platforms_listener_cannot_be_taken_over,
    the_hosts_connections_are_not_seen,
];

const CONNECT: &str = "
def connect(family, address, kind=socket.SOCK_STREAM):
    s = socket.socket(family, kind)
    s.settimeout(5)
    return attempt(s.connect, address)
";

fn the_hosts_loopback_is_another() {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let script = format!(
        "{CONNECT}
print('host', connect(socket.AF_INET, ('127.0.0.1', {port})))
server = socket.create_server(('127.0.0.1', 0))
print('own', connect(socket.AF_INET, server.getsockname()))
print('interfaces', *(name for _, name in socket.if_nameindex()))"
    );
    let answers = inside(&script);
    let seen = lines(&answers);
    assert_eq!((seen["host"], seen["own"], seen["interfaces"]), ("ECONNREFUSED", "returned", "lo"));
    assert_eq!(lines(&outside(&script))["host"], "returned");
}

fn the_world_is_out_of_reach() {
    let script = format!(
        "{CONNECT}
print('tcp', connect(socket.AF_INET, ('192.0.2.1', 443)))
print('udp', connect(socket.AF_INET, ('192.0.2.1', 53), socket.SOCK_DGRAM))
print('broadcast', attempt(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto, b'x', ('224.0.0.1', 9)))
print('six', connect(socket.AF_INET6, ('2001:db8::1', 443)))"
    );
    let answers = inside(&script);
    let seen = lines(&answers);
    assert_eq!([seen["tcp"], seen["udp"], seen["broadcast"]], ["ENETUNREACH"; 3]);
    assert!(["ENETUNREACH", "EADDRNOTAVAIL"].contains(&seen["six"]), "{seen:?}");
}

fn the_clouds_metadata_is_out_of_reach() {
    let script = format!(
        "{CONNECT}
print('four', connect(socket.AF_INET, ('169.254.169.254', 80)))
print('task', connect(socket.AF_INET, ('169.254.170.2', 80)))
print('six', connect(socket.AF_INET6, ('fd00:ec2::254', 80)))"
    );
    let answers = inside(&script);
    let seen = lines(&answers);
    assert_eq!([seen["four"], seen["task"]], ["ENETUNREACH"; 2]);
    assert!(["ENETUNREACH", "EADDRNOTAVAIL"].contains(&seen["six"]), "{seen:?}");
}

fn another_sandboxs_server_is_out_of_reach() {
    block_on(async {
        let spawner = spawner();
        let server =
            "s = socket.create_server(('127.0.0.1', 8080))\nprint('up', flush=True)\nwhile True:\n    s.accept()";
        let other = spawner.spawn(attempts(server)).await.unwrap();
        assert_eq!(Lines::of(&other).next().await, "up");
        let script = format!("{CONNECT}print(connect(socket.AF_INET, ('127.0.0.1', 8080)))");
        assert_eq!(run(&spawner, attempts(&script)).await.1, "ECONNREFUSED\n");
        other.connect(8080).await.expect("the control: it does serve");
    });
}

fn the_hosts_abstract_sockets_are_out_of_reach() {
    let name = format!("updraft-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let script = format!("{CONNECT}print(connect(socket.AF_UNIX, '\\0{name}'))");
    assert_eq!(inside(&script), "ECONNREFUSED\n");
    assert_eq!(outside(&script), "returned\n");
}

fn another_sandboxs_abstract_sockets_are_out_of_reach() {
    block_on(async {
        let spawner = spawner();
        let server =
            "s = socket.socket(socket.AF_UNIX)\ns.bind('\\0name')\ns.listen()\nprint('up', flush=True)\ns.accept()";
        let other = spawner.spawn(attempts(server)).await.unwrap();
        assert_eq!(Lines::of(&other).next().await, "up");
        let script = format!(
            "{CONNECT}print(connect(socket.AF_UNIX, '\\0name'))
s = socket.socket(socket.AF_UNIX)\ns.bind('\\0name')\ns.listen()\nprint(connect(socket.AF_UNIX, '\\0name'))"
        );
        assert_eq!(run(&spawner, attempts(&script)).await.1, "ECONNREFUSED\nreturned\n");
    });
}

fn the_hosts_socket_files_are_not_there() {
    let directory = open_directory();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    UnixStream::connect(&path).expect("the control: it is there");
    let script = format!(
        "{CONNECT}
for path in ({path:?}, '/run/docker.sock', '/var/run/docker.sock', '/run/systemd/private', '/run/dbus/system_bus_socket'):
    print(connect(socket.AF_UNIX, path))"
    );
    assert_eq!(inside(&script), "ENOENT\n".repeat(5));
}

fn raw_sockets_are_refused() {
    forbidden(&[(libc::SYS_socket, "2, 3, 1"), (libc::SYS_socket, "2, 3, 255"), (libc::SYS_socket, "10, 3, 58")]);
}

fn packet_sockets_are_refused() {
    forbidden(&[(libc::SYS_socket, "17, 3, 0x0300"), (libc::SYS_socket, "17, 2, 0x0300")]);
}

fn other_socket_families_are_refused() {
    // All but AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: AX.25, X.25, key management, TIPC, Bluetooth, ALG, VSOCK, XDP…
    let families = (3..64).filter(|family| ![10, 16, 17].contains(family));
    let arguments: Vec<_> = families.map(|family| format!("{family}, 1, 0")).collect();
    let calls: Vec<_> = arguments.iter().map(|arguments| (libc::SYS_socket, arguments.as_str())).collect();
    forbidden(&calls);
    forbidden(&[(libc::SYS_socketpair, "40, 1, 0, ctypes.create_string_buffer(8)")]);
}

fn other_protocols_are_refused() {
    // SCTP, DCCP, UDP-Lite, L2TP: the first socket of one makes the kernel load a module.
    let arguments = ["2, 1, 132", "2, 5, 132", "2, 6, 33", "2, 2, 136", "2, 2, 115", "10, 1, 132", "10, 6, 33"];
    forbidden(&arguments.map(|arguments| (libc::SYS_socket, arguments)));
    // The control: the ordinary ones are there.
    let script = format!("print([call({}, *a) for a in ((2, 1, 6), (10, 2, 17), (1, 1, 0))])", libc::SYS_socket);
    assert_eq!(inside(&script), "['returned', 'returned', 'returned']\n");
}

fn netlink_talks_of_interfaces_alone() {
    // Everything but NETLINK_ROUTE: diagnostics, netfilter, audit, uevents, generic, crypto…
    let arguments: Vec<_> = (1..24).map(|kind| format!("16, 3, {kind}")).collect();
    let calls: Vec<_> = arguments.iter().map(|arguments| (libc::SYS_socket, arguments.as_str())).collect();
    forbidden(&calls);
}

fn the_interfaces_cannot_be_changed_by_netlink() {
    let script = "
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
def ask(kind, body):
    s.send(struct.pack('=LHHLL', 16 + len(body), kind, 5, 1, 0) + body)
    answer = s.recv(65536)
    return word(-struct.unpack_from('=i', answer, 16)[0]) if struct.unpack_from('=H', answer, 4)[0] == 2 else 'returned'
link = struct.pack('=BxHiII', 0, 0, 1, 0, 1)
address = struct.pack('=BBBBI', 2, 8, 0, 0, 1) + struct.pack('=HH4s', 8, 2, socket.inet_aton('10.9.8.7'))
route = struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 4, 0, 1, 0) + struct.pack('=HHI', 8, 4, 1)
rule = struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 0, 0, 1, 0)
print('down', ask(16, link), 'address', ask(20, address), 'route', ask(24, route), 'rule', ask(32, rule))
print('question', ask(18, struct.pack('=BxHiII', 0, 0, 1, 0, 0)))";
    assert_eq!(inside(script), "down EPERM address EPERM route EPERM rule EPERM\nquestion returned\n");
}

fn the_interfaces_cannot_be_changed_by_ioctl() {
    let script = "
import fcntl
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('down', attempt(fcntl.ioctl, s, 0x8914, struct.pack('16sH14x', b'lo', 0)))
print('address', attempt(fcntl.ioctl, s, 0x8916, struct.pack('16sHH4s8x', b'lo', 2, 0, socket.inet_aton('10.9.8.7'))))
print('bridge', attempt(fcntl.ioctl, s, 0x89a0, b'bridge' + bytes(10)))
print('question', attempt(fcntl.ioctl, s, 0x8913, struct.pack('16sH14x', b'lo', 0)))";
    let answers = inside(script);
    let seen = lines(&answers);
    assert_eq!((seen["down"], seen["address"], seen["question"]), ("EPERM", "EPERM", "returned"));
    assert_ne!(seen["bridge"], "returned");
}

fn credentials_cannot_be_forged() {
    let script = "
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
def claim(pid, uid, gid):
    return attempt(a.sendmsg, [b'x'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack('iii', pid, uid, gid))])
print('root', claim(os.getpid(), 0, 0), 'pid', claim(1, os.getuid(), os.getgid()))
print('true', claim(os.getpid(), os.getuid(), os.getgid()))";
    let answers = inside(script);
    let seen: Vec<_> = answers.split_whitespace().collect();
    assert!(["EPERM", "EINVAL"].contains(&seen[1]) && seen[3] == "EPERM" && seen[5] == "returned", "{answers}");
    if is_root() {
        assert!(outside(script).starts_with("root returned"));
    }
}

fn the_platforms_listener_cannot_be_taken_over() {
    let script = "
def bind(host, port, *options):
    s = socket.socket()
    for option in options:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    answer = attempt(s.bind, (host, port))
    return answer if answer != 'returned' else attempt(s.listen)
both = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
print(*{bind(host, 9001, *options) for host in ('127.0.0.1', '0.0.0.0') for options in ((), both[:1], both[1:], both)})
print(bind('127.0.0.1', 9002, *both), flush=True)
print(socket.create_connection(('127.0.0.1', 9001)).recv(100).decode())";
    let mut guest = attempts(script);
    guest.listen = vec![9001];
    block_on(async {
        let mut sandbox = spawner().spawn(guest).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(sandbox.listeners.pop().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        stream.try_write(b"the platform").unwrap();
        drop(stream);
        assert_eq!(output_of(&sandbox).await, "EADDRINUSE\nreturned\nthe platform\n");
    });
}

fn the_hosts_connections_are_not_seen() {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!(":{:04X}", host.local_addr().unwrap().port());
    let name = format!("updraft-seen-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let script = format!("print({port:?} in open('/proc/net/tcp').read(), {name:?} in open('/proc/net/unix').read())");
    assert_eq!(inside(&script), "False False\n");
    assert_eq!(outside(&script), "True True\n");
    // And through nothing that a mount would show of the package's own directory.
    let directory = open_directory();
    let guest = attempts_on(directory.path(), &script);
    assert_eq!(crate::support::ask(guest), "False False\n");
}
