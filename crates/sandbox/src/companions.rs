//! A sandbox in which more than one program runs: companions, started before the command and told apart from it.
//!
//! The init starts the companions at once and the command when the platform says so, and writes a notice for each
//! of them that ends. Unlike a sandbox without companions it goes on without its command, so that they can finish;
//! the platform decides how long.
//!
//! Invariant: it ends when all have ended, and at once when the platform lets go.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

use libc::pid_t;
use nix::{fcntl::OFlag, sys::signalfd::SignalFd, unistd::pipe2};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

use crate::{
    Status,
    init::{self, Sockets},
    spec::Spec,
    sys,
    wire::{self, Ask, Failure, Report, Step},
};

/// Bytes of one notice: three numbers of four. Fewer than a pipe may tear apart.
const NOTICE_BYTES: usize = 12;

/// Who has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The sandbox's command.
    Command,
    /// The companion at this place of [`crate::Companions::programs`].
    Companion(usize),
}

/// One program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub who: Who,
    /// How.
    pub status: Status,
}

impl Ended {
    fn to_bytes(self) -> [u8; NOTICE_BYTES] {
        let who = match self.who {
            Who::Command => -1,
            Who::Companion(index) => i32::try_from(index).unwrap_or(i32::MAX),
        };
        let (kind, value) = match self.status {
            Status::Code(code) => (0, code),
            Status::Signal(signal) => (1, signal),
        };
        let mut bytes = [0; NOTICE_BYTES];
        for (place, number) in bytes.chunks_exact_mut(4).zip([who, kind, value]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; NOTICE_BYTES]) -> Self {
        let number = |place: usize| i32::from_ne_bytes(std::array::from_fn(|index| bytes[place * 4 + index]));
        let who = usize::try_from(number(0)).map_or(Who::Command, Who::Companion);
        let status = if number(1) == 0 { Status::Code(number(2)) } else { Status::Signal(number(2)) };
        Self { who, status }
    }
}

/// The ends of a sandbox's command and companions, as they come.
pub struct Notices(Receiver);

impl Notices {
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self(Receiver::from_owned_fd(pipe)?))
    }

    /// Waits for the next; `None` when nothing is left that could end. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Ended> {
        let mut bytes = [0; NOTICE_BYTES];
        // Each is written at once, so none is ever half read.
        self.0.read_exact(&mut bytes).await.ok()?;
        Some(Ended::from_bytes(bytes))
    }
}

/// Starts a program that writes to the given pipe.
type StartInto<'a> = dyn FnMut(&Spec, &OwnedFd) -> Result<pid_t, Failure> + 'a;

/// Starts the companions, reports, and serves to the end.
pub(crate) fn run(
    spec: &Spec,
    listeners: &[OwnedFd],
    children: &SignalFd,
    sockets: &Sockets<'_>,
    start: &mut StartInto<'_>,
) -> Result<(), Failure> {
    // Made here, as the guest's user: what opens /dev/stdout is asked for permission on the pipe.
    let pipe = || pipe2(OFlag::O_CLOEXEC).step("output pipe");
    let ((output, writer), (beside, beside_writer), (notices, notices_writer)) = (pipe()?, pipe()?, pipe()?);
    let companions = spec.companions.programs.iter().map(|program| {
        let own = Spec {
            command: vec![program.clone()],
            environment: spec.companions.environment.clone(),
            directory: "/".into(),
            ..spec.clone()
        };
        start(&own, &beside_writer).map(Some)
    });
    let companions = companions.collect::<Result<Vec<_>, _>>()?;
    drop(beside_writer);
    let mut descriptors = vec![output.as_fd(), beside.as_fd(), notices.as_fd()];
    descriptors.extend(listeners.iter().map(AsFd::as_fd));
    wire::send(sockets.control.as_fd(), &Report::Ready, &descriptors).step("report to the platform")?;
    drop((output, beside, notices));
    let mut family = Family { command: Command::Waits(writer), companions, notices: notices_writer.into() };
    while !family.has_ended() {
        let Some(ready) = init::wait(children, sockets) else { return Ok(()) };
        if ready.children {
            let _ = children.read_signal();
            family.reap(sockets.lifeline);
        }
        if ready.lifeline || (ready.control && !family.answer(spec, sockets.control, start)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Where the command is.
enum Command {
    /// It is not started yet; its output's other end.
    Waits(OwnedFd),
    Runs(pid_t),
    Ended,
}

/// The processes that are told apart.
struct Family {
    command: Command,
    /// In the order of the specification; `None` once ended.
    companions: Vec<Option<pid_t>>,
    notices: File,
}

impl Family {
    fn has_ended(&self) -> bool {
        matches!(self.command, Command::Ended) && self.companions.iter().all(Option::is_none)
    }

    fn reap(&mut self, lifeline: &OwnedFd) {
        while let Some((pid, status, _)) = sys::reap() {
            let status = Status::of_wait(status);
            let who = match self.companions.iter_mut().enumerate().find(|(_, companion)| **companion == Some(pid)) {
                Some((index, companion)) => {
                    *companion = None;
                    Who::Companion(index)
                }
                None if matches!(self.command, Command::Runs(command) if command == pid) => {
                    self.command = Command::Ended;
                    // What the sandbox's own end will be said to have been.
                    let _ = wire::send(lifeline.as_fd(), &status, &[]);
                    Who::Command
                }
                // A child that one of them left behind.
                None => continue,
            };
            // Nobody reads it when the platform lets go, and that ends all of this.
            let _ = self.notices.write_all(&Ended { who, status }.to_bytes());
        }
    }

    /// Answers one request. `false` when the platform has let go.
    fn answer(&mut self, spec: &Spec, control: &OwnedFd, start: &mut StartInto<'_>) -> bool {
        match wire::receive::<Ask>(control.as_fd()) {
            Ok(Some((Ask::Connect { number, port }, _))) => init::connect_for(control, number, port),
            Ok(Some((Ask::Signal(signal), _))) => {
                if let Command::Runs(pid) = self.command {
                    init::send_signal(pid, signal);
                }
                true
            }
            Ok(Some((Ask::Begin, _))) => {
                let report = match &self.command {
                    Command::Waits(output) => match start(spec, output) {
                        Ok(pid) => {
                            self.command = Command::Runs(pid);
                            Report::Begun
                        }
                        Err(failure) => Report::Failed(failure),
                    },
                    Command::Runs(_) | Command::Ended => Report::Begun,
                };
                wire::send(control.as_fd(), &report, &[]).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_read_back_as_written() {
        for who in [Who::Command, Who::Companion(0), Who::Companion(9)] {
            for status in [Status::Code(0), Status::Code(127), Status::Signal(9)] {
                let ended = Ended { who, status };
                assert_eq!(Ended::from_bytes(ended.to_bytes()), ended);
            }
        }
    }
}
