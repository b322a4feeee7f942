//! Decides which log lines a CloudWatch Logs filter pattern selects.
//!
//! Three kinds, told apart by their first character: terms (`ERROR -"not this" %regex%`), JSON (`{ $.level = "ERROR" }`)
//! and columns (`[ip, user, status = 4*]`). A pattern is parsed once and then asked line by line. Parsing is bounded by
//! [`CHARACTERS_MAX`], [`NESTING_MAX`] and [`REGEXES_MAX`]; matching takes time in proportion to the line, whatever
//! either of them holds, for regular expressions run without backtracking.
//!
//! Source: «Filter pattern syntax for metric filters, subscription filters, filter log events, and Live Tail» in the
//! CloudWatch Logs user guide. What it leaves open is decided here: a term matches anywhere in a line, also within a
//! word; a comparison with something that is not there, or is an object or an array, does not hold, not even `!=`.

mod columns;
mod cursor;
mod json;
mod logic;
mod terms;
mod value;

#[cfg(test)]
mod tests;

use cursor::Cursor;

/// Longest pattern, characters (as AWS has it).
pub const CHARACTERS_MAX: usize = 1_024;
/// Parentheses within parentheses, at most.
pub const NESTING_MAX: usize = 16;
/// Regular expressions in one pattern, at most (as AWS has it).
pub const REGEXES_MAX: usize = 2;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct FilterPattern {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Terms(terms::Terms),
    Json(json::Json),
    Columns(columns::Columns),
}

/// Why something is not a pattern; the text is for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The one that selects every line.
impl Default for FilterPattern {
    fn default() -> Self {
        Self { kind: Kind::Terms(terms::Terms::default()) }
    }
}

impl FilterPattern {
    /// Reads a pattern. The empty one selects every line.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.chars().nth(CHARACTERS_MAX).is_some() {
            return Err(Invalid::new(format!("it has more than {CHARACTERS_MAX} characters")));
        }
        let mut cursor = Cursor::new(text.trim());
        let kind = match cursor.peek() {
            Some('{') => Kind::Json(json::Json::parse(&mut cursor)?),
            Some('[') => Kind::Columns(columns::Columns::parse(&mut cursor)?),
            _ => Kind::Terms(terms::Terms::parse(&mut cursor)?),
        };
        cursor.skip_spaces();
        match cursor.peek() {
            None => Ok(Self { kind }),
            Some(_) => Err(cursor.unexpected()),
        }
    }

    /// Whether it selects every line there is.
    pub fn is_empty(&self) -> bool {
        matches!(&self.kind, Kind::Terms(terms) if terms.is_empty())
    }

    /// Whether it selects this line.
    pub fn matches(&self, line: &str) -> bool {
        match &self.kind {
            Kind::Terms(terms) => terms.matches(line),
            Kind::Json(json) => json.matches(line),
            Kind::Columns(columns) => columns.matches(line),
        }
    }
}
