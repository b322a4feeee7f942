//! Prints what a call costs, ns of wall clock and of processor time: into a reused instance, into a fresh guest, into a
//! new instance, and starting alone. On a busy machine only the second number means anything.
//!
//!     cargo run --release -p updraft-wasm --example call_cost [CALLS]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use support::{Place, answer, edge, fresh, get};
use updraft_types::Payload;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let calls: u32 = std::env::args().nth(1).map_or(100_000, |count| count.parse().expect("CALLS is a number"));
    let place = Place::new(&edge());
    let executor = place.executor();
    let (instance, _) = place.start(&executor).await.expect("the edge example starts");
    let (anew, _) = place.start_as(&executor, fresh()).await.expect("the edge example starts");

    let report = |what: &str, count: u32, (wall, processor): (Instant, u64)| {
        let wall_ns = wall.elapsed().as_nanos() / u128::from(count);
        println!("{what:<28} {wall_ns:>8} {:>8}", (processor_ns() - processor) / u64::from(count));
    };
    for _ in 0..3 {
        let since = (Instant::now(), processor_ns());
        for _ in 0..calls {
            answer(&instance, get("/")).await.expect("the edge example answers");
        }
        report("reused instance, GET /", calls, since);

        let since = (Instant::now(), processor_ns());
        for _ in 0..calls {
            answer(&instance, Payload::Event("{}".into())).await.expect("the edge example answers");
        }
        report("reused instance, event", calls, since);

        let since = (Instant::now(), processor_ns());
        for _ in 0..calls / 10 {
            answer(&anew, get("/")).await.expect("the edge example answers");
        }
        report("fresh guest, GET /", calls / 10, since);

        let since = (Instant::now(), processor_ns());
        for _ in 0..calls / 10 {
            let (instance, _) = place.start(&executor).await.expect("the edge example starts");
            answer(&instance, get("/")).await.expect("the edge example answers");
        }
        report("new instance with a call", calls / 10, since);

        let since = (Instant::now(), processor_ns());
        for _ in 0..calls / 10 {
            place.start(&executor).await.expect("the edge example starts");
        }
        report("start and end", calls / 10, since);
    }
}

/// What this thread has spent on a processor (source: proc_pid_schedstat(5)).
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps this file");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("its first field is a number")
}
