//! Container images: what names them, what they are made of, where they come from, and how they become a folder.
//!
//! An image is one manifest, one configuration and a list of layers, each named by the digest of its bytes. It comes as a
//! folder or archive on the command line's side ([`archive`]), or from a registry that the operator allows
//! ([`registry`]); [`manifest`] reads it and [`unpack`] makes a folder of its layers that a sandbox can have as its
//! root.
//!
//! Everything in an image is a stranger's. Invariant: nothing is believed before its digest was checked, everything has
//! a bound, and nothing outside the given folder is read or written on an image's word.

pub mod archive;
pub mod digest;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod unpack;

pub use digest::Digest;
pub use manifest::{Layer, Manifest};
pub use reference::Reference;
