//! Arbitrary bytes as the layers of an image: whatever they are, nothing may be touched outside the folder they are unpacked
//! into, and what is accepted has real places for a sandbox to mount at.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use updraft_image::{
    Digest, Layer,
    unpack::{Limits, Unpacker},
};

const LIMITS: Limits = Limits { bytes_max: 1 << 20, entries_max: 500 };

fuzz_target!(|layers: (Vec<u8>, Vec<u8>)| {
    let around = tempfile::tempdir().expect("a temporary folder");
    let (folder, outside) = (around.path().join("image"), around.path().join("outside"));
    fs::create_dir(&folder).expect("a folder of its own");
    fs::write(&outside, "untouched").expect("a file beside it");
    let unpacked = Unpacker::new(&folder, LIMITS).and_then(|mut unpacker| {
        for bytes in [&layers.0, &layers.1] {
            let layer = Layer { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 };
            unpacker.layer(&layer, bytes.as_slice())?;
        }
        unpacker.finish("/var/task")
    });
    assert_eq!(fs::read(&outside).expect("the file beside it"), b"untouched");
    assert_eq!(fs::read_dir(around.path()).expect("the folder around").count(), 2, "something was made beside the image");
    if unpacked.is_ok() {
        for place in ["dev", "etc", "proc", "tmp"] {
            let found = fs::symlink_metadata(folder.join(place)).expect("a place to mount at");
            assert!(found.is_dir(), "{place} is none");
        }
    }
});
