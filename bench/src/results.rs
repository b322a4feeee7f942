//! What a run found, as it is written to JSON and read back to make the table.
//!
//! Holds every round's figures, so that medians and ratios can be checked against them. Names no path of a machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Changes when the JSON's shape does.
pub(crate) const FORMAT: u32 = 1;

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// When it ended, RFC 3339.
    pub(crate) recorded_at: String,
    /// How it measured.
    pub(crate) method: Method,
    /// Where.
    pub(crate) machine: Machine,
    /// What, by name.
    pub(crate) versions: BTreeMap<String, String>,
    /// What could not be had, by name.
    pub(crate) missing: Vec<String>,
    /// What went wrong; a run with any is not a result.
    pub(crate) errors: Vec<String>,
    /// Servers under load.
    pub(crate) warm: Vec<WarmRow>,
    /// Single first requests.
    pub(crate) cold: Vec<ColdRow>,
    /// The platform doing nothing.
    pub(crate) idle: Vec<IdleRow>,
    /// Floods, bursts and many functions.
    #[serde(default)]
    pub(crate) scale: Vec<ScaleRow>,
}

/// How a run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Method {
    /// Whether every part ran, at full length, optimised, with every peer and on a machine that was left alone.
    pub(crate) is_complete: bool,
    /// Share of the machine's time that something else took, before or after the run, whichever was more.
    pub(crate) busy_share: f64,
    /// Turns each server had.
    pub(crate) rounds: usize,
    /// Length of one measurement under load, seconds.
    pub(crate) measured_s: f64,
    /// Functions of each kind invoked cold.
    pub(crate) cold_functions: usize,
    /// Functions deployed on the idle platform.
    pub(crate) idle_functions: usize,
    /// Functions deployed on the platform with very many.
    #[serde(default)]
    pub(crate) many_functions: usize,
}

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's model.
    pub(crate) processor: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Memory, GiB.
    pub(crate) memory_gib: f64,
    /// The kernel's release.
    pub(crate) kernel: String,
}

/// One server under load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WarmRow {
    /// Short name, as `--only` takes it.
    pub(crate) id: String,
    /// Name for people.
    pub(crate) label: String,
    /// Each round's figures.
    pub(crate) rounds: Vec<WarmRound>,
}

/// One server's turn.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WarmRound {
    /// Answers a second over 16 connections.
    pub(crate) rate: f64,
    /// Latency over 16 connections.
    pub(crate) busy: Latency,
    /// Latency over one connection.
    pub(crate) single: Latency,
    /// Median of latency less the handler's own time over one connection, µs; where the handler tells it.
    pub(crate) overhead_us: Option<f64>,
    /// Processors' time for one request over 16 connections.
    #[serde(default)]
    pub(crate) processor: Option<Processor>,
}

/// Processors' time for one request, µs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Processor {
    /// The server's, with the processes below it.
    pub(crate) server_us: f64,
    /// The load generator's.
    pub(crate) generator_us: f64,
}

/// Latency, µs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
}

/// One kind of single requests or process starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ColdRow {
    /// Short name.
    pub(crate) id: String,
    /// Name for people.
    pub(crate) label: String,
    /// Each measurement, ms, in order.
    pub(crate) times_ms: Vec<f64>,
}

/// The idle platform at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdleRow {
    /// Short name.
    pub(crate) id: String,
    /// Name for people.
    pub(crate) label: String,
    /// The platform's processes.
    pub(crate) processes: usize,
    /// Sum of their resident sets, MB (10⁶ bytes).
    pub(crate) rss_mb: f64,
    /// The same with shared pages counted once, MB.
    pub(crate) pss_mb: f64,
}

/// One figure of how the platform scales.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScaleRow {
    /// Short name.
    pub(crate) id: String,
    /// Name for people.
    pub(crate) label: String,
    /// `ms`, `MB` or `requests/s`.
    pub(crate) unit: String,
    /// Each round's, or each moment's.
    pub(crate) values: Vec<f64>,
}

impl Results {
    /// The figure of this name, if it was measured.
    pub(crate) fn scale(&self, id: &str) -> Option<&ScaleRow> {
        self.scale.iter().find(|row| row.id == id && !row.values.is_empty())
    }

    /// The median of a figure of scaling.
    pub(crate) fn scale_ms(&self, id: &str) -> Option<f64> {
        median(self.scale(id)?.values.iter().copied())
    }

    /// One figure as a multiple of another: the median of the ratios within each round.
    pub(crate) fn scale_ratio(&self, own: &str, other: &str) -> Option<f64> {
        let (own, other) = (self.scale(own)?, self.scale(other)?);
        median(own.values.iter().zip(&other.values).map(|(own, other)| own / other))
    }

    /// The server's row, if it was measured.
    pub(crate) fn warm(&self, id: &str) -> Option<&WarmRow> {
        self.warm.iter().find(|row| row.id == id && !row.rounds.is_empty())
    }

    /// The median of the measurements of this name, ms.
    pub(crate) fn cold_ms(&self, id: &str) -> Option<f64> {
        median(self.cold.iter().find(|row| row.id == id)?.times_ms.iter().copied())
    }
}

impl WarmRow {
    /// The median over the rounds of one of their figures.
    pub(crate) fn median(&self, figure: impl Fn(&WarmRound) -> f64) -> Option<f64> {
        median(self.rounds.iter().map(figure))
    }

    /// The rate as a multiple of another server's: the median of the ratios within each round.
    pub(crate) fn rate_over(&self, other: &WarmRow) -> Option<f64> {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, other)| own.rate / other.rate))
    }

    /// The median processors' time for one request, µs: the server's and the generator's.
    pub(crate) fn processor_us(&self) -> Option<(f64, f64)> {
        let times: Option<Vec<_>> = self.rounds.iter().map(|round| round.processor).collect();
        let times = times?;
        let server = median(times.iter().map(|time| time.server_us))?;
        Some((server, median(times.iter().map(|time| time.generator_us))?))
    }

    /// The median overhead, µs, where the handler tells its own time.
    pub(crate) fn overhead_us(&self) -> Option<f64> {
        let overheads: Option<Vec<_>> = self.rounds.iter().map(|round| round.overhead_us).collect();
        median(overheads?.into_iter())
    }
}

/// The value in the middle, or the mean of the two there.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies, between the two nearest ones.
pub(crate) fn quantile(values: impl Iterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let place = share * (values.len().checked_sub(1)? as f64);
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_nearest_values() {
        let values = || [4.0, 1.0, 3.0, 2.0].into_iter();
        assert_eq!(median(values()), Some(2.5));
        assert_eq!(quantile(values(), 0.0), Some(1.0));
        assert_eq!(quantile(values(), 1.0), Some(4.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_taken_within_each_round() {
        let row = |id: &str, rates: [f64; 3]| WarmRow {
            id: id.to_owned(),
            label: id.to_owned(),
            rounds: rates
                .map(|rate| {
                    let latency = Latency { p50_us: 1.0, p99_us: 2.0 };
                    WarmRound { rate, busy: latency, single: latency, overhead_us: None, processor: None }
                })
                .to_vec(),
        };
        let (own, other) = (row("a", [10.0, 40.0, 90.0]), row("b", [10.0, 20.0, 30.0]));
        assert_eq!(own.rate_over(&other), Some(2.0));
        assert_eq!(own.overhead_us(), None);
    }
}
