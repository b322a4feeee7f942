//! Instances that are copies of one which was initialised before (SnapStart).

use std::time::Duration;

use updraft_executor::{Executor, Snapshot};
use updraft_types::{Version, function::SnapStart};

use crate::host::{Deployed, Host, Starts};

crate::tests! {
    copies_are_made_ahead_of_need_and_serve_their_version_alone
    none_is_made_ahead_when_that_is_switched_off
    an_original_that_cannot_be_copied_any_more_is_replaced
    what_may_pass_is_tried_again
    what_lies_in_the_function_is_not
    generators_are_seeded_anew_and_nothing_of_the_authors_is_called
    versions_that_are_deleted_leave_nothing
}

const CODE: &str = r#"
import os, uuid
MARK = uuid.uuid4().hex
def handler(event, context):
    return " ".join([os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], MARK, context.log_stream_name, *os.listdir("/var/task")])
"#;

/// A published version whose instances are copies.
fn deploy(host: &Host, version: u64, files: &[(&str, &str)]) -> Deployed {
    host.deploy(&host.python(), "app.handler", files).with(|function| {
        function.version = Version::Number(version);
        function.configuration.snap_start = SnapStart::PublishedVersions;
    })
}

async fn snapshot(deployed: &Deployed) -> Snapshot {
    let executor = &deployed.host().executor;
    executor.prepare(&deployed.function, deployed.package.path()).await.unwrap();
    executor.snapshot(deployed.start_of_nobody()).await.unwrap()
}

/// How an instance started and what was made once, from its answer.
async fn started(deployed: &Deployed) -> (String, String) {
    let answer = deployed.start_plainly().await.answer("null").await;
    let mut words = answer.trim_matches('"').split(' ').map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never so: {what}");
}

async fn copies_are_made_ahead_of_need_and_serve_their_version_alone(_: Host) {
    let host = Host::new(Starts::Prewarmed);
    let one = deploy(&host, 1, &[("app.py", CODE), ("one", "")]);
    let other = deploy(&host, 2, &[("app.py", CODE), ("other", "")]);
    let counts = || host.executor.prewarmed();
    assert_eq!(snapshot(&one).await, Snapshot::On);
    assert_eq!((counts().copies_ready, counts().copies_served), (1, 0));
    assert!(host.executor.spare_memory_mb() > 0, "it takes room");
    // The other version has none ready, and takes none of this one's.
    let (how, mark) = started(&other).await;
    assert_eq!((how.as_str(), counts().copies_served), ("snap-start", 0));
    let running = one.start_plainly().await;
    assert_eq!(counts().copies_served, 1);
    let answer = running.answer("null").await;
    assert!(answer.contains("snap-start") && answer.contains(" one") && !answer.contains(&mark), "{answer}");
    // Both are refilled.
    until("each has a copy ready", || counts().copies_ready >= 2).await;
    let again = other.start_plainly().await.answer("null").await;
    assert!(again.contains(&mark) && again.contains(" other"), "{again}");
    assert_eq!((counts().copies_served, counts().ready), (2, 0));
    assert_eq!(host.executor.snapshotted().copies, 3);
}

async fn none_is_made_ahead_when_that_is_switched_off(host: Host) {
    let deployed = deploy(&host, 1, &[("app.py", CODE)]);
    assert_eq!(snapshot(&deployed).await, Snapshot::On);
    assert_eq!(host.executor.prewarmed().copies_ready, 0);
    let (one, other) = (started(&deployed).await, started(&deployed).await);
    assert_eq!((one.0.as_str(), &one), ("snap-start", &other));
    assert_eq!((host.executor.prewarmed().copies_ready, host.executor.spare_memory_mb()), (0, 0));
}

/// Guests that a tracer has stopped.
fn stopped_guests() -> Vec<i32> {
    let ours = std::process::id() as i32;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let is_stopped = stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('t'));
        if is_stopped && crate::prewarmed::ancestors(pid).contains(&ours) {
            found.push(pid);
        }
    }
    found
}

async fn an_original_that_cannot_be_copied_any_more_is_replaced(host: Host) {
    let deployed = deploy(&host, 1, &[("app.py", CODE)]);
    assert_eq!(snapshot(&deployed).await, Snapshot::On);
    let (how, mark) = started(&deployed).await;
    assert_eq!(how, "snap-start");
    let original = || stopped_guests().into_iter().next();
    until("the first copy is gone", || stopped_guests().len() == 1).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(original().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("its guest has ended", || original().is_none()).await;
    assert_eq!(started(&deployed).await.0, "on-demand", "whoever finds out starts like any other");
    let mut seen = started(&deployed).await;
    for _ in 0..200 {
        if seen.0 == "snap-start" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = started(&deployed).await;
    }
    assert_eq!(seen.0, "snap-start");
    assert_ne!(seen.1, mark, "of another original");
}

async fn what_may_pass_is_tried_again(host: Host) {
    let code = format!(
        "import os, time\nif os.path.exists('/var/task/busy'):\n    os.read = lambda *_: time.sleep(600)\n{CODE}"
    );
    let deployed = deploy(&host, 1, &[("app.py", &code), ("busy", "")]);
    assert!(matches!(snapshot(&deployed).await, Snapshot::Later(_)));
    assert_eq!(started(&deployed).await.0, "on-demand", "not at once again");
    std::fs::remove_file(deployed.package.path().join("busy")).unwrap();
    for _ in 0..200 {
        if started(&deployed).await.0 == "snap-start" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not tried again");
}

async fn what_lies_in_the_function_is_not(host: Host) {
    let deployed = deploy(&host, 1, &[("app.py", &format!("import os\nkept = os.pipe()\n{CODE}"))]);
    let Snapshot::Off(why) = snapshot(&deployed).await else { panic!("a pipe would join its copies") };
    assert!(why.contains("pipe:"), "{why}");
    assert_eq!(started(&deployed).await.0, "on-demand");
    assert_eq!(host.executor.snapshotted().originals, 0);
}

async fn generators_are_seeded_anew_and_nothing_of_the_authors_is_called(host: Host) {
    let own = "import sys\ndef seed(*_): CALLED.append('seed')\ndef random(): return len(CALLED)\nCALLED = []\n";
    let code = "import random\nrandom.seed is not None\ndef handler(event, context): return random.random()\n";
    let deployed = deploy(&host, 1, &[("app.py", code), ("random.py", own)]);
    assert_eq!(snapshot(&deployed).await, Snapshot::On);
    assert_eq!(deployed.start_plainly().await.answer("null").await, "0", "its own module is not called");
    let code = "import random\nrandom.seed(7)\ndef handler(event, context): return random.random()\n";
    let deployed = deploy(&host, 2, &[("app.py", code)]);
    assert_eq!(snapshot(&deployed).await, Snapshot::On);
    let one = deployed.start_plainly().await.answer("null").await;
    assert_ne!(one, deployed.start_plainly().await.answer("null").await);
}

async fn versions_that_are_deleted_leave_nothing(_: Host) {
    let host = Host::new(Starts::Prewarmed);
    let deployed = deploy(&host, 1, &[("app.py", CODE)]);
    assert_eq!(snapshot(&deployed).await, Snapshot::On);
    assert!(!stopped_guests().is_empty());
    host.executor.forget(&deployed.function.version_id());
    until("nothing is stopped any more", || stopped_guests().is_empty()).await;
    until("nothing takes room", || host.executor.spare_memory_mb() == 0).await;
    assert_eq!(host.executor.snapshotted().originals, 0);
}
