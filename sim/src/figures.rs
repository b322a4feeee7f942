//! What a policy came to over the whole fleet, and how two policies compare where they waste the same.

use crate::replay::Outcome;

/// One policy's figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Invocations measured.
    pub invocations: u64,
    /// Cold ones.
    pub cold: u64,
    /// Those that found no room.
    pub refused: u64,
    /// Instances started ahead.
    pub ahead: u64,
    /// Idle instances ended to make room.
    pub evicted: u64,
    /// Memory held by instances without work, megabytes times seconds.
    pub idle_mb_s: f64,
    /// Each invoked function's share of cold invocations, in order of size.
    rates: Vec<f32>,
}

impl Figures {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.invocations += outcome.invocations;
        self.cold += outcome.cold;
        self.refused += outcome.refused;
        self.ahead += outcome.ahead;
        self.evicted += outcome.evicted;
        self.idle_mb_s += outcome.idle_mb_s;
        self.rates.extend(outcome.rates);
    }

    pub(crate) fn sort(&mut self) {
        self.rates.sort_unstable_by(f32::total_cmp);
    }

    /// Functions that were invoked while measured.
    pub fn functions(&self) -> usize {
        self.rates.len()
    }

    /// Cold invocations of all.
    pub fn mean(&self) -> f64 {
        self.cold as f64 / self.invocations.max(1) as f64
    }

    /// The mean over functions of each one's share.
    pub fn mean_by_function(&self) -> f64 {
        self.rates.iter().copied().map(f64::from).sum::<f64>() / self.rates.len().max(1) as f64
    }

    /// The share of cold invocations that this part (0 to 1) of the functions do not exceed.
    pub fn percentile(&self, part: f64) -> f64 {
        let index = (part * self.rates.len().saturating_sub(1) as f64).ceil() as usize;
        self.rates.get(index).copied().map_or(0.0, f64::from)
    }

    /// The share that three functions of four do not exceed.
    pub fn p75(&self) -> f64 {
        self.percentile(0.75)
    }

    /// Gigabytes times hours without work.
    pub fn idle_gb_h(&self) -> f64 {
        self.idle_mb_s / 1_024.0 / 3_600.0
    }
}

/// The value of a sampled curve at `x`: straight between its neighbours, over the logarithm of x. None outside of it.
pub fn at_equal(curve: &[(f64, f64)], x: f64) -> Option<f64> {
    let mut sorted: Vec<_> = curve.iter().copied().filter(|(x, _)| *x > 0.0).collect();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((_, y)) = sorted.iter().find(|(sample, _)| *sample == x) {
        return Some(*y);
    }
    let pair = sorted.windows(2).find(|pair| pair[0].0 <= x && x <= pair[1].0)?;
    let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
    let share = if x1 > x0 { (x.ln() - x0.ln()) / (x1.ln() - x0.ln()) } else { 0.0 };
    Some(y0 + share * (y1 - y0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_means_are_by_function_and_by_invocation() {
        let outcome =
            |rates: &[f32]| Outcome { invocations: 100, cold: 10, rates: rates.to_vec(), ..Outcome::default() };
        let mut figures = Figures::default();
        figures.add(outcome(&[1.0, 0.0, 0.5]));
        figures.add(outcome(&[0.1, 0.2]));
        figures.sort();
        assert_eq!((figures.functions(), figures.mean()), (5, 0.1));
        assert!((figures.p75() - 0.5).abs() < 1e-6);
        assert!((figures.mean_by_function() - 0.36).abs() < 1e-6);
        assert_eq!(Figures::default().p75(), 0.0);
    }

    #[test]
    fn curves_are_read_between_their_samples_and_not_beyond() {
        let curve = [(100.0, 0.2), (1.0, 0.8), (10.0, 0.6)];
        assert_eq!(at_equal(&curve, 10.0), Some(0.6));
        assert!((at_equal(&curve, 10f64.powf(1.5)).unwrap() - 0.4).abs() < 1e-9);
        assert_eq!(at_equal(&curve, 1_000.0), None);
    }
}
