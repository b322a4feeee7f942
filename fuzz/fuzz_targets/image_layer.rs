//! Layers made of arbitrary bytes, unpacked. What is driven, and what has to hold, is shared with the ordinary tests:
//! `crates/image/tests/unpack/from_bytes.rs`.

#![no_main]

#[path = "../../crates/image/tests/unpack/from_bytes.rs"]
mod from_bytes;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    from_bytes::drive(bytes);
});
