//! `updraft doctor`: what this host offers, what it lacks, and what that means for functions.

use std::path::Path;

use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use updraft_sandbox::{Mechanism, Need, OpenFiles, State};

use crate::{deploy::tool, output::Output};

/// The tools a deploy may need, and for what.
const TOOLS: &[(&str, &str)] = &[
    ("pip", "fetches what requirements.txt declares"),
    ("npm", "fetches what package.json declares"),
    ("cargo", "compiles folders with a Cargo.toml"),
];

/// Open files with which a thousand instances are no matter.
const OPEN_FILES_ENOUGH: u64 = 16_384;

/// Prints every mechanism with its state. Finding something missing is a result, not a failure.
pub fn run(output: &Output) -> anyhow::Result<()> {
    let mechanisms = updraft_sandbox::probe();
    if output.is_json() {
        let isolation: Vec<Value> = mechanisms.iter().map(to_json).collect();
        let tools: Vec<Value> = TOOLS.iter().map(|(name, _)| json!({ "name": name, "found": find(name) })).collect();
        let open_files = OpenFiles::look().ok().map(|found| json!({ "soft": found.soft, "hard": found.hard }));
        return Ok(output.document(&json!({ "isolation": isolation, "open_files": open_files, "tools": tools }))?);
    }
    output.table(&["ISOLATION", "", ""], mechanisms.iter().map(row).collect())?;
    output.line("")?;
    output.table(&["LIMITS", "", ""], vec![open_files_row(OpenFiles::look())])?;
    output.line("")?;
    let tools = TOOLS.iter().map(|(name, purpose)| match find(name) {
        Some(version) => vec![Cell::new(name), Cell::new("✓").fg(Color::Green), Cell::new(version)],
        None => vec![Cell::new(name), Cell::new("–").fg(Color::Yellow), Cell::new(format!("not found; it {purpose}"))],
    });
    output.table(&["BUILD TOOLS", "", ""], tools.collect())?;
    output.line("")?;
    Ok(output.line(verdict(&mechanisms))?)
}

/// What the mechanisms that do not work mean together.
fn verdict(mechanisms: &[Mechanism]) -> String {
    let missing = |need| mechanisms.iter().filter(|m| m.need == need && weakness(m).is_some()).count();
    match (missing(Need::Always), missing(Need::Limit), missing(Need::Extra)) {
        (0, 0, 0) => "everything is here: functions run fully isolated".to_owned(),
        (0, 0, extra) => format!("all that `updraft serve` requires is here; {extra} more would hold it a second time"),
        (0, limits, _) => {
            format!(
                "{limits} missing: `updraft serve` refuses to start functions, `updraft dev` does without and warns"
            )
        }
        (always, ..) => format!("{always} missing that no function can run without, but those of `wasm`"),
    }
}

/// What running without a mechanism means; `None` where it works.
pub fn weakness(mechanism: &Mechanism) -> Option<String> {
    let why = match &mechanism.state {
        State::Present(_) => return None,
        State::Missing(why) | State::Unusable(why) => why,
    };
    Some(format!("{}: {why}; {}", mechanism.name, mechanism.consequence))
}

fn row(mechanism: &Mechanism) -> Vec<Cell> {
    let (missing, colour) = if mechanism.need == Need::Extra { ("–", Color::Yellow) } else { ("✗", Color::Red) };
    let (mark, colour, text) = match &mechanism.state {
        State::Present(detail) => ("✓", Color::Green, detail.clone()),
        State::Missing(why) => (missing, colour, format!("missing: {why}; {}", mechanism.consequence)),
        State::Unusable(why) => (missing, colour, format!("unusable: {why}; {}", mechanism.consequence)),
    };
    vec![Cell::new(mechanism.name), Cell::new(mark).fg(colour), Cell::new(text)]
}

fn open_files_row(found: std::io::Result<OpenFiles>) -> Vec<Cell> {
    let (mark, colour, text) = match found {
        Ok(OpenFiles { soft, hard }) if hard >= OPEN_FILES_ENOUGH => {
            let raised = if soft < hard { format!(" (at start raised from {soft})") } else { String::new() };
            ("✓", Color::Green, format!("{hard}{raised}"))
        }
        Ok(OpenFiles { hard, .. }) => (
            "–",
            Color::Yellow,
            format!("{hard} at most (`ulimit -Hn`), which is enough for about {} instances at once", hard / 10),
        ),
        Err(error) => ("–", Color::Yellow, format!("unknown: {error}")),
    };
    vec![Cell::new("open files"), Cell::new(mark).fg(colour), Cell::new(text)]
}

fn to_json(mechanism: &Mechanism) -> Value {
    let (state, detail) = match &mechanism.state {
        State::Present(detail) => ("present", detail),
        State::Missing(why) => ("missing", why),
        State::Unusable(why) => ("unusable", why),
    };
    let need = match mechanism.need {
        Need::Always => "always",
        Need::Limit => "required",
        Need::Extra => "extra",
    };
    json!({
        "name": mechanism.name, "state": state, "detail": detail, "need": need, "consequence": mechanism.consequence,
    })
}

fn find(name: &str) -> Option<String> {
    if name == "pip" {
        let python = tool::find_python(None).ok()?;
        return version(&python.program, &["-m", "pip", "--version"]);
    }
    version(&tool::find_program(name)?, &["--version"])
}

fn version(program: &Path, arguments: &[&str]) -> Option<String> {
    tool::first_line(program, arguments).map(|line| line.split(" from ").next().unwrap_or_default().to_owned())
}
