//! Every decision, pure: time arrives as an argument, state as a view, and the answer leaves as a value.
//!
//! Nothing here reads a clock, holds a lock or awaits. `node` asks and performs; `sim` and the tests ask with
//! states that would take a day to reach on a real machine.

pub mod admission;
pub mod burst;
pub mod contention;
pub mod events;
pub mod eviction;
pub mod fair;
pub mod filter_pattern;
pub mod keep_alive;
pub mod originals;
pub mod placement;
pub mod policy;
pub mod prewarm;
pub mod provision;
pub mod retry_after;
pub mod routing;
