//! Comparing one value of a line with what a pattern says about it.

use regex_lite::Regex;

use super::{Invalid, cursor::Cursor};

/// A value of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    /// A number, and as it is written.
    Number(f64, &'a str),
}

/// Such as `>= 500`.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    operator: Operator,
    operand: Operand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone)]
enum Operand {
    Text(Glob),
    /// A number, and as it is written.
    Number(f64, String),
    Regex(Regex),
}

/// Text in which `*` stands for any characters.
#[derive(Debug, Clone)]
struct Glob {
    /// What stands between the asterisks.
    parts: Vec<String>,
}

impl Comparison {
    /// Reads an operator and what follows it; an unquoted value ends before a character that `ends` it.
    pub(super) fn parse(cursor: &mut Cursor<'_>, ends: impl Fn(char) -> bool) -> Result<Self, Invalid> {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        cursor.skip_spaces();
        let operators =
            [("!=", NotEqual), ("<=", LessOrEqual), (">=", GreaterOrEqual), ("=", Equal), ("<", Less), (">", Greater)];
        let operator = operators.into_iter().find(|(text, _)| cursor.take(text)).map(|(_, operator)| operator);
        let operator = operator.ok_or_else(|| cursor.unexpected())?;
        cursor.skip_spaces();
        let operand = match cursor.peek() {
            Some('"') => Operand::Text(Glob::new(&cursor.quoted()?)),
            Some('%') => Operand::Regex(cursor.regex()?),
            _ => {
                let text = cursor.take_while(|char| !char.is_whitespace() && !ends(char));
                if text.is_empty() {
                    return Err(cursor.unexpected());
                }
                match number(text) {
                    Some(number) => Operand::Number(number, text.to_owned()),
                    None => Operand::Text(Glob::new(text)),
                }
            }
        };
        let is_order = !matches!(operator, Equal | NotEqual);
        if is_order && !matches!(operand, Operand::Number(..)) {
            return Err(Invalid::new("only numbers are compared by < > <= >="));
        }
        Ok(Self { operator, operand })
    }

    /// Whether it holds for `value`.
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        match self.operator {
            Operator::Equal => self.is_equal(value),
            Operator::NotEqual => !self.is_equal(value),
            order => match (&self.operand, value) {
                (Operand::Number(right, _), Value::Number(left, _)) => match order {
                    Operator::Less => left < *right,
                    Operator::LessOrEqual => left <= *right,
                    Operator::Greater => left > *right,
                    _ => left >= *right,
                },
                _ => false,
            },
        }
    }

    fn is_equal(&self, value: Value<'_>) -> bool {
        let (Value::Text(text) | Value::Number(_, text)) = value;
        match (&self.operand, value) {
            (Operand::Number(right, _), Value::Number(left, _)) => left == *right,
            (Operand::Number(_, written), Value::Text(_)) => text == written,
            (Operand::Text(glob), _) => glob.matches(text),
            (Operand::Regex(regex), _) => regex.is_match(text),
        }
    }
}

/// A decimal number; what Rust takes beside (`inf`, `nan`) is text.
pub(super) fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_plain { text.parse().ok() } else { None }
}

impl Glob {
    fn new(text: &str) -> Self {
        Self { parts: text.split('*').map(str::to_owned).collect() }
    }

    fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &self.parts[..] else {
            return self.parts.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(&first[..]).and_then(|rest| rest.strip_suffix(&last[..])) else {
            return false;
        };
        for part in middle {
            let Some(at) = rest.find(&part[..]) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asterisks_stand_for_anything() {
        for (glob, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("aa*aa", "aaa", false),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), expected, "{glob} {text}");
        }
    }
}
