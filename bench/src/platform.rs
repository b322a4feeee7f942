//! Updraft under measurement: started with a data folder of its own, driven through Lambda's public API.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    child::{Server, address_in_url},
    client::Client,
    http1,
    load::Target,
    package::{GREETING, Kind},
    peers::Interpreters,
    processes,
};

/// Any credential will do: the platform under measurement is started with authentication off.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=0";
/// How long a function may take until it is active.
const ACTIVE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the instances of a deleted function may take until they have ended.
const ENDED_TIME_MAX: Duration = Duration::from_secs(60);
/// Clients that deploy at once.
const DEPLOYERS: usize = 4;

/// What measures a platform needs to know of this host.
pub(crate) struct Site {
    /// Root of the checkout.
    pub(crate) repository: PathBuf,
    /// The platform's executable.
    pub(crate) binary: PathBuf,
    /// The host's interpreters.
    pub(crate) interpreters: Interpreters,
}

/// A running platform.
pub(crate) struct Platform<'a> {
    site: &'a Site,
    server: Server,
}

/// A function to deploy.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// What it is made of.
    pub(crate) kind: Kind,
    /// What makes its package its own.
    pub(crate) number: u32,
}

impl<'a> Platform<'a> {
    /// Starts the platform on a data folder in `scratch`, which an earlier one may have left.
    pub(crate) fn start(site: &'a Site, scratch: &Path) -> Result<Self> {
        Self::start_with(site, scratch, &[])
    }

    /// The same with some of its settings given as environment variables.
    pub(crate) fn start_with(site: &'a Site, scratch: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let data = Self::data(scratch);
        let mut command = Command::new(&site.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UPDRAFT_") {
                command.env_remove(name);
            }
        }
        command.env("UPDRAFT_AUTHENTICATION", "off").envs(settings.iter().copied());
        command.current_dir(scratch).args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        Ok(Self { site, server: Server::start("updraft", command, scratch, address_in_url)? })
    }

    /// The data folder of one that was started in `scratch`.
    pub(crate) fn data(scratch: &Path) -> PathBuf {
        scratch.join("updraft")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    /// Ends it in order.
    pub(crate) fn end(self) -> Result<()> {
        self.server.end()
    }

    /// What it and every process below it hold, with their number.
    pub(crate) fn memory(&self) -> Result<(usize, processes::Memory)> {
        let mut ids = vec![self.server.id()];
        ids.extend(processes::descendants(self.server.id()).iter().map(|process| process.id));
        let mut sum = processes::Memory::default();
        for id in &ids {
            let memory = processes::memory(*id)?;
            sum.rss_bytes += memory.rss_bytes;
            sum.pss_bytes += memory.pss_bytes;
        }
        Ok((ids.len(), sum))
    }

    /// Deploys functions, several at a time, and waits until each is active.
    pub(crate) fn deploy(&self, functions: &[Function]) -> Result<()> {
        thread::scope(|scope| {
            let share = |deployer: usize| functions.iter().skip(deployer).step_by(DEPLOYERS);
            let deployers: Vec<_> = (0..DEPLOYERS)
                .map(|deployer| {
                    scope.spawn(move || -> Result<()> {
                        let mut client = Client::connect(self.address())?;
                        for function in share(deployer) {
                            self.create(&mut client, function)
                                .with_context(|| format!("deploying the function {}", function.name))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            deployers.into_iter().try_for_each(|thread| thread.join().expect("a deployer does not panic"))
        })
    }

    fn create(&self, client: &mut Client, function: &Function) -> Result<()> {
        let zip = function.kind.zip(&self.site.repository, function.number)?;
        let runtime = self.site.runtime(function.kind);
        let mut body = json!({
            "FunctionName": function.name, "Runtime": runtime, "Handler": function.kind.handler(),
            "Role": "arn:aws:iam::000000000000:role/bench", "Code": { "ZipFile": STANDARD.encode(zip) },
            "MemorySize": 128, "Timeout": function.kind.timeout_s(),
        });
        let is_published = function.kind == Kind::Slow;
        if is_published {
            body["Publish"] = true.into();
            body["SnapStart"] = json!({ "ApplyOn": "PublishedVersions" });
        }
        call(client, "POST", "/2015-03-31/functions", &body, 201)?;
        let qualifier = if is_published { "?Qualifier=1" } else { "" };
        let path = format!("/2015-03-31/functions/{}/configuration{qualifier}", function.name);
        let deadline = Instant::now() + ACTIVE_TIME_MAX;
        loop {
            let configuration = call(client, "GET", &path, &Value::Null, 200)?;
            match configuration["State"].as_str() {
                Some("Active") => {
                    let is_copied = configuration["SnapStart"]["OptimizationStatus"] == "On";
                    ensure!(is_copied == is_published, "its instances are no copies: {configuration}");
                    break;
                }
                Some("Pending") if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                state => bail!("it is {state:?}: {configuration}"),
            }
        }
        let path = format!("/2021-10-31/functions/{}/url", function.name);
        call(client, "POST", &path, &json!({ "AuthType": "NONE" }), 201)?;
        let path = format!("/2015-03-31/functions/{}/policy", function.name);
        for (sid, action) in [("url", "lambda:InvokeFunctionUrl"), ("call", "lambda:InvokeFunction")] {
            let statement = json!({ "StatementId": sid, "Action": action, "Principal": "*" });
            call(client, "POST", &path, &statement, 201)?;
        }
        Ok(())
    }

    /// Gives each call of a component a fresh guest.
    pub(crate) fn refresh(&self, function: &str) -> Result<()> {
        let path = format!("/_updraft/v1/functions/{function}/scaling");
        let mut client = Client::connect(self.address())?;
        call(&mut client, "PUT", &path, &json!({ "instances": "fresh" }), 200).map(drop)
    }

    /// The function's URL, by path.
    pub(crate) fn url(&self, function: &str, kind: Kind) -> Target {
        let path = format!("/fn/{function}/");
        self.target(http1::request("GET", &path, self.address(), &[], b""), kind)
    }

    /// Lambda's Invoke with the event `{}`.
    pub(crate) fn invoke(&self, function: &str, kind: Kind) -> Target {
        self.invoke_with(function, kind, &json!({}))
    }

    /// The same with an event.
    pub(crate) fn invoke_with(&self, function: &str, kind: Kind, event: &Value) -> Target {
        self.target(invoke_request(self.address(), function, event), kind)
    }

    /// Deletes a function.
    pub(crate) fn delete(&self, function: &str) -> Result<()> {
        let path = format!("/2015-03-31/functions/{function}");
        let request = http1::request("DELETE", &path, self.address(), &[("authorization", AUTHORIZATION)], b"");
        Client::connect(self.address())?.send(&request)?.expect(204).map(drop)
    }

    /// The 99th percentile, ms, of reading the control API over one connection, one request after the other.
    pub(crate) fn control_p99_ms(&self, measured: Duration, path: impl Fn(u32) -> String) -> Result<f64> {
        let mut client = Client::connect(self.address())?;
        let mut latency_us = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
        let ends_at = Instant::now() + measured;
        for number in 0.. {
            let request =
                http1::request("GET", &path(number), self.address(), &[("authorization", AUTHORIZATION)], b"");
            let reply = client.send(&request)?.expect(200)?;
            latency_us.saturating_record(u64::try_from(reply.took.as_micros()).unwrap_or(u64::MAX).max(1));
            if Instant::now() >= ends_at {
                break;
            }
        }
        Ok(latency_us.value_at_quantile(0.99) as f64 / 1e3)
    }

    /// The memory reserved by instances, those that are being ended among them, bytes.
    pub(crate) fn reserved_bytes(&self) -> Result<u64> {
        let request = http1::request("GET", "/metrics", self.address(), &[], b"");
        let reply = Client::connect(self.address())?.send(&request)?.expect(200)?;
        let page = String::from_utf8(reply.body)?;
        let value = page.lines().find_map(|line| line.strip_prefix("updraft_memory_reserved_bytes "));
        Ok(value.context("no updraft_memory_reserved_bytes in /metrics")?.parse()?)
    }

    /// Deletes a function and waits until its instances have ended, so that no more than this is reserved.
    pub(crate) fn vacate(&self, function: &str, reserved_bytes_max: u64) -> Result<()> {
        self.delete(function)?;
        let deadline = Instant::now() + ENDED_TIME_MAX;
        while self.reserved_bytes()? > reserved_bytes_max {
            ensure!(Instant::now() < deadline, "instances of {function} are still there");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn target(&self, request: Vec<u8>, kind: Kind) -> Target {
        let tells_own_time = matches!(kind, Kind::Python | Kind::Node);
        Target { address: self.address(), process: self.id(), request, expect: GREETING, tells_own_time }
    }

    /// The host's executable of the interpreter that runs a function, and its version, as the function sees them.
    pub(crate) fn interpreter(&self, function: &str) -> Result<(PathBuf, String)> {
        let request = invoke_request(self.address(), function, &json!({ "about": "interpreter" }));
        let reply = Client::connect(self.address())?.send(&request)?.expect(200)?;
        let about: Value = serde_json::from_slice(&reply.body)?;
        let text = |key: &str| about[key].as_str().with_context(|| format!("no {key} in {about}"));
        Ok((PathBuf::from(text("executable")?), text("version")?.to_owned()))
    }
}

impl Site {
    fn runtime(&self, kind: Kind) -> String {
        match kind {
            Kind::Python | Kind::Hold | Kind::Soak => format!("python3.{}", self.interpreters.python.release),
            // As on Lambda, no earlier one has snapshots.
            Kind::Slow => "python3.12".to_owned(),
            Kind::Node => format!("nodejs{}.x", self.interpreters.node.release),
            Kind::Wasm => "wasm".to_owned(),
            Kind::Web => "web".to_owned(),
        }
    }
}

fn invoke_request(address: SocketAddr, function: &str, event: &Value) -> Vec<u8> {
    let path = format!("/2015-03-31/functions/{function}/invocations");
    http1::request("POST", &path, address, &[("authorization", AUTHORIZATION)], event.to_string().as_bytes())
}

/// One call of the control API.
fn call(client: &mut Client, method: &str, path: &str, body: &Value, status: u16) -> Result<Value> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let headers = [("authorization", AUTHORIZATION), ("content-type", "application/json")];
    let request = http1::request(method, path, client.address(), &headers, &body);
    let reply = client.send(&request).and_then(|reply| reply.expect(status));
    let reply = reply.with_context(|| format!("{method} {path}"))?;
    ensure!(!reply.body.is_empty(), "{method} {path}: an empty answer");
    Ok(serde_json::from_slice(&reply.body)?)
}
