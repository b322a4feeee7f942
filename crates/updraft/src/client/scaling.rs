//! How a function scales, from the platform's admin door; Lambda's API has no place for it.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use updraft_types::function::Reuse;

use super::{Call, Client, Error, segment};

/// What an author may say of a function's instances; `None` leaves it to the platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scaling {
    /// Most instances.
    pub instances_max: Option<u32>,
    /// Instances that are always there.
    pub instances_min: u32,
    /// Calls one instance takes at once.
    pub instance_concurrency: Option<u32>,
    /// Share of a full node.
    pub weight: Option<u32>,
    /// What of an instance is left for its next call.
    pub instances: Reuse,
}

/// How a function scales, and what it came to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// What its author said.
    pub scaling: Scaling,
    /// What holds.
    pub in_force: InForce,
    /// Its instances now.
    pub instances: Instances,
    /// Its asynchronous events.
    pub events: Events,
    /// Its cold starts since the platform started.
    pub cold_starts: ColdStarts,
}

/// Asynchronous events.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Those that wait or are at work.
    pub pending: u64,
    /// Those at work.
    pub in_flight: u32,
    /// What the pending ones take, bytes.
    pub pending_bytes: u64,
    /// Accepted since the platform started.
    pub accepted: u64,
    /// Those of them that were given up.
    pub given_up: u64,
    /// Dead letters left since then.
    pub dead_letters: u64,
}

/// Bounds, the platform's own included.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct InForce {
    /// Most instances.
    pub instances_max: u32,
    /// Calls one instance takes at once.
    pub instance_concurrency: u32,
}

/// Instances by state.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Instances {
    /// Running, with or without calls.
    pub running: u32,
    /// Those without calls.
    pub idle: u32,
    /// Being started.
    pub starting: u32,
    /// Callers that wait for one.
    pub callers_waiting: u32,
}

/// Cold starts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ColdStarts {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_ms: Option<Phases>,
    /// The last one.
    pub last_ms: Option<Phases>,
}

/// Phases of a cold start in their order, ms.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Until there was room.
    pub place: f64,
    /// Until the package was there.
    pub package: f64,
    /// Until the sandbox was made.
    pub sandbox: f64,
    /// Until the runtime spoke.
    pub runtime: f64,
    /// Until the function was ready.
    pub init: f64,
}

impl Client {
    /// How a function scales, as the platform tells it; `None` from a platform that knows nothing of it.
    pub fn scaling(&self, name: &str) -> Result<Option<Value>, Error> {
        let target = format!("/_updraft/v1/functions/{}", segment(name));
        match self.call(Call::new("reading how a function scales", Method::GET, target), &|_| ()) {
            Ok(answer) => answer.json().map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets how a function scales.
    pub fn set_scaling(&self, name: &str, scaling: &Scaling) -> Result<(), Error> {
        let operation = "setting how a function scales";
        let body = serde_json::to_vec(scaling).map_err(|error| Error::Request { operation, why: error.to_string() })?;
        let target = format!("/_updraft/v1/functions/{}/scaling", segment(name));
        self.call(Call::new(operation, Method::PUT, target).json(&body), &|_| ()).map(drop)
    }
}
