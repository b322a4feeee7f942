//! Advances the engine's epoch while guests run, which is what makes a computing guest yield to other tasks.
//!
//! One thread, asleep while nothing runs: an idle platform wakes nobody. Entering and leaving a call cost one
//! atomic operation each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::Engine;

/// How long a guest computes before it yields, at most twice this.
const TICK: Duration = Duration::from_millis(2);
/// Ticks without a call after which the thread goes to sleep.
const IDLE_TICKS_MAX: u32 = 250;

/// Ticks for one engine until dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

impl Ticker {
    pub(crate) fn new(engine: &Engine) -> Self {
        let shared = Arc::new(Shared::default());
        let (engine, of_thread) = (engine.weak(), shared.clone());
        let tick = move || match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => of_thread.stopped.store(true, SeqCst),
        };
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("wasm-epoch".into())
            .spawn(move || run(&of_thread, tick))
            .expect("the process can start its threads");
        Self { shared, thread: Some(thread) }
    }

    /// Keeps the epoch advancing until the guard is dropped.
    pub(crate) fn enter(&self) -> Ticking<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.asleep.load(SeqCst) {
            self.wake();
        }
        Ticking(&self.shared)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

fn run(shared: &Shared, tick: impl Fn()) {
    let mut idle_ticks = 0;
    while !shared.stopped.load(SeqCst) {
        if shared.running.load(SeqCst) > 0 {
            idle_ticks = 0;
        } else if idle_ticks < IDLE_TICKS_MAX {
            idle_ticks += 1;
        } else {
            // A call that enters after this store sees it and unparks; one that entered before is seen here.
            shared.asleep.store(true, SeqCst);
            while shared.running.load(SeqCst) == 0 && !shared.stopped.load(SeqCst) {
                std::thread::park();
            }
            shared.asleep.store(false, SeqCst);
            idle_ticks = 0;
        }
        std::thread::sleep(TICK);
        tick();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // Only a panic of the thread itself makes this an error, and it has nothing to lose.
            drop(thread.join());
        }
    }
}

/// A guest is running.
pub(crate) struct Ticking<'a>(&'a Shared);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
