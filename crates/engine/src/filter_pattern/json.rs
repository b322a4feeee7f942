//! JSON patterns: `{ $.level = "ERROR" && ($.code >= 500 || $.user.id = *) }`. A line that is no JSON object or array is
//! not selected.

use serde_json::Value as Document;

use super::{
    Invalid,
    cursor::Cursor,
    logic::Logic,
    value::{Comparison, Value},
};

#[derive(Debug, Clone)]
pub(super) struct Json {
    logic: Logic<Condition>,
}

#[derive(Debug, Clone)]
struct Condition {
    /// From the root of the document.
    steps: Vec<Step>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Step {
    Member(String),
    Element(usize),
    /// Every member or element.
    Each,
}

#[derive(Debug, Clone)]
enum Test {
    Compares(Comparison),
    IsNull,
    Is(bool),
    NotExists,
}

impl Json {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Invalid> {
        cursor.expect("{")?;
        let logic = Logic::parse(cursor, &mut Condition::parse)?;
        cursor.expect("}")?;
        Ok(Self { logic })
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let line = line.trim();
        if !line.starts_with(['{', '[']) {
            return false;
        }
        let Ok(document) = serde_json::from_str::<Document>(line) else { return false };
        self.logic.holds(&|condition| condition.holds(&document))
    }
}

impl Condition {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Invalid> {
        cursor.expect("$")?;
        let mut steps = Vec::new();
        loop {
            if cursor.take(".") {
                if cursor.take("*") {
                    steps.push(Step::Each);
                    continue;
                }
                let name = cursor.take_while(|char| char.is_alphanumeric() || "_-@$".contains(char));
                if name.is_empty() {
                    return Err(cursor.unexpected());
                }
                steps.push(Step::Member(name.to_owned()));
            } else if cursor.take("[") {
                steps.push(Self::bracket(cursor)?);
            } else {
                break;
            }
        }
        cursor.skip_spaces();
        let test = if cursor.take_word("IS") {
            cursor.skip_spaces();
            match () {
                () if cursor.take_word("NULL") => Test::IsNull,
                () if cursor.take_word("TRUE") => Test::Is(true),
                () if cursor.take_word("FALSE") => Test::Is(false),
                () => return Err(cursor.unexpected()),
            }
        } else if cursor.take_word("NOT") {
            cursor.skip_spaces();
            if !cursor.take_word("EXISTS") {
                return Err(cursor.unexpected());
            }
            Test::NotExists
        } else {
            Test::Compares(Comparison::parse(cursor, |char| "(){}&|".contains(char))?)
        };
        Ok(Self { steps, test })
    }

    /// What follows an opening bracket, with the closing one.
    fn bracket(cursor: &mut Cursor<'_>) -> Result<Step, Invalid> {
        cursor.skip_spaces();
        let step = match cursor.peek() {
            Some('"') => Step::Member(cursor.quoted()?),
            Some('\'') => {
                cursor.next();
                let name = cursor.take_while(|char| char != '\'').to_owned();
                cursor.expect("'")?;
                Step::Member(name)
            }
            Some('*') => {
                cursor.next();
                Step::Each
            }
            _ => {
                let index = cursor.take_while(|char| char.is_ascii_digit());
                Step::Element(index.parse().map_err(|_| Invalid::new("an array's index is not a number"))?)
            }
        };
        cursor.expect("]")?;
        Ok(step)
    }

    fn holds(&self, document: &Document) -> bool {
        match &self.test {
            Test::NotExists => !any_at(document, &self.steps, &|_| true),
            Test::IsNull => any_at(document, &self.steps, &Document::is_null),
            Test::Is(wanted) => any_at(document, &self.steps, &|value| value.as_bool() == Some(*wanted)),
            Test::Compares(comparison) => any_at(document, &self.steps, &|value| compares(comparison, value)),
        }
    }
}

/// Whether anything that `steps` lead to is as wanted.
fn any_at(value: &Document, steps: &[Step], is_wanted: &impl Fn(&Document) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return is_wanted(value) };
    match (step, value) {
        (Step::Member(name), Document::Object(members)) => {
            members.get(name).is_some_and(|value| any_at(value, rest, is_wanted))
        }
        (Step::Element(index), Document::Array(elements)) => {
            elements.get(*index).is_some_and(|value| any_at(value, rest, is_wanted))
        }
        (Step::Each, Document::Array(elements)) => elements.iter().any(|value| any_at(value, rest, is_wanted)),
        (Step::Each, Document::Object(members)) => members.values().any(|value| any_at(value, rest, is_wanted)),
        _ => false,
    }
}

fn compares(comparison: &Comparison, value: &Document) -> bool {
    match value {
        Document::String(text) => comparison.holds(Value::Text(text)),
        Document::Number(number) => {
            let written = number.to_string();
            comparison.holds(Value::Number(number.as_f64().unwrap_or(f64::NAN), &written))
        }
        Document::Bool(true) => comparison.holds(Value::Text("true")),
        Document::Bool(false) => comparison.holds(Value::Text("false")),
        Document::Null | Document::Array(_) | Document::Object(_) => false,
    }
}
