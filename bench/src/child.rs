//! A server the bench started: it is ended by its process id, however the bench ends.
//!
//! What the server prints goes to a file in the bench's scratch folder; its address is read from there.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{interrupt, processes};

/// How long a server may take until it says where it listens.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to end when asked, before it is made to.
const END_TIME_MAX: Duration = Duration::from_secs(15);
/// How long what it started may outlive it.
const FAMILY_END_TIME_MAX: Duration = Duration::from_secs(2);
/// Time between two looks at a child.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A running server. Dropping it ends it and whatever processes it leaves behind.
pub(crate) struct Server {
    name: String,
    child: process::Child,
    output: PathBuf,
    address: SocketAddr,
}

impl Server {
    /// Starts `command` and waits until `find_address` finds its address in what it printed.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        scratch: &Path,
        find_address: fn(&str) -> Option<SocketAddr>,
    ) -> Result<Self> {
        let output = scratch.join(format!("{name}.out"));
        let file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { name: name.to_owned(), child, output, address: nowhere };
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            interrupt::check()?;
            if let Some(address) = find_address(&server.printed()) {
                server.address = address;
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended at once with {status}:\n{}", server.printed());
            }
            if Instant::now() > deadline {
                bail!("{name} does not say where it listens:\n{}", server.printed());
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub(crate) fn printed(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Ends it; an error if it had ended by itself before, or left processes behind.
    pub(crate) fn end(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself with {status}:\n{}", self.name, self.printed());
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        let family = processes::descendants(self.child.id());
        let pid = process_id(self.child.id())?;
        if self.child.try_wait()?.is_none() {
            kill(pid, Signal::SIGTERM)?;
        }
        if self.wait_until(Instant::now() + END_TIME_MAX)?.is_none() {
            kill(pid, Signal::SIGKILL)?;
            self.child.wait()?;
        }
        let deadline = Instant::now() + FAMILY_END_TIME_MAX;
        while family.iter().any(processes::Process::is_running) && Instant::now() < deadline {
            thread::sleep(LOOK_INTERVAL);
        }
        let left: Vec<_> = family.into_iter().filter(processes::Process::is_running).collect();
        for process in &left {
            // It may end between the look and the signal.
            let _ = kill(process_id(process.id)?, Signal::SIGKILL);
        }
        match left.first() {
            Some(first) => Err(anyhow!("{} left {} processes behind, one named {}", self.name, left.len(), first.name)),
            None => Ok(()),
        }
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(error) = self.finish()
        {
            eprintln!("ending {}: {error:#}", self.name);
        }
    }
}

fn process_id(id: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(id)?))
}

/// The address in the first `http://ADDRESS` of the text, as most servers print it.
pub(crate) fn address_in_url(printed: &str) -> Option<SocketAddr> {
    let after = &printed[printed.find("http://")? + 7..];
    let end = after.find(['/', '\n'])?;
    after[..end].trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_once_its_line_is_whole() {
        assert_eq!(address_in_url("listening on http://127.0.0.1:80"), None);
        let address = Some("127.0.0.1:8080".parse().unwrap());
        assert_eq!(address_in_url("warning\nlistening on http://127.0.0.1:8080\n"), address);
        assert_eq!(address_in_url("Serving HTTP on http://127.0.0.1:8080/\n"), address);
    }

    #[test]
    fn a_server_that_prints_no_address_is_reported_with_what_it_printed() {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no port left; exit 3"]);
        let error = Server::start("sh", command, scratch.path(), address_in_url).err().unwrap().to_string();
        assert!(error.contains("no port left") && error.contains('3'), "{error}");
    }

    #[test]
    fn ending_a_server_ends_what_it_started() {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo http://127.0.0.1:9/; wait"]);
        let server = Server::start("sh", command, scratch.path(), address_in_url).unwrap();
        let family = processes::descendants(server.id());
        assert_eq!(family.len(), 1);
        assert!(server.end().unwrap_err().to_string().contains("left 1 processes behind, one named sleep"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while family[0].is_running() {
            assert!(Instant::now() < deadline, "the server's child is still there");
            thread::sleep(LOOK_INTERVAL);
        }
    }
}
