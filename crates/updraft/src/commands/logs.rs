//! `updraft logs`: a function's log, from some instant on, and on request without end.

use jiff::{SignedDuration, Timestamp};
use owo_colors::{Stream, Style};

use super::client;
use crate::{
    cli,
    client::logs::{Line, Query},
    output::{Output, paint, stdout_is_terminal},
    problem::Problem,
};

/// Prints it.
pub fn run(arguments: &cli::Logs, output: &Output) -> anyhow::Result<()> {
    let since_ms = match &arguments.since {
        Some(text) => instant(text, Timestamp::now())?,
        None => 0,
    };
    let query = Query { since_ms, lines_max: arguments.lines, follow: arguments.follow };
    for line in client(&arguments.endpoint)?.logs(&arguments.name, query).map_err(Problem::from)? {
        print(&line.map_err(Problem::from)?, output)?;
    }
    Ok(())
}

/// Prints one line: JSON for scripts; for people the local time, and the platform's own lines dimmed.
pub fn print(line: &Line, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(output.line(serde_json::to_string(line)?)?);
    }
    let at = Timestamp::from_millisecond(i64::try_from(line.at_ms)?)?;
    if !stdout_is_terminal() {
        return Ok(output.line(format!("{} {}", at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"), line.text))?);
    }
    let time = at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string();
    let is_platforms = ["START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START"]
        .iter()
        .any(|start| line.text.starts_with(start));
    let dimmed = Style::new().dimmed();
    let text = if is_platforms { paint(&line.text, Stream::Stdout, dimmed) } else { line.text.clone() };
    Ok(output.line(format!("{} {text}", paint(time, Stream::Stdout, dimmed)))?)
}

/// The instant `text` means: an age before `now`, or an instant in RFC 3339. Milliseconds since the Unix epoch.
fn instant(text: &str, now: Timestamp) -> Result<u64, Problem> {
    let in_days =
        text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()).and_then(|days| days.checked_mul(24));
    let age = in_days.and_then(SignedDuration::try_from_hours).or_else(|| text.parse().ok());
    let instant = match age {
        Some(age) => now.checked_sub(age).ok(),
        None => text.parse::<Timestamp>().ok(),
    };
    let instant = instant.ok_or_else(|| {
        Problem::usage(format!("{text:?} is no time"))
            .because("expected an age such as 90s, 10m, 2h or 3d, or an instant such as 2026-11-23T10:00:00Z")
    })?;
    Ok(u64::try_from(instant.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_instants() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let at =
            |text: &str| instant(text, now).ok().map(|ms| Timestamp::from_millisecond(ms as i64).unwrap().to_string());
        assert_eq!(at("10m").unwrap(), "2026-11-23T09:50:00Z");
        assert_eq!(at("1h 30m").unwrap(), "2026-11-23T08:30:00Z");
        assert_eq!(at("2d").unwrap(), "2026-11-21T10:00:00Z");
        assert_eq!(at("2026-11-01T00:00:00+01:00").unwrap(), "2026-10-31T23:00:00Z");
        assert_eq!(instant("99999d", now).unwrap(), 0);
        for bad in ["", "yesterday", "10", "999999999999999999d"] {
            assert!(at(bad).is_none(), "{bad}");
        }
    }
}
