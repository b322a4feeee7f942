//! An executor whose instances are closures, for tests of what drives executors.

use std::{
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use updraft_types::{Fault, Function, Payload, body, function::Configuration};

use crate::{Call, Executor, Framing, Instance, Rejected, Reply, Start, Support, Unsupported};

/// What a fake instance does with an event.
pub type Handler = Arc<dyn Fn(bytes::Bytes) -> Result<bytes::Bytes, Fault> + Send + Sync>;

/// The same for what takes a while without holding a thread.
pub type AsyncHandler =
    Arc<dyn Fn(bytes::Bytes) -> Pin<Box<dyn Future<Output = Result<bytes::Bytes, Fault>> + Send>> + Send + Sync>;

/// Counts what it is asked to do and answers with a [`Handler`].
pub struct FakeExecutor {
    handler: AsyncHandler,
    concurrency: u32,
    /// Instances started so far.
    pub started: AtomicUsize,
    /// Instances alive now.
    pub alive: Arc<AtomicUsize>,
    /// The most instances alive at once so far.
    pub most_alive: AtomicUsize,
    /// The most calls running at once so far.
    pub most_calls: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl FakeExecutor {
    /// Instances that answer with `handler`, `concurrency` calls at a time each.
    pub fn new(concurrency: u32, handler: Handler) -> Self {
        Self::with_async(concurrency, Arc::new(move |event| Box::pin(std::future::ready(handler(event)))))
    }

    /// The same with a handler that may wait.
    pub fn with_async(concurrency: u32, handler: AsyncHandler) -> Self {
        Self {
            handler,
            concurrency,
            started: AtomicUsize::new(0),
            alive: Arc::default(),
            most_alive: AtomicUsize::new(0),
            most_calls: Arc::default(),
            calls: Arc::default(),
        }
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    fn check(&self, _: &Configuration) -> Result<Support, Unsupported> {
        Ok(Support::Exact)
    }

    fn concurrency(&self, _: &Configuration) -> u32 {
        self.concurrency
    }

    async fn prepare(&self, _: &Function, _: &Path) -> Result<(), Rejected> {
        Ok(())
    }

    async fn start(&self, _: Start) -> Result<Arc<dyn Instance>, Fault> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let alive = self.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_alive.fetch_max(alive, Ordering::SeqCst);
        Ok(Arc::new(FakeInstance {
            handler: self.handler.clone(),
            stopped: AtomicBool::new(false),
            alive: self.alive.clone(),
            calls: self.calls.clone(),
            most_calls: self.most_calls.clone(),
        }))
    }
}

struct FakeInstance {
    handler: AsyncHandler,
    stopped: AtomicBool,
    alive: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    most_calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Instance for FakeInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        tokio::task::yield_now().await;
        let event = match call.payload {
            Payload::Event(event) => event,
            Payload::Http(_) => return Err(Fault::Crash { reason: "a fake takes events".into() }),
        };
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_calls.fetch_max(calls, Ordering::SeqCst);
        let result = (self.handler)(event).await;
        self.calls.fetch_sub(1, Ordering::SeqCst);
        if matches!(result, Err(Fault::Exit(_))) {
            self.stop().await;
        }
        Ok(Reply::Event { framing: Framing::Value, body: body::full(result?) })
    }

    fn is_alive(&self) -> bool {
        !self.stopped.load(Ordering::SeqCst)
    }

    fn memory_bytes_max(&self) -> u64 {
        0
    }

    async fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for FakeInstance {
    fn drop(&mut self) {
        if !*self.stopped.get_mut() {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
