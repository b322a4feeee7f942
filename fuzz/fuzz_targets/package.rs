//! Arbitrary bytes unpacked as a package: whatever they are, nothing may be written outside the folder they are unpacked
//! into, and no file in it may lead out.

#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::fuzz_target;

fuzz_target!(|zip: &[u8]| {
    let around = tempfile::tempdir().expect("a temporary folder");
    let folder = around.path().join("package");
    fs::create_dir(&folder).expect("a folder of its own");
    updraft_node::fuzzing::unpack(zip, &folder);
    let outside = fs::read_dir(around.path()).expect("the folder around is there").count();
    assert_eq!(outside, 1, "something was written beside the package");
    check(&folder, &folder);
});

/// Every link stays within the package.
fn check(folder: &Path, root: &Path) {
    for entry in fs::read_dir(folder).expect("a folder that was unpacked").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("an entry has a kind"));
        if kind.is_symlink() {
            if let Ok(target) = path.canonicalize() {
                let root = root.canonicalize().expect("the package is there");
                assert!(target.starts_with(root), "{} leads out of the package", path.display());
            }
        } else if kind.is_dir() {
            check(&path, root);
        }
    }
}
