//! The load generator: a closed loop over kept-alive HTTP/1.1 connections to one address on loopback.
//!
//! It shares the cores with the server it measures, so it spends as little as it can and the same on every server:
//! one system call to send, one to receive, one readiness poll for as many connections as are ready. Bounded in time
//! and in connections; every answer is checked, and whatever is not a whole, successful answer is counted an error.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{http1, interrupt, processes};

/// Longest latency told apart, nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;
/// Largest answer taken, bytes.
const ANSWER_BYTES_MAX: usize = 65_536;
/// Longest sleep without looking whether the bench was interrupted.
const LOOK_UP_INTERVAL: Duration = Duration::from_millis(100);

/// Where to send what, and what to expect.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The server, on loopback.
    pub(crate) address: SocketAddr,
    /// Its process, which may have others below it.
    pub(crate) process: u32,
    /// One request's bytes.
    pub(crate) request: Vec<u8>,
    /// Text that every answer's body holds.
    pub(crate) expect: &'static str,
    /// Whether the body holds the handler's own time as `"handler_ns":N`.
    pub(crate) tells_own_time: bool,
}

/// How much load for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Connections, each with one request under way.
    pub(crate) connections: usize,
    /// Time before the first request that counts.
    pub(crate) warmup: Duration,
    /// Time during which answers count.
    pub(crate) measured: Duration,
}

/// What came of one load.
pub(crate) struct Sample {
    /// Length of the measured time, seconds.
    pub(crate) seconds: f64,
    /// From sending a request to its whole answer, nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// The same less the handler's own time, where the target tells it.
    pub(crate) overhead_ns: Histogram<u64>,
    /// Processors' time that the server took in the measured time.
    pub(crate) server_time: Duration,
    /// The same of this process. With several loads at once it is that of all.
    pub(crate) own_time: Duration,
    /// Requests without a whole, successful answer, those of the warm-up too.
    pub(crate) errors: u64,
    /// What the first of them was.
    pub(crate) first_error: Option<String>,
}

impl Sample {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latency_ns.len() as f64 / self.seconds
    }

    /// A share of the measured time for each answer, µs.
    pub(crate) fn per_answer_us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.latency_ns.len() as f64
    }

    fn merge(mut self, other: Sample) -> Result<Sample> {
        self.latency_ns.add(&other.latency_ns)?;
        self.overhead_ns.add(&other.overhead_ns)?;
        self.errors += other.errors;
        self.first_error = self.first_error.or(other.first_error);
        Ok(self)
    }
}

/// Loads one target. Errors of single requests are counted in the sample; an `Err` means that no load ran.
pub(crate) fn run(target: &Target, shape: Shape) -> Result<Sample> {
    ensure!(target.address.ip() == Ipv4Addr::LOCALHOST, "load goes to loopback only, not to {}", target.address);
    let threads = thread::available_parallelism()?.get().min(shape.connections);
    let share = |thread| (shape.connections + thread) / threads;
    let workers: Vec<_> = (0..threads).map(|thread| Worker::connect(target, share(thread))).collect::<Result<_>>()?;
    let counts_from = Instant::now() + shape.warmup;
    let window = Window { counts_from, ends_at: counts_from + shape.measured };
    let (times, samples) = thread::scope(|scope| {
        let started: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || worker.run(window))).collect();
        let times = window.processor_times(target);
        let join = |thread: thread::ScopedJoinHandle<_>| thread.join().expect("a load thread does not panic");
        (times, started.into_iter().map(join).collect::<Vec<_>>())
    });
    interrupt::check()?;
    let mut samples = samples.into_iter();
    let first = samples.next().context("at least one thread")??;
    let mut whole = samples.try_fold(first, |whole, sample| whole.merge(sample?))?;
    (whole.server_time, whole.own_time) = times?;
    if whole.latency_ns.is_empty() && whole.errors == 0 {
        (whole.errors, whole.first_error) = (1, Some("no answer in the whole time".to_owned()));
    }
    Ok(whole)
}

#[derive(Clone, Copy)]
struct Window {
    counts_from: Instant,
    ends_at: Instant,
}

impl Window {
    /// Waits for its end. Says how much of the processors' time went to the server and to this process within it.
    fn processor_times(self, target: &Target) -> Result<(Duration, Duration)> {
        let now = || -> Result<_> {
            let server = processes::processor_time_of_family(target.process)?;
            Ok((server, processes::processor_time(process::id())?))
        };
        sleep_until(self.counts_from);
        let (server_before, own_before) = now()?;
        sleep_until(self.ends_at);
        let (server, own) = now()?;
        // What has ended meanwhile took its time with it.
        Ok((server.saturating_sub(server_before), own.saturating_sub(own_before)))
    }
}

/// Returns at that instant, or when the bench is interrupted.
fn sleep_until(at: Instant) {
    while !interrupt::is_interrupted() {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(LOOK_UP_INTERVAL));
    }
}

/// One thread's share of the connections.
struct Worker<'a> {
    target: &'a Target,
    poll: Poll,
    connections: Vec<Connection>,
    sample: Sample,
}

struct Connection {
    stream: TcpStream,
    received: Box<[u8]>,
    received_bytes: usize,
    sent_at: Instant,
    is_open: bool,
}

impl<'a> Worker<'a> {
    fn connect(target: &'a Target, connections: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let connect = |token| -> Result<Connection> {
            let stream = std::net::TcpStream::connect_timeout(&target.address, Duration::from_secs(5))
                .with_context(|| format!("connecting to {}", target.address))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
            let received = vec![0; ANSWER_BYTES_MAX].into_boxed_slice();
            Ok(Connection { stream, received, received_bytes: 0, sent_at: Instant::now(), is_open: true })
        };
        let connections = (0..connections).map(connect).collect::<Result<_>>()?;
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        let (latency_ns, overhead_ns) = (histogram()?, histogram()?);
        let (server_time, own_time) = (Duration::ZERO, Duration::ZERO);
        let sample =
            Sample { seconds: 0.0, latency_ns, overhead_ns, server_time, own_time, errors: 0, first_error: None };
        Ok(Self { target, poll, connections, sample })
    }

    fn run(mut self, window: Window) -> Result<Sample> {
        self.sample.seconds = (window.ends_at - window.counts_from).as_secs_f64();
        for index in 0..self.connections.len() {
            self.send(index);
        }
        let mut events = Events::with_capacity(self.connections.len());
        while self.connections.iter().any(|connection| connection.is_open) && !interrupt::is_interrupted() {
            let left = window.ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.poll.poll(&mut events, Some(left.min(LOOK_UP_INTERVAL))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if self.connections[event.token().0].is_open {
                    self.receive(event.token().0, window);
                }
            }
        }
        Ok(self.sample)
    }

    fn send(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.received_bytes = 0;
        connection.sent_at = Instant::now();
        // A request is a few hundred bytes and the socket's buffer is empty: it fits at once or the socket is gone.
        match connection.stream.write(&self.target.request) {
            Ok(sent) if sent == self.target.request.len() => {}
            Ok(_) => self.fail(index, "a request was cut short"),
            Err(error) => self.fail(index, &error.to_string()),
        }
    }

    fn receive(&mut self, index: usize, window: Window) {
        loop {
            let connection = &mut self.connections[index];
            let room = &mut connection.received[connection.received_bytes..];
            let room_bytes = room.len();
            let count = match connection.stream.read(room) {
                Ok(0) if room_bytes == 0 => return self.fail(index, "an answer over 64 KiB"),
                Ok(0) => return self.fail(index, "the server closed the connection"),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.fail(index, &error.to_string()),
            };
            connection.received_bytes += count;
            let received = &connection.received[..connection.received_bytes];
            let answered_at = Instant::now();
            match http1::parse(received) {
                Ok(Some(answer)) => {
                    let own_time_ns = match judge(self.target, &answer, received.len()) {
                        Ok(own_time_ns) => own_time_ns,
                        Err(error) => return self.fail(index, &error.to_string()),
                    };
                    if answered_at >= window.counts_from && answered_at < window.ends_at {
                        let took = answered_at - connection.sent_at;
                        self.sample.latency_ns.saturating_record(nanoseconds(took));
                        if let Some(own_time_ns) = own_time_ns {
                            let overhead = took.saturating_sub(Duration::from_nanos(own_time_ns));
                            self.sample.overhead_ns.saturating_record(nanoseconds(overhead));
                        }
                    }
                    return self.send(index);
                }
                // The registration is edge-triggered: a read that left room took all there was, and the next
                // bytes to arrive raise the next event.
                Ok(None) if count < room_bytes => return,
                Ok(None) => {}
                Err(error) => return self.fail(index, &error.to_string()),
            }
        }
    }

    fn fail(&mut self, index: usize, what: &str) {
        self.connections[index].is_open = false;
        self.sample.errors += 1;
        self.sample.first_error.get_or_insert_with(|| what.to_owned());
    }
}

/// The handler's own time, where the target tells it; an error for an answer that is not the expected one.
fn judge(target: &Target, answer: &http1::Answer<'_>, received_bytes: usize) -> Result<Option<u64>> {
    let body = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).into_owned();
    ensure!(answer.status == 200, "status {}: {}", answer.status, body());
    ensure!(!answer.function_failed, "the function failed: {}", body());
    ensure!(!answer.closes, "the server refuses to keep the connection");
    ensure!(answer.bytes == received_bytes, "more bytes than the answer has");
    ensure!(find(&answer.body, target.expect.as_bytes()).is_some(), "another answer than expected: {}", body());
    if !target.tells_own_time {
        return Ok(None);
    }
    let own_time = own_time_ns(&answer.body).with_context(|| format!("no handler_ns in {}", body()))?;
    Ok(Some(own_time))
}

fn own_time_ns(body: &[u8]) -> Option<u64> {
    let mut rest = &body[find(body, b"\"handler_ns\":")? + 13..];
    while let [b' ', after @ ..] = rest {
        rest = after;
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server for one connection that gives these answers, one a request, then closes.
    fn scripted(answers: &'static [&'static str]) -> Target {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut request = [0; 1024];
                if stream.read(&mut request).unwrap() == 0 {
                    return;
                }
                for piece in answer.as_bytes().chunks(7) {
                    stream.write_all(piece).unwrap();
                }
            }
        });
        let request = http1::request("GET", "/", address, &[], b"");
        Target { address, process: process::id(), request, expect: "hello", tells_own_time: true }
    }

    fn load(target: &Target) -> Sample {
        let shape = Shape { connections: 1, warmup: Duration::ZERO, measured: Duration::from_secs(20) };
        run(target, shape).unwrap()
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 27\r\n\r\n{\"hello\":1,\"handler_ns\": 5}";

    #[test]
    fn answers_count_until_the_server_closes_and_that_is_an_error() {
        let sample = load(&scripted(&[GOOD, GOOD, GOOD]));
        assert_eq!((sample.latency_ns.len(), sample.overhead_ns.len(), sample.errors), (3, 3, 1));
        assert!(sample.overhead_ns.max() <= sample.latency_ns.max());
    }

    #[test]
    fn what_is_not_the_expected_answer_is_an_error() {
        for bad in [
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 27\r\n\r\n{\"hello\":1,\"handler_ns\": 5}",
            "HTTP/1.1 200 OK\r\nx-amz-function-error: Unhandled\r\ncontent-length: 27\r\n\r\n{\"hello\":1,\"handler_ns\": 5}",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"handler_ns\":5}",
            "what?\r\n\r\n",
        ] {
            let answers: &'static [&'static str] = Box::leak(Box::new([GOOD, bad]));
            let sample = load(&scripted(answers));
            assert_eq!((sample.latency_ns.len(), sample.errors), (1, 1), "{bad}");
        }
    }

    #[test]
    fn load_leaves_loopback_never() {
        let address = "10.0.0.1:80".parse().unwrap();
        let target = Target { address, process: process::id(), request: Vec::new(), expect: "", tells_own_time: false };
        let shape = Shape { connections: 1, warmup: Duration::ZERO, measured: Duration::from_millis(1) };
        assert!(run(&target, shape).is_err());
    }
}
