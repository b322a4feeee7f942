//! Prints how long starts by copying take on this machine beside bare interpreters, in turns: `cargo run --release -p
//! updraft-process --example snapshots`, with a number of megabytes that the function holds. Asserts nothing; `bench`
//! compares the whole platform.
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

#[path = "../src/testing.rs"]
mod testing;

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use updraft_executor::{Executor, Instance, Snapshot};
use updraft_process::{Config, ProcessExecutor};
use updraft_sandbox::{Require, Spawner};
use updraft_types::{Function, Payload, Runtime, Version, function::SnapStart};

const ROUNDS: usize = 15;
const AT_ONCE: usize = 100;
const ROUNDS_AT_ONCE: usize = 3;
/// Between two starts: the helper cleans up after one and makes ready for the next.
const SETTLING: Duration = Duration::from_millis(100);

fn main() {
    updraft_sandbox::run_helper_if_asked();
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let megabytes: usize = std::env::args().nth(1).map_or(0, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let cgroup_name = format!("updraft-measure-{}", std::process::id());
    let spawner = Spawner::start(updraft_sandbox::Config { cgroup_name, require: Require::BestEffort }).unwrap();
    let executor = |name: &str, prewarmed_max| {
        let config = Config { prewarmed_max, ..Config::new(directory.path().join(name), "us-east-1".parse().unwrap()) };
        ProcessExecutor::new(config, spawner.clone()).unwrap()
    };
    let (ahead, demand) = (executor("ahead", 1), executor("demand", 0));
    let interpreter = demand.interpreters().iter().rfind(|one| matches!(one.runtime, Runtime::Python { .. })).unwrap();
    let package = tempfile::tempdir().unwrap();
    testing::make_readable(package.path());
    let code = format!("HELD = b'x' * ({megabytes} << 20)\ndef handler(event, context): return event\n");
    std::fs::write(package.path().join("app.py"), code).unwrap();
    let mut function = testing::function(&interpreter.runtime.to_string(), "app.handler");
    function.configuration.snap_start = SnapStart::PublishedVersions;
    function.version = Version::Number(1);
    for executor in [&ahead, &demand] {
        executor.prepare(&function, package.path()).await.unwrap();
        publish(executor, &function, package.path()).await;
    }
    let bare = || Command::new(&interpreter.path).args(["-c", "pass"]).stdin(Stdio::null()).spawn().unwrap();
    let (mut bare_times, mut made_ahead, mut on_demand) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        while ahead.prewarmed().copies_ready == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(SETTLING).await;
        let began = Instant::now();
        bare().wait().unwrap();
        bare_times.push(began.elapsed());
        for (executor, times) in [(&ahead, &mut made_ahead), (&demand, &mut on_demand)] {
            tokio::time::sleep(SETTLING).await;
            let began = Instant::now();
            let instance = start(executor, &function, package.path()).await;
            times.push(began.elapsed());
            instance.stop().await;
        }
    }
    println!(
        "{} {}, {megabytes} MB: bare {:?}, first call of a copy made ahead {:?}, of one on demand {:?}",
        interpreter.runtime,
        interpreter.version,
        median(&mut bare_times),
        median(&mut made_ahead),
        median(&mut on_demand)
    );
    let (mut bare_times, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS_AT_ONCE {
        let began = Instant::now();
        let all: Vec<_> = (0..AT_ONCE).map(|_| bare()).collect();
        for mut one in all {
            one.wait().unwrap();
        }
        bare_times.push(began.elapsed());
        // An original has room for little more than one round.
        publish(&demand, &function, package.path()).await;
        tokio::time::sleep(SETTLING * 10).await;
        let began = Instant::now();
        let all = (0..AT_ONCE).map(|_| start(&demand, &function, package.path()));
        let all = futures_util::future::join_all(all).await;
        copies.push(began.elapsed());
        demand.forget(&function.version_id());
        drop(all);
        tokio::time::sleep(SETTLING * 10).await;
    }
    let (bare, copies) = (median(&mut bare_times), median(&mut copies));
    let share = copies.as_secs_f64() / bare.as_secs_f64();
    println!("{AT_ONCE} at once: bare {bare:?}, first calls of copies on demand {copies:?}: {share:.2}");
}

async fn publish(executor: &ProcessExecutor, function: &Function, package: &Path) {
    let start = testing::start(function.clone(), package, testing::Lines::new());
    assert_eq!(executor.snapshot(start).await.unwrap(), Snapshot::On);
}

/// Starts an instance and calls it once.
async fn start(executor: &ProcessExecutor, function: &Function, package: &Path) -> Arc<dyn Instance> {
    let start = testing::start(function.clone(), package, testing::Lines::new());
    let instance = executor.start(start).await.unwrap();
    instance.clone().call(testing::call(Payload::Event("{\"a\":1}".into()))).await.unwrap();
    instance
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
