//! Conditions joined by `&&` and `||`, the first binding closer, and by parentheses.

use super::{Invalid, NESTING_MAX, cursor::Cursor};

/// A condition made of conditions.
#[derive(Debug, Clone)]
pub(super) enum Logic<T> {
    One(T),
    All(Vec<Logic<T>>),
    Any(Vec<Logic<T>>),
}

impl<T> Logic<T> {
    /// Reads conditions, each by `one`.
    pub(super) fn parse(
        cursor: &mut Cursor<'_>,
        one: &mut impl FnMut(&mut Cursor<'_>) -> Result<T, Invalid>,
    ) -> Result<Self, Invalid> {
        Self::any(cursor, one, 0)
    }

    fn any(
        cursor: &mut Cursor<'_>,
        one: &mut impl FnMut(&mut Cursor<'_>) -> Result<T, Invalid>,
        depth: usize,
    ) -> Result<Self, Invalid> {
        let mut parts = vec![Self::all(cursor, one, depth)?];
        loop {
            cursor.skip_spaces();
            if !cursor.take("||") {
                return Ok(alone_or(parts, Logic::Any));
            }
            parts.push(Self::all(cursor, one, depth)?);
        }
    }

    fn all(
        cursor: &mut Cursor<'_>,
        one: &mut impl FnMut(&mut Cursor<'_>) -> Result<T, Invalid>,
        depth: usize,
    ) -> Result<Self, Invalid> {
        let mut parts = vec![Self::atom(cursor, one, depth)?];
        loop {
            cursor.skip_spaces();
            if !cursor.take("&&") {
                return Ok(alone_or(parts, Logic::All));
            }
            parts.push(Self::atom(cursor, one, depth)?);
        }
    }

    fn atom(
        cursor: &mut Cursor<'_>,
        one: &mut impl FnMut(&mut Cursor<'_>) -> Result<T, Invalid>,
        depth: usize,
    ) -> Result<Self, Invalid> {
        cursor.skip_spaces();
        if !cursor.take("(") {
            return one(cursor).map(Logic::One);
        }
        if depth == NESTING_MAX {
            return Err(Invalid::new(format!("parentheses are nested more than {NESTING_MAX} deep")));
        }
        let inner = Self::any(cursor, one, depth + 1)?;
        cursor.expect(")")?;
        Ok(inner)
    }

    /// Whether it holds, given which single conditions do.
    pub(super) fn holds(&self, one: &impl Fn(&T) -> bool) -> bool {
        match self {
            Logic::One(condition) => one(condition),
            Logic::All(parts) => parts.iter().all(|part| part.holds(one)),
            Logic::Any(parts) => parts.iter().any(|part| part.holds(one)),
        }
    }
}

fn alone_or<T>(mut parts: Vec<Logic<T>>, joined: impl FnOnce(Vec<Logic<T>>) -> Logic<T>) -> Logic<T> {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            joined(parts)
        }
        None => joined(parts),
    }
}
