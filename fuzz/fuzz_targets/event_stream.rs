//! Event streams made of arbitrary bytes, read and sent. What is driven, and what has to hold, is shared with the ordinary
//! tests: `crates/server/tests/event_stream/from_bytes.rs`.

#![no_main]

#[path = "../../crates/server/tests/event_stream/from_bytes.rs"]
mod from_bytes;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| from_bytes::drive(bytes));
