//! Function names as clients write them: a name, a partial ARN or a full ARN, with or without a qualifier, and
//! percent-encoded when they come in a path.
//!
//! Patterns and messages are the service model's and AWS's recorded ones.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use updraft_types::{AccountId, Alias, Function, FunctionId, FunctionName, Qualifier, Version};

use super::{
    query::Query,
    validate::{Violations, shortened},
};
use crate::{error::Error, scope::Scope};

const CREATED: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
const NAMESPACED: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
const QUALIFIER: &str = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";
const URL_QUALIFIER: &str = r"((?!^\d+$)^[0-9a-zA-Z-_]+$)";

/// Longest qualifier.
const QUALIFIER_CHARS_MAX: usize = 128;

/// Which of the service model's patterns a name must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `FunctionName`: operations that change a function.
    Created,
    /// `NamespacedFunctionName`: operations that read, invoke or delete one.
    Namespaced,
}

impl Pattern {
    fn text(self) -> &'static str {
        match self {
            Pattern::Created => CREATED,
            Pattern::Namespaced => NAMESPACED,
        }
    }

    fn chars_max(self) -> usize {
        match self {
            Pattern::Created => 140,
            Pattern::Namespaced => 256,
        }
    }
}

/// A name taken apart; nothing in it is known to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) region: Option<&'a str>,
    pub(super) account: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) qualifier: Option<&'a str>,
}

/// Takes a name apart; `None` where it does not match the pattern.
pub(super) fn parse(text: &str, pattern: Pattern) -> Option<Parsed<'_>> {
    let parts: Vec<&str> = text.splitn(9, ':').collect();
    // The pattern's four optional parts, tried as a regular expression does: present before absent.
    (0..16_u8).rev().find_map(|present| parse_with(&parts, present, pattern))
}

fn parse_with<'a>(parts: &[&'a str], present: u8, pattern: Pattern) -> Option<Parsed<'a>> {
    let mut rest = parts;
    let (mut region, mut account) = (None, None);
    if present & 8 != 0 {
        let ["arn", partition, "lambda", after @ ..] = rest else { return None };
        if !is_partition(partition) {
            return None;
        }
        rest = after;
    }
    if present & 4 != 0 {
        let [first, after @ ..] = rest else { return None };
        region = Some(*first).filter(|text| is_region(text));
        region?;
        rest = after;
    }
    if present & 2 != 0 {
        let [first, after @ ..] = rest else { return None };
        account = Some(*first).filter(|text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()));
        account?;
        rest = after;
    }
    if present & 1 != 0 {
        let ["function", after @ ..] = rest else { return None };
        rest = after;
    }
    let (name, qualifier) = match rest {
        [name] => (*name, None),
        [name, qualifier] => (*name, Some(*qualifier)),
        _ => return None,
    };
    let is_name = |text: &str| {
        let is_allowed = |byte: u8| is_word(byte) || (byte == b'.' && pattern == Pattern::Namespaced);
        !text.is_empty() && text.bytes().all(is_allowed)
    };
    let is_qualifier = |text: &str| match text {
        "$LATEST" => true,
        "$LATEST.PUBLISHED" => pattern == Pattern::Namespaced,
        text => !text.is_empty() && text.bytes().all(is_word),
    };
    (is_name(name) && qualifier.is_none_or(is_qualifier)).then_some(Parsed { region, account, name, qualifier })
}

/// `[a-zA-Z0-9-_]`
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// `(aws[a-zA-Z-]*)?`
pub(super) fn is_partition(text: &str) -> bool {
    let after = text.strip_prefix("aws");
    text.is_empty() || after.is_some_and(|after| after.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-'))
}

/// `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.strip_prefix("eusc-").unwrap_or(text).split('-').collect();
    let lower = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let (country, middle, place, number) = match parts[..] {
        [country, place, number] => (country, None, place, number),
        [country, middle, place, number] => (country, Some(middle), place, number),
        _ => return false,
    };
    let is_middle = |part: &str| part == "gov" || (part.starts_with("iso") && part.len() <= 4 && lower(part));
    country.len() == 2
        && lower(country)
        && middle.is_none_or(is_middle)
        && lower(place)
        && number.len() == 1
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a request's name and qualifier mean to this platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Whose it is: the caller's own account, or another's that authorization has let it in to.
    pub(super) account: AccountId,
    /// The name; not necessarily one that a function can have.
    pub(super) name: String,
    /// The qualifier, from the name or the query.
    pub(super) qualifier: Option<String>,
}

impl Resolved {
    /// The unqualified ARN.
    pub(super) fn arn(&self, scope: &Scope<'_>) -> String {
        format!("arn:aws:lambda:{}:{}:function:{}", scope.node.region(), self.account, self.name)
    }

    /// The ARN with the qualifier, if there is one.
    pub(super) fn qualified_arn(&self, scope: &Scope<'_>) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.arn(scope)),
            None => self.arn(scope),
        }
    }

    /// The function's identity, whether there is such a function or not.
    pub(super) fn id(&self) -> Option<FunctionId> {
        let name: FunctionName = self.name.parse().ok()?;
        Some(FunctionId { account: self.account.clone(), name })
    }

    /// What the qualifier means; `$LATEST` where there is none, and `None` for one that can name nothing.
    pub(super) fn meaning(&self) -> Option<Qualifier> {
        match &self.qualifier {
            None => Some(Qualifier::Version(Version::Latest)),
            Some(qualifier) => qualifier.parse().ok(),
        }
    }

    /// The function in the catalog as it is now, whatever the qualifier.
    pub(super) fn find(&self, scope: &Scope<'_>) -> Option<Arc<Function>> {
        scope.node.catalog().get(&self.id()?).cloned()
    }

    /// The version asked for; of an alias, the one it points at first.
    pub(super) fn version(&self, scope: &Scope<'_>) -> Option<Arc<Function>> {
        scope.node.catalog().find(&self.id()?, &self.meaning()?).cloned()
    }

    /// The version that one call goes to.
    pub(super) fn route(&self, scope: &Scope<'_>) -> Option<Arc<Function>> {
        scope.node.route(&self.id()?, &self.meaning()?)
    }

    /// The alias asked for.
    pub(super) fn alias(&self, scope: &Scope<'_>) -> Option<Arc<Alias>> {
        match self.meaning()? {
            Qualifier::Alias(name) => scope.node.catalog().alias(&self.id()?, &name).cloned(),
            Qualifier::Version(_) => None,
        }
    }
}

/// Decodes and checks a name from a path and the `Qualifier` of its query.
pub(super) fn resolve(scope: &Scope<'_>, segment: &str, query: &Query, pattern: Pattern) -> Result<Resolved, Error> {
    let text = decoded(segment);
    let qualifier = query.get("Qualifier");
    let mut violations = Violations::default();
    if let Some(qualifier) = &qualifier {
        let is_valid = |text: &str| !text.is_empty() && text.bytes().all(|byte| is_word(byte) || byte == b'$');
        violations.length_max("qualifier", qualifier, QUALIFIER_CHARS_MAX);
        violations.pattern("qualifier", qualifier, is_valid(qualifier) || qualifier == "$LATEST.PUBLISHED", QUALIFIER);
    }
    finish(scope, &text, qualifier, pattern, violations)
}

/// Checks a name, with its qualifier, that comes elsewhere than in the path.
pub(super) fn resolve_text(scope: &Scope<'_>, text: &str, pattern: Pattern) -> Result<Resolved, Error> {
    finish(scope, text, None, pattern, Violations::default())
}

/// Decodes and checks a name whose qualifier can only be an alias, as function URLs have it.
pub(super) fn resolve_for_url(scope: &Scope<'_>, segment: &str, query: &Query) -> Result<Resolved, Error> {
    let text = decoded(segment);
    let qualifier = query.get("Qualifier");
    let mut violations = Violations::default();
    if let Some(qualifier) = &qualifier {
        let is_number = qualifier.bytes().all(|byte| byte.is_ascii_digit());
        let is_valid = !is_number && qualifier.bytes().all(is_word);
        violations.length_max("qualifier", qualifier, QUALIFIER_CHARS_MAX);
        violations.pattern("qualifier", qualifier, is_valid, URL_QUALIFIER);
    }
    finish(scope, &text, qualifier, Pattern::Created, violations)
}

/// Checks the name of a function to be created, as its request's body has it.
pub(super) fn resolve_new(scope: &Scope<'_>, text: &str) -> Result<FunctionName, Error> {
    let resolved = finish(scope, text, None, Pattern::Created, Violations::default())?;
    if resolved.account != *scope.account() {
        return Err(Error::wrong_account(resolved.account.as_str()));
    }
    resolved.name.parse().map_err(|_| {
        Error::invalid_parameter(format!(
            "1 validation error detected: Value '{}' at 'functionName' failed to satisfy constraint: Member must have \
             length less than or equal to 64",
            shortened(&resolved.name)
        ))
    })
}

/// Decodes a path segment. Bytes that are not UTF-8 become the replacement character, which no pattern allows.
pub(super) fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn finish(
    scope: &Scope<'_>,
    text: &str,
    qualifier: Option<String>,
    pattern: Pattern,
    mut violations: Violations,
) -> Result<Resolved, Error> {
    let parsed = parse(text, pattern);
    violations.length_max("functionName", text, pattern.chars_max());
    violations.pattern("functionName", text, parsed.is_some(), pattern.text());
    violations.check()?;
    let Some(parsed) = parsed else { return Err(Error::unknown_operation()) };
    let qualifier = match (parsed.qualifier, qualifier) {
        (Some(derived), Some(given)) if derived != given => {
            return Err(Error::invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        (Some(derived), _) => Some(derived.to_owned()),
        (None, given) => given,
    };
    let region = scope.node.region().as_str();
    if let Some(asked) = parsed.region.filter(|asked| *asked != region) {
        return Err(Error::wrong_region(asked, region));
    }
    let account = match parsed.account {
        Some(asked) => asked.parse().map_err(|_| Error::wrong_account(asked))?,
        None => scope.account().clone(),
    };
    Ok(Resolved { account, name: parsed.name.to_owned(), qualifier })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<Parsed<'_>> {
        parse(text, Pattern::Namespaced)
    }

    /// Accepted and refused as in AWS's recorded test_function_name_and_qualifier_validation.
    #[test]
    fn names_in_every_form() {
        let (region, account) = (Some("us-east-1"), Some("111111111111"));
        for (text, expected) in [
            ("my-function", (None, None, "my-function", None)),
            ("my-function:1", (None, None, "my-function", Some("1"))),
            ("my-function:$LATEST", (None, None, "my-function", Some("$LATEST"))),
            ("function:my-function", (None, None, "my-function", None)),
            ("function", (None, None, "function", None)),
            ("111111111111:function:f", (None, account, "f", None)),
            ("us-east-1:111111111111:function:f:a", (region, account, "f", Some("a"))),
            ("arn:aws:lambda:us-east-1:111111111111:function:f", (region, account, "f", None)),
            ("arn:aws-cn:lambda:us-east-1:111111111111:function:f:$LATEST", (region, account, "f", Some("$LATEST"))),
            ("arn:aws:lambda:us-east-1:111111111111:function", (region, account, "function", None)),
            ("arn:x", (None, None, "arn", Some("x"))),
            ("us-east-1:f", (region, None, "f", None)),
            ("f.g", (None, None, "f.g", None)),
        ] {
            let (region, account, name, qualifier) = expected;
            assert_eq!(parsed(text), Some(Parsed { region, account, name, qualifier }), "{text}");
        }
        for text in [
            "",
            "*",
            "my-function!",
            "invalid:function:name",
            "invalid-account:function:my-function",
            "arn:aws:lambda:invalid-region:111111111111:function:my-function",
            "arn:aws:ec2:us-east-1:111111111111:instance:i-1234567890abcdef0",
            "arn:aws:lambda:us-east-1:111111111111:function:my-function:1:2",
            "function:my-function:$LATEST:extra",
            "arn:aws:lambda::111111111111:function:my-function",
            "arn:aws:lambda:us-east-1::function:my-function",
            "arn:aws:lambda:us-east-1:111111111111:function:my-function:$LATES",
            "arn:aws:lambda:us-east-1:123400000000@function:myfn",
            "f:$latest",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(parse("f.g", Pattern::Created), None);
    }

    #[test]
    fn regions_follow_the_pattern() {
        for good in ["us-east-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"] {
            assert!(is_region(good), "{good}");
        }
        for bad in ["", "us-east", "us-east-12", "invalid-region", "us-xyz-east-1", "US-east-1", "us--1"] {
            assert!(!is_region(bad), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn no_name_is_too_odd(text in "(arn|aws|lambda|function|us-east-1|[0-9]{12}|[a-z.$:]|é){0,9}", other in ".{0,60}") {
            parse(&decoded(&text), Pattern::Namespaced);
            parse(&decoded(&other), Pattern::Created);
            decoded(&format!("%{other}"));
        }

        #[test]
        fn a_valid_name_survives_every_wrapping(name in "[a-zA-Z0-9_-]{1,64}", qualifier in "[a-zA-Z0-9_-]{1,9}") {
            let full = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}:{qualifier}");
            let parsed = parse(&full, Pattern::Created).unwrap();
            prop_assert_eq!((parsed.name, parsed.qualifier), (name.as_str(), Some(qualifier.as_str())));
        }
    }
}
