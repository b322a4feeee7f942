//! The AWS Query protocol, which IAM and STS speak: a form comes in, XML goes out.
//!
//! Source: botocore 1.44.5's `query` serializer and parser. Lists arrive as `Name.member.1`, `Name.member.1.Key`; an empty
//! one as `Name=`. The number of parameters is bounded, their size by the body's bound.

use std::{collections::BTreeMap, fmt::Display};

use http::{HeaderValue, Method, Response, StatusCode, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use updraft_types::{Body, RequestId};

use crate::{
    api_error::{ApiError, xml_text},
    respond,
};

/// Most parameters of a request. IAM's largest lists have 50 entries of two.
const PARAMETERS_MAX: usize = 500;
/// Characters of an action's name that are looked at and repeated.
const ACTION_CHARS_MAX: usize = 60;
/// What RFC 3986 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request's parameters.
#[derive(Debug)]
pub(crate) struct Form {
    values: BTreeMap<String, String>,
    action: String,
}

impl Form {
    /// Reads a form from a body, or, of a GET, from the query string.
    pub(crate) fn read(head: &Parts, body: &[u8]) -> Result<Self, ApiError> {
        match head.method {
            Method::POST => Self::parse(body),
            Method::GET => Self::parse(head.uri.query().unwrap_or_default().as_bytes()),
            _ => Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidAction", "The method is not POST or GET")),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut values = BTreeMap::new();
        for (count, (name, value)) in form_urlencoded::parse(bytes).enumerate() {
            if count >= PARAMETERS_MAX {
                let text = format!("The request has more than {PARAMETERS_MAX} parameters");
                return Err(ApiError::bad_request("MalformedQueryString", text));
            }
            values.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        let action = values.get("Action").filter(|action| !action.is_empty());
        let action = action
            .ok_or_else(|| ApiError::bad_request("MissingAction", "The request must contain the parameter Action."))?;
        let is_name = action.len() <= ACTION_CHARS_MAX && action.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name {
            return Err(ApiError::bad_request(
                "InvalidAction",
                "The parameter Action is not the name of an operation.",
            ));
        }
        Ok(Self { action: action.clone(), values })
    }

    /// The operation's name: letters and digits.
    pub(crate) fn action(&self) -> &str {
        &self.action
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The values of a list, as far as they are numbered without a gap.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|number: usize| self.get(&format!("{name}.member.{number}"))).collect()
    }

    /// The entries of a list of key and value pairs.
    pub(crate) fn pairs(&self, name: &str) -> Vec<(&str, &str)> {
        let pair = |number: usize| {
            let key = self.get(&format!("{name}.member.{number}.Key"))?;
            Some((key, self.get(&format!("{name}.member.{number}.Value")).unwrap_or_default()))
        };
        (1..).map_while(pair).collect()
    }

    /// Whether any parameter of that name, or of a list or structure of that name, was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        self.values.get(name).is_some_and(|value| !value.is_empty())
            || self.values.range(prefix.clone()..).next().is_some_and(|(found, _)| found.starts_with(&prefix))
    }
}

/// XML under way.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    /// `<Name>value</Name>`
    pub(crate) fn leaf(&mut self, name: &str, value: impl Display) {
        let value = xml_text(&value.to_string());
        self.0.push_str(&format!("<{name}>{value}</{name}>"));
    }

    /// The same, if there is a value.
    pub(crate) fn leaf_if(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    /// A policy document: percent-encoded, as IAM answers them.
    pub(crate) fn document(&mut self, name: &str, document: &str) {
        self.leaf(name, utf8_percent_encode(document, UNRESERVED));
    }

    /// `<Name>…</Name>`
    pub(crate) fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.push_str(&format!("<{name}>"));
        content(self);
        self.0.push_str(&format!("</{name}>"));
    }

    /// `<Name><member>…</member>…</Name>`
    pub(crate) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, item: impl Fn(&mut Self, T)) {
        self.node(name, |xml| {
            for one in items {
                xml.node("member", |xml| item(xml, one));
            }
        });
    }

    /// A list of texts.
    pub(crate) fn texts<T: Display>(&mut self, name: &str, texts: impl IntoIterator<Item = T>) {
        self.node(name, |xml| {
            for text in texts {
                xml.leaf("member", text);
            }
        });
    }
}

/// The answer to an operation. `None`: it has no result to tell.
pub(crate) fn answer(action: &str, namespace: &str, result: Option<Xml>) -> Response<Body> {
    let result = result.map(|Xml(text)| format!("<{action}Result>{text}</{action}Result>")).unwrap_or_default();
    let id = respond::request_id(RequestId::random());
    let text = format!(
        "<{action}Response xmlns=\"{namespace}\">{result}<ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>\
         </{action}Response>",
        id.to_str().unwrap_or_default(),
    );
    let mut response = respond::whole(StatusCode::OK, HeaderValue::from_static("text/xml"), text);
    response.headers_mut().insert(respond::REQUEST_ID, id);
    response
}

/// Checks parameters and gathers what is wrong with them, to be told at once, in AWS's words.
pub(crate) struct Checked<'a> {
    form: &'a Form,
    wrong: Vec<String>,
    /// What IAM words in its own way; told before all others.
    special: Option<ApiError>,
}

impl<'a> Checked<'a> {
    pub(crate) fn new(form: &'a Form) -> Self {
        Self { form, wrong: Vec::new(), special: None }
    }

    /// `Err` with all that is wrong.
    pub(crate) fn done(self) -> Result<(), ApiError> {
        if let Some(error) = self.special {
            return Err(error);
        }
        if self.wrong.is_empty() {
            return Ok(());
        }
        let (count, plural) = (self.wrong.len(), if self.wrong.len() == 1 { "" } else { "s" });
        let text = format!("{count} validation error{plural} detected: {}", self.wrong.join("; "));
        Err(ApiError::bad_request("ValidationError", text))
    }

    /// Notes something that has an error of its own; the first is told.
    pub(crate) fn refuse(&mut self, error: ApiError) {
        self.special.get_or_insert(error);
    }

    /// A text that has to be there, of `min` to `max` characters.
    pub(crate) fn required(&mut self, name: &str, min: usize, max: usize) -> String {
        match self.form.get(name) {
            Some(_) => self.optional(name, min, max).unwrap_or_default(),
            None => {
                let member = member(name);
                self.wrong
                    .push(format!("Value null at '{member}' failed to satisfy constraint: Member must not be null"));
                String::new()
            }
        }
    }

    /// A text of `min` to `max` characters.
    pub(crate) fn optional(&mut self, name: &str, min: usize, max: usize) -> Option<String> {
        let value = self.form.get(name)?;
        let length = value.chars().count();
        if length < min {
            self.add(name, value, &format!("Member must have length greater than or equal to {min}"));
        } else if length > max {
            self.add(name, value, &format!("Member must have length less than or equal to {max}"));
        }
        Some(value.to_owned())
    }

    /// A name of a user, role or policy that has to be there.
    pub(crate) fn name(&mut self, name: &str, max: usize) -> String {
        let value = self.required(name, 1, max);
        self.name_chars(name, &value);
        value
    }

    /// Such a name, if it is there.
    pub(crate) fn name_if(&mut self, name: &str, max: usize) -> Option<String> {
        let value = self.optional(name, 1, max)?;
        self.name_chars(name, &value);
        Some(value)
    }

    fn name_chars(&mut self, name: &str, value: &str) {
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte)) {
            let member = member(name);
            let text = format!(
                "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the \
                 following: +=,.@_-"
            );
            self.refuse(ApiError::bad_request("ValidationError", text));
        }
    }

    /// A path, `/` unless given.
    pub(crate) fn path(&mut self) -> String {
        self.path_if("Path").unwrap_or_else(|| "/".to_owned())
    }

    /// A path, if it is there: `/`, or printable ASCII between two slashes.
    pub(crate) fn path_if(&mut self, name: &str) -> Option<String> {
        let value = self.optional(name, 1, 512)?;
        let is_path =
            value.starts_with('/') && value.ends_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic());
        // An ARN's last slash is taken to end its path, and its first to begin it.
        if !is_path || value.contains("//") {
            let member = member(name);
            let text = format!(
                "The specified value for {member} is invalid. It must begin and end with / and contain only \
                 alphanumeric characters and/or / characters."
            );
            self.refuse(ApiError::bad_request("ValidationError", text));
        }
        Some(value)
    }

    /// A policy document that has to be there. What it says is checked by who takes it.
    pub(crate) fn document(&mut self, name: &str) -> String {
        self.required(name, 1, 131_072)
    }

    /// A number within bounds.
    pub(crate) fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let text = self.form.get(name)?;
        let Ok(number) = text.parse::<i64>() else {
            self.add(name, text, "Member must be an integer");
            return None;
        };
        if number < i64::from(min) {
            self.add(name, text, &format!("Member must have value greater than or equal to {min}"));
        } else if number > i64::from(max) {
            self.add(name, text, &format!("Member must have value less than or equal to {max}"));
        }
        u32::try_from(number).ok()
    }

    /// One of a few values.
    pub(crate) fn one_of(&mut self, name: &str, allowed: &[&str]) -> Option<String> {
        let value = self.form.get(name)?;
        if !allowed.contains(&value) {
            self.add(name, value, &format!("Member must satisfy enum value set: [{}]", allowed.join(", ")));
        }
        Some(value.to_owned())
    }

    /// Something else that is wrong with a value.
    pub(crate) fn add(&mut self, name: &str, value: &str, constraint: &str) {
        let shown: String = value.chars().take(512).collect();
        let member = member(name);
        self.wrong.push(format!("Value '{shown}' at '{member}' failed to satisfy constraint: {constraint}"));
    }
}

/// A member as messages name it: `userName`.
fn member(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lists_are_read_up_to_the_first_gap() {
        let form = form(
            "Action=TagUser&Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=b%20c&TagKeys.member.1=x\
             &TagKeys.member.3=z&Empty=",
        );
        assert_eq!(form.action(), "TagUser");
        assert_eq!(form.pairs("Tags"), [("a", "1"), ("b c", "")]);
        assert_eq!(form.list("TagKeys"), ["x"]);
        assert!(form.has("Tags") && form.has("TagKeys") && !form.has("Empty") && !form.has("Tag"));
    }

    #[test]
    fn a_form_without_a_plain_action_or_without_end_is_refused() {
        for bad in ["", "Action=", "Action=a%3Cb", "Version=1", &format!("Action={}", "x".repeat(61))] {
            assert!(Form::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many: String = (0..501).map(|number| format!("&p{number}=")).collect();
        assert!(Form::parse(format!("Action=A{many}").as_bytes()).is_err());
        // Whatever the bytes are.
        assert!(Form::parse(b"\xff%zz=&&&=Action").is_err());
    }

    #[test]
    fn what_is_wrong_is_told_in_iams_words() {
        let form = form(&format!("Action=A&UserName={}&MaxItems=0&Status=Off&RoleName=a/b", "x".repeat(65)));
        let told = |check: &dyn Fn(&mut Checked<'_>)| {
            let mut checked = Checked::new(&form);
            check(&mut checked);
            format!("{:?}", checked.done())
        };
        let text = told(&|checked| {
            checked.name("UserName", 64);
            checked.name("PolicyName", 128);
        });
        let expected = format!(
            "2 validation errors detected: Value '{}' at 'userName' failed to satisfy constraint: Member must have length \
             less than or equal to 64; Value null at 'policyName' failed to satisfy constraint: Member must not be null",
            "x".repeat(65)
        );
        assert!(text.contains(&expected), "{text}");
        assert!(
            told(&|checked| assert_eq!(checked.number("MaxItems", 1, 1_000), Some(0)))
                .contains("greater than or equal to 1")
        );
        assert!(told(&|checked| drop(checked.one_of("Status", &["Active"]))).contains("enum value set: [Active]"));
        assert!(
            told(&|checked| drop(checked.name("RoleName", 64))).contains("The specified value for roleName is invalid")
        );
    }

    #[test]
    fn xml_is_escaped_and_documents_are_encoded() {
        let mut xml = Xml::default();
        xml.node("A", |xml| xml.leaf("B", "<&"));
        xml.texts("C", ["x", "y"]);
        xml.document("D", "{\"a b\": 1}~");
        assert_eq!(
            xml.0,
            "<A><B>&lt;&amp;</B></A><C><member>x</member><member>y</member></C><D>%7B%22a%20b%22%3A%201%7D~</D>"
        );
    }
}
