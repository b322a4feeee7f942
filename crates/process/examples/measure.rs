//! Prints how long calls and starts take on this machine: `cargo run --release -p updraft-process --example
//! measure`, with a part of an interpreter's path to measure that one alone. Asserts nothing; `bench` compares.
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

#[path = "../src/testing.rs"]
mod testing;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use updraft_executor::Executor;
use updraft_process::{Config, ProcessExecutor};
use updraft_sandbox::{Require, Spawner};
use updraft_types::{Function, Payload, Runtime};

const WARM_CALLS: usize = 3000;
const COLD_STARTS: usize = 30;
const SPARSE_CALLS: usize = 60;
const MODULES: usize = 30;
/// Between two starts: the helper cleans up after one and makes ready for the next.
const SETTLING: Duration = Duration::from_millis(50);

fn main() {
    updraft_sandbox::run_helper_if_asked();
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let cgroup_name = format!("updraft-measure-{}", std::process::id());
    let spawner = Spawner::start(updraft_sandbox::Config { cgroup_name, require: Require::BestEffort }).unwrap();
    let config = |name: &str, prewarmed_max| Config {
        prewarmed_max,
        ..Config::new(directory.path().join(name), "us-east-1".parse().unwrap())
    };
    let mut never = config("never", 0);
    never.freeze_after = Duration::from_secs(3600);
    let never = ProcessExecutor::new(never, spawner.clone()).unwrap();
    let freeze_after = config("cold", 0).freeze_after;
    let cold_executor = ProcessExecutor::new(config("cold", 0), spawner.clone()).unwrap();
    let began = Instant::now();
    println!("discovery: {} interpreters, {:?}", cold_executor.interpreters().len(), began.elapsed());
    let chosen = std::env::args().nth(1).unwrap_or_default();
    for interpreter in cold_executor.interpreters() {
        if !interpreter.path.display().to_string().contains(&chosen) {
            continue;
        }
        // One for each, so that a running interpreter is one of this kind.
        let executor = ProcessExecutor::new(config("prewarmed", 1), spawner.clone()).unwrap();
        let (name, code, bare): (_, _, &[&str]) = match interpreter.runtime {
            Runtime::Python { .. } => ("app.py", "def handler(event, context): return event\n", &["-c", "pass"]),
            _ => ("app.js", "exports.handler = async (event) => event;\n", &["-e", "0"]),
        };
        let package = tempfile::tempdir().unwrap();
        testing::make_readable(package.path());
        std::fs::write(package.path().join(name), code).unwrap();
        let function = testing::function(&interpreter.runtime.to_string(), "app.handler");
        for executor in [&executor, &cold_executor] {
            executor.prepare(&function, package.path()).await.unwrap();
        }
        start(&executor, &function, package.path()).await;
        let (mut bare_times, mut cold, mut prewarmed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..COLD_STARTS {
            prewarm(&executor, &function, package.path()).await;
            tokio::time::sleep(SETTLING).await;
            let began = Instant::now();
            Command::new(&interpreter.path).args(bare).stdin(Stdio::null()).status().unwrap();
            bare_times.push(began.elapsed());
            cold.push(start(&cold_executor, &function, package.path()).await);
            tokio::time::sleep(SETTLING).await;
            prewarmed.push(start(&executor, &function, package.path()).await);
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
            "{:<12} {:<8} bare {:?}, cold {:?}, prewarmed {:?} (p90 {:?}), warm {:?} (p99 {:?}), memory {} MB, {}",
            interpreter.runtime.to_string(),
            interpreter.version,
            percentile(&mut bare_times, 50),
            percentile(&mut cold, 50),
            percentile(&mut prewarmed, 50),
            percentile(&mut prewarmed, 90),
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
        if matches!(interpreter.runtime, Runtime::Python { .. }) {
            measure_modules(&executor, &cold_executor, &function).await;
        }
    }
}

/// A package of many modules, with and without having been compiled ahead.
async fn measure_modules(executor: &ProcessExecutor, cold_executor: &ProcessExecutor, function: &Function) {
    let packages = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for package in &packages {
        testing::make_readable(package.path());
        let imports: String = (0..MODULES).map(|number| format!("import m{number}\n")).collect();
        std::fs::write(package.path().join("app.py"), imports + "def handler(event, context): return event\n").unwrap();
        for number in 0..MODULES {
            let one = |index| {
                format!("def f{index}(a, b=1):\n    \"\"\"Adds.\"\"\"\n    return [a + b for _ in range(b)]\n\n")
            };
            let code: String = (0..40).map(one).collect();
            std::fs::write(package.path().join(format!("m{number}.py")), code).unwrap();
        }
    }
    let [plain, compiled] = &packages;
    executor.prepare(function, compiled.path()).await.unwrap();
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..COLD_STARTS {
        prewarm(executor, function, plain.path()).await;
        times[0].push(start(cold_executor, function, plain.path()).await);
        times[1].push(start(cold_executor, function, compiled.path()).await);
        times[2].push(start(executor, function, plain.path()).await);
        prewarm(executor, function, compiled.path()).await;
        times[3].push(start(executor, function, compiled.path()).await);
    }
    let [cold, cold_compiled, prewarmed, prewarmed_compiled] = times.each_mut().map(|times| percentile(times, 50));
    println!(
        "  {MODULES} modules: cold {cold:?}, compiled {cold_compiled:?}; prewarmed {prewarmed:?}, compiled {prewarmed_compiled:?}"
    );
}

/// How long a start takes until the instance can take a call.
async fn start(executor: &ProcessExecutor, function: &Function, package: &Path) -> Duration {
    let start = testing::start(function.clone(), package, testing::Lines::new());
    let began = Instant::now();
    let instance = executor.start(start).await.unwrap();
    let time = began.elapsed();
    instance.stop().await;
    time
}

/// Waits until a start finds an interpreter running.
async fn prewarm(executor: &ProcessExecutor, function: &Function, package: &Path) {
    let start = testing::start(function.clone(), package, testing::Lines::new());
    while !executor.is_prewarmed(&start).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}
