//! `GET /metrics`: what the node has counted, in Prometheus' text format 0.0.4.
//!
//! At most [`updraft_node::figures::Node::shown`] functions have series of their own; the others, and those deleted
//! since, are one series of the function `(other)`, which no function can be called. Histograms are of the whole node.

use std::fmt::{self, Display, Write};

use http::{HeaderValue, Method, Response, StatusCode};
use updraft_node::{
    dispatch::Limit,
    figures::{GIVEN_UP_NAMES, Histogram, Node, PHASE_NAMES, Row},
};
use updraft_types::Body;

use crate::{doors::Doors, error::Error, respond};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const MEGABYTE: u64 = 1 << 20;

/// Answers one request.
pub(crate) fn serve(doors: &Doors, method: &Method) -> Result<Response<Body>, Error> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Error::admin_not_found());
    }
    let mut text = String::with_capacity(32 << 10);
    write(&mut text, &doors.node.node_figures()).expect("writing to a String does not fail");
    Ok(respond::whole(StatusCode::OK, CONTENT_TYPE, text))
}

fn write(text: &mut String, node: &Node) -> fmt::Result {
    let mut page = Page { text };
    let rows = rows(node);
    page.family("updraft_functions", "gauge", "Functions deployed.")?;
    page.sample("updraft_functions", "", node.functions)?;
    page.family("updraft_memory_reserved_bytes", "gauge", "Sum of the memory sizes of all instances.")?;
    page.sample("updraft_memory_reserved_bytes", "", node.memory.memory_mb * MEGABYTE)?;
    page.family(
        "updraft_memory_prewarmed_bytes",
        "gauge",
        "Memory of interpreters that have no function yet, and of copies that have no instance.",
    )?;
    page.sample("updraft_memory_prewarmed_bytes", "", node.spare_memory_mb * MEGABYTE)?;
    page.family("updraft_memory_limit_bytes", "gauge", "What the node may hold of both.")?;
    page.sample("updraft_memory_limit_bytes", "", node.memory.memory_mb_max * MEGABYTE)?;
    page.family("updraft_functions_waiting_for_room", "gauge", "Functions that wait for room on a full node.")?;
    page.sample("updraft_functions_waiting_for_room", "", node.memory.waiting)?;
    page.family("updraft_evictions_total", "counter", "Idle instances ended to make room for others.")?;
    page.sample("updraft_evictions_total", "", node.evictions)?;

    page.family("updraft_instances", "gauge", "Instances by state.")?;
    for (function, row) in &rows {
        let now = row.instances;
        for (state, count) in [("busy", now.running - now.idle), ("idle", now.idle), ("starting", now.starting)] {
            page.sample("updraft_instances", &format!("{function},state=\"{state}\""), count)?;
        }
    }
    page.family("updraft_callers_waiting", "gauge", "Callers that wait for an instance.")?;
    for (function, row) in &rows {
        page.sample("updraft_callers_waiting", function, row.instances.waiting)?;
    }
    page.family("updraft_invocations_total", "counter", "Invocations that ended, by outcome.")?;
    for (function, Row { figures, .. }) in &rows {
        for (outcome, count) in [
            ("success", figures.successes()),
            ("error", figures.errors),
            ("timeout", figures.timeouts),
            ("abandoned", figures.abandoned),
            ("platform", figures.platform_failures),
        ] {
            page.sample("updraft_invocations_total", &format!("{function},outcome=\"{outcome}\""), count)?;
        }
    }
    page.family("updraft_throttles_total", "counter", "Invocations refused, by the limit that was reached.")?;
    for (function, Row { figures, .. }) in &rows {
        for (name, limit) in [("function", Limit::Function), ("account", Limit::Account), ("node", Limit::Node)] {
            page.sample("updraft_throttles_total", &format!("{function},limit=\"{name}\""), figures.throttled(limit))?;
        }
    }
    page.family("updraft_function_duration_seconds_total", "counter", "Sum of the durations of invocations.")?;
    for (function, Row { figures, .. }) in &rows {
        page.sample("updraft_function_duration_seconds_total", function, figures.durations.sum.as_secs_f64())?;
    }
    page.family("updraft_instance_starts_total", "counter", "Instances started.")?;
    for (function, Row { figures, .. }) in &rows {
        page.sample("updraft_instance_starts_total", function, figures.starts)?;
    }
    page.family("updraft_instance_start_failures_total", "counter", "Starts of instances that failed.")?;
    for (function, Row { figures, .. }) in &rows {
        page.sample("updraft_instance_start_failures_total", function, figures.failed_starts)?;
    }
    page.family("updraft_cold_starts_total", "counter", "Invocations served by an instance started for them.")?;
    for (function, Row { figures, .. }) in &rows {
        page.sample("updraft_cold_starts_total", function, figures.cold_starts())?;
    }
    page.family("updraft_restores_total", "counter", "Those whose instance was a copy of one initialised before.")?;
    for (function, Row { figures, .. }) in &rows {
        page.sample("updraft_restores_total", function, figures.restores)?;
    }
    page.family("updraft_function_cold_start_seconds_total", "counter", "Sum of the phases of cold starts.")?;
    for (function, Row { figures, .. }) in &rows {
        for (phase, histogram) in PHASE_NAMES.iter().zip(&figures.phases) {
            let labels = format!("{function},phase=\"{phase}\"");
            page.sample("updraft_function_cold_start_seconds_total", &labels, histogram.sum.as_secs_f64())?;
        }
    }
    events(&mut page, &rows)?;

    page.family("updraft_async_event_wait_seconds", "histogram", "Time from an event's acceptance to its first try.")?;
    page.histogram("updraft_async_event_wait_seconds", "", &node.all.events.waits)?;
    page.family("updraft_invocation_duration_seconds", "histogram", "Durations of invocations.")?;
    page.histogram("updraft_invocation_duration_seconds", "", &node.all.durations)?;
    page.family("updraft_queue_wait_seconds", "histogram", "Time that callers had to wait, those that had to.")?;
    page.histogram("updraft_queue_wait_seconds", "", &node.all.waits)?;
    page.family("updraft_cold_start_seconds", "histogram", "Phases of cold starts.")?;
    for (phase, histogram) in PHASE_NAMES.iter().zip(&node.all.phases) {
        page.histogram("updraft_cold_start_seconds", &format!("phase=\"{phase}\""), histogram)?;
    }
    Ok(())
}

/// Asynchronous events.
fn events(page: &mut Page<'_>, rows: &[(String, &Row)]) -> fmt::Result {
    page.family("updraft_async_events_pending", "gauge", "Events that wait or are at work.")?;
    for (function, row) in rows {
        page.sample("updraft_async_events_pending", function, row.events.pending)?;
    }
    page.family("updraft_async_events_in_flight", "gauge", "Events at work.")?;
    for (function, row) in rows {
        page.sample("updraft_async_events_in_flight", function, row.events.in_flight)?;
    }
    page.family("updraft_async_events_pending_bytes", "gauge", "What pending events take on disk.")?;
    for (function, row) in rows {
        page.sample("updraft_async_events_pending_bytes", function, row.events.bytes)?;
    }
    page.family("updraft_async_events_accepted_total", "counter", "Events accepted.")?;
    for (function, row) in rows {
        page.sample("updraft_async_events_accepted_total", function, row.figures.events.accepted)?;
    }
    page.family("updraft_async_events_ended_total", "counter", "Events that ended, delivered or given up.")?;
    for (function, row) in rows {
        let events = &row.figures.events;
        let delivered = [("delivered", events.delivered)];
        for (outcome, count) in delivered.into_iter().chain(GIVEN_UP_NAMES.into_iter().zip(events.given_up)) {
            page.sample("updraft_async_events_ended_total", &format!("{function},outcome=\"{outcome}\""), count)?;
        }
    }
    page.family("updraft_async_dead_letters_total", "counter", "Events and records that nobody could be told of.")?;
    for (function, row) in rows {
        page.sample("updraft_async_dead_letters_total", function, row.figures.events.buried)?;
    }
    Ok(())
}

/// The labels of each function, and what there is to tell of it. Names of accounts and functions need no escaping.
fn rows(node: &Node) -> Vec<(String, &Row)> {
    let shown = node
        .shown
        .iter()
        .map(|(id, row)| (format!("account=\"{}\",function=\"{}\"", id.account.as_str(), id.name.as_str()), row));
    let others = ("account=\"\",function=\"(other)\"".to_owned(), &node.others);
    shown.chain([others]).collect()
}

struct Page<'a> {
    text: &'a mut String,
}

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) -> fmt::Result {
        match labels {
            "" => writeln!(self.text, "{name} {value}"),
            labels => writeln!(self.text, "{name}{{{labels}}} {value}"),
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) -> fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (bucket, of_bucket) in histogram.counts.iter().enumerate() {
            count += of_bucket;
            let bound =
                Histogram::bound(bucket).map_or_else(|| "+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
            self.sample(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), count)?;
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum.as_secs_f64())?;
        self.sample(&format!("{name}_count"), labels, count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use updraft_node::figures::{EventsNow, Figures, Instances, Memory};

    use super::*;

    #[test]
    fn every_line_is_a_sample_of_a_family_told_before() {
        let mut durations = Histogram::default();
        durations.counts[1] = 2;
        durations.counts[Histogram::BUCKETS - 1] = 1;
        durations.sum = Duration::from_millis(1_500);
        let mut figures = Figures::default();
        (figures.durations, figures.errors) = (durations, 1);
        (figures.events.accepted, figures.events.delivered, figures.events.given_up) = (9, 4, [1, 2, 0, 0]);
        let id = updraft_types::FunctionId { account: "000000000000".parse().unwrap(), name: "f".parse().unwrap() };
        let instances = Instances { running: 3, idle: 1, starting: 0, waiting: 2 };
        let events = EventsNow { pending: 2, in_flight: 1, bytes: 30 };
        let node = Node {
            functions: 5,
            shown: vec![(id, Row { figures: figures.clone(), instances, events })],
            others: Row::default(),
            all: figures,
            memory: Memory { memory_mb: 2, memory_mb_max: 4, waiting: 0 },
            spare_memory_mb: 1,
            evictions: 7,
        };
        let mut text = String::new();
        write(&mut text, &node).unwrap();
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => family = rest.split(' ').next().unwrap(),
                None if line.starts_with("# HELP ") => {}
                None => {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    assert!(name.starts_with(family) && value.parse::<f64>().is_ok(), "{line}");
                }
            }
        }
        for line in [
            "updraft_functions 5",
            "updraft_memory_reserved_bytes 2097152",
            "updraft_memory_prewarmed_bytes 1048576",
            "updraft_instances{account=\"000000000000\",function=\"f\",state=\"busy\"} 2",
            "updraft_invocations_total{account=\"000000000000\",function=\"f\",outcome=\"success\"} 2",
            "updraft_invocations_total{account=\"\",function=\"(other)\",outcome=\"success\"} 0",
            "updraft_async_events_pending{account=\"000000000000\",function=\"f\"} 2",
            "updraft_async_events_accepted_total{account=\"000000000000\",function=\"f\"} 9",
            "updraft_async_events_ended_total{account=\"000000000000\",function=\"f\",outcome=\"delivered\"} 4",
            "updraft_async_events_ended_total{account=\"000000000000\",function=\"f\",outcome=\"event_age_exceeded\"} 2",
            "updraft_async_event_wait_seconds_count 0",
            "updraft_invocation_duration_seconds_bucket{le=\"0.000064\"} 0",
            "updraft_invocation_duration_seconds_bucket{le=\"0.000128\"} 2",
            "updraft_invocation_duration_seconds_bucket{le=\"+Inf\"} 3",
            "updraft_invocation_duration_seconds_sum 1.5",
            "updraft_invocation_duration_seconds_count 3",
            "updraft_cold_start_seconds_count{phase=\"init\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
