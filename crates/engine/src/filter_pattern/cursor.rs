//! Reading a pattern from left to right: characters, quoted texts, regular expressions.

use regex_lite::{Regex, RegexBuilder};

use super::{Invalid, REGEXES_MAX};

/// Most memory a compiled regular expression takes, bytes. Matching time is in proportion to it.
const REGEX_BYTES_MAX: usize = 16 << 10;

/// A place in a pattern.
pub(super) struct Cursor<'a> {
    rest: &'a str,
    regexes: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, regexes: 0 }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Takes `text` if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `text`, which must come next, spaces aside.
    pub(super) fn expect(&mut self, text: &str) -> Result<(), Invalid> {
        self.skip_spaces();
        if self.take(text) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes the longest run of characters that `is_in`; may be empty.
    pub(super) fn take_while(&mut self, is_in: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|char| !is_in(char)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Takes a word, in capitals or not, if it comes next and ends there.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let Some((start, rest)) = self.rest.split_at_checked(word.len()) else { return false };
        if !start.eq_ignore_ascii_case(word) || rest.starts_with(|char: char| char.is_alphanumeric()) {
            return false;
        }
        self.rest = rest;
        true
    }

    /// A text in double quotes, of which the first comes next; `\` takes the following character as it is.
    pub(super) fn quoted(&mut self) -> Result<String, Invalid> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.next().ok_or_else(|| self.unexpected())?),
                Some(char) => text.push(char),
                None => return Err(Invalid::new("a quotation mark is not closed")),
            }
        }
    }

    /// A regular expression between percent signs, of which the first comes next.
    pub(super) fn regex(&mut self) -> Result<Regex, Invalid> {
        self.expect("%")?;
        self.regexes += 1;
        if self.regexes > REGEXES_MAX {
            return Err(Invalid::new(format!("it has more than {REGEXES_MAX} regular expressions")));
        }
        let mut text = String::new();
        loop {
            match self.next() {
                Some('%') => break,
                Some('\\') => match self.next() {
                    Some('%') => text.push('%'),
                    Some(char) => text.extend(['\\', char]),
                    None => return Err(self.unexpected()),
                },
                Some(char) => text.push(char),
                None => return Err(Invalid::new("a percent sign is not closed")),
            }
        }
        if text.is_empty() {
            return Err(Invalid::new("a regular expression is empty"));
        }
        let regex = RegexBuilder::new(&text).size_limit(REGEX_BYTES_MAX).nest_limit(16).build();
        regex.map_err(|error| Invalid::new(format!("the regular expression %{text}%: {error}")))
    }

    /// What is wrong with what comes next.
    pub(super) fn unexpected(&self) -> Invalid {
        match self.peek() {
            Some(char) => Invalid::new(format!("unexpected character {char:?}")),
            None => Invalid::new("it ends too early"),
        }
    }
}
