//! The sandbox's own network: a loopback and nothing else, with sockets made inside and handed out.

use std::{
    io,
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use crate::{
    sys,
    wire::{Failure, Step, errno_of},
};

/// Brings the loopback up, which also gives it 127.0.0.1 and ::1.
pub(crate) fn bring_up() -> Result<(), Failure> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let any = socket(AddressFamily::Inet, SockType::Datagram, flags, None).step("loopback socket")?;
    sys::bring_loopback_up(any.as_fd()).step("bring the loopback up")
}

/// A nonblocking listener on 127.0.0.1.
pub(crate) fn listen(port: u16) -> Result<OwnedFd, Failure> {
    let step = format!("listen on 127.0.0.1:{port}");
    let listener = TcpListener::bind(("127.0.0.1", port)).step(&step)?;
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
