//! The platform under a mixed load that crashes, leaks, hangs, forks, floods and redeploys, for a while: whether what
//! it holds afterwards is what it held before.
//!
//! Bounded in time and in clients. Every answer is checked for being one that its request may have; what the kernel
//! holds for the platform is counted before and after, once the load has stopped and idle instances have gone.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    client::Client,
    holdings::{Counts, Own},
    interrupt, machine,
    package::{GREETING, Kind},
    platform::{Function, Platform, Site},
    processes,
};

/// Load before the first count: everything has been used once by then, and the allocator has its arenas.
const WARMUP: Duration = Duration::from_secs(30);
/// Clients that invoke.
const CLIENTS: usize = 12;
/// Pause between two kills of a sandbox.
const KILL_INTERVAL: Duration = Duration::from_millis(700);
/// Every so many kills it is the sandboxes' parent that dies, and all of them with it.
const PARENT_KILL_EVERY: u64 = 60;
/// How long after that a start may fail for it, milliseconds.
const PARENT_KILL_NOTICE_MS: u64 = 10_000;
/// Longest wait until the counts are back, and time between two looks.
const SETTLING_MAX: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks in a row that have to find the same.
const UNCHANGED_MIN: u32 = 10;
/// What memory may have grown by: an allocator's arenas do not shrink.
const MEMORY_GROWTH_MAX: f64 = 1.25;

/// The functions, and what each is asked to do, how often in a hundred.
const MIX: [(&str, Kind, &str, u32); 10] = [
    ("soak-work", Kind::Soak, "work", 22),
    ("soak-node", Kind::Node, "work", 15),
    ("soak-wasm", Kind::Wasm, "work", 30),
    ("soak-web", Kind::Web, "work", 15),
    ("soak-crash", Kind::Soak, "crash", 4),
    ("soak-leak", Kind::Soak, "leak", 4),
    ("soak-hang", Kind::Soak, "hang", 1),
    ("soak-daemon", Kind::Soak, "daemon", 4),
    ("soak-flood", Kind::Soak, "flood", 2),
    ("soak-litter", Kind::Soak, "litter", 3),
];

/// What a soak came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Soak {
    /// When it ended, UTC.
    pub(crate) recorded_at: String,
    /// The sources' revision.
    pub(crate) revision: String,
    /// How long the load went on, seconds.
    pub(crate) seconds: u64,
    /// Answers by function.
    pub(crate) answers: BTreeMap<String, Answers>,
    /// Functions created, invoked and deleted meanwhile.
    pub(crate) redeployed: u64,
    /// Processes below the platform that were killed.
    pub(crate) killed: u64,
    /// Before, after.
    pub(crate) counts: (Counts, Counts),
}

/// What clients were answered.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// Answers in all.
    pub(crate) all: u64,
    /// Those of them that report a failure or a refusal.
    pub(crate) failed: u64,
}

impl Answers {
    fn add(&mut self, other: Answers) {
        self.all += other.all;
        self.failed += other.failed;
    }
}

impl Counts {
    /// Each count by name.
    fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("processes", self.processes),
            ("threads", self.threads),
            ("open files", self.open_files),
            ("namespaces", self.namespaces),
            ("mounts", self.mounts),
            ("control groups", self.cgroups),
        ]
    }

    fn is_back_at(&self, before: &Counts) -> bool {
        self.named().iter().zip(before.named()).all(|(now, before)| now.1 <= before.1)
            && self.rss_mb <= before.rss_mb * MEMORY_GROWTH_MAX
    }
}

impl Soak {
    /// Whether everything is back where it was.
    pub(crate) fn is_clean(&self) -> bool {
        self.counts.1.is_back_at(&self.counts.0)
    }

    /// As Markdown.
    pub(crate) fn table(&self) -> String {
        let mut answers = Answers::default();
        self.answers.values().for_each(|of_function| answers.add(*of_function));
        let (Answers { all, failed }, (before, after)) = (answers, &self.counts);
        let mut text = format!(
            "Recorded {} at revision {}: {} s of load, {all} answers, {failed} of them failures or refusals; {} functions \
             deployed and deleted, {} processes killed.\n\n| what | before | after |\n|---|--:|--:|\n",
            self.recorded_at, self.revision, self.seconds, self.redeployed, self.killed
        );
        for ((name, before), (_, after)) in before.named().iter().zip(after.named()) {
            text += &format!("| {name} | {before} | {after} |\n");
        }
        text += &format!("| resident memory | {:.1} MB | {:.1} MB |\n", before.rss_mb, after.rss_mb);
        text
    }
}

/// Soaks the platform for `duration`.
pub(crate) fn run(site: &Site, duration: Duration, scratch: &Path) -> Result<Soak> {
    // As it is now: the sources may change under a load that goes on for an hour.
    let revision = machine::revision(&site.repository);
    let platform = Platform::start_with(site, scratch, &[("UPDRAFT_KEEP_ALIVE_S", "2")])?;
    let functions: Vec<_> =
        (0..).zip(MIX).map(|(number, (name, kind, ..))| Function { name: name.to_owned(), kind, number }).collect();
    platform.deploy(&functions)?;
    let (first, kind, what, _) = MIX[0];
    let target = platform.invoke_with(first, kind, &json!({ "do": what }));
    Client::connect(platform.address())?.send(&target.request)?.expect(200)?;
    let own = Own::of(&platform, &Platform::data(scratch))?;
    let load = Load {
        platform: &platform,
        began: Instant::now(),
        stop: AtomicBool::new(false),
        redeployed: AtomicU64::new(0),
        parent_killed_ms: AtomicU64::new(0),
    };
    load.run(WARMUP, None)?;
    let before = settle(&platform, &own, None)?;
    eprintln!("  before: {before:?}");
    let (answers, killed) = load.run(duration, Some(KILL_INTERVAL))?;
    let after = settle(&platform, &own, Some(&before))?;
    eprintln!("  after:  {after:?}");
    let redeployed = load.redeployed.load(Ordering::Relaxed);
    platform.end()?;
    own.expect_nothing()?;
    Ok(Soak {
        recorded_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        revision,
        seconds: duration.as_secs(),
        answers,
        redeployed,
        killed,
        counts: (before, after),
    })
}

struct Load<'a> {
    platform: &'a Platform<'a>,
    began: Instant,
    stop: AtomicBool,
    redeployed: AtomicU64,
    /// When the sandboxes' parent was last killed, milliseconds after the beginning.
    parent_killed_ms: AtomicU64,
}

impl Load<'_> {
    /// Loads for `duration`; kills processes below the platform as often as asked. Answers by function, and kills.
    fn run(&self, duration: Duration, kills: Option<Duration>) -> Result<(BTreeMap<String, Answers>, u64)> {
        self.stop.store(false, Ordering::Relaxed);
        let ends_at = Instant::now() + duration;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|seed| scope.spawn(move || self.invoke(seed as u64))).collect();
            let deployer = scope.spawn(|| self.redeploy());
            let killed = self.kill_until(ends_at, kills);
            self.stop.store(true, Ordering::Relaxed);
            let mut answers = BTreeMap::<String, Answers>::new();
            for client in clients {
                for (function, of_client) in client.join().expect("a client does not panic")? {
                    answers.entry(function.to_owned()).or_default().add(of_client);
                }
            }
            deployer.join().expect("the deployer does not panic")?;
            Ok((answers, killed?))
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn parent_was_just_killed(&self) -> bool {
        let killed_ms = self.parent_killed_ms.load(Ordering::Relaxed);
        killed_ms > 0 && self.now_ms() - killed_ms < PARENT_KILL_NOTICE_MS
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || interrupt::is_interrupted()
    }

    fn invoke(&self, seed: u64) -> Result<BTreeMap<&'static str, Answers>> {
        let mut answers = BTreeMap::<_, Answers>::new();
        let mut client = Client::connect(self.platform.address())?;
        let mut random = Random(seed);
        while !self.is_over() {
            let (name, kind, what) = choose(random.below(MIX.iter().map(|(.., share)| share).sum()));
            let target = self.platform.invoke_with(name, kind, &json!({ "do": what }));
            let reply = client.try_send(&target.request).with_context(|| format!("invoking {name}"))?;
            // A function's own failure is 200, and so is that of one whose sandbox was killed; a limit is 429. A start
            // that was under way when the parent of them all was killed is the platform's failure.
            let is_due = matches!(reply.status, 200 | 429) || (reply.status == 500 && self.parent_was_just_killed());
            ensure!(is_due, "{name}: {} {}", reply.status, reply.text());
            let is_well = reply.status == 200 && reply.text().contains(GREETING);
            answers.entry(name).or_default().add(Answers { all: 1, failed: u64::from(!is_well) });
        }
        Ok(answers)
    }

    fn redeploy(&self) -> Result<()> {
        let mut number = 1_000;
        while !self.is_over() {
            let function = Function { name: format!("soak-{number}"), kind: Kind::Soak, number };
            self.platform.deploy(std::slice::from_ref(&function))?;
            let mut client = Client::connect(self.platform.address())?;
            let target = self.platform.invoke_with(&function.name, function.kind, &json!({}));
            client.try_send(&target.request)?;
            self.platform.delete(&function.name)?;
            self.redeployed.fetch_add(1, Ordering::Relaxed);
            number += 1;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn kill_until(&self, ends_at: Instant, interval: Option<Duration>) -> Result<u64> {
        let (mut killed, mut random) = (0, Random(99));
        while Instant::now() < ends_at && !interrupt::is_interrupted() {
            thread::sleep(interval.unwrap_or(LOOK_INTERVAL).min(ends_at.saturating_duration_since(Instant::now())));
            if interval.is_none() {
                continue;
            }
            let family = processes::descendants(self.platform.id());
            let wants_parent = (killed + 1) % PARENT_KILL_EVERY == 0;
            let is_parent = |process: &processes::Process| process.parent() == self.platform.id();
            let victims: Vec<_> = family.iter().filter(|process| is_parent(process) == wants_parent).collect();
            if victims.is_empty() {
                continue;
            }
            if wants_parent {
                self.parent_killed_ms.store(self.now_ms(), Ordering::Relaxed);
            }
            let victim = victims[random.below(u32::try_from(victims.len())?) as usize];
            // It may end between the look and the signal.
            if victim.is_running() && kill(Pid::from_raw(i32::try_from(victim.id)?), Signal::SIGKILL).is_ok() {
                killed += 1;
            }
        }
        Ok(killed)
    }
}

fn choose(mut place: u32) -> (&'static str, Kind, &'static str) {
    for (name, kind, what, share) in MIX {
        if place < share {
            return (name, kind, what);
        }
        place -= share;
    }
    unreachable!("a place lies within the sum of the shares")
}

/// Numbers that look random enough for a load (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((z ^ (z >> 31)) % u64::from(limit)).expect("less than a u32 is one")
    }
}

/// What is held once nothing changes any more, and is back at `before`; what is held at the end of the patience if not.
fn settle(platform: &Platform<'_>, own: &Own, before: Option<&Counts>) -> Result<Counts> {
    let deadline = Instant::now() + SETTLING_MAX;
    let mut last = own.count(platform)?;
    let mut unchanged = 0;
    loop {
        interrupt::check()?;
        thread::sleep(LOOK_INTERVAL);
        let now = own.count(platform)?;
        unchanged = if now.named() == last.named() { unchanged + 1 } else { 0 };
        // Right after a kill there is less for a moment than there will be.
        let is_settled = unchanged >= UNCHANGED_MIN && before.is_none_or(|before| now.is_back_at(before));
        if is_settled || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BEFORE: Counts =
        Counts { processes: 4, threads: 9, open_files: 50, namespaces: 12, mounts: 60, cgroups: 8, rss_mb: 40.0 };

    #[test]
    fn one_thing_left_over_is_noticed() {
        assert!(BEFORE.is_back_at(&BEFORE));
        assert!(Counts { rss_mb: 49.0, processes: 3, ..BEFORE }.is_back_at(&BEFORE));
        assert!(!Counts { rss_mb: 51.0, ..BEFORE }.is_back_at(&BEFORE));
        assert!(!Counts { cgroups: 9, ..BEFORE }.is_back_at(&BEFORE));
        assert!(!Counts { open_files: 51, ..BEFORE }.is_back_at(&BEFORE));
    }

    #[test]
    fn every_function_of_the_mix_has_its_turn() {
        let total = MIX.iter().map(|(.., share)| share).sum::<u32>();
        assert_eq!(total, 100);
        let mut random = Random(1);
        let drawn: HashSet<_> = (0..5_000).map(|_| choose(random.below(total)).0).collect();
        assert_eq!(drawn.len(), MIX.len());
    }
}
