//! Whole traces through the policies: the same figures every time, and the order in which policies stand.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::fmt::Write;

use updraft_engine::keep_alive::Policy;
use updraft_sim::{
    azure::Dataset,
    figures::Figures,
    fleet::Fleet,
    report::{Results, Sweep, candidates},
    synthetic::{Shape, Trace},
};

const TRACE: Trace = Trace { seed: 5, functions: 200, days: 4, shape: Shape::Published, instances_max: 4 };
const FLEET: Fleet = Fleet { nodes: 8, memory_mb_max: None, days_unmeasured: 2, threads: 2 };

fn replayed(fleet: Fleet, trace: &Trace, sweep: Sweep) -> Vec<Figures> {
    let policies: Vec<Policy> = candidates(sweep).iter().map(|candidate| candidate.policy).collect();
    fleet.replay(trace, &policies)
}

#[test]
fn one_seed_gives_the_same_figures_on_any_number_of_threads() {
    let once = replayed(FLEET, &TRACE, Sweep::Defaults);
    assert_eq!(once, replayed(FLEET, &TRACE, Sweep::Defaults));
    assert_eq!(once, replayed(Fleet { threads: 1, ..FLEET }, &TRACE, Sweep::Defaults));
    assert_ne!(once, replayed(FLEET, &Trace { seed: 6, ..TRACE }, Sweep::Defaults));
    let candidates = candidates(Sweep::Defaults);
    let text = |figures: &[Figures]| Results { candidates: &candidates, figures }.curves();
    assert_eq!(text(&once), text(&replayed(FLEET, &TRACE, Sweep::Defaults)));
}

#[test]
fn where_memory_is_plenty_nodes_have_no_bearing_on_the_figures() {
    let few = replayed(Fleet { nodes: 2, ..FLEET }, &TRACE, Sweep::Defaults);
    for (one, other) in few.iter().zip(replayed(FLEET, &TRACE, Sweep::Defaults)) {
        assert_eq!((one.invocations, one.cold, one.ahead), (other.invocations, other.cold, other.ahead));
        assert!((one.idle_mb_s - other.idle_mb_s).abs() < one.idle_mb_s * 1e-9);
    }
}

#[test]
fn short_memory_evicts_and_costs_cold_starts() {
    let short = replayed(Fleet { memory_mb_max: Some(2_000), ..FLEET }, &TRACE, Sweep::Defaults);
    for (short, plenty) in short.iter().zip(replayed(FLEET, &TRACE, Sweep::Defaults)) {
        assert!(short.evicted > 0 && short.cold > plenty.cold, "{} {}", short.cold, plenty.cold);
    }
}

#[test]
fn at_equal_waste_learning_beats_a_fixed_window() {
    let trace = Trace { functions: 200, days: 8, instances_max: 1, ..TRACE };
    let candidates = candidates(Sweep::Narrow);
    let figures = replayed(Fleet { days_unmeasured: 4, ..FLEET }, &trace, Sweep::Narrow);
    let results = Results { candidates: &candidates, figures: &figures };
    let (histogram, adaptive) = (results.ratio("histogram").unwrap(), results.ratio("adaptive").unwrap());
    assert!(adaptive < histogram && histogram < 1.0, "{adaptive} {histogram}");
}

#[test]
fn a_dataset_is_replayed_as_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = "HashOwner,HashApp,HashFunction,Trigger".to_owned();
    (1..=1_440).for_each(|minute| write!(header, ",{minute}").unwrap());
    let row = |name: &str, is_called: fn(u32) -> bool| {
        (0..1_440).fold(format!("owner,app,{name},timer"), |mut line, minute| {
            write!(line, ",{}", u32::from(is_called(minute))).unwrap();
            line
        })
    };
    let day = [header, row("hourly", |minute| minute % 60 == 7), row("busy", |_| true)].join("\n");
    for number in 1..=3 {
        std::fs::write(folder.path().join(format!("invocations_per_function_md.anon.d{number:02}.csv")), &day).unwrap();
    }
    let candidates = candidates(Sweep::Defaults);
    let policies: Vec<Policy> = candidates.iter().map(|candidate| candidate.policy).collect();
    let fleet = Fleet { days_unmeasured: 1, ..FLEET };
    let figures = fleet.replay_dataset(&mut Dataset::open(folder.path()).unwrap(), &policies).unwrap();
    let cold: Vec<u64> = figures.iter().map(|figures| figures.cold).collect();
    assert!(figures.iter().all(|figures| (figures.invocations, figures.functions()) == (2 * (24 + 1_440), 2)));
    assert_eq!(cold, [48, 0, 0], "a fixed window of ten minutes is cold at each hourly call");
    assert!(figures[2].idle_mb_s < figures[0].idle_mb_s);
}
