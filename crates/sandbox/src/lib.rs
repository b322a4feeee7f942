//! The Linux jail: runs a command that sees what it was given and nothing else.
//!
//! A small helper process (this binary again, see [`run_helper_if_asked`]) forks each sandbox's own init,
//! which builds the jail around itself and starts the guest. The platform talks to the helper and to every
//! init over Unix sockets and gets file descriptors back: listeners made inside the sandbox's network, the
//! guest's output, connections to the guest.
//!
//! One file per kernel mechanism. This is the only crate with unsafe code, all of it in `sys`.
//!
//! Invariants: isolation fails closed (a step that fails ends the sandbox before the guest's first
//! instruction); nothing of a sandbox outlives its [`Sandbox`], the helper, or the platform, however they end.

mod cgroup;
mod companions;
mod copy;
mod error;
mod guest;
mod helper;
mod holdings;
mod init;
mod landlock;
mod namespaces;
mod network;
mod open_files;
mod platform;
mod privileges;
mod probe;
mod rootfs;
mod sandbox;
mod seccomp;
mod spec;
mod stem;
mod sys;
mod template;
#[cfg_attr(not(target_arch = "x86_64"), path = "untraceable.rs")]
mod tracee;
mod transfer;
mod tree;
mod unassigned;
mod wire;

pub use companions::{Ended, Notices, Who};
pub use error::Error;
pub use helper::run_helper_if_asked;
pub use open_files::OpenFiles;
pub use platform::{Config, Require, Spawner};
pub use probe::{Mechanism, Need, State, probe};
pub use sandbox::{Exit, Sandbox, Status, Template};
pub use spec::{
    Assignment, COMPANIONS_MAX, Companions, LISTENERS_AT_MAX, LISTENERS_MAX, Limits, MOUNTS_MAX, Mount,
    NETWORK_ENTRIES_MAX, Network, ROOT_FILES, SPEC_BYTES_MAX, Spec,
};
pub use template::COPIES_MAX;
pub use unassigned::Unassigned;
