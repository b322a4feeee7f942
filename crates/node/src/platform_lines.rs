//! What the platform itself writes to a function's log, in the format the function asked for.
//!
//! As text: START, END, REPORT, and a line for a timeout. As JSON: `platform.start`, `platform.runtimeDone` and
//! `platform.report`, as far as the function's system log level lets them through (source: AWS's pages of the Telemetry
//! API's events and of log levels; schema 2022-12-13).

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};
use updraft_types::{
    Fault, RequestId, Timestamp, Version,
    invocation::Usage,
    logging::{LogFormat, SystemLevel},
};

use crate::{
    figures::{ColdStart, PHASE_NAMES},
    logs::Sink,
    meter::Ending,
};

/// How one attempt ended.
pub(crate) struct Report<'a> {
    pub(crate) request: RequestId,
    pub(crate) usage: &'a Usage,
    pub(crate) ending: &'a Ending<'a>,
    pub(crate) cold: Option<&'a ColdStart>,
}

/// An attempt begins.
pub(crate) fn start(sink: &Arc<Sink>, at: Timestamp, request: RequestId, version: Version) {
    if sink.logging.format == LogFormat::Text {
        return sink.line(at, format_args!("START RequestId: {request} Version: {version}"));
    }
    let record = || json!({ "requestId": request.to_string(), "version": version.to_string() });
    event(sink, at, SystemLevel::Info, "platform.start", record);
}

/// An attempt has ended.
pub(crate) fn end(sink: &Arc<Sink>, at: Timestamp, report: &Report<'_>) {
    let request = report.request;
    if sink.logging.format == LogFormat::Json {
        // What went wrong passes every level.
        let level = |usual| if report.status() == "success" { usual } else { SystemLevel::Warn };
        event(sink, at, level(SystemLevel::Debug), "platform.runtimeDone", || report.done());
        return event(sink, at, level(SystemLevel::Info), "platform.report", || report.record());
    }
    if let Ending::Failed(Fault::Timeout { limit_ms }) = report.ending {
        let (seconds, hundredths) = (limit_ms / 1000, limit_ms % 1000 / 10);
        sink.line(at, format_args!("{at} {request} Task timed out after {seconds}.{hundredths:02} seconds"));
    }
    sink.line(at, format_args!("END RequestId: {request}"));
    sink.line(at, format_args!("{report}"));
}

fn event(sink: &Arc<Sink>, at: Timestamp, level: SystemLevel, kind: &str, record: impl FnOnce() -> Value) {
    if sink.logging.writes(level) {
        let event = json!({ "time": at.to_string(), "type": kind, "record": record() });
        sink.line(at, format_args!("{event}"));
    }
}

impl Report<'_> {
    fn status(&self) -> &'static str {
        match self.ending {
            Ending::Complete => "success",
            Ending::Failed(Fault::Timeout { .. }) => "timeout",
            Ending::Failed(_) | Ending::Abandoned => "error",
        }
    }

    fn error_type(&self) -> Option<&str> {
        match self.ending {
            Ending::Complete => None,
            Ending::Failed(fault) => Some(fault.error_type()),
            Ending::Abandoned => Some("Caller.Gone"),
        }
    }

    /// The record of `platform.runtimeDone`.
    fn done(&self) -> Value {
        let mut record = json!({
            "requestId": self.request.to_string(),
            "status": self.status(),
            "metrics": { "durationMs": milliseconds(self.usage.duration) },
        });
        if let Some(error_type) = self.error_type() {
            record["errorType"] = error_type.into();
        }
        record
    }

    /// The record of `platform.report`.
    fn record(&self) -> Value {
        let usage = self.usage;
        let mut metrics = json!({
            "durationMs": milliseconds(usage.duration),
            "billedDurationMs": usage.billed_ms(),
            "memorySizeMB": usage.memory_mb,
            "maxMemoryUsedMB": usage.memory_mb_max,
        });
        match (usage.init, usage.billed_restore_ms()) {
            (Some(restore), Some(billed_ms)) => {
                metrics["restoreDurationMs"] = milliseconds(restore).into();
                metrics["billedRestoreDurationMs"] = billed_ms.into();
            }
            (Some(init), None) => metrics["initDurationMs"] = milliseconds(init).into(),
            (None, _) => {}
        }
        if let Some(cold) = self.cold {
            let phases = PHASE_NAMES.iter().zip(cold.phases());
            metrics["coldStartMs"] =
                phases.map(|(name, time)| ((*name).to_owned(), Value::from(milliseconds(time)))).collect();
        }
        let mut record = json!({ "requestId": self.request.to_string(), "metrics": metrics, "status": self.status() });
        if let Some(error_type) = self.error_type() {
            record["errorType"] = error_type.into();
        }
        record
    }
}

/// Milliseconds with three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_nanos() as f64 / 1000.0).round() / 1000.0
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { duration, init, restore: _, memory_mb, memory_mb_max } = self.usage;
        let (duration, billed_ms) = (Milliseconds(*duration), self.usage.billed_ms());
        write!(f, "REPORT RequestId: {}\tDuration: {duration} ms\tBilled Duration: {billed_ms} ms", self.request)?;
        write!(f, "\tMemory Size: {memory_mb} MB\tMax Memory Used: {memory_mb_max} MB")?;
        match (init, self.usage.billed_restore_ms()) {
            (Some(restore), Some(billed_ms)) => {
                let restore = Milliseconds(*restore);
                write!(f, "\tRestore Duration: {restore} ms\tBilled Restore Duration: {billed_ms} ms")?;
            }
            (Some(init), None) => write!(f, "\tInit Duration: {} ms", Milliseconds(*init))?,
            (None, _) => {}
        }
        match self.ending {
            Ending::Complete => {}
            Ending::Failed(Fault::Timeout { .. }) => f.write_str("\tStatus: timeout")?,
            Ending::Failed(fault) => write!(f, "\tStatus: error\tError Type: {}", fault.error_type())?,
            Ending::Abandoned => f.write_str("\tStatus: error\tError Type: Caller.Gone")?,
        }
        // One field at the end, so that readers of Lambda's own fields find them where they always were.
        if let Some(cold) = self.cold {
            f.write_str("\tCold Start:")?;
            for (index, (name, time)) in PHASE_NAMES.iter().zip(cold.phases()).enumerate() {
                write!(f, "{} {name} {}", if index == 0 { "" } else { "," }, Milliseconds(time))?;
            }
            f.write_str(" ms")?;
        }
        Ok(())
    }
}

/// A duration in milliseconds with two decimals.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.as_secs() * 100_000 + u64::from((self.0.subsec_nanos() + 5_000) / 10_000);
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_two_decimals() {
        for (ns, text) in
            [(0, "0.00"), (4_999, "0.00"), (5_000, "0.01"), (1_234_567, "1.23"), (61_000_095_000, "61000.10")]
        {
            assert_eq!(Milliseconds(Duration::from_nanos(ns)).to_string(), text);
        }
    }

    #[test]
    fn reports_in_json_have_lambdas_fields() {
        let usage = Usage {
            duration: Duration::from_micros(69_930),
            init: Some(Duration::from_micros(116_670)),
            restore: None,
            memory_mb: 128,
            memory_mb_max: 39,
        };
        let request: RequestId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let whole = Report { request, usage: &usage, ending: &Ending::Complete, cold: None };
        let expected = json!({
            "requestId": "00000000-0000-0000-0000-000000000001",
            "metrics": {
                "durationMs": 69.93, "billedDurationMs": 187, "memorySizeMB": 128, "maxMemoryUsedMB": 39,
                "initDurationMs": 116.67,
            },
            "status": "success",
        });
        assert_eq!(whole.record(), expected);
        let restored = Usage { restore: Some(Duration::from_micros(1_001)), ..usage };
        let restored = Report { usage: &restored, ..whole };
        let metrics = &restored.record()["metrics"];
        assert_eq!(
            (metrics["restoreDurationMs"].as_f64(), metrics["billedRestoreDurationMs"].as_u64()),
            (Some(116.67), Some(2))
        );
        assert_eq!(metrics["billedDurationMs"], 70);
        assert!(metrics.get("initDurationMs").is_none());
        assert!(
            restored.to_string().contains("\tRestore Duration: 116.67 ms\tBilled Restore Duration: 2 ms"),
            "{restored}"
        );
        let late = Report { ending: &Ending::Failed(&Fault::Timeout { limit_ms: 3000 }), ..whole };
        assert_eq!(
            (late.record()["status"].as_str(), late.done()["errorType"].as_str()),
            (Some("timeout"), Some("Sandbox.Timedout"))
        );
    }
}
