//! Preparing packages: what is refused and how it is said, and what is kept.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use proptest::prelude::*;
use support::{Place, answer, edge, get, guest};
use updraft_executor::Executor;
use updraft_wasm::{Config, WasmExecutor};

async fn rejection(component: &[u8]) -> String {
    let place = Place::new(component);
    place.rejection(&place.executor()).await.expect("this component cannot run")
}

#[tokio::test]
async fn each_kind_of_wrong_file_is_named() {
    let module = wat::parse_str("(module)").unwrap();
    let cases: [(&[u8], &str); 6] = [
        (&module, "core WebAssembly module"),
        (b"(component)", "WebAssembly text"),
        (b"\x7fELF", "is not WebAssembly"),
        (b"", "is empty"),
        (b"\0asm\x0e\0\x01\0", "version that is not known"),
        (&edge()[..5000], "not a valid component"),
    ];
    for (bytes, expected) in cases {
        let reason = rejection(bytes).await;
        assert!(reason.starts_with("hello.wasm ") && reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_missing_import_is_named() {
    let text = r#"(component (import "acme:secret/vault@1.0.0" (instance (export "open" (func)))))"#;
    let reason = rejection(&wat::parse_str(text).unwrap()).await;
    assert!(reason.contains("acme:secret/vault@1.0.0"), "{reason}");
}

#[tokio::test]
async fn a_component_that_is_no_handler_is_told_so() {
    let reason = rejection(&wat::parse_str("(component)").unwrap()).await;
    assert!(reason.contains("does not export wasi:http/incoming-handler"), "{reason}");
    let shape = r#"(component
        (core module $m (func (export "h")))
        (core instance $c (instantiate $m))
        (func $f (canon lift (core func $c "h")))
        (instance $i (export "handle" (func $f)))
        (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;
    let reason = rejection(&wat::parse_str(shape).unwrap()).await;
    assert!(reason.contains("wrong shape"), "{reason}");
}

#[tokio::test]
async fn a_component_over_the_limit_is_refused() {
    let place = Place::new(&edge());
    let executor = WasmExecutor::new(Config { component_bytes_max: 1 << 10, ..place.config() }).unwrap();
    assert!(place.rejection(&executor).await.unwrap().contains("larger than"));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_with_what_is() {
    let place = Place::new(&edge());
    fs::rename(place.package().join("hello.wasm"), place.package().join("other.wasm")).unwrap();
    let reason = place.rejection(&place.executor()).await.unwrap();
    assert!(reason.contains("no file hello.wasm") && reason.contains("other.wasm"), "{reason}");
}

fn kept(place: &Place) -> Vec<PathBuf> {
    fs::read_dir(place.cache()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn compiled_code_outlives_the_executor() {
    let place = Place::new(&edge());
    assert_eq!(place.rejection(&place.executor()).await, None);
    let written = kept(&place);
    let inode = |file: &PathBuf| fs::metadata(file).unwrap().ino();
    let inodes: Vec<u64> = written.iter().map(inode).collect();

    // Compiling again would put a new file in the old one's place.
    let executor = place.executor();
    assert_eq!(place.rejection(&executor).await, None);
    assert_eq!((kept(&place), written.iter().map(inode).collect()), (written.clone(), inodes));
    assert_eq!(written.len(), 1);
    let (instance, _) = place.start(&executor).await.unwrap();
    assert!(answer(&instance, get("/")).await.is_ok());
}

#[tokio::test]
async fn unusable_code_is_compiled_again() {
    let place = Place::new(&edge());
    assert_eq!(place.rejection(&place.executor()).await, None);
    let file = kept(&place).remove(0);
    fs::write(&file, "of another engine").unwrap();
    let executor = place.executor();
    let (instance, _) = place.start(&executor).await.unwrap();
    assert!(answer(&instance, get("/")).await.is_ok());
    assert!(fs::metadata(&file).unwrap().len() > 1_000);
}

#[tokio::test]
async fn the_cache_keeps_to_its_size() {
    let place = Place::new(&edge());
    let executor = WasmExecutor::new(Config { cache_bytes_max: 1, loaded_max: 1, ..place.config() }).unwrap();
    for status in ["201", "202", "203"] {
        let body = format!("(call $begin (local.get $reply) (i32.const {status})) (call $finish)");
        let other = Place::new(&guest(&body));
        executor.prepare(&support::function(), &other.package()).await.unwrap();
        assert_eq!(kept(&place).len(), 1);
        let (instance, _) = other.start(&executor).await.unwrap();
        assert_eq!(answer(&instance, get("/")).await.unwrap().0.status.as_str(), status);
    }
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let place = Place::new(b"");
    fs::create_dir(place.cache()).unwrap();
    fs::set_permissions(place.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = WasmExecutor::new(place.config()).err().expect("the directory is open to all").to_string();
    assert!(error.contains("not ours alone") && error.contains("777"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a component's bytes, preparing it either works or says why not.
    #[test]
    fn mutated_components_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = edge();
        for (place, byte) in edits {
            *place.get_mut(&mut bytes) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let place = Place::new(&bytes);
        let reason = runtime.block_on(place.rejection(&place.executor()));
        prop_assert_ne!(reason.as_deref(), Some("the compiler gave up on this component"));
        prop_assert!(reason.is_none_or(|reason| reason.contains("hello.wasm") && reason.len() < 4_096));
    }
}
