//! The sandbox's own network: a loopback and nothing else, with sockets made inside and handed out.
//!
//! More addresses than its own can be made the loopback's, so that what connects to them ends up at such a socket.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use crate::{
    Spec, sys,
    wire::{Failure, Step, errno_of},
};

/// Brings the loopback up, which also gives it 127.0.0.1 and ::1.
pub(crate) fn bring_up() -> Result<(), Failure> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let any = socket(AddressFamily::Inet, SockType::Datagram, flags, None).step("loopback socket")?;
    sys::bring_loopback_up(any.as_fd()).step("bring the loopback up")
}

/// Every listener that a specification asks for, in its order.
pub(crate) fn listen_all(spec: &Spec) -> Result<Vec<OwnedFd>, Failure> {
    for (number, (first, prefix)) in (0_u32..).zip(&spec.network.networks) {
        add_network(number, *first, *prefix)?;
    }
    let ports = spec.listen.iter().map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port));
    ports.chain(spec.network.listen_at.iter().copied()).map(listen).collect()
}

/// Makes a network the loopback's, by an address of it with its prefix: all that shares the prefix becomes local.
fn add_network(number: u32, first: Ipv4Addr, prefix: u8) -> Result<(), Failure> {
    let step = format!("add {first}/{prefix} to the loopback");
    let flags = SockFlag::SOCK_CLOEXEC;
    let any = socket(AddressFamily::Inet, SockType::Datagram, flags, None).step(&step)?;
    // Not the network's first address where that means the network itself: nobody can be connected to from it.
    let ours = if prefix < 31 { Ipv4Addr::from_bits(first.to_bits() | 1) } else { first };
    sys::add_loopback_address(any.as_fd(), number, ours, prefix).step(&step)
}

/// A nonblocking listener.
fn listen(address: SocketAddrV4) -> Result<OwnedFd, Failure> {
    let step = format!("listen on {address}");
    let listener = TcpListener::bind(address).step(&step)?;
    listener.set_nonblocking(true).step(&step)?;
    Ok(listener.into())
}

/// A nonblocking socket connecting to 127.0.0.1:`port`; whether it gets there shows when it turns writable.
/// Nothing that a guest does to its own listener can hold up the caller.
pub(crate) fn start_connecting(port: u16) -> Result<OwnedFd, i32> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let errno = |error: nix::errno::Errno| errno_of(&io::Error::from(error));
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(errno)?;
    match connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(errno(error)),
    }
}
