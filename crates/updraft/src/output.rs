//! What a person or a script sees: results on standard output, progress and warnings on standard error.
//!
//! Colour and live progress appear only on a terminal, and never when `NO_COLOR` is set. `--json` makes
//! standard output one JSON document (or one a line for logs) and nothing else.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::{OwoColorize, Stream, Style};

/// Where everything is printed. Clones share one terminal.
#[derive(Clone)]
pub struct Output {
    json: bool,
    interactive: bool,
    progress: MultiProgress,
}

/// Writes a line to standard error. What goes there may lie on a full disk, which is no reason to end.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl Output {
    /// An output for this process.
    pub fn new(json: bool) -> Self {
        let interactive = io::stderr().is_terminal();
        let target = if interactive { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { json, interactive, progress: MultiProgress::with_draw_target(target) }
    }

    /// Whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one line of a result.
    pub fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_ref().as_bytes())?;
            stdout.write_all(b"\n")?;
            stdout.flush()
        })
    }

    /// Prints one JSON document; indented for a person.
    pub fn document(&self, value: &serde_json::Value) -> io::Result<()> {
        let text = if stdout_is_terminal() { format!("{value:#}") } else { value.to_string() };
        self.line(text)
    }

    /// Prints rows under a header, in columns.
    pub fn table(&self, header: &[&str], rows: Vec<Vec<Cell>>) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !coloured(Stream::Stdout) {
            table.force_no_tty();
        }
        if !header.is_empty() {
            table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Dim)));
        }
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"))
    }

    /// Says on standard error what was done. Quiet with `--json`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            self.progress.suspend(|| say(text.as_ref()));
        }
    }

    /// Says on standard error what the user should know. Never quiet.
    pub fn warn(&self, text: impl AsRef<str>) {
        let label = paint("warning:", Stream::Stderr, Style::new().yellow().bold());
        self.progress.suspend(|| say(format_args!("{label} {}", text.as_ref())));
    }

    /// Begins a step of unknown length: a spinner on a terminal, a line elsewhere.
    pub fn step(&self, doing: impl Into<String>) -> Step {
        let doing = doing.into();
        if !self.interactive {
            self.note(format!("{doing} …"));
        }
        self.step_quietly(doing)
    }

    /// The same without the line elsewhere, for what is usually over at once.
    pub fn step_quietly(&self, doing: impl Into<String>) -> Step {
        let bar = self.progress.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner:.cyan} {msg} {elapsed:.dim} {prefix:.dim}"));
        bar.set_message(doing.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { output: self.clone(), bar }
    }

    /// Begins an upload of `bytes`: a bar on a terminal when there is something to see, nothing elsewhere.
    pub fn upload(&self, what: impl Into<String>, bytes: u64) -> Step {
        let bar = if bytes < 1_000_000 { ProgressBar::hidden() } else { self.progress.add(ProgressBar::new(bytes)) };
        bar.set_style(style("  {msg} {bar:32.cyan/dim} {bytes}/{total_bytes}").progress_chars("━━─"));
        bar.set_message(what.into());
        Step { output: self.clone(), bar }
    }
}

/// Something going on. Dropping it clears its line.
pub struct Step {
    output: Output,
    bar: ProgressBar,
}

impl Step {
    /// Shows what it is busy with now.
    pub fn detail(&self, text: &str) {
        self.bar.set_prefix(text.chars().take(60).collect::<String>());
    }

    /// How far it is, bytes.
    pub fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Ends it, leaving a line that says what was done.
    pub fn done(self, text: impl AsRef<str>) {
        self.bar.finish_and_clear();
        let mark = paint("✓", Stream::Stderr, Style::new().green());
        self.output.note(format!("{mark} {}", text.as_ref()));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates here are well-formed")
}

/// Whether results go to a person.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// `text` in `style` where the stream shows colour.
pub fn paint(text: impl std::fmt::Display, stream: Stream, style: Style) -> String {
    text.if_supports_color(stream, |text| text.style(style).to_string()).to_string()
}

fn coloured(stream: Stream) -> bool {
    paint("x", stream, Style::new().bold()) != "x"
}

/// A cell in the colour of a function's state.
pub fn state_cell(state: &str) -> Cell {
    let colour = match state {
        "Active" | "Successful" => Color::Green,
        "Failed" => Color::Red,
        _ => Color::Yellow,
    };
    Cell::new(state).fg(colour)
}

/// A size for a person: `812 B`, `14 KB`, `3.4 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", (bytes + 500) / 1_000),
        _ => {
            let tenths = (bytes + 50_000) / 100_000;
            format!("{}.{} MB", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [0, 999, 1_499, 999_400, 3_449_999, 52_428_800].map(size),
            ["0 B", "999 B", "1 KB", "999 KB", "3.4 MB", "52.4 MB"]
        );
    }
}
