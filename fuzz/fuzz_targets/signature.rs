//! Requests made of arbitrary bytes, put before the signature verifier and its chunk decoder. What is driven, and what
//! has to hold, is shared with the ordinary tests: `crates/server/tests/signature/from_bytes.rs`.

#![no_main]

#[path = "../../crates/server/tests/signature/from_bytes.rs"]
mod from_bytes;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| from_bytes::drive(bytes, 1_369_353_600));
