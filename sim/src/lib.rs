//! Replays traces of invocations through the decisions that production runs, with a virtual clock.
//!
//! A trace is made up after published figures ([`synthetic`]) or read ([`azure`]); [`replay`] is one node under one
//! policy, [`fleet`] drives many nodes and policies through one trace, [`figures`] and [`report`] say what came of
//! it. Nothing here decides: `engine::keep_alive` says when an instance is warm, `engine::placement` whether one
//! starts. Invariant: the same trace and seed give the same figures, on any number of threads.

pub mod azure;
pub mod figures;
pub mod fleet;
pub mod replay;
pub mod report;
mod rng;
pub mod synthetic;
pub mod trace;
