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
}

impl FakeExecutor {
    /// Instances that answer with `handler`, `concurrency` calls at a time each.
    pub fn new(concurrency: u32, handler: Handler) -> Self {
        Self::with_async(concurrency, Arc::new(move |event| Box::pin(std::future::ready(handler(event)))))
    }

    /// The same with a handler that may wait.
    pub fn with_async(concurrency: u32, handler: AsyncHandler) -> Self {
        Self { handler, concurrency, started: AtomicUsize::new(0), alive: Arc::default() }
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
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakeInstance {
            handler: self.handler.clone(),
            stopped: AtomicBool::new(false),
            alive: self.alive.clone(),
        }))
    }
}

struct FakeInstance {
    handler: AsyncHandler,
    stopped: AtomicBool,
    alive: Arc<AtomicUsize>,
}

#[async_trait]
impl Instance for FakeInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        tokio::task::yield_now().await;
        let event = match call.payload {
            Payload::Event(event) => event,
            Payload::Http(_) => return Err(Fault::Crash { reason: "a fake takes events".into() }),
        };
        let result = (self.handler)(event).await;
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
