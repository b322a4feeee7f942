//! Wildcards: `*` for any run of characters, `?` for one, in three readings.
//!
//! - [`Reading::Text`], for actions and `StringLike`: a wildcard stands for anything.
//! - [`Reading::Resource`], for `Resource`: wildcards stay within the segment of the ARN they are written in, except that
//!   a `*` that ends its segment also runs on across colons (source: IAM User Guide, «IAM JSON policy elements:
//!   Resource»: "If the * wildcard is the last character of a resource ARN segment, it can expand to match beyond the
//!   colon boundaries"). Segments are those before the fifth colon; what follows names the resource, and there a colon is
//!   a character as any other.
//! - [`Reading::Arn`], for `ArnLike` and `ArnEquals`: each of the six parts is compared by itself (source: «Condition
//!   operators», ARN: "Each of the six colon-delimited components of the ARN is checked separately").
//!
//! No pattern takes more than its length times that of the text: there is no backtracking into more than one `*`, and
//! where two kinds of `*` would need it, all positions are followed at once.

use super::{
    Context,
    variable::{Piece, Template, Unresolved},
};

/// How far a wildcard reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Over everything.
    Text,
    /// Over everything of its ARN segment, a last `*` beyond.
    Resource,
    /// Over its part of an ARN only.
    Arn,
}

/// Colons before the part of an ARN that names the resource.
const ARN_COLONS: usize = 5;

/// A pattern as written, and compiled where it has no variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    template: Template,
    reading: Reading,
    compiled: Option<Compiled>,
}

/// A pattern without variables, in the form that is quickest to match.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Compiled {
    /// No wildcard.
    Exactly(Box<str>),
    /// A beginning and then anything; `*` alone is the empty beginning.
    Beginning(Box<str>),
    /// Anything else, with what it begins with for a quick no.
    Tokens { beginning: Box<str>, tokens: Box<[Token]> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// One character.
    One(Reach),
    /// Any run of characters.
    Many(Reach),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Colons included.
    Anything,
    /// Up to the next colon.
    Segment,
}

impl Pattern {
    /// Compiles `template`.
    pub(super) fn new(template: Template, reading: Reading) -> Self {
        let compiled = template.constant().map(|text| Compiled::new(text, reading));
        Self { template, reading, compiled }
    }

    /// Whether `text` matches, with the pattern's variables from `context`.
    pub(super) fn matches(&self, text: &str, context: &Context) -> Result<bool, Unresolved> {
        if let Some(compiled) = &self.compiled {
            return Ok(compiled.matches(text));
        }
        // Up to the first wildcard the text is compared as it is, which decides most without anything built.
        let mut pieces = self.template.pieces(context);
        let (mut rest, mut colons) = (text.as_bytes(), 0);
        let mut tokens = Vec::new();
        for piece in pieces.by_ref() {
            let (plain, wild) = match piece? {
                Piece::Written(part) => part.split_at(part.find(['*', '?']).unwrap_or(part.len())),
                Piece::Literal(part) => (part, ""),
            };
            let Some(after) = rest.strip_prefix(plain.as_bytes()) else {
                // A variable without a value counts wherever it stands.
                return pieces.try_for_each(|piece| piece.map(drop)).map(|()| false);
            };
            rest = after;
            colons += plain.bytes().filter(|byte| *byte == b':').count();
            push_written(wild, &mut tokens);
            if !tokens.is_empty() {
                break;
            }
        }
        for piece in pieces {
            match piece? {
                Piece::Written(part) => push_written(part, &mut tokens),
                Piece::Literal(part) => tokens.extend(part.bytes().map(Token::Byte)),
            }
        }
        set_reach(&mut tokens, self.reading, colons);
        Ok(tokens_match(&tokens, rest))
    }
}

impl Compiled {
    fn new(text: &str, reading: Reading) -> Self {
        if !text.contains(['*', '?']) {
            return Self::Exactly(text.into());
        }
        let mut tokens = Vec::new();
        push_written(text, &mut tokens);
        set_reach(&mut tokens, reading, 0);
        let length = text.find(['*', '?']).unwrap_or(text.len());
        let beginning: Box<str> = text[..length].into();
        match tokens[length..] {
            [Token::Many(Reach::Anything)] => Self::Beginning(beginning),
            _ => Self::Tokens { beginning, tokens: tokens[length..].into() },
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(exactly) => **exactly == *text,
            Self::Beginning(beginning) => text.as_bytes().starts_with(beginning.as_bytes()),
            Self::Tokens { beginning, tokens } => {
                text.as_bytes().strip_prefix(beginning.as_bytes()).is_some_and(|rest| tokens_match(tokens, rest))
            }
        }
    }
}

/// Whether `text` matches the wildcards of `pattern`, which has no variables.
#[cfg(test)]
pub(super) fn matches(pattern: &str, text: &str, reading: Reading) -> bool {
    Compiled::new(pattern, reading).matches(text)
}

/// A service's actions are compared in lower case; a pattern for one half of `service:Action`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextPattern(Compiled);

impl TextPattern {
    /// Compiles `text`, which has no variables.
    pub(super) fn new(text: &str) -> Self {
        Self(Compiled::new(text, Reading::Text))
    }

    /// Whether `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

fn push_written(text: &str, tokens: &mut Vec<Token>) {
    for byte in text.bytes() {
        match byte {
            b'*' if matches!(tokens.last(), Some(Token::Many(_))) => {}
            b'*' => tokens.push(Token::Many(Reach::Anything)),
            b'?' => tokens.push(Token::One(Reach::Anything)),
            byte => tokens.push(Token::Byte(byte)),
        }
    }
}

/// Shortens the reach of the wildcards before the fifth colon, as `reading` has it; `colons_before` precede the tokens.
fn set_reach(tokens: &mut [Token], reading: Reading, colons_before: usize) {
    let mut colons = colons_before;
    if reading == Reading::Text || colons >= ARN_COLONS {
        return;
    }
    for index in 0..tokens.len() {
        let ends_segment = matches!(tokens.get(index + 1), None | Some(Token::Byte(b':')));
        match &mut tokens[index] {
            Token::Byte(b':') => colons += 1,
            Token::Byte(_) => {}
            Token::Many(_) if reading == Reading::Resource && ends_segment => {}
            Token::One(reach) | Token::Many(reach) => *reach = Reach::Segment,
        }
        if colons == ARN_COLONS {
            return;
        }
    }
}

fn tokens_match(tokens: &[Token], text: &[u8]) -> bool {
    let first_anything = tokens.iter().position(|token| *token == Token::Many(Reach::Anything));
    let last_segment = tokens.iter().rposition(|token| *token == Token::Many(Reach::Segment));
    match (first_anything, last_segment) {
        (Some(anything), Some(segment)) if anything < segment => all_positions(tokens, text),
        _ => latest_star(tokens, text),
    }
}

/// How many bytes of `text` at `at` a token that stands for one character takes, or none if it may not.
fn one(reach: Reach, text: &[u8], at: usize) -> Option<usize> {
    let first = *text.get(at)?;
    if reach == Reach::Segment && first == b':' {
        return None;
    }
    Some(1 + text[at + 1..].iter().take_while(|byte| is_continuation(**byte)).count())
}

/// Whether `byte` continues a character in UTF-8.
fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Only the latest `*` needs to be tried with more: whatever an earlier one could take, the latest can take too. That
/// does not hold where the latest stops at colons and an earlier one does not; see [`all_positions`].
fn latest_star(tokens: &[Token], text: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize, Reach)> = None;
    loop {
        let step = match tokens.get(token) {
            None if at == text.len() => return true,
            None => None,
            Some(Token::Byte(byte)) => (text.get(at) == Some(byte)).then_some(1),
            Some(Token::One(reach)) => one(*reach, text, at),
            Some(Token::Many(reach)) => {
                star = Some((token + 1, at, *reach));
                Some(0)
            }
        };
        if let Some(length) = step {
            (token, at) = (token + 1, at + length);
            continue;
        }
        let Some((after, from, reach)) = star else { return false };
        let Some(length) = one(reach, text, from) else { return false };
        star = Some((after, from + length, reach));
        (token, at) = (after, from + length);
    }
}

/// Follows every position of the pattern through the text at once.
fn all_positions(tokens: &[Token], text: &[u8]) -> bool {
    let mut now = vec![false; tokens.len() + 1];
    now[0] = true;
    for (index, byte) in text.iter().enumerate() {
        let mut next = vec![false; tokens.len() + 1];
        skip_stars(tokens, &mut now);
        for (position, _) in now.iter().enumerate().filter(|(_, is_here)| **is_here) {
            let passes = |reach: Reach| reach == Reach::Anything || *byte != b':';
            match tokens.get(position) {
                Some(Token::Byte(wanted)) if wanted == byte => next[position + 1] = true,
                Some(Token::Many(reach)) if passes(*reach) => next[position] = true,
                Some(Token::One(reach)) if passes(*reach) => {
                    // The rest of the character follows; only its last byte moves on.
                    let is_last = text.get(index + 1).is_none_or(|byte| !is_continuation(*byte));
                    next[if is_last { position + 1 } else { position }] = true;
                }
                _ => {}
            }
        }
        now = next;
    }
    skip_stars(tokens, &mut now);
    now[tokens.len()]
}

/// A `*` may stand for nothing.
fn skip_stars(tokens: &[Token], positions: &mut [bool]) {
    for (position, token) in tokens.iter().enumerate() {
        if positions[position] && matches!(token, Token::Many(_)) {
            positions[position + 1] = true;
        }
    }
}
