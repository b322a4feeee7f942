//! Columns: `[ip, user, ..., status_code = 4*, bytes > 100]`. A line is cut at spaces, save within `"…"` and `[…]`; it
//! must have as many columns as the pattern, where `...` stands for any number.

use super::{
    Invalid,
    cursor::Cursor,
    logic::Logic,
    value::{Comparison, Value, number},
};

#[derive(Debug, Clone)]
pub(super) struct Columns {
    before: Vec<Column>,
    /// What follows `...`, if it is there.
    after: Option<Vec<Column>>,
}

#[derive(Debug, Clone)]
enum Column {
    /// Whatever it holds.
    Any,
    Holds(Logic<Comparison>),
}

impl Columns {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Invalid> {
        cursor.expect("[")?;
        let mut columns = Self { before: Vec::new(), after: None };
        loop {
            cursor.skip_spaces();
            if cursor.take("...") {
                if columns.after.replace(Vec::new()).is_some() {
                    return Err(Invalid::new("... is there twice"));
                }
            } else {
                let column = Column::parse(cursor)?;
                columns.after.as_mut().unwrap_or(&mut columns.before).push(column);
            }
            cursor.skip_spaces();
            if cursor.take("]") {
                return Ok(columns);
            }
            cursor.expect(",")?;
        }
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let after = self.after.as_deref().unwrap_or_default();
        let mut values = cut(line);
        if !self.before.iter().all(|column| values.next().is_some_and(|value| column.holds(value))) {
            return false;
        }
        if self.after.is_none() {
            return values.next().is_none();
        }
        let rest: Vec<&str> = values.collect();
        let Some(skipped) = rest.len().checked_sub(after.len()) else { return false };
        after.iter().zip(&rest[skipped..]).all(|(column, value)| column.holds(value))
    }
}

impl Column {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Invalid> {
        let mut name: Option<String> = None;
        let ends = |char: char| "()[],&|".contains(char);
        let logic = Logic::parse(cursor, &mut |cursor| {
            cursor.skip_spaces();
            let word = cursor.take_while(|char| !char.is_whitespace() && !ends(char) && !"=!<>".contains(char));
            if word.is_empty() {
                return Err(cursor.unexpected());
            }
            if name.get_or_insert_with(|| word.to_owned()) != word {
                return Err(Invalid::new(format!("the conditions of one column name two: {word}")));
            }
            cursor.skip_spaces();
            if cursor.peek().is_none_or(ends) {
                return Ok(None);
            }
            Comparison::parse(cursor, ends).map(Some)
        })?;
        match logic {
            Logic::One(None) => Ok(Column::Any),
            logic => strict(logic).map(Column::Holds),
        }
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Column::Any => true,
            Column::Holds(logic) => {
                let value = number(value).map_or(Value::Text(value), |number| Value::Number(number, value));
                logic.holds(&|comparison| comparison.holds(value))
            }
        }
    }
}

/// Conditions each of which compares something.
fn strict(logic: Logic<Option<Comparison>>) -> Result<Logic<Comparison>, Invalid> {
    let each = |parts: Vec<Logic<_>>| parts.into_iter().map(strict).collect::<Result<Vec<_>, _>>();
    match logic {
        Logic::One(Some(comparison)) => Ok(Logic::One(comparison)),
        Logic::One(None) => Err(Invalid::new("a column's name stands where a condition should")),
        Logic::All(parts) => each(parts).map(Logic::All),
        Logic::Any(parts) => each(parts).map(Logic::Any),
    }
}

/// The columns of a line; quotes and brackets around one are not part of it.
fn cut(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let closing = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        if let Some(closing) = closing
            && let Some(end) = rest[1..].find(closing)
        {
            let value = &rest[1..=end];
            rest = &rest[end + 2..];
            return Some(value);
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (value, after) = rest.split_at(end);
        rest = after;
        Some(value)
    })
}
