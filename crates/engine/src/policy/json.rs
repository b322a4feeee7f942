//! JSON as a policy may be written: shallow, and no member twice.
//!
//! `serde_json::Value` keeps the last of two members with one name; in a policy that would let `"Effect": "Deny"` be
//! written for the reader and `"Effect": "Allow"` for the machine. So objects are read here, in order, and a second
//! member of the same name is an error.

use std::{cell::Cell, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Objects and lists within each other. A policy needs six (document, statements, statement, condition, operator, values);
/// with two more, what is nested wrongly is named by its place.
const DEPTH_MAX: u32 = 8;

/// A value, its members in the order they were written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    /// A string.
    Text(String),
    /// A number or a boolean, as text: conditions take `true` for `"true"`.
    Scalar(String),
    /// `null`.
    Null,
    /// A list.
    List(Vec<Json>),
    /// An object; no name occurs twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads `text`, all of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let depth = Cell::new(0);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Node { depth: &depth }.deserialize(&mut deserializer).map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(value)
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Scalar(_) => "a number or boolean",
            Self::Null => "null",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'a> {
    depth: &'a Cell<u32>,
}

impl Node<'_> {
    fn descend<E: de::Error>(self) -> Result<(), E> {
        self.depth.set(self.depth.get() + 1);
        if self.depth.get() > DEPTH_MAX {
            return Err(E::custom(format!("more than {DEPTH_MAX} lists and objects within each other")));
        }
        Ok(())
    }

    fn ascend(self) {
        self.depth.set(self.depth.get() - 1);
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Scalar(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Scalar(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Scalar(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Scalar(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        self.descend()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        self.ascend();
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        self.descend()?;
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format!("{name:?} occurs twice in one object")));
            }
            object.push((name, entries.next_value_seed(self)?));
        }
        self.ascend();
        Ok(Json::Object(object))
    }
}
