//! Policy variables: `${aws:username}`, with a default `${aws:PrincipalTag/team, 'none'}`, and the three that stand for
//! characters that would mean something else, `${*}`, `${?}` and `${$}`
//! (source: IAM User Guide, «IAM policy elements: Variables and tags»).
//!
//! What a variable stands for is text: a `*` in a value is no wildcard. A variable without a value makes what it is
//! part of match nothing; a key with several values has none.

use super::{Context, document::Version};

/// A key that a variable names and the request does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved(pub(super) String);

/// Text with the places of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// As written; wildcards are wildcards.
    Written(Box<str>),
    /// One character that means itself.
    Character(char),
    /// The value of a key, in lower case, or else the default.
    Variable { key: Box<str>, default: Option<Box<str>> },
}

/// A stretch of a template with its variables filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As written; wildcards are wildcards.
    Written(&'a str),
    /// Means itself, whatever it holds.
    Literal(&'a str),
}

impl Template {
    /// Finds the variables of `text`. Version 2008-10-17 knows none: `${` is text there.
    pub(super) fn parse(text: &str, version: Version) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${").filter(|_| version == Version::V2012) {
            if start > 0 {
                parts.push(Part::Written(rest[..start].into()));
            }
            let Some(end) = closing(&rest[start + 2..]) else {
                return Err(format!("the variable in {text:?} is not closed"));
            };
            let inside = &rest[start + 2..start + 2 + end];
            parts.push(Part::parse(inside).ok_or_else(|| format!("${{{inside}}} is not a policy variable"))?);
            rest = &rest[start + 2 + end + 1..];
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Written(rest.into()));
        }
        Ok(Self { parts })
    }

    /// The text, where it has no variables.
    pub(super) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Written(text)] => Some(text),
            _ => None,
        }
    }

    /// Each stretch in order, variables filled in from `context`.
    pub(super) fn pieces<'a>(&'a self, context: &'a Context) -> impl Iterator<Item = Result<Piece<'a>, Unresolved>> {
        self.parts.iter().map(move |part| match part {
            Part::Written(text) => Ok(Piece::Written(text)),
            Part::Character('*') => Ok(Piece::Literal("*")),
            Part::Character('?') => Ok(Piece::Literal("?")),
            Part::Character(_) => Ok(Piece::Literal("$")),
            Part::Variable { key, default } => context
                .single(key)
                .or(default.as_deref())
                .map(Piece::Literal)
                .ok_or_else(|| Unresolved(key.to_string())),
        })
    }

    /// The whole text, variables filled in, for comparisons without wildcards.
    pub(super) fn text(&self, context: &Context) -> Result<String, Unresolved> {
        let mut text = String::new();
        for piece in self.pieces(context) {
            match piece? {
                Piece::Written(part) | Piece::Literal(part) => text.push_str(part),
            }
        }
        Ok(text)
    }
}

/// Where the brace that closes a variable is; a default between quotes may hold braces.
fn closing(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    text.char_indices().find_map(|(index, character)| {
        is_quoted ^= character == '\'';
        (character == '}' && !is_quoted).then_some(index)
    })
}

impl Part {
    fn parse(inside: &str) -> Option<Self> {
        if let "*" | "?" | "$" = inside {
            return inside.chars().next().map(Self::Character);
        }
        let (key, default) = match inside.split_once(',') {
            Some((key, default)) => {
                let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
                (key.trim(), Some(default))
            }
            None => (inside.trim(), None),
        };
        let is_key = !key.is_empty()
            && !key.contains(['$', '{', '}', '*', '?', '\'', '"'])
            && default.is_none_or(|default| !default.contains('\''));
        is_key.then(|| Self::Variable { key: key.to_ascii_lowercase().into(), default: default.map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, version: Version) -> Result<String, Unresolved> {
        let mut context = Context::new().with("aws:username", "ada").with("aws:PrincipalTag/Team", "a*b");
        context.set("aws:TagKeys", ["x".to_owned(), "y".to_owned()]);
        Template::parse(text, version).unwrap().text(&context)
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("home/${aws:username}/x", "home/ada/x"),
            ("${AWS:UserName}${aws:username}", "adaada"),
            ("${aws:principaltag/team}", "a*b"),
            ("${aws:missing, 'none'}", "none"),
            ("${aws:username, 'none'}", "ada"),
            ("${aws:missing,'a}b'}", "a}b"),
            ("${*}${?}${$}", "*?$"),
            ("$ {x} $x", "$ {x} $x"),
        ] {
            assert_eq!(expand(text, Version::V2012), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(expand("${aws:username}", Version::V2008), Ok("${aws:username}".to_owned()));
    }

    #[test]
    fn what_has_no_one_value_is_unresolved() {
        for text in ["${aws:missing}", "${aws:TagKeys}"] {
            assert!(expand(text, Version::V2012).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for text in ["${aws:username", "${}", "${a, b}", "${${a}}", "${a,'b}", "${a*}"] {
            assert!(Template::parse(text, Version::V2012).is_err(), "{text}");
        }
    }
}
