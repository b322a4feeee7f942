//! Decides which of an alias's two versions one call goes to, and how provisioned concurrency is shared between them.
//!
//! Pure: the draw arrives as an argument. Invariants: a weight of 0 sends nothing to the second version, one of 1
//! everything; in between, of evenly spread draws exactly the weight's share goes there; the shares of what is
//! provisioned add up to what was asked for.

/// One of an alias's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The version the alias points at.
    Primary,
    /// The one with a weight.
    Additional,
}

/// The version for one call. `weight` is the second version's share, from 0 to 1; `draw` is evenly spread over all its
/// values.
pub fn choose(weight: f64, draw: u32) -> Choice {
    let at = f64::from(draw) / (f64::from(u32::MAX) + 1.0);
    if at < weight { Choice::Additional } else { Choice::Primary }
}

/// How many of `requested` calls at once each version keeps instances for: the first's and the second's.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and `requested`")]
pub fn share(requested: u32, weight: f64) -> (u32, u32) {
    let additional = (f64::from(requested) * weight.clamp(0.0, 1.0)).round() as u32;
    (requested - additional.min(requested), additional.min(requested))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_are_exact() {
        for draw in [0, 1, u32::MAX / 2, u32::MAX] {
            assert_eq!(choose(0.0, draw), Choice::Primary);
            assert_eq!(choose(1.0, draw), Choice::Additional);
        }
        assert_eq!((choose(0.5, u32::MAX / 2), choose(0.5, u32::MAX / 2 + 1)), (Choice::Additional, Choice::Primary));
        assert_eq!((share(10, 0.0), share(10, 1.0), share(10, 0.25)), ((10, 0), (0, 10), (7, 3)));
    }

    proptest! {
        #[test]
        fn evenly_spread_draws_follow_the_weight(weight in 0.0..=1.0_f64, offset in any::<u32>()) {
            const DRAWS: u32 = 1 << 12;
            let step = u32::MAX / DRAWS + 1;
            let chosen = (0..DRAWS).filter(|draw| choose(weight, offset.wrapping_add(draw * step)) == Choice::Additional);
            let share = chosen.count() as f64 / f64::from(DRAWS);
            prop_assert!((share - weight).abs() <= 1.0 / f64::from(DRAWS), "{share} of {weight}");
        }

        #[test]
        fn a_draw_that_is_taken_stays_taken_as_the_weight_grows(one in 0.0..=1.0_f64, other in 0.0..=1.0_f64, draw: u32) {
            let (less, more) = (one.min(other), one.max(other));
            prop_assert!(choose(less, draw) == Choice::Primary || choose(more, draw) == Choice::Additional);
        }

        #[test]
        fn shares_add_up(requested: u32, weight in 0.0..=1.0_f64) {
            let (primary, additional) = share(requested, weight);
            prop_assert_eq!(u64::from(primary) + u64::from(additional), u64::from(requested));
        }
    }
}
