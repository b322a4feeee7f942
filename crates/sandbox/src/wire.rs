//! Messages between the platform, its helper and the inits: one JSON value a datagram on Unix
//! `SOCK_SEQPACKET` sockets, descriptors beside it (SCM_RIGHTS).
//!
//! Invariant: a message is taken whole or refused; a descriptor that arrives is owned at once, so none leaks. What
//! came whole but for its descriptors, because the receiver has no room for them, can be told from what makes no sense.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, sendmsg,
    socketpair,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Assignment, Error, Spec, State, Status,
    cgroup::FreezerFile,
    spec::{MOUNTS_MAX, SPEC_BYTES_MAX},
    sys,
};

/// Most bytes in one message: a specification and a little around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = SPEC_BYTES_MAX + 4096;

/// Most descriptors in one message: a control socket and every mount, or three pipes and every listener.
const DESCRIPTORS_MAX: usize = MOUNTS_MAX + 3;

/// Platform to helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First of all. Answered by [`Reply::Ready`].
    Begin { cgroup_name: String },
    /// With the init's end of a control socket. Answered by [`Reply::Started`] or [`Reply::Refused`], and
    /// after the former by [`Reply::Gone`] in the end.
    Spawn { id: u64, spec: Box<Spec>, start: Start },
    /// For a sandbox started as [`Start::Unassigned`] or by [`Request::Copy`]; its init answers with
    /// [`Report::Assigned`] or [`Report::Failed`].
    Assign { id: u64, assignment: Box<Assignment> },
    /// A sandbox whose guest is a copy of `template`'s, and goes on with its assignment. With the init's end of a control
    /// socket, then the template's user and pid namespaces. Answered as [`Request::Spawn`] is.
    Copy { id: u64, template: u64, spec: Box<Spec> },
    /// Answered by [`Reply::Probed`].
    Probe,
}

/// How much of a sandbox is known when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Start {
    /// All of it.
    Whole,
    /// The rest comes with [`Order::Assign`].
    Unassigned,
    /// All of it, and its guest will be copied.
    Template,
}

/// Helper to platform.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The helper is up; names the limits this host cannot hold, and why.
    Ready { missing: Vec<(String, String)> },
    /// What a predecessor left has not died yet, so the helper ends; another may be luckier.
    Occupied { why: String },
    /// An init is on its way and will report on its control socket. With its pidfd.
    Started { id: u64, gauges: Gauges },
    /// Nothing was started.
    Refused { id: u64, failure: Failure },
    /// Nothing of the sandbox runs any more.
    Gone { id: u64, last: Last },
    /// What each mechanism did when tried, by name.
    Probed { found: Vec<(String, State)> },
}

/// Files to read a living sandbox's use from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Gauges {
    pub(crate) memory_peak: Option<PathBuf>,
    pub(crate) processor_time: Option<PathBuf>,
    /// Not to read from: see [`crate::cgroup::Freezer`].
    pub(crate) freezer: Option<FreezerFile>,
}

/// The last word on a sandbox.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Last {
    pub(crate) status: Status,
    pub(crate) out_of_memory: bool,
    pub(crate) memory_bytes_max: u64,
    pub(crate) processor_ns: u64,
}

/// Helper to an init, over its lifeline.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The identity maps are written.
    Mapped,
    /// First of all to a template's stem. With the template's user and pid namespaces. Answered when it is in there.
    Nest,
    /// To a stem: fork the init of a copy. With its lifeline, so many files to join its groups with, and those of these
    /// settings. Answered with its pidfd.
    Bear { doors: usize, settings: Vec<String> },
    /// What to become. With the control socket, then one mount tree for each of `spec.mounts`.
    Become { spec: Box<Spec>, start: Start },
    /// The rest, for one that became [`Start::Unassigned`] or a copy's. With one mount tree for each of its mounts.
    Assign { assignment: Box<Assignment> },
    /// There is no rest: report this and end.
    Abandon(Failure),
    /// What to become, for one whose guest will be a copy. With the control socket, the socket to the template's init,
    /// then one mount tree for each of `spec.mounts`.
    BecomeCopy { spec: Box<Spec> },
    /// To a template's init: with the socket to another whose guest will be a copy of this one's, and the files that a
    /// process writes `0` to in order to join its groups.
    Copy,
}

/// Between the init of a template and that of a copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Twin {
    /// From the template: where the copy will live. With the descriptors of a `Vacant`, then a view of the template's
    /// `/tmp` where that is not empty.
    Room,
    /// To the template: all is ready. With the guest's input and output, then its namespaces, the user namespace first.
    Ready,
    /// From the template: the copy is there and stopped, and is this process there.
    Copied { pid: i32 },
    /// To the template: the copy may go on.
    Release,
    /// From the template: it does.
    Released,
    /// From the template: there is no copy, or none any more.
    Failed(Failure),
    /// From the template: the copy has ended.
    Ended(Status),
}

/// Init to platform, over the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command is executing. With the output pipe, then the listeners. Of a sandbox with companions these are
    /// executing; after the output pipe come theirs and the one of notices.
    Ready,
    /// The assignment is in force and the guest has been told.
    Assigned,
    /// What was asked for has failed; of a sandbox that was to be built or assigned this was the last message.
    Failed(Failure),
    /// With a socket on which `connect` was called.
    Connected { number: u64 },
    /// The connection failed at once.
    NotConnected { number: u64, errno: i32 },
    /// The command of a sandbox with companions is executing.
    Begun,
    /// The guest will run no more and can be copied. With the user and the pid namespace.
    Stopped,
    /// It cannot, and never will; the text says why.
    Unfit(String),
}

/// Platform to init, over the control socket.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Connect to this port of 127.0.0.1.
    Connect { number: u64, port: u16 },
    /// Start the command, which has companions. Answered by [`Report::Begun`] or [`Report::Failed`].
    Begin,
    /// Send the command this signal, if it runs.
    Signal(i32),
    /// Stop the guest of a template for good, so that it can be copied. Answered by [`Report::Stopped`],
    /// [`Report::Unfit`] or [`Report::Failed`].
    Stop,
}

/// Why a sandbox could not be made, in a form that travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Failure {
    Exec { command: String, errno: i32 },
    Setup { step: String, errno: i32 },
    Invalid(String),
    Full(usize),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let source = io::Error::from_raw_os_error;
        match failure {
            Failure::Exec { command, errno } => Error::Exec { command, source: source(errno) },
            Failure::Setup { step, errno } => Error::Setup { step, source: source(errno) },
            Failure::Invalid(why) => Error::Invalid(why),
            Failure::Full(alive) => Error::Full(alive),
        }
    }
}

/// Names the step that an error happened at.
pub(crate) trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Setup { step: step.to_owned(), errno: errno_of(&error.into()) })
    }
}

/// The system's number for an error; `EIO` for the few that have none.
pub(crate) fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// A pair of connected sockets, closed on exec, blocking.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message with descriptors. `WouldBlock` when the socket is nonblocking and full.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    send_bytes(socket, &bytes, descriptors)
}

/// Like [`send`], for a message already in bytes.
pub(crate) fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// One message as it came.
pub(crate) struct Message<T> {
    pub(crate) value: T,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Whether descriptors are missing: the receiving process may not open so many files.
    pub(crate) is_cut: bool,
}

/// Receives one message with its descriptors, all of them; `None` when the other side has closed.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    match receive_as_came(socket)? {
        Some(message) if message.is_cut => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        message => Ok(message.map(|message| (message.value, message.descriptors))),
    }
}

/// Receives one message with those of its descriptors that there is room for; `None` when the other side has closed.
pub(crate) fn receive_as_came<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<Message<T>>> {
    // No larger than what is there: in a process just forked every page that is written is copied first.
    let length = loop {
        match recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    let mut bytes = vec![0; length.clamp(1, MESSAGE_BYTES_MAX)];
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    let (length, flags) = (message.bytes, message.flags);
    let is_cut = flags.contains(MsgFlags::MSG_CTRUNC);
    let mut descriptors = Vec::new();
    if is_cut {
        descriptors.extend(sys::own_received(rights_in(&space)));
    } else {
        for rights in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = rights {
                descriptors.extend(sys::own_received(raw));
            }
        }
    }
    if flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut off"));
    }
    if length == 0 {
        return Ok(None);
    }
    Ok(Some(Message { value: serde_json::from_slice(&bytes[..length])?, descriptors, is_cut }))
}

/// The descriptors in what `recvmsg` wrote to a zeroed buffer of control messages: of those that were cut off, `nix` lets
/// nobody have the rest. There is one such message at the most, since nothing but descriptors is ever sent.
fn rights_in(space: &[u8]) -> Vec<RawFd> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const LENGTH: usize = size_of::<usize>();
    let number = |at: usize| space.get(at..at + 4).map(|four| i32::from_ne_bytes(four.try_into().expect("four bytes")));
    let length = space.first_chunk::<LENGTH>().map_or(0, |length| usize::from_ne_bytes(*length));
    let kind = (number(LENGTH), number(LENGTH + 4));
    if length < HEADER || length > space.len() || kind != (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS)) {
        return Vec::new();
    }
    (HEADER..length).step_by(4).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn carries_values_and_descriptors_and_reports_the_end() {
        let (ours, theirs) = pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let ask = Ask::Connect { number: 7, port: 80 };
        send(ours.as_fd(), &ask, &[writer.as_fd()]).unwrap();
        drop((ours, writer));
        let (received, mut descriptors) = receive::<Ask>(theirs.as_fd()).unwrap().unwrap();
        assert_eq!((received, descriptors.len()), (ask, 1));
        File::from(descriptors.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        File::from(OwnedFd::from(reader)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert!(receive::<Ask>(theirs.as_fd()).unwrap().is_none());
    }

    #[test]
    fn refuses_what_is_not_a_message() {
        let (ours, theirs) = pair().unwrap();
        send_bytes(ours.as_fd(), b"{\"number\":", &[]).unwrap();
        assert!(receive::<Ask>(theirs.as_fd()).is_err());
        send_bytes(ours.as_fd(), &vec![b' '; MESSAGE_BYTES_MAX + 1], &[]).unwrap();
        assert_eq!(receive::<Ask>(theirs.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_message_that_came_without_all_its_descriptors_is_told_from_nonsense_and_none_of_them_leaks() {
        let (ours, theirs) = pair().unwrap();
        let ask = Ask::Connect { number: 7, port: 80 };
        let (reader, writer) = std::io::pipe().unwrap();
        // More than there is room for, with the padding, looks like more than may be opened.
        let many = DESCRIPTORS_MAX + 4;
        send(ours.as_fd(), &ask, &vec![writer.as_fd(); many]).unwrap();
        let message = receive_as_came::<Ask>(theirs.as_fd()).unwrap().unwrap();
        assert_eq!((message.value, message.is_cut), (ask, true));
        assert!((DESCRIPTORS_MAX..many).contains(&message.descriptors.len()), "{}", message.descriptors.len());
        drop((message.descriptors, writer));
        assert_eq!(File::from(OwnedFd::from(reader)).read(&mut [0]).unwrap(), 0, "a descriptor has leaked");

        let (_reader, writer) = std::io::pipe().unwrap();
        send(ours.as_fd(), &Ask::Begin, &vec![writer.as_fd(); many]).unwrap();
        assert_eq!(receive::<Ask>(theirs.as_fd()).unwrap_err().raw_os_error(), Some(libc::EMFILE));
        send(ours.as_fd(), &Ask::Begin, &[]).unwrap();
        assert_eq!(receive::<Ask>(theirs.as_fd()).unwrap().unwrap().0, Ask::Begin);
    }
}
