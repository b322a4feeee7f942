//! Runs one named step of a longer errand: announces it, times it, and on failure says what to do next.

use std::{process::Command, time::Instant};

use anyhow::{Context, Result, bail};

/// Whether a step's time is printed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Print `ok` and the time.
    Timed,
    /// Print nothing: the step's own summary is to be the last line of the run.
    Silent,
}

/// Announces `name`, does `work`, and prints how long it took. A failure carries `advice`.
pub(crate) fn step<T>(name: &str, advice: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    step_ending(name, advice, Ending::Timed, work)
}

/// Like [`step`], with a say in how it ends.
pub(crate) fn step_ending<T>(name: &str, advice: &str, ending: Ending, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n── {name}");
    let start = Instant::now();
    let result = work().with_context(|| format!("{name} failed after {}. {advice}", seconds(start)))?;
    if ending == Ending::Timed {
        println!("   ok, {}", seconds(start));
    }
    Ok(result)
}

fn seconds(start: Instant) -> String {
    format!("{:.1} s", start.elapsed().as_secs_f64())
}

/// Runs a command with this terminal as its own, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and returns what it printed to standard output, without the last newline.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("could not start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no text"))?.trim_end().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_step_and_says_what_to_do() {
        let error = step("formatting", "Run `cargo fmt`.", || run(&mut Command::new("false"))).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("formatting failed after "), "{text}");
        assert!(text.contains("Run `cargo fmt`.: `false` ended with"), "{text}");
    }

    #[test]
    fn output_is_what_was_printed() {
        assert_eq!(output(Command::new("echo").arg("two words")).unwrap(), "two words");
        assert!(output(&mut Command::new("updraft-no-such-program")).is_err());
    }
}
