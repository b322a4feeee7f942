//! SOCKS5 (RFC 1928): CONNECT, without authentication. UDP and listening are refused by their code.
//!
//! The parsers take what is there and say whether that is all; a conversation before the relay has at most
//! [`ASKED_BYTES_MAX`] bytes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use updraft_executor::egress::Error;
use updraft_types::egress::Host;

use crate::egress::{ASK_MAX, Desk, carry};

/// The first byte of everything a client says.
pub(super) const VERSION: u8 = 5;
/// The longest greeting (257) and the longest request (262), and room for what a hasty client sends after them.
const ASKED_BYTES_MAX: usize = 1024;

const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

/// The reply field, RFC 1928 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Succeeded = 0,
    GeneralFailure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    TimedOut = 6,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// What was read: more is needed, or a value and how many bytes it took.
#[derive(Debug, PartialEq, Eq)]
enum Parsed<T> {
    More,
    Done(T, usize),
}

/// Where a client wants to go.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    host: Host,
    port: u16,
}

/// Whether a greeting offers to do without authentication. `Err` when it is none.
fn greeting(bytes: &[u8]) -> Result<Parsed<bool>, ()> {
    let [version, rest @ ..] = bytes else { return Ok(Parsed::More) };
    if *version != VERSION {
        return Err(());
    }
    let [count, rest @ ..] = rest else { return Ok(Parsed::More) };
    match rest.get(..usize::from(*count)) {
        Some(methods) => Ok(Parsed::Done(methods.contains(&NO_AUTHENTICATION), 2 + methods.len())),
        None => Ok(Parsed::More),
    }
}

/// A request, or the code to refuse it with.
fn request(bytes: &[u8]) -> Result<Parsed<Request>, Code> {
    let [version, command, _, kind, rest @ ..] = bytes else { return Ok(Parsed::More) };
    if *version != VERSION {
        return Err(Code::GeneralFailure);
    }
    if *command != CONNECT {
        return Err(Code::CommandNotSupported);
    }
    let (skipped, length) = match kind {
        1 => (0, 4),
        4 => (0, 16),
        3 => match rest.first() {
            Some(length) => (1, usize::from(*length)),
            None => return Ok(Parsed::More),
        },
        _ => return Err(Code::AddressNotSupported),
    };
    let Some(field) = rest.get(skipped..skipped + length + 2) else { return Ok(Parsed::More) };
    let (address, port) = field.split_at(length);
    let host = match (kind, address) {
        (1, [a, b, c, d]) => Host::Address(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d))),
        (4, address) => match <[u8; 16]>::try_from(address) {
            Ok(octets) => Host::Address(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()),
            Err(_) => return Err(Code::GeneralFailure),
        },
        _ => {
            let name = std::str::from_utf8(address).ok().and_then(|text| text.parse().ok());
            name.ok_or(Code::AddressNotSupported)?
        }
    };
    match u16::from_be_bytes([port[0], port[1]]) {
        0 => Err(Code::GeneralFailure),
        port => Ok(Parsed::Done(Request { host, port }, 4 + skipped + length + 2)),
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(mut stream: TcpStream, desk: &Arc<Desk>) {
    let mut asked = Asked::default();
    let request = match tokio::time::timeout(ASK_MAX, asked.read(&mut stream)).await {
        Ok(Ok(request)) => request,
        Ok(Err(_)) | Err(_) => return,
    };
    let outside = match request {
        Ok(Request { host, port }) => desk.dial(&host, port).await.map_err(|error| code_of(&error)),
        Err(code) => Err(code),
    };
    // A client that has gone is noticed by the relay, or is not there to be told.
    match outside {
        Ok(mut outside) => {
            let early = outside.write_all(&asked.bytes).await;
            if early.is_ok() && stream.write_all(&reply(Code::Succeeded)).await.is_ok() {
                carry(stream, outside, desk).await;
            }
        }
        Err(code) => drop(stream.write_all(&reply(code)).await),
    }
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::Denied(_) => Code::NotAllowed,
        Error::Unresolved { .. } => Code::HostUnreachable,
        Error::Unreachable { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Code::ConnectionRefused,
            io::ErrorKind::TimedOut => Code::TimedOut,
            io::ErrorKind::NetworkUnreachable => Code::NetworkUnreachable,
            _ => Code::HostUnreachable,
        },
    }
}

/// The bound address is left out: it is the platform's, and no business of a guest's.
fn reply(code: Code) -> [u8; 10] {
    [VERSION, code as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// What a client has said and nobody has understood yet; after [`Asked::read`], what is for the outside.
#[derive(Default)]
struct Asked {
    bytes: Vec<u8>,
}

impl Asked {
    /// Greets and reads the request. The outer error means that there is nobody to answer.
    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<Result<Request, Code>> {
        let hang_up = || io::Error::from(io::ErrorKind::InvalidData);
        let offers_none = loop {
            match greeting(&self.bytes).map_err(|()| hang_up())? {
                Parsed::Done(offers_none, length) => {
                    self.bytes.drain(..length);
                    break offers_none;
                }
                Parsed::More => self.more(stream).await?,
            }
        };
        if !offers_none {
            stream.write_all(&[VERSION, NO_ACCEPTABLE_METHOD]).await?;
            return Err(hang_up());
        }
        stream.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
        loop {
            match request(&self.bytes) {
                Ok(Parsed::Done(request, length)) => {
                    self.bytes.drain(..length);
                    return Ok(Ok(request));
                }
                Ok(Parsed::More) => self.more(stream).await?,
                Err(code) => return Ok(Err(code)),
            }
        }
    }

    async fn more(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let room = ASKED_BYTES_MAX - self.bytes.len();
        let mut piece = [0; ASKED_BYTES_MAX];
        match stream.read(&mut piece[..room]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.bytes.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &[u8], port: u16) -> Vec<u8> {
        let length = u8::try_from(name.len()).unwrap();
        [&[5, 1, 0, 3, length], name, &port.to_be_bytes()].concat()
    }

    #[test]
    fn greetings() {
        assert_eq!(greeting(&[5, 1, 0]), Ok(Parsed::Done(true, 3)));
        assert_eq!(greeting(&[5, 2, 2, 0, 9]), Ok(Parsed::Done(true, 4)));
        assert_eq!(greeting(&[5, 1, 2]), Ok(Parsed::Done(false, 3)));
        assert_eq!(greeting(&[5, 0]), Ok(Parsed::Done(false, 2)));
        assert_eq!(greeting(&[5, 2, 0]), Ok(Parsed::More));
        assert_eq!(greeting(&[4, 1, 0]), Err(()));
    }

    #[test]
    fn requests() {
        let done = |host: &str, port, length| Ok(Parsed::Done(Request { host: host.parse().unwrap(), port }, length));
        assert_eq!(request(&named(b"A.example.", 443)), done("a.example", 443, 17));
        assert_eq!(request(&named(b"127.0.0.1", 80)), done("127.0.0.1", 80, 16));
        assert_eq!(request(&[5, 1, 0, 1, 10, 1, 2, 3, 0, 80]), done("10.1.2.3", 80, 10));
        let mapped = [&[5, 1, 0, 4][..], &[0; 10], &[0xff, 0xff, 127, 0, 0, 1, 0, 80]].concat();
        assert_eq!(request(&mapped), done("127.0.0.1", 80, 22));
        for (bytes, code) in [
            (named(b"2130706433", 80), Code::AddressNotSupported),
            (named(b"0x7f.1", 80), Code::AddressNotSupported),
            (named(b"\xff\xfe", 80), Code::AddressNotSupported),
            (named(b"", 80), Code::AddressNotSupported),
            (named(b"a.example", 0), Code::GeneralFailure),
            (vec![5, 2, 0, 1, 1, 1, 1, 1, 0, 80], Code::CommandNotSupported),
            (vec![5, 3, 0, 1, 1, 1, 1, 1, 0, 80], Code::CommandNotSupported),
            (vec![5, 1, 0, 9, 1, 1, 1, 1, 0, 80], Code::AddressNotSupported),
            (vec![4, 1, 0, 1, 1, 1, 1, 1, 0, 80], Code::GeneralFailure),
        ] {
            assert_eq!(request(&bytes), Err(code), "{bytes:?}");
        }
    }

    proptest! {
        /// No bytes make the parsers panic, read past their end, or want more than may ever come.
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), near in any::<bool>()) {
            let mut bytes = bytes;
            if near && bytes.len() > 4 {
                let kind = [1, 3, 4][usize::from(bytes[3] % 3)];
                bytes[..4].copy_from_slice(&[5, 1, 0, kind]);
            }
            if let Ok(Parsed::Done(_, length)) = greeting(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            match request(&bytes) {
                Ok(Parsed::Done(_, length)) => prop_assert!(length <= bytes.len() && length <= 262),
                Ok(Parsed::More) => prop_assert!(bytes.len() < 262),
                Err(_) => {}
            }
        }

        /// However it is cut, a request is the same request.
        #[test]
        fn a_part_is_never_a_whole(name in "[a-z]{1,60}", port in 1_u16.., cut in any::<proptest::sample::Index>()) {
            let whole = named(name.as_bytes(), port);
            let part = &whole[..cut.index(whole.len())];
            prop_assert_eq!(request(part), Ok(Parsed::More));
            prop_assert!(matches!(request(&whole), Ok(Parsed::Done(_, length)) if length == whole.len()));
        }
    }
}
