//! Decides who gets room on a full node, and who gives some up.
//!
//! Room is shared by weight, first between accounts, then between the functions of one: whoever holds the least for
//! its weight is served first, and gets an instance from whoever holds more than it will. Nobody gives up room that
//! nobody else is short of. One who holds nothing at all waits no longer than [`Policy::patience`] for the next
//! call to end, even where shares are smaller than an instance.
//! Invariants: no more room is granted than there is; none stays free that a claim fits into, save what is gathered
//! for a larger one that was passed over for longer than the patience; giving up room never makes the giver poorer
//! than the taker, save for one who has nothing.

use std::{cmp::Ordering, time::Duration};

/// How patient claims are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a claim may be passed over, and one who holds nothing wait for the next call to end.
    pub patience: Duration,
    /// How long an instance must have been idle before one who holds more than its owner may take it.
    pub idle_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { patience: Duration::from_millis(100), idle_grace: Duration::from_secs(10) }
    }
}

/// Room, or what is held of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// MB.
    pub memory_mb: u64,
    /// Instances.
    pub instances: u32,
}

impl Room {
    /// Room for one instance.
    pub fn instance(memory_mb: u64) -> Self {
        Self { memory_mb, instances: 1 }
    }

    fn fits(self, inner: Room) -> bool {
        inner.memory_mb <= self.memory_mb && inner.instances <= self.instances
    }

    fn less(self, other: Room) -> Room {
        Room {
            memory_mb: self.memory_mb.saturating_sub(other.memory_mb),
            instances: self.instances.saturating_sub(other.instances),
        }
    }
}

/// What an account, or a function in it, holds: the sum of its instances' memory, for its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// MB.
    pub memory_mb: u64,
    /// At least 1; twice the weight is twice the share.
    pub weight: u32,
}

impl Holding {
    fn plus(self, memory_mb: u64) -> Self {
        Self { memory_mb: self.memory_mb + memory_mb, ..self }
    }

    fn less(self, memory_mb: u64) -> Self {
        Self { memory_mb: self.memory_mb.saturating_sub(memory_mb), ..self }
    }

    /// By what is held for the weight.
    fn compare(self, other: Self) -> Ordering {
        let scaled = |one: Self, other: Self| u128::from(one.memory_mb) * u128::from(other.weight.max(1));
        scaled(self, other).cmp(&scaled(other, self))
    }
}

/// Where one function stands. `A` and `F` name accounts and functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<A, F> {
    /// Whose it is.
    pub account: A,
    /// Which one.
    pub function: F,
    /// What all functions of the account hold.
    pub of_account: Holding,
    /// What this one holds.
    pub of_function: Holding,
}

/// One function's wish for one more instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<A, F> {
    /// Where it stands.
    pub standing: Standing<A, F>,
    /// The instance's memory, MB.
    pub memory_mb: u64,
    /// How long it has been waiting.
    pub waited: Duration,
}

impl<A: Clone, F: Clone> Claim<A, F> {
    /// This and the claims of the same function that follow it, `instances` together: each as it will stand when those
    /// before it have been served.
    pub fn repeated(&self, instances: u32) -> impl Iterator<Item = Self> {
        (0..instances).map(|served| {
            let served_mb = self.memory_mb.saturating_mul(served.into());
            let mut claim = self.clone();
            claim.standing.of_account = claim.standing.of_account.plus(served_mb);
            claim.standing.of_function = claim.standing.of_function.plus(served_mb);
            claim
        })
    }
}

impl<A: PartialEq, F: PartialEq> Claim<A, F> {
    fn room(&self) -> Room {
        Room::instance(self.memory_mb)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let (own, others) = (&self.standing, &other.standing);
        let by_account = own.of_account.compare(others.of_account);
        by_account.then(own.of_function.compare(others.of_function)).then(other.waited.cmp(&self.waited))
    }

    /// The two holdings that are to be compared: those of the functions within an account, else of the accounts.
    fn beside(&self, other: &Standing<A, F>) -> (Holding, Holding) {
        if self.standing.account == other.account {
            (self.standing.of_function, other.of_function)
        } else {
            (self.standing.of_account, other.of_account)
        }
    }

    /// Whether the claim, once it is served, holds no more than the holder without `memory_mb`.
    fn stays_poorer(&self, holder: &Standing<A, F>, memory_mb: u64) -> bool {
        let (own, theirs) = self.beside(holder);
        own.plus(self.memory_mb).compare(theirs.less(memory_mb)) != Ordering::Greater
    }

    fn has_nothing_beside(&self, other: &Standing<A, F>) -> bool {
        self.beside(other).0.memory_mb == 0
    }
}

/// The claims' indices, first to be served first.
fn in_order<A: PartialEq, F: PartialEq>(claims: &[Claim<A, F>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by(|a, b| claims[*a].compare(&claims[*b]));
    order
}

/// The claim to serve now from what is free, by its index.
pub fn grant<A: PartialEq, F: PartialEq>(claims: &[Claim<A, F>], free: Room, policy: Policy) -> Option<usize> {
    for index in in_order(claims) {
        if free.fits(claims[index].room()) {
            return Some(index);
        }
        if claims[index].waited >= policy.patience {
            // What comes free is gathered for it: those behind would take it bit by bit for ever.
            return None;
        }
    }
    None
}

/// The claims that what is free and what is being freed will not serve, by index and in order.
pub fn uncovered<A: PartialEq, F: PartialEq>(claims: &[Claim<A, F>], coming: Room) -> Vec<usize> {
    let mut left = coming;
    let mut order = in_order(claims);
    order.retain(|index| {
        let room = claims[*index].room();
        let is_covered = left.fits(room);
        if is_covered {
            left = left.less(room);
        }
        !is_covered
    });
    order
}

/// Whether a function whose call has just ended, and that has another waiting, gives up that instance of
/// `memory_mb` for this claim.
pub fn gives_up<A: PartialEq, F: PartialEq>(
    holder: &Standing<A, F>,
    memory_mb: u64,
    claim: &Claim<A, F>,
    policy: Policy,
) -> bool {
    if is_own(holder, claim) {
        return false;
    }
    let is_in_need = claim.has_nothing_beside(holder) && claim.waited >= policy.patience;
    is_in_need || claim.stays_poorer(holder, memory_mb)
}

/// Whether a claim may take an idle instance of `memory_mb` from its owner. Those who hold nothing may take any; those
/// who hold more than the owner only what the owner has not used for a while.
pub fn may_evict<A: PartialEq, F: PartialEq>(
    owner: &Standing<A, F>,
    memory_mb: u64,
    idle: Duration,
    claim: &Claim<A, F>,
    policy: Policy,
) -> bool {
    is_own(owner, claim)
        || idle >= policy.idle_grace
        || claim.has_nothing_beside(owner)
        || claim.stays_poorer(owner, memory_mb)
}

fn is_own<A: PartialEq, F: PartialEq>(holder: &Standing<A, F>, claim: &Claim<A, F>) -> bool {
    holder.account == claim.standing.account && holder.function == claim.standing.function
}

#[cfg(test)]
mod tests;
