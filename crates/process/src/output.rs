//! A guest's stdout and stderr on their way to [`Guest::log`].
//!
//! Invariant: what the guest wrote before some moment has been passed on, in order, once a [`Output::drain`]
//! that began after that moment has returned.

use std::{io, os::fd::OwnedFd, sync::Arc};

use nix::errno::Errno;
use parking_lot::Mutex;
use tokio::net::unix::pipe::Receiver;
use updraft_executor::Guest;

const PIECE_BYTES: usize = 16 * 1024;

/// A pipe never holds more than this (`fs.pipe-max-size`), so one drain need not read more to reach its own
/// beginning, however fast the guest goes on writing.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;

/// The read end of a guest's output.
pub(crate) struct Output {
    pipe: Receiver,
    /// Held while reading and passing on, so that pieces keep their order.
    guest: Mutex<Arc<dyn Guest>>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing was left.
    Empty,
    /// The guest writes faster than this reads.
    Flooding,
    /// Every writer has gone.
    Ended,
}

impl Output {
    /// Takes the read end of a pipe. Call inside a Tokio runtime.
    pub(crate) fn new(pipe: OwnedFd, guest: Arc<dyn Guest>) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, guest: Mutex::new(guest) })
    }

    /// Passes on all that is there. Asks the kernel, not Tokio, which may not have heard of the last bytes yet.
    pub(crate) fn drain(&self) -> Drained {
        self.pass_on(|piece| nix::unistd::read(&self.pipe, piece))
    }

    /// Passes output on as it comes, until every writer has gone.
    pub(crate) async fn follow(&self) {
        while self.pipe.readable().await.is_ok() {
            // Reads through Tokio, which has to learn that nothing is left.
            let read = |piece: &mut [u8]| {
                self.pipe.try_read(piece).map_err(|error| error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw))
            };
            match self.pass_on(read) {
                Drained::Empty => {}
                Drained::Flooding => tokio::task::yield_now().await,
                Drained::Ended => return,
            }
        }
    }

    fn pass_on(&self, read: impl Fn(&mut [u8]) -> nix::Result<usize>) -> Drained {
        let guest = self.guest.lock();
        let mut piece = [0; PIECE_BYTES];
        let mut total = 0;
        while total < DRAIN_BYTES_MAX {
            match read(&mut piece) {
                Ok(0) => return Drained::Ended,
                Ok(count) => {
                    guest.log(&piece[..count]);
                    total += count;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Drained::Empty,
                Err(_) => return Drained::Ended,
            }
        }
        Drained::Flooding
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing::Lines;

    #[tokio::test]
    async fn what_was_written_before_is_there_after_a_drain() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lines = Lines::new();
        let output = Output::new(reader.into(), lines.clone()).unwrap();
        assert_eq!(output.drain(), Drained::Empty);
        writer.write_all(&[b'x'; 40_000]).unwrap();
        assert_eq!(output.drain(), Drained::Empty);
        assert_eq!(lines.text().len(), 40_000);
        writer.write_all(b"last").unwrap();
        drop(writer);
        output.follow().await;
        assert!(lines.text().ends_with("xlast"));
    }
}
