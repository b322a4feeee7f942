//! `Condition`: operators, keys and values; all conditions of a statement must hold, any of a key's values may.
//!
//! Source: IAM User Guide, «IAM JSON policy elements: Condition operators» and «Set operators for multivalued context
//! keys». A key that the request does not have: operators that ask for sameness do not hold, negated ones do, `IfExists`
//! holds, `ForAllValues` holds, `ForAnyValue` does not (with `IfExists` or without), `Null` is what asks for it.
//! A key with several values and no set operator is compared as with `ForAnyValue`, negated operators as its contrary.

use super::{
    Context, Error,
    document::Version,
    pattern::{Pattern, Reading},
    value::{self, Network},
    variable::{Template, Unresolved},
};

/// One operator with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// As written: `ForAnyValue:StringLikeIfExists`.
    pub(super) operator: String,
    /// As written.
    pub(super) key: String,
    /// As written.
    pub(super) values: Vec<String>,
    rule: Rule,
    key_lower: Box<str>,
    operands: Box<[Operand]>,
}

/// An operator taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    set: Option<Set>,
    comparison: Comparison,
    is_negated: bool,
    /// `IfExists`.
    is_lenient: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Text,
    TextAnyCase,
    TextLike,
    Number(Order),
    Date(Order),
    Boolean,
    Binary,
    Address,
    Arn,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    /// Compared as a pattern.
    Pattern(Pattern),
    /// Compared by what its text says, once variables are filled in.
    Text(Template),
    /// A network, where its text has no variables.
    Network(Network),
}

/// Why a condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unmet {
    /// The request's value is another.
    Value,
    /// A variable in it has no value.
    Unresolved(String),
}

impl Condition {
    /// Compiles one member of a condition block, at path `at`.
    pub(super) fn new(
        operator: &str,
        key: &str,
        values: Vec<String>,
        version: Version,
        at: &str,
    ) -> Result<Self, Error> {
        let syntax = |reason: String| Error::syntax(at, reason);
        let rule = Rule::parse(operator).ok_or_else(|| syntax(format!("{operator:?} is not a condition operator")))?;
        if key.is_empty() {
            return Err(syntax("a condition key is empty".into()));
        }
        let operands = values
            .iter()
            .map(|text| Operand::new(text, rule.comparison, version))
            .collect::<Result<_, _>>()
            .map_err(syntax)?;
        Ok(Self {
            operator: operator.to_owned(),
            key: key.to_owned(),
            values,
            rule,
            key_lower: key.to_ascii_lowercase().into(),
            operands,
        })
    }

    /// The values that the request has for the key.
    pub(super) fn actual<'a>(&self, context: &'a Context) -> &'a [String] {
        context.of_lower(&self.key_lower)
    }

    /// Whether the condition holds.
    pub(super) fn check(&self, context: &Context) -> Result<(), Unmet> {
        let actual = self.actual(context);
        let holds = if self.rule.comparison == Comparison::Null {
            self.null(actual.is_empty(), context)?
        } else if actual.is_empty() {
            match self.rule.set {
                Some(Set::All) => true,
                Some(Set::Any) => false,
                None => self.rule.is_lenient || self.rule.is_negated,
            }
        } else {
            let mut each = actual.iter().map(|value| self.one(value, context));
            match (self.rule.set, self.rule.is_negated) {
                (Some(Set::All), is_negated) => {
                    each.try_fold(true, |all, one| Ok::<_, Unmet>(all && one? != is_negated))?
                }
                (Some(Set::Any), true) => each.try_fold(false, |any, one| Ok::<_, Unmet>(any || !one?))?,
                (_, false) => each.try_fold(false, |any, one| Ok::<_, Unmet>(any || one?))?,
                (None, true) => each.try_fold(true, |none, one| Ok::<_, Unmet>(none && !one?))?,
            }
        };
        if holds { Ok(()) } else { Err(Unmet::Value) }
    }

    /// Whether `actual` is the same as any of the values. A value with a variable that cannot be filled in is the same as
    /// nothing, and leaves open what a negated operator would make of it.
    fn one(&self, actual: &str, context: &Context) -> Result<bool, Unmet> {
        let mut unresolved = None;
        for operand in &self.operands {
            match operand.is_same(actual, self.rule.comparison, context) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Unresolved(key)) => unresolved = Some(key),
            }
        }
        unresolved.map_or(Ok(false), |key| Err(Unmet::Unresolved(key)))
    }

    fn null(&self, is_absent: bool, context: &Context) -> Result<bool, Unmet> {
        self.one(if is_absent { "true" } else { "false" }, context)
    }
}

impl Operand {
    fn new(text: &str, comparison: Comparison, version: Version) -> Result<Self, String> {
        let template = Template::parse(text, version)?;
        let constant = template.constant();
        let refuse = |what: &str| Err(format!("{text:?} is not {what}"));
        match comparison {
            Comparison::TextLike => return Ok(Self::Pattern(Pattern::new(template, Reading::Text))),
            Comparison::Arn => return Ok(Self::Pattern(Pattern::new(template, Reading::Arn))),
            Comparison::Address => {
                if let Some(text) = constant {
                    return Network::parse(text)
                        .map(Self::Network)
                        .ok_or(format!("{text:?} is not an address or network"));
                }
            }
            Comparison::Number(_) if constant.is_some_and(|text| value::number(text).is_none()) => {
                return refuse("a number");
            }
            Comparison::Date(_) if constant.is_some_and(|text| value::instant(text).is_none()) => {
                return refuse("a date");
            }
            Comparison::Boolean | Comparison::Null if constant.is_some_and(|text| value::boolean(text).is_none()) => {
                return refuse("true or false");
            }
            _ => {}
        }
        Ok(Self::Text(template))
    }

    fn is_same(&self, actual: &str, comparison: Comparison, context: &Context) -> Result<bool, Unresolved> {
        let template = match self {
            Self::Pattern(pattern) => return pattern.matches(actual, context),
            Self::Network(network) => return Ok(network.contains(actual)),
            Self::Text(template) => template,
        };
        match template.constant() {
            Some(wanted) => Ok(compare(wanted, actual, comparison)),
            None => Ok(compare(&template.text(context)?, actual, comparison)),
        }
    }
}

/// Whether `actual`, of the request, is to `wanted`, of the policy, as the operator asks. What cannot be read is not.
fn compare(wanted: &str, actual: &str, comparison: Comparison) -> bool {
    fn both<T: PartialOrd>(order: Order, actual: Option<T>, wanted: Option<T>) -> bool {
        match (actual, wanted) {
            (Some(actual), Some(wanted)) => order.holds(&actual, &wanted),
            _ => false,
        }
    }
    match comparison {
        Comparison::Text | Comparison::Binary => wanted == actual,
        Comparison::TextAnyCase => {
            wanted.chars().flat_map(char::to_lowercase).eq(actual.chars().flat_map(char::to_lowercase))
        }
        Comparison::Number(order) => both(order, value::number(actual), value::number(wanted)),
        Comparison::Date(order) => both(order, value::instant(actual), value::instant(wanted)),
        Comparison::Boolean | Comparison::Null => both(Order::Equal, value::boolean(actual), value::boolean(wanted)),
        Comparison::Address => Network::parse(wanted).is_some_and(|network| network.contains(actual)),
        Comparison::TextLike | Comparison::Arn => false,
    }
}

impl Order {
    fn holds<T: PartialOrd>(self, actual: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => actual == wanted,
            Self::Less => actual < wanted,
            Self::LessOrEqual => actual <= wanted,
            Self::Greater => actual > wanted,
            Self::GreaterOrEqual => actual >= wanted,
        }
    }
}

impl Rule {
    fn parse(operator: &str) -> Option<Self> {
        let (set, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Set::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
            Some(_) => return None,
            None => (None, operator),
        };
        let (name, is_lenient) = rest.strip_suffix("IfExists").map_or((rest, false), |name| (name, true));
        let (comparison, is_negated) = match name {
            "StringEquals" => (Comparison::Text, false),
            "StringNotEquals" => (Comparison::Text, true),
            "StringEqualsIgnoreCase" => (Comparison::TextAnyCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::TextAnyCase, true),
            "StringLike" => (Comparison::TextLike, false),
            "StringNotLike" => (Comparison::TextLike, true),
            "NumericEquals" => (Comparison::Number(Order::Equal), false),
            "NumericNotEquals" => (Comparison::Number(Order::Equal), true),
            "NumericLessThan" => (Comparison::Number(Order::Less), false),
            "NumericLessThanEquals" => (Comparison::Number(Order::LessOrEqual), false),
            "NumericGreaterThan" => (Comparison::Number(Order::Greater), false),
            "NumericGreaterThanEquals" => (Comparison::Number(Order::GreaterOrEqual), false),
            "DateEquals" => (Comparison::Date(Order::Equal), false),
            "DateNotEquals" => (Comparison::Date(Order::Equal), true),
            "DateLessThan" => (Comparison::Date(Order::Less), false),
            "DateLessThanEquals" => (Comparison::Date(Order::LessOrEqual), false),
            "DateGreaterThan" => (Comparison::Date(Order::Greater), false),
            "DateGreaterThanEquals" => (Comparison::Date(Order::GreaterOrEqual), false),
            "Bool" => (Comparison::Boolean, false),
            "BinaryEquals" => (Comparison::Binary, false),
            "IpAddress" => (Comparison::Address, false),
            "NotIpAddress" => (Comparison::Address, true),
            "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
            // Asks whether there is a key; «if it exists» and «for each value» would have nothing to say.
            "Null" if set.is_none() && !is_lenient => (Comparison::Null, false),
            _ => return None,
        };
        Some(Self { set, comparison, is_negated, is_lenient })
    }
}
