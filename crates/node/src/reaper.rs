//! Once a second: ends what is idle for too long, and starts what is about to be needed.
//!
//! Which and when is for `engine::keep_alive`. Invariants: a start ahead takes free room only and obeys every limit;
//! while [`STARTING_MAX`] instances start, whoever asked for them, none is started ahead.

use std::time::{Duration, Instant};

use crate::Handle;

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// Instances starting at once beyond which guesses wait.
const STARTING_MAX: usize = 8;

impl Handle {
    /// Works for ever.
    pub(crate) async fn run_reaper(self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.reap(Instant::now());
        }
    }

    /// One round.
    fn reap(&self, now: Instant) {
        let pools = &self.inner.pools;
        pools.reap(now);
        let starting = usize::try_from(pools.starting()).unwrap_or(usize::MAX);
        if let Some(limit) = STARTING_MAX.checked_sub(starting).filter(|limit| *limit > 0) {
            pools.start_ahead(now, limit, &self.inner.catalog);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use updraft_engine::keep_alive::Policy;
    use updraft_executor::fake::FakeExecutor;
    use updraft_store::Store;
    use updraft_types::{
        FunctionId, Invocation, Payload, RequestId, Runtime, VersionId,
        function::{Configuration, State},
        invocation::{Context, LogTail},
    };

    use super::*;
    use crate::{CapacityLimits, Config, Draft, Executors, Service};

    const MINUTE: Duration = Duration::from_secs(60);

    /// A node whose rounds are made by hand, at any moment.
    struct Node {
        service: Service,
        handle: Handle,
        executor: Arc<FakeExecutor>,
        directory: tempfile::TempDir,
    }

    impl Node {
        async fn open(change: impl FnOnce(&mut Config)) -> Self {
            Self::open_in(tempfile::tempdir().unwrap(), change).await
        }

        async fn open_in(directory: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
            let store = Store::open(updraft_store::Config { directory: directory.path().to_owned() }).await.unwrap();
            let mut config = Config {
                capacity: CapacityLimits { memory_mb_max: 10_000, instances_max: 100 },
                ..Config::new("us-east-1".parse().unwrap(), directory.path())
            };
            change(&mut config);
            let executor = Arc::new(FakeExecutor::new(1, Arc::new(Ok)));
            let executors = Executors { process: executor.clone(), wasm: executor.clone() };
            let (mut service, handle) = Service::open(config, store, executors).await.unwrap();
            // The rounds are made here; those of the service would look at the real clock.
            service.tasks.shutdown().await;
            Self { service, handle, executor, directory }
        }

        async fn create(&self, name: &str) {
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            zip.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
            let draft = Draft { id: id(name), configuration: configuration(), tags: Default::default() };
            self.handle.create(draft, zip.finish().unwrap().into_inner().into()).await.unwrap();
            until(|| self.handle.catalog().get(&id(name)).unwrap().state == State::Active).await;
        }

        async fn invoke(&self, name: &str) {
            let function = self.handle.catalog().get(&id(name)).unwrap().clone();
            let invocation = Invocation {
                id: RequestId::random(),
                function,
                payload: Payload::Event("1".into()),
                context: Context::default(),
                log_tail: LogTail::None,
            };
            drop(self.handle.invoke(invocation).await.unwrap().result.unwrap());
        }

        /// Invokes the function, and lets it have been called every hour for a day.
        async fn invoke_hourly(&self, name: &str) {
            self.invoke(name).await;
            let pool = self.handle.inner.pools.find(&VersionId::latest(id(name))).unwrap();
            let mut habit = pool.take_habit().unwrap();
            (0..24).for_each(|_| habit.observe(60 * MINUTE));
            pool.put_habit(habit);
        }

        fn started(&self) -> usize {
            self.executor.started.load(Ordering::SeqCst)
        }

        fn alive(&self) -> usize {
            self.executor.alive.load(Ordering::SeqCst)
        }

        async fn close(self) -> tempfile::TempDir {
            self.service.run(async {}).await;
            assert_eq!(self.executor.alive.load(Ordering::SeqCst), 0, "instances were left");
            self.directory
        }
    }

    fn id(name: &str) -> FunctionId {
        FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn configuration() -> Configuration {
        Configuration::new(Runtime::Python { minor: 11 }, "app.handler", "arn:aws:iam::000000000000:role/r")
    }

    async fn until(is_so: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it never came to be so");
    }

    #[tokio::test]
    async fn an_hourly_function_is_ended_and_started_ahead_of_its_call() {
        let node = Node::open(|_| {}).await;
        node.create("f").await;
        node.invoke_hourly("f").await;
        let now = Instant::now();
        node.handle.reap(now + 10 * MINUTE);
        until(|| node.alive() == 0).await;
        assert!(
            node.handle.inner.pools.find(&VersionId::latest(id("f"))).is_none(),
            "the pool is closed, and its habit rests"
        );
        for minutes in 11..50 {
            node.handle.reap(now + minutes * MINUTE);
        }
        assert_eq!(node.handle.instances(), 0);
        (50..=60).for_each(|minutes| node.handle.reap(now + minutes * MINUTE));
        until(|| node.handle.inner.pools.starting() == 0 && node.alive() == 1).await;
        assert_eq!(node.started(), 2);
        node.handle.reap(now + 60 * MINUTE);
        node.invoke("f").await;
        assert_eq!(node.started(), 2, "the call found it warm");
        node.close().await;
    }

    #[tokio::test]
    async fn a_call_that_does_not_come_ends_what_was_started_for_it() {
        let node = Node::open(|_| {}).await;
        node.create("f").await;
        node.invoke_hourly("f").await;
        let now = Instant::now();
        node.handle.reap(now + 10 * MINUTE);
        node.handle.reap(now + 60 * MINUTE);
        until(|| node.handle.inner.pools.starting() == 0 && node.alive() == 1).await;
        for minutes in 61..400 {
            node.handle.reap(now + minutes * MINUTE);
        }
        until(|| node.alive() == 0).await;
        assert_eq!((node.handle.instances(), node.started()), (0, 2));
        node.close().await;
    }

    #[tokio::test]
    async fn a_guess_takes_no_room_from_others() {
        let node = Node::open(|config| config.capacity.memory_mb_max = 200).await;
        node.create("f").await;
        node.create("other").await;
        node.invoke_hourly("f").await;
        let now = Instant::now();
        node.handle.reap(now + 10 * MINUTE);
        until(|| node.alive() == 0).await;
        node.invoke("other").await;
        let other = node.handle.inner.pools.find(&VersionId::latest(id("other"))).unwrap();
        node.handle.inner.pools.start_ahead(now + 60 * MINUTE, 8, &node.handle.inner.catalog);
        assert_eq!((other.instances(), node.handle.instances()), ((1, 0), 1), "there was no room for it");
        node.close().await;
    }

    #[tokio::test]
    async fn a_habit_outlives_a_deployment_and_not_its_function() {
        let node = Node::open(|_| {}).await;
        node.create("f").await;
        node.invoke_hourly("f").await;
        let now = Instant::now();
        node.handle.update_configuration(&id("f"), None, |configuration| configuration.timeout_s = 9).await.unwrap();
        assert!(node.handle.inner.pools.find(&VersionId::latest(id("f"))).is_none());
        node.handle.reap(now + 60 * MINUTE);
        until(|| node.handle.inner.pools.starting() == 0 && node.alive() == 1).await;
        assert_eq!(node.started(), 2, "the new one was started ahead");

        node.handle.delete(&id("f")).await.unwrap();
        until(|| node.alive() == 0).await;
        node.create("f").await;
        for minutes in 61..300 {
            node.handle.reap(now + minutes * MINUTE);
        }
        assert_eq!((node.handle.instances(), node.started()), (0, 2));
        node.close().await;
    }

    #[tokio::test]
    async fn a_habit_outlives_a_restart_and_not_its_function() {
        let node = Node::open(|_| {}).await;
        node.create("f").await;
        node.create("gone").await;
        node.invoke_hourly("f").await;
        node.invoke_hourly("gone").await;
        node.handle.keep_habits().await;
        // Only what is called is written anew.
        node.invoke("gone").await;
        let again = Node::open_in(node.close().await, |_| {}).await;
        again.handle.delete(&id("gone")).await.unwrap();
        let now = Instant::now();
        again.handle.reap(now + 40 * MINUTE);
        assert_eq!(again.handle.instances(), 0);
        again.handle.reap(now + 60 * MINUTE);
        until(|| again.handle.inner.pools.starting() == 0 && again.alive() == 1).await;
        assert!(again.handle.inner.pools.find(&VersionId::latest(id("f"))).is_some(), "started ahead of its call");
        again.handle.keep_habits().await;
        let left = again.handle.inner.store.habits().all(9).await.unwrap();
        assert_eq!(left.iter().map(|row| row.version.function.clone()).collect::<Vec<_>>(), [id("f")]);

        // What another policy has learned is of no use to this one.
        let fixed = |config: &mut Config| config.keep_alive = Policy::Fixed(MINUTE);
        let again = Node::open_in(again.close().await, fixed).await;
        again.handle.keep_habits().await;
        assert_eq!(again.handle.inner.store.habits().all(9).await.unwrap(), []);
        again.close().await;
    }

    #[tokio::test]
    async fn a_fixed_window_starts_nothing_ahead() {
        let node = Node::open(|config| config.keep_alive = Policy::Fixed(10 * MINUTE)).await;
        node.create("f").await;
        node.invoke_hourly("f").await;
        let now = Instant::now();
        node.handle.reap(now + 9 * MINUTE);
        assert_eq!(node.handle.instances(), 1);
        for minutes in 10..130 {
            node.handle.reap(now + minutes * MINUTE);
        }
        until(|| node.alive() == 0).await;
        assert_eq!((node.handle.instances(), node.started()), (0, 1));
        node.close().await;
    }
}
