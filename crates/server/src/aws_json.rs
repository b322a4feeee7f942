//! AWS JSON 1.1, which CloudWatch Logs, SSM and Secrets Manager speak: the operation is named in `X-Amz-Target`, input
//! and output are one JSON object each.
//!
//! An [`Input`] answers a request's members one by one, as their operation's model has them. A member of the wrong type
//! ends the request with a `SerializationException`; what is out of bounds is gathered, so that [`Input::finish`] words
//! all of it in one error, as AWS does. Unknown members are passed over.

use std::{collections::BTreeMap, ops::RangeInclusive};

use http::{HeaderValue, Response, StatusCode, request::Parts};
use serde::Serialize;
use serde_json::{Map, Value};
use updraft_types::Body;

use crate::{api_error::ApiError, body::Held, respond};

/// The content type of every answer.
pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// Most characters of a wrong value that are shown to whoever sent it, and most complaints; more are counted.
const SHOWN_CHARACTERS_MAX: usize = 200;
const COMPLAINTS_SHOWN_MAX: usize = 10;

/// The operation a request is for. `prefix` is the service's, such as `Logs_20140328`.
pub(crate) fn operation<'a>(head: &'a Parts, prefix: &str) -> Result<&'a str, ApiError> {
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(prefix)).and_then(|rest| rest.strip_prefix('.'));
    operation
        .filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .ok_or_else(|| ApiError::bad_request("UnknownOperationException", "X-Amz-Target names no operation"))
}

/// An answer.
pub(crate) fn answer(value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("response types have string keys and no failing parts");
    respond::whole(StatusCode::OK, CONTENT_TYPE, text)
}

/// The answer of an operation that has no output.
pub(crate) fn nothing() -> Response<Body> {
    respond::whole(StatusCode::OK, CONTENT_TYPE, "")
}

/// A pattern as messages show it, and whether a text matches it.
pub(crate) type Pattern = (&'static str, fn(&str) -> bool);

/// What a text must look like.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// In characters.
    pub(crate) length: RangeInclusive<usize>,
    /// The model's pattern, for whoever broke it, and what it means.
    pub(crate) pattern: Option<Pattern>,
}

impl Rule {
    /// Any text of that many characters.
    pub(crate) const fn length(length: RangeInclusive<usize>) -> Self {
        Self { length, pattern: None }
    }
}

/// The members of a request, or of a structure within one.
#[derive(Debug)]
pub(crate) struct Input {
    members: Map<String, Value>,
    /// What stands before a member's name in a complaint.
    path: String,
    /// The code of the error that [`Input::finish`] makes.
    code: &'static str,
    complaints: Complaints,
}

/// What is wrong with a request: the first of it in words.
#[derive(Debug, Default)]
struct Complaints {
    count: usize,
    shown: Vec<String>,
}

impl Complaints {
    fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < COMPLAINTS_SHOWN_MAX {
            self.shown.push(words());
        }
    }

    fn append(&mut self, others: Self) {
        self.count += others.count;
        self.shown.extend(others.shown);
        self.shown.truncate(COMPLAINTS_SHOWN_MAX);
    }
}

impl Input {
    /// A request's; what breaks its bounds becomes an error of this code.
    pub(crate) fn read(body: &Held, code: &'static str) -> Result<Self, ApiError> {
        let members = match serde_json::from_slice(if body.bytes.is_empty() { b"{}" } else { &body.bytes[..] }) {
            Ok(Value::Object(members)) => members,
            Ok(_) => return Err(serialization("The request is not a JSON object")),
            Err(error) => return Err(serialization(&format!("The request is not JSON: {error}"))),
        };
        Ok(Self { members, path: String::new(), code, complaints: Complaints::default() })
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Looks at a text without taking it, or checking it.
    pub(crate) fn peek(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    /// Looks at texts of a list without taking them, or checking them.
    pub(crate) fn peek_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.members.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Looks at texts by texts without taking them, or checking them.
    pub(crate) fn peek_map(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let members = self.members.get(name).and_then(Value::as_object).into_iter().flatten();
        members.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Looks at a list of `Key` and `Value` without taking it, or checking it; a value that is not there is empty.
    pub(crate) fn peek_pairs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let elements = self.members.get(name).and_then(Value::as_array).into_iter().flatten();
        elements.filter_map(|element| {
            let text = |member: &str| element.get(member).and_then(Value::as_str);
            Some((text("Key")?, text("Value").unwrap_or_default()))
        })
    }

    /// How many elements a list has, without taking it or checking it.
    pub(crate) fn peek_count(&self, name: &str) -> usize {
        self.members.get(name).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// Whether a member is there, for those that are not supported.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str, rule: &Rule) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                let path = format!("{}{name}", self.path);
                self.check(&path, &text, rule);
                Ok(Some(text))
            }
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    /// A text that must be there; empty if it is not, which [`Input::finish`] then tells.
    pub(crate) fn required_text(&mut self, name: &str, rule: &Rule) -> Result<String, ApiError> {
        let text = self.text(name, rule)?;
        Ok(text.unwrap_or_else(|| {
            self.missing(name);
            String::new()
        }))
    }

    /// One of some words.
    pub(crate) fn choice(&mut self, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
        let text = self.text(name, &Rule::length(0..=usize::MAX))?;
        if let Some(text) = &text
            && !words.contains(&&text[..])
        {
            let constraint = format!("Member must satisfy enum value set: [{}]", words.join(", "));
            self.complain(name, text, &constraint);
        }
        Ok(text)
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: &str, bounds: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_i64().ok_or_else(|| wrong_type(name, "a whole number"))?;
        if number < *bounds.start() {
            let constraint = format!("Member must have value greater than or equal to {}", bounds.start());
            self.complain(name, &number.to_string(), &constraint);
        } else if number > *bounds.end() {
            let constraint = format!("Member must have value less than or equal to {}", bounds.end());
            self.complain(name, &number.to_string(), &constraint);
        }
        Ok(Some(number))
    }

    /// A flag.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(wrong_type(name, "a boolean")),
        }
    }

    /// Texts.
    pub(crate) fn texts(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        rule: &Rule,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let Some(elements) = self.elements(name, count)? else { return Ok(None) };
        let mut texts = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let Value::String(text) = element else { return Err(wrong_type(name, "a list of strings")) };
            let path = format!("{}{name}.{}.member", self.path, index + 1);
            self.check(&path, &text, rule);
            texts.push(text);
        }
        Ok(Some(texts))
    }

    /// Structures: each is read by `each`, whose complaints become ours.
    pub(crate) fn structures<T>(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        mut each: impl FnMut(&mut Input) -> Result<T, ApiError>,
    ) -> Result<Option<Vec<T>>, ApiError> {
        let Some(elements) = self.elements(name, count)? else { return Ok(None) };
        let mut read = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let Value::Object(members) = element else { return Err(wrong_type(name, "a list of structures")) };
            let path = format!("{}{name}.{}.member.", self.path, index + 1);
            let mut inner = Input { members, path, code: self.code, complaints: Complaints::default() };
            read.push(each(&mut inner)?);
            self.complaints.append(inner.complaints);
        }
        Ok(Some(read))
    }

    /// Texts by texts.
    pub(crate) fn map(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        key: &Rule,
        value: &Rule,
    ) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        let members = match self.take(name) {
            None => return Ok(None),
            Some(Value::Object(members)) => members,
            Some(_) => return Err(wrong_type(name, "a map")),
        };
        self.check_count(name, members.len(), &count);
        let mut map = BTreeMap::new();
        for (own, text) in members {
            let Value::String(text) = text else { return Err(wrong_type(name, "a map of strings")) };
            let path = format!("{}{name}", self.path);
            self.check(&format!("{path}.key"), &own, key);
            self.check(&format!("{path}.{own:.40}.member"), &text, value);
            map.insert(own, text);
        }
        Ok(Some(map))
    }

    fn elements(&mut self, name: &str, count: RangeInclusive<usize>) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => {
                self.check_count(name, elements.len(), &count);
                Ok(Some(elements))
            }
            Some(_) => Err(wrong_type(name, "a list")),
        }
    }

    fn check_count(&mut self, name: &str, found: usize, count: &RangeInclusive<usize>) {
        if found < *count.start() {
            let constraint = format!("Member must have length greater than or equal to {}", count.start());
            self.complain(name, "[]", &constraint);
        } else if found > *count.end() {
            let constraint = format!("Member must have length less than or equal to {}", count.end());
            self.complain(name, "[...]", &constraint);
        }
    }

    fn check(&mut self, path: &str, text: &str, rule: &Rule) {
        let length = text.chars().count();
        let constraint = if length < *rule.length.start() {
            format!("Member must have length greater than or equal to {}", rule.length.start())
        } else if length > *rule.length.end() {
            format!("Member must have length less than or equal to {}", rule.length.end())
        } else {
            match &rule.pattern {
                Some((pattern, is_met)) if !is_met(text) => {
                    format!("Member must satisfy regular expression pattern: {pattern}")
                }
                _ => return,
            }
        };
        self.complaints.add(|| complaint(path, text, &constraint));
    }

    /// Notes that a member that must be there is not.
    pub(crate) fn missing(&mut self, name: &str) {
        let path = &self.path;
        let null = || format!("Value null at '{path}{name}' failed to satisfy constraint: Member must not be null");
        self.complaints.add(null);
    }

    /// Notes that a member breaks a constraint.
    pub(crate) fn complain(&mut self, name: &str, value: &str, constraint: &str) {
        let path = format!("{}{name}", self.path);
        self.complaints.add(|| complaint(&path, value, constraint));
    }

    /// Whether no member read so far broke its bounds.
    pub(crate) fn is_sound(&self) -> bool {
        self.complaints.count == 0
    }

    /// An error if any member broke its bounds.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.complaints.count == 0 {
            return Ok(());
        }
        let count = self.complaints.count;
        let errors = if count == 1 { "error" } else { "errors" };
        let shown = self.complaints.shown.join("; ");
        Err(ApiError::bad_request(self.code, format!("{count} validation {errors} detected: {shown}")))
    }
}

fn complaint(path: &str, value: &str, constraint: &str) -> String {
    let shown: String = value.chars().take(SHOWN_CHARACTERS_MAX).collect();
    format!("Value '{shown}' at '{path}' failed to satisfy constraint: {constraint}")
}

fn serialization(text: &str) -> ApiError {
    ApiError::bad_request("SerializationException", text)
}

fn wrong_type(name: &str, wanted: &str) -> ApiError {
    serialization(&format!("{name} is not {wanted}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{api_error::Protocol, body::Budget};

    async fn input(text: &'static str) -> Result<Input, ApiError> {
        let budget = Budget::new(1 << 20, Duration::from_secs(5));
        let held = budget.read(updraft_types::body::full(text), 1 << 20).await.unwrap();
        Input::read(&held, "InvalidParameterException")
    }

    fn words(error: ApiError) -> String {
        format!("{error:?}")
    }

    #[tokio::test]
    async fn members_are_read_as_their_model_has_them() {
        let mut read = input(
            r#"{"a":"x","n":5,"f":true,"l":["p","q"],"m":{"k":"v"},"s":[{"a":"1"},{"a":"2"}],"nil":null,"extra":[]}"#,
        )
        .await
        .unwrap();
        let any = Rule::length(1..=5);
        assert_eq!(read.text("a", &any).unwrap().as_deref(), Some("x"));
        assert_eq!(read.number("n", 1..=5).unwrap(), Some(5));
        assert_eq!(read.flag("f").unwrap(), Some(true));
        assert_eq!(read.texts("l", 1..=2, &any).unwrap().unwrap(), ["p", "q"]);
        assert_eq!(read.map("m", 1..=2, &any, &any).unwrap().unwrap()["k"], "v");
        let inner = read.structures("s", 1..=2, |inner| inner.required_text("a", &any)).unwrap().unwrap();
        assert_eq!(inner, ["1", "2"]);
        assert_eq!((read.has("nil"), read.text("nil", &any).unwrap()), (false, None));
        read.finish().unwrap();
        assert!(input("").await.unwrap().finish().is_ok());
    }

    #[tokio::test]
    async fn what_breaks_a_bound_is_told_as_aws_words_it() {
        let mut read = input(r#"{"name":"a b","limit":0,"list":[],"inner":[{}],"kind":"x"}"#).await.unwrap();
        let rule = Rule { length: 1..=5, pattern: Some(("[a-z]+", |text| !text.contains(' '))) };
        read.required_text("name", &rule).unwrap();
        read.number("limit", 1..=50).unwrap();
        read.texts("list", 1..=2, &rule).unwrap();
        read.structures("inner", 1..=1, |inner| inner.required_text("message", &rule)).unwrap();
        read.choice("kind", &["A", "B"]).unwrap();
        let text = words(read.finish().unwrap_err());
        for expected in [
            "5 validation errors detected: Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy regular \
             expression pattern: [a-z]+; ",
            "Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1; ",
            "Value '[]' at 'list' failed to satisfy constraint: Member must have length greater than or equal to 1; ",
            "Value null at 'inner.1.member.message' failed to satisfy constraint: Member must not be null; ",
            "Value 'x' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [A, B]",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
    }

    #[tokio::test]
    async fn a_request_that_is_wrong_throughout_is_told_the_first_of_it() {
        let many = format!(r#"{{"list":[{}"x"],"inner":[{}{{}}]}}"#, r#""","#.repeat(5_000), "{},".repeat(5_000));
        let mut read = input(many.leak()).await.unwrap();
        let rule = Rule::length(1..=5);
        read.texts("list", 1..=10_000, &rule).unwrap();
        read.structures("inner", 1..=10_000, |inner| inner.required_text("message", &rule)).unwrap();
        assert_eq!(read.complaints.shown.len(), COMPLAINTS_SHOWN_MAX);
        let text = words(read.finish().unwrap_err());
        assert!(text.contains("10001 validation errors detected: Value '' at 'list.1.member'"), "{text}");
        assert!(text.contains("'list.10.member'") && !text.contains("'list.11.member'"), "{text}");
    }

    #[tokio::test]
    async fn other_types_are_serialization_errors() {
        for text in ["[]", "7", "{", "\"x\""] {
            assert!(words(input(text).await.unwrap_err()).contains("SerializationException"), "{text}");
        }
        let any = Rule::length(0..=5);
        let all = || input(r#"{"x":{"a":[1]},"y":[1],"z":1.5}"#);
        let mut read = all().await.unwrap();
        assert!(
            read.text("x", &any).is_err() && read.texts("y", 0..=5, &any).is_err() && read.number("z", 0..=5).is_err()
        );
        let mut read = all().await.unwrap();
        assert!(read.map("x", 0..=5, &any, &any).is_err() && read.flag("z").is_err());
        assert!(read.structures("y", 0..=5, |_| Ok(())).is_err());
        let response = all().await.unwrap().flag("x").unwrap_err().into_response(Protocol::Json);
        assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::BAD_REQUEST, &CONTENT_TYPE));
    }
}
