//! The store's tests, all through its public API.
//!
//! `functions`, `identity`, `layers`, `habits`, `events`, `blobs` and `logs` are the conformance suite: what every backend must do, told only
//! through [`fixture`].
//! The others are about this backend's files: opening them, losing power over them, filling the disk under them.

#![allow(clippy::unwrap_used, reason = "clippy exempts test functions, but not the helpers beside them")]

mod blobs;
mod events;
mod events_model;
mod fixture;
mod full_disk;
mod functions;
mod habits;
mod identity;
mod identity_model;
mod images;
mod kill;
mod layers;
mod log_groups;
mod logs;
mod model;
mod opening;
mod parameters;
mod versions;
