//! Sandboxes for real, as root and as an ordinary user. This binary has its own `main`, because the helper is
//! the same binary started again; it speaks as much of the standard harness's command line as cargo and
//! nextest use.
#![allow(clippy::unwrap_used, reason = "a test without its own harness is not recognised as one")]

/// Names the tests of a theme, for the harness and for docs/threat-model.md: `theme::test`.
macro_rules! attempts {
    ($theme:ident: $($name:ident,)*) => {
        &[$((concat!(stringify!($theme), "::", stringify!($name)), $name)),*]
    };
}

mod companions;
mod copies;
mod devices;
mod egress;
mod ending;
mod exhaustion;
mod files;
mod guests;
mod images;
mod kernel;
mod leaks;
mod lifetime;
mod mounts;
mod network;
mod processes;
mod support;
mod threats;
mod unassigned;
mod view;

use std::{
    panic::catch_unwind,
    process::{Command, ExitCode},
};

use support::{Test, is_root};

/// Every attempt to get out, by theme.
const ATTEMPTS: [&[(&str, Test)]; 11] = [
    processes::TESTS,
    files::TESTS,
    images::TESTS,
    mounts::TESTS,
    devices::TESTS,
    network::TESTS,
    kernel::TESTS,
    exhaustion::TESTS,
    leaks::TESTS,
    lifetime::TESTS,
    copies::TESTS,
];

fn main() -> ExitCode {
    updraft_sandbox::run_helper_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == ending::PLATFORM
    {
        ending::be_a_platform(rest);
    }
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let own: [&[(&str, Test)]; 8] = [
        view::TESTS,
        guests::TESTS,
        companions::TESTS,
        egress::TESTS,
        ending::TESTS,
        unassigned::TESTS,
        copies::OWN,
        threats::TESTS,
    ];
    let tests: Vec<(String, Test)> = own
        .into_iter()
        .chain(ATTEMPTS)
        .flatten()
        .copied()
        .flat_map(|(name, test)| ["root", "user"].map(|who| (format!("{who}::{name}"), test)))
        .collect();
    if flag("--list") {
        if !flag("--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| {
        names.is_empty() || names.iter().any(|part| if flag("--exact") { name == *part } else { name.contains(*part) })
    };
    let mut failed = 0;
    for (name, test) in tests.into_iter().filter(|(name, _)| chosen(name)) {
        let passed = run(&name, test);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += i32::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(name: &str, test: Test) -> bool {
    match (name.starts_with("root::"), is_root()) {
        (true, true) | (false, false) => catch_unwind(test).is_ok(),
        (true, false) => {
            eprintln!("SKIPPED {name}: this process is not root");
            true
        }
        (false, true) => run_as_user(name),
    }
}

/// Runs one test in a process of user 65534.
fn run_as_user(name: &str) -> bool {
    let program = std::env::current_exe().unwrap();
    let as_nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let mut command = Command::new("setpriv");
    command.args(as_nobody).arg(program).args([name, "--exact"]).current_dir("/");
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("SKIPPED {name}: setpriv does not run: {error}");
            true
        }
    }
}
