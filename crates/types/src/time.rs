//! Wall-clock instants as data. Reading a clock is left to those who are handed one.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// What the system clock says now. A clock before 1970 reads as 1970.
    pub fn now() -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// This instant `duration` later, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This instant `duration` earlier, saturating.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it has been since `earlier`; nothing if that is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn format(self, pattern: &str) -> String {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).strftime(pattern).to_string()
    }

    /// As the Lambda control API writes `LastModified`: `2026-11-23T10:20:30.123+0000`.
    pub fn to_lambda_text(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.3f+0000")
    }

    /// As RFC 3339 with milliseconds: `2026-11-23T10:20:30.123Z`.
    pub fn to_rfc3339(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.3fZ")
    }

    /// The UTC day as log stream names carry it: `2026/11/23`.
    pub fn to_day_path(self) -> String {
        self.format("%Y/%m/%d")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_the_protocols() {
        let instant = Timestamp::from_ms(1_795_426_830_045);
        assert_eq!(instant.to_lambda_text(), "2026-11-23T09:40:30.045+0000");
        assert_eq!(instant.to_rfc3339(), "2026-11-23T09:40:30.045Z");
        assert_eq!(instant.to_day_path(), "2026/11/23");
    }
}
