//! Real functions in real sandboxes; those of Python and Node.js started cold, and again prewarmed.
//!
//! A harness of its own, because the sandbox helper is this very binary and has to start before anything else.
//! It understands as much of the standard harness's command line as `cargo test` and nextest use: `--list`,
//! `--ignored`, `--exact` and name filters.
#![allow(clippy::unwrap_used, reason = "tests")]

mod egress;
mod extensions;
mod frozen;
mod host;
mod layers;
mod logging;
mod nodejs;
mod prewarmed;
mod provided;
mod python;
mod snapshots;
mod telemetry;
mod web;
mod wrapper;

#[path = "../../src/testing.rs"]
mod testing;

use host::Starts;

type Test = (&'static str, fn(host::Host) -> futures_util::future::BoxFuture<'static, ()>);

/// Names each test by its module and function.
#[macro_export]
macro_rules! tests {
    ($($name:ident)*) => {
        pub(crate) const TESTS: &[$crate::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), |host| Box::pin($name(host)))),*];
    };
}

fn main() {
    updraft_sandbox::run_helper_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-') && *argument != "terse").collect();
    let chosen = |name: &str| {
        filters.is_empty()
            || filters
                .iter()
                .any(|filter| if has("--exact") { name == *filter } else { name.contains(filter.as_str()) })
    };
    let once = [
        egress::TESTS,
        extensions::TESTS,
        frozen::TESTS,
        layers::TESTS,
        logging::TESTS,
        nodejs::TESTS,
        provided::TESTS,
        python::TESTS,
        web::TESTS,
        prewarmed::TESTS,
        snapshots::TESTS,
        telemetry::TESTS,
        wrapper::TESTS,
    ]
    .concat();
    let once = once.into_iter().map(|(name, test)| (name.to_owned(), test, Starts::Cold));
    let again = [layers::TESTS, nodejs::TESTS, python::TESTS, logging::TESTS].concat();
    let again = again.into_iter().map(|(name, test)| (format!("{name}_prewarmed"), test, Starts::Prewarmed));
    let tests: Vec<_> = once.chain(again).filter(|(name, ..)| !has("--ignored") && chosen(name)).collect();
    if has("--list") {
        tests.iter().for_each(|(name, ..)| println!("{name}: test"));
        return;
    }
    for (name, test, starts) in tests {
        println!("test {name} ...");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { test(host::Host::new(starts)).await });
    }
}
