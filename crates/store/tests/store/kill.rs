//! kill -9 during a storm of changes: every acknowledged change is there afterwards, and nothing half-made.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use updraft_store::Store;

use crate::fixture::{entry, function, id, open};

/// Names the data directory to a process that is to be killed.
const DIRECTORY: &str = "STORE_TEST_KILLED_DIRECTORY";
/// Tells it which numbers to begin with: those of earlier processes must not come again.
const FIRST: &str = "STORE_TEST_KILLED_FIRST";
const TASKS: u64 = 8;
const ROUNDS: u64 = 6;

/// What the killed processes told.
#[derive(Default)]
struct Told {
    functions: BTreeMap<String, Known>,
    lines: BTreeSet<String>,
}

/// What one name may be: absent, or at a revision.
#[derive(Debug, Default, Clone)]
struct Known {
    acknowledged: Option<u64>,
    /// The change that had been begun and was not acknowledged.
    begun: Option<Option<u64>>,
}

#[test]
fn every_acknowledged_change_survives_a_kill_and_nothing_is_half_made() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        storm(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 0..ROUNDS {
        run_and_kill(directory.path(), &mut told, round);
        check(directory.path(), &mut told);
    }
    let present = told.functions.values().filter(|known| known.acknowledged.is_some()).count();
    assert!(present > 0 && !told.lines.is_empty(), "the storms left nothing to look at");
}

/// A process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs this test again as a process of its own, and kills it after it has acknowledged some number of changes.
fn run_and_kill(directory: &Path, told: &mut Told, round: u64) {
    let test = "kill::every_acknowledged_change_survives_a_kill_and_nothing_is_half_made";
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).stdout(Stdio::piped());
    command.env(DIRECTORY, directory).env(FIRST, (round * 1_000_000).to_string());
    let mut running = Running(command.spawn().unwrap());
    let (mut seen, enough) = (0, 40 + 97 * round);
    for line in BufReader::new(running.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        // A line cut off by the kill lacks its last word; what it would have said was never heard by anyone.
        match words[..] {
            ["logged", text, "."] => {
                told.lines.insert(text.to_owned());
            }
            ["begun", name, state, "."] => {
                told.functions.entry(name.to_owned()).or_default().begun = Some(parse(state));
            }
            ["done", name, state, "."] => {
                told.functions.insert(name.to_owned(), Known { acknowledged: parse(state), begun: None });
                seen += 1;
            }
            _ => {}
        }
        if seen == enough {
            running.0.kill().unwrap();
        }
    }
    assert!(seen >= enough, "the process ended by itself after {seen} changes");
}

/// `absent`, or `r` and a number.
fn parse(state: &str) -> Option<u64> {
    state.strip_prefix('r').map(|number| number.parse().unwrap())
}

/// Opens what was left behind and compares it with what was told; then what is there is what counts.
fn check(directory: &Path, told: &mut Told) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(directory).await.unwrap();
        let functions = store.functions().all().await.unwrap();
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for stored in &functions {
            let number = stored.code.size_bytes;
            assert_eq!(stored, &function(stored.id.name.as_str(), number), "a function is half-made");
            let blob = store.blobs().get(&blob_key(number)).await.unwrap();
            assert_eq!(blob, Some(blob_bytes(number)), "the code of an acknowledged function is not there");
            found.insert(stored.id.name.as_str(), number);
        }
        for (name, known) in &mut told.functions {
            let state = found.remove(name.as_str());
            let possible = state == known.acknowledged || Some(state) == known.begun;
            assert!(possible, "{name} is {state:?}, and what was told is {known:?}");
            *known = Known { acknowledged: state, begun: None };
        }
        assert!(found.is_empty(), "nobody made {found:?}");
        for key in store.blobs().list().await.unwrap() {
            let number = key.trim_start_matches("code-").parse().unwrap();
            assert_eq!(store.blobs().get(&key).await.unwrap(), Some(blob_bytes(number)), "a blob is half-made");
        }
        let lines = store.logs().read(&id("storm"), Default::default(), usize::MAX).await.unwrap();
        let texts: BTreeSet<_> = lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect();
        assert_eq!(texts.len(), lines.len(), "a log line is there twice");
        assert!(told.lines.is_subset(&texts), "an acknowledged log line is not there");
        store.close().await;
    });
}

/// Changes functions until it is killed, telling of each change before and after.
fn storm(directory: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = open(directory).await.unwrap();
        let first: u64 = env::var(FIRST).unwrap().parse().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let store = store.clone();
            tasks.spawn(async move {
                for number in (first + task..).step_by(TASKS as usize) {
                    // Each task has names of its own, so that what is told of a name is told in order.
                    let name = format!("f{task}-{}", number / TASKS % 3);
                    change(&store, &name, number).await;
                }
            });
        }
        tasks.join_all().await;
    });
    unreachable!("the tasks count to the end of numbers")
}

async fn change(store: &Store, name: &str, number: u64) {
    let new = function(name, number);
    let now = store.functions().all().await.unwrap().into_iter().find(|function| function.id == new.id);
    match now {
        Some(now) if number.is_multiple_of(5) => {
            println!("begun {name} absent .");
            store.functions().delete(now.id).await.unwrap();
            println!("done {name} absent .");
        }
        now => {
            store.blobs().put(&blob_key(number), blob_bytes(number)).await.unwrap();
            println!("begun {name} r{number} .");
            match now {
                Some(now) => store.functions().replace(new, now.revision).await.unwrap(),
                None => store.functions().create(new).await.unwrap(),
            }
            println!("done {name} r{number} .");
        }
    }
    let line = format!("{name}:{number}");
    store.logs().append(vec![entry("storm", name, &[(number, &line)])]).await.unwrap();
    println!("logged {line} .");
}

fn blob_key(number: u64) -> String {
    format!("code-{number}")
}

fn blob_bytes(number: u64) -> Bytes {
    number.to_le_bytes().repeat(500 + (number % 7) as usize * 1_000).into()
}
