//! Prints how long calls and starts take on this machine: `cargo run --release -p updraft-process --example
//! measure`. Asserts nothing; `bench` compares.
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

#[path = "../src/testing.rs"]
mod testing;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use updraft_executor::Executor;
use updraft_process::{Config, ProcessExecutor};
use updraft_sandbox::{Require, Spawner};
use updraft_types::{Payload, Runtime};

const WARM_CALLS: usize = 3000;
const COLD_STARTS: usize = 30;
const SPARSE_CALLS: usize = 60;

fn main() {
    updraft_sandbox::run_helper_if_asked();
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let cgroup_name = format!("updraft-measure-{}", std::process::id());
    let spawner = Spawner::start(updraft_sandbox::Config { cgroup_name, require: Require::BestEffort }).unwrap();
    let config = Config::new(directory.path().join("runtime"), "us-east-1".parse().unwrap());
    let freeze_after = config.freeze_after;
    let executor = ProcessExecutor::new(config, spawner.clone()).unwrap();
    let mut never = Config::new(directory.path().join("never"), "us-east-1".parse().unwrap());
    never.freeze_after = Duration::from_secs(3600);
    let never = ProcessExecutor::new(never, spawner).unwrap();
    let began = Instant::now();
    println!("discovery: {} interpreters, {:?}", executor.interpreters().len(), began.elapsed());
    for interpreter in executor.interpreters() {
        let (name, code, bare): (_, _, &[&str]) = match interpreter.runtime {
            Runtime::Python { .. } => ("app.py", "def handler(event, context): return event\n", &["-c", "pass"]),
            _ => ("app.js", "exports.handler = async (event) => event;\n", &["-e", "0"]),
        };
        let package = tempfile::tempdir().unwrap();
        testing::make_readable(package.path());
        std::fs::write(package.path().join(name), code).unwrap();
        let function = testing::function(&interpreter.runtime.to_string(), "app.handler");
        executor.prepare(&function, package.path()).await.unwrap();
        let (mut bare_times, mut cold) = (Vec::new(), Vec::new());
        for _ in 0..COLD_STARTS {
            let began = Instant::now();
            Command::new(&interpreter.path).args(bare).stdin(Stdio::null()).status().unwrap();
            bare_times.push(began.elapsed());
            let began = Instant::now();
            let start = testing::start(function.clone(), package.path(), testing::Lines::new());
            let instance = executor.start(start).await.unwrap();
            cold.push(began.elapsed());
            instance.stop().await;
        }
        let start = testing::start(function.clone(), package.path(), testing::Lines::new());
        let instance = executor.start(start).await.unwrap();
        let mut warm = Vec::new();
        for _ in 0..WARM_CALLS {
            let began = Instant::now();
            instance.clone().call(testing::call(Payload::Event("{\"a\":1}".into()))).await.unwrap();
            warm.push(began.elapsed());
        }
        println!(
            "{:<12} {:<8} bare {:?}, cold {:?}, warm {:?} (p99 {:?}), memory {} MB, {}",
            interpreter.runtime.to_string(),
            interpreter.version,
            percentile(&mut bare_times, 50),
            percentile(&mut cold, 50),
            percentile(&mut warm, 50),
            percentile(&mut warm, 99),
            instance.memory_bytes_max() / (1024 * 1024),
            interpreter.path.display(),
        );
        // What the freezer costs: one instance with it and one without, in turns.
        let start = testing::start(function.clone(), package.path(), testing::Lines::new());
        let without = never.start(start).await.unwrap();
        let instances = [&instance, &without];
        let (mut quick, mut sparse) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let call = async |instance: &std::sync::Arc<dyn updraft_executor::Instance>| {
            let began = Instant::now();
            instance.clone().call(testing::call(Payload::Event("{\"a\":1}".into()))).await.unwrap();
            began.elapsed()
        };
        for round in 0..WARM_CALLS / 25 {
            for which in [round % 2, 1 - round % 2] {
                for _ in 0..25 {
                    quick[which].push(call(instances[which]).await);
                }
            }
        }
        for round in 0..SPARSE_CALLS {
            for which in [round % 2, 1 - round % 2] {
                tokio::time::sleep(freeze_after + Duration::from_millis(10)).await;
                sparse[which].push(call(instances[which]).await);
            }
        }
        let [quick, sparse] = [&mut quick, &mut sparse].map(|both| both.each_mut().map(|times| percentile(times, 50)));
        println!(
            "    freezer: in quick succession {:?}, without {:?}; after a pause {:?}, without {:?}",
            quick[0], quick[1], sparse[0], sparse[1]
        );
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}
