//! Seeded randomness, the same on every machine: xoshiro256++ (Blackman and Vigna), and the distributions the trace
//! needs.

/// A generator of its own for each function, so that functions can be made in any order.
#[derive(Debug, Clone)]
pub(crate) struct Rng([u64; 4]);

/// One step of splitmix64: a good hash of an integer.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Rng {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let start = mix(seed) ^ mix(mix(stream));
        Self([mix(start), mix(start ^ 1), mix(start ^ 2), mix(start ^ 3)])
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Even over (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Even over the logarithm between the two.
    pub(crate) fn log_even(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + self.unit() * (high.ln() - low.ln())).exp()
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Normal with mean 0 and deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    /// Gamma with mean 1 (Marsaglia and Tsang); `shape` is at least 1.
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape.max(1.0) - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let normal = self.normal();
            let v = (1.0 + c * normal).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * normal * normal + d - d * v + d * v.ln() {
                return d * v / shape.max(1.0);
            }
        }
    }

    /// Geometric with this mean, at least 1.
    pub(crate) fn geometric(&mut self, mean: f64) -> u32 {
        let stop = 1.0 / mean.max(1.0);
        if stop >= 1.0 {
            return 1;
        }
        // Cut off far beyond what occurs: 2^32 times the chance of a single step.
        (1.0 + (self.unit().ln() / (1.0 - stop).ln()).floor()).min(1e9) as u32
    }

    /// One of these, by weight.
    pub(crate) fn choose<T: Copy>(&mut self, weighted: &[(T, f64)]) -> T {
        let mut left = self.unit() * weighted.iter().map(|(_, weight)| weight).sum::<f64>();
        for (value, weight) in weighted {
            left -= weight;
            if left <= 0.0 {
                return *value;
            }
        }
        weighted[weighted.len() - 1].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(draw: impl FnMut() -> f64) -> f64 {
        std::iter::repeat_with(draw).take(20_000).sum::<f64>() / 20_000.0
    }

    #[test]
    fn distributions_have_their_means() {
        let mut rng = Rng::new(1, 2);
        assert!((mean(|| rng.unit()) - 0.5).abs() < 0.02);
        assert!((mean(|| rng.exponential()) - 1.0).abs() < 0.05);
        assert!(mean(|| rng.normal()).abs() < 0.05);
        assert!((mean(|| rng.gamma(4.0)) - 1.0).abs() < 0.05);
        assert!((mean(|| f64::from(rng.geometric(8.0))) - 8.0).abs() < 0.4);
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, stream| Rng::new(seed, stream).unit();
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }
}
