//! How a function scales: `GET functions/NAME` shows it, `PUT functions/NAME/scaling` sets it.
//!
//! `PUT` takes `{"instances_max", "instances_min", "instance_concurrency", "weight", "instances"}`, each optional, and
//! answers as `GET` does. It says all there is to say: what is left out goes back to the default. Lambda's API has no place for these;
//! reserved concurrency is Lambda's and is only shown here. Counts are since the platform started.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use updraft_node::{
    dispatch::Limit,
    figures::{Figures, Instances, PHASES, Row},
};
use updraft_types::{
    Body, Function,
    function::{Reuse, Scaling},
};

use crate::{body::Held, error::Error, lambda::read_json, respond, scope::Scope};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    instances_max: Option<u32>,
    instances_min: u32,
    instance_concurrency: Option<u32>,
    weight: Option<u32>,
    instances: Reuse,
}

#[derive(Serialize)]
struct View {
    name: String,
    scaling: Scaling,
    in_force: InForce,
    instances: InstancesView,
    invocations: Invocations,
    events: Events,
    cold_starts: ColdStarts,
}

/// Asynchronous events.
#[derive(Serialize)]
struct Events {
    /// Now.
    pending: u64,
    in_flight: u32,
    pending_bytes: u64,
    /// Since the platform started.
    accepted: u64,
    delivered: u64,
    given_up: u64,
    dead_letters: u64,
}

/// The bounds as they are, the platform's own included.
#[derive(Serialize)]
struct InForce {
    instances_max: u32,
    instance_concurrency: u32,
}

#[derive(Serialize)]
struct InstancesView {
    running: u32,
    idle: u32,
    starting: u32,
    callers_waiting: u32,
}

#[derive(Serialize)]
struct Invocations {
    succeeded: u64,
    failed: u64,
    timed_out: u64,
    abandoned: u64,
    failed_by_platform: u64,
    throttled: u64,
}

#[derive(Serialize)]
struct ColdStarts {
    count: u64,
    starts_failed: u64,
    /// Nothing before the first one.
    mean_ms: Option<Phases>,
    last_ms: Option<Phases>,
}

/// Times by phase, ms.
#[derive(Serialize)]
struct Phases {
    place: f64,
    package: f64,
    sandbox: f64,
    runtime: f64,
    init: f64,
}

impl Phases {
    fn of(times: [Duration; PHASES]) -> Self {
        // To the hundredth, as REPORT lines have it.
        let [place, package, sandbox, runtime, init] = times.map(|time| (time.as_secs_f64() * 1e5).round() / 1e2);
        Self { place, package, sandbox, runtime, init }
    }
}

/// Shows a function.
pub(super) fn get(scope: &Scope<'_>, function: &Function) -> Response<Body> {
    let row = scope.node.figures(&function.id);
    let (instances_max, instance_concurrency) = scope.node.bounds(function);
    let Instances { running, idle, starting, waiting } = row.instances;
    let view = View {
        name: function.id.name.to_string(),
        scaling: function.scaling,
        in_force: InForce { instances_max, instance_concurrency },
        instances: InstancesView { running, idle, starting, callers_waiting: waiting },
        invocations: Invocations {
            succeeded: row.figures.successes(),
            failed: row.figures.errors,
            timed_out: row.figures.timeouts,
            abandoned: row.figures.abandoned,
            failed_by_platform: row.figures.platform_failures,
            throttled: [Limit::Function, Limit::Account, Limit::Node]
                .map(|limit| row.figures.throttled(limit))
                .iter()
                .sum(),
        },
        events: events(&row),
        cold_starts: cold_starts(&row.figures),
    };
    respond::json(StatusCode::OK, &view)
}

fn events(row: &Row) -> Events {
    let counted = &row.figures.events;
    Events {
        pending: row.events.pending,
        in_flight: row.events.in_flight,
        pending_bytes: row.events.bytes,
        accepted: counted.accepted,
        delivered: counted.delivered,
        given_up: counted.given_up.iter().sum(),
        dead_letters: counted.buried,
    }
}

fn cold_starts(figures: &Figures) -> ColdStarts {
    let mean = || figures.phases.each_ref().map(|phase| phase.mean().unwrap_or_default());
    let count = figures.cold_starts();
    ColdStarts {
        count,
        starts_failed: figures.failed_starts,
        mean_ms: (count > 0).then(|| Phases::of(mean())),
        last_ms: figures.last_cold.map(|cold| Phases::of(cold.phases())),
    }
}

/// Sets how a function scales.
pub(super) async fn put(scope: &Scope<'_>, function: Arc<Function>, body: &Held) -> Result<Response<Body>, Error> {
    let Request { instances_max, instances_min, instance_concurrency, weight, instances } = read_json(body).await?;
    let scaling =
        Scaling { instances_max, instances_min, instance_concurrency, weight, instances, ..Scaling::default() };
    let changed = scope.node.set_scaling(&function.id, scaling).await;
    let arn = function.id.arn(scope.node.region());
    let changed = changed.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))?;
    Ok(get(scope, &changed))
}
