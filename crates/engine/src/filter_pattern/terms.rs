//! Terms: all that are plain must be in a line, none that begins with `-` may. With `?` before each, one is enough;
//! beside terms of the other kinds those with `?` are passed over, as AWS has it.

use regex_lite::Regex;

use super::{Invalid, cursor::Cursor};

#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    all: Vec<Term>,
    any: Vec<Term>,
    none: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Terms {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Invalid> {
        let mut terms = Self::default();
        loop {
            cursor.skip_spaces();
            if cursor.peek().is_none() {
                return Ok(terms);
            }
            let kind = if cursor.take("-") {
                &mut terms.none
            } else if cursor.take("?") {
                &mut terms.any
            } else {
                &mut terms.all
            };
            kind.push(Term::parse(cursor)?);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty() && self.none.is_empty()
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let is_any_heeded = self.all.is_empty() && self.none.is_empty() && !self.any.is_empty();
        self.all.iter().all(|term| term.is_in(line))
            && !self.none.iter().any(|term| term.is_in(line))
            && (!is_any_heeded || self.any.iter().any(|term| term.is_in(line)))
    }
}

impl Term {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Invalid> {
        match cursor.peek() {
            Some('"') => cursor.quoted().map(Term::Text),
            Some('%') => cursor.regex().map(Term::Regex),
            _ => {
                let text = cursor.take_while(|char| !char.is_whitespace());
                let is_plain = |char: char| char.is_alphanumeric() || "_.-".contains(char);
                if text.is_empty() {
                    return Err(cursor.unexpected());
                }
                if !text.chars().all(is_plain) {
                    return Err(Invalid::new(format!("Invalid character(s) in term '{text}'")));
                }
                Ok(Term::Text(text.to_owned()))
            }
        }
    }

    fn is_in(&self, line: &str) -> bool {
        match self {
            Term::Text(text) => line.contains(&text[..]),
            Term::Regex(regex) => regex.is_match(line),
        }
    }
}
