//! A policy document: IAM's JSON grammar, read strictly, once, into what [`decide`](super::decide) evaluates.
//!
//! Source: IAM User Guide, «Grammar of the IAM JSON policy language»; the messages are those that IAM and STS answer with.
//! Stricter than IAM in two things: no member occurs twice in an object, and a value that its operator cannot read (a
//! number, a date, a network) is refused instead of never matching.

use std::collections::{BTreeMap, HashSet};

use super::{
    Error,
    action::{Actions, Services},
    condition::Condition,
    json::Json,
    pattern::{Pattern, Reading},
    principal::Principals,
    variable::Template,
};

/// Statements of one document. IAM bounds them by the document's size alone; this is above what fits.
pub const STATEMENTS_MAX: usize = 512;
/// Actions, resources, principals and condition values of one document together.
const PATTERNS_MAX: usize = 4096;
/// Bytes of a document as it is sent, white space included (source: the service model's `policyDocumentType`).
const BYTES_MAX: usize = 131_072;

/// How long documents may be: characters, white space not counted
/// (source: IAM User Guide, «IAM and AWS STS quotas»; Lambda's quotas for function policies).
pub mod bytes_max {
    /// All inline policies of a role together, and so one of them.
    pub const INLINE: usize = 10_240;
    /// A managed policy.
    pub const MANAGED: usize = 6_144;
    /// A function's resource policy.
    pub const RESOURCE: usize = 20_480;
    /// A role's trust policy.
    pub const TRUST: usize = 2_048;
    /// A session policy.
    pub const SESSION: usize = 2_048;
}

/// What a document is attached to, which decides what it may and must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user or role; also permissions boundaries and session policies. No principal.
    Identity,
    /// A resource: a principal and a resource in each statement.
    Resource,
    /// A role, to say who may assume it: a principal in each statement, STS actions, no resource.
    Trust,
}

/// The language's version. Without one a document is of 2008-10-17, which knows no variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `2008-10-17`
    V2008,
    /// `2012-10-17`
    V2012,
}

/// What a statement does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// `Allow`
    Allow,
    /// `Deny`
    Deny,
}

/// A valid policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) kind: Kind,
    pub(super) version: Option<Version>,
    pub(super) id: Option<String>,
    pub(super) statements: Vec<Statement>,
    /// What each statement may be about, beside each other: a decision goes through these first.
    pub(super) services: Box<[Services]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) principals: Option<Principals>,
    pub(super) actions: Actions,
    /// None in trust policies, which speak of their role.
    pub(super) resources: Option<Resources>,
    pub(super) conditions: Vec<Condition>,
}

/// `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) is_negated: bool,
    /// As written.
    pub(super) texts: Vec<String>,
    pub(super) patterns: Box<[Pattern]>,
}

impl Document {
    /// Reads `text` as a policy of `kind` with at most `characters_max` characters, white space not counted (see
    /// [`bytes_max`]). The error's text is IAM's, its detail names the element.
    pub fn parse(text: &str, kind: Kind, characters_max: usize) -> Result<Self, Error> {
        let characters = text.chars().filter(|character| !character.is_whitespace()).count();
        if text.len() > BYTES_MAX || characters > characters_max {
            return Err(Error::Size { max: characters_max });
        }
        let mut reader = Reader { kind, version: Version::V2008, patterns: 0 };
        let json =
            Json::parse(text).map_err(|reason| reader.malformed("This policy contains invalid Json", "", reason))?;
        reader.document(&json)
    }

    /// What the document may be attached to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many statements it has.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether it has no statement; a parsed document has one at least.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Whether one of its statements denies.
    pub fn has_deny(&self) -> bool {
        self.statements.iter().any(|statement| statement.effect == Effect::Deny)
    }

    /// Binds the users, roles and sessions that statements name to whom these ARNs stood for when each was stored: unique ids by
    /// ARN, for statement after statement. Whoever is not among them is nobody, for good, whoever has that name later. A
    /// statement without any stays as it is, as do those beyond the last.
    pub fn bind<'a>(&mut self, ids: impl IntoIterator<Item = Option<&'a BTreeMap<String, String>>>) {
        for (statement, ids) in self.statements.iter_mut().zip(ids) {
            if let (Some(principals), Some(ids)) = (&mut statement.principals, ids) {
                principals.bind(ids);
            }
        }
    }

    /// The ARNs of users, roles and sessions that a statement, counted from zero, names as principals.
    pub fn principal_arns(&self, statement: usize) -> impl Iterator<Item = &str> {
        let principals = self.statements.get(statement).and_then(|statement| statement.principals.as_ref());
        principals.into_iter().flat_map(Principals::arns)
    }

    /// Each statement's Sid, in order; an empty one is none.
    pub fn sids(&self) -> impl Iterator<Item = Option<&str>> {
        self.statements.iter().map(|statement| statement.sid.as_deref())
    }
}

struct Reader {
    kind: Kind,
    version: Version,
    patterns: usize,
}

impl Reader {
    /// IAM has a vague message for identity policies and better ones for trust policies; resource policies take the
    /// latter.
    fn malformed(&self, message: &str, at: &str, reason: impl Into<String>) -> Error {
        match self.kind {
            Kind::Identity => Error::syntax(at, format!("{message}: {}", reason.into()).trim_end_matches([':', ' '])),
            Kind::Resource | Kind::Trust => Error::new(message, at, reason),
        }
    }

    fn document(&mut self, json: &Json) -> Result<Document, Error> {
        let Json::Object(members) = json else {
            return Err(Error::syntax("", format!("a policy is an object, not {}", json.kind())));
        };
        let (mut version, mut id, mut statements) = (None, None, None);
        for (name, value) in members {
            match (name.as_str(), value) {
                ("Version", Json::Text(text)) => version = Some(self.version(text)?),
                ("Id", Json::Text(text)) => id = Some(text.clone()),
                ("Statement", Json::Object(_)) => statements = Some(std::slice::from_ref(value)),
                ("Statement", Json::List(list)) => statements = Some(list.as_slice()),
                ("Version" | "Id" | "Statement", other) => {
                    return Err(Error::syntax(name, format!("must not be {}", other.kind())));
                }
                _ => return Err(Error::syntax(name, "a policy has no such element")),
            }
        }
        self.version = version.unwrap_or(Version::V2008);
        if self.kind == Kind::Identity && version != Some(Version::V2012) {
            return Err(Error::new("Policy document must be version 2012-10-17 or greater.", "Version", ""));
        }
        let statements = statements.unwrap_or_default();
        if statements.is_empty() {
            return Err(self.malformed("Could not parse the policy: Statement is empty!", "Statement", ""));
        }
        if statements.len() > STATEMENTS_MAX {
            return Err(Error::syntax("Statement", format!("more than {STATEMENTS_MAX} statements")));
        }
        let mut sids = HashSet::new();
        let statements: Vec<Statement> = statements
            .iter()
            .enumerate()
            .map(|(index, json)| {
                let at = format!("Statement[{index}]");
                let statement = self.statement(json, &at)?;
                if statement.sid.as_ref().is_some_and(|sid| !sids.insert(sid.clone())) {
                    let message = match self.kind {
                        Kind::Identity => "Statement IDs (SID) in a single policy must be unique.",
                        Kind::Resource | Kind::Trust => "The Statement Ids in the policy are not unique",
                    };
                    return Err(Error::new(message, format!("{at}.Sid"), ""));
                }
                Ok(statement)
            })
            .collect::<Result<_, _>>()?;
        let services = statements.iter().map(|statement| statement.actions.services()).collect();
        Ok(Document { kind: self.kind, version, id, statements, services })
    }

    fn version(&self, text: &str) -> Result<Version, Error> {
        match text {
            "2008-10-17" => Ok(Version::V2008),
            "2012-10-17" => Ok(Version::V2012),
            _ => Err(self.malformed("The policy must contain a valid version string", "Version", format!("{text:?}"))),
        }
    }

    fn statement(&mut self, json: &Json, at: &str) -> Result<Statement, Error> {
        let Json::Object(members) = json else {
            return Err(Error::syntax(at, format!("a statement is an object, not {}", json.kind())));
        };
        let (mut sid, mut effect, mut conditions) = (None, None, Vec::new());
        let (mut principals, mut actions, mut resources) = (None, None, None);
        for (name, value) in members {
            let at = format!("{at}.{name}");
            let is_negated = name.starts_with("Not");
            let twice = || Error::syntax(&at, "stands beside its contrary");
            match name.as_str() {
                "Sid" => sid = Some(self.sid(value, &at)?).filter(|sid| !sid.is_empty()),
                "Effect" => effect = Some(self.effect(value, &at)?),
                "Principal" | "NotPrincipal" => {
                    self.may_have_principal(name, &at)?;
                    let parsed = Principals::parse(value, is_negated, &at)?;
                    self.count(parsed.entries.len(), &at)?;
                    if principals.replace(parsed).is_some() {
                        return Err(twice());
                    }
                }
                "Action" | "NotAction" => {
                    let texts = self.texts(value, &at)?;
                    let is_foreign = |text: &String| !text.to_ascii_lowercase().starts_with("sts:");
                    if self.kind == Kind::Trust && texts.iter().any(is_foreign) {
                        return Err(Error::new("AssumeRole policy may only specify STS AssumeRole actions.", at, ""));
                    }
                    if actions.replace(Actions::new(texts, is_negated, &at)?).is_some() {
                        return Err(twice());
                    }
                }
                "Resource" | "NotResource" => {
                    if self.kind == Kind::Trust {
                        return Err(Error::new(format!("Has prohibited field {name}"), at, ""));
                    }
                    if resources.replace(self.resources(value, is_negated, &at)?).is_some() {
                        return Err(twice());
                    }
                }
                "Condition" => conditions = self.conditions(value, &at)?,
                _ => return Err(Error::syntax(at, "a statement has no such element")),
            }
        }
        let effect = effect.ok_or_else(|| self.malformed("Missing required field Effect", at, ""))?;
        if self.kind != Kind::Identity && principals.is_none() {
            return Err(Error::new("Missing required field Principal", at, ""));
        }
        let no_action = match self.kind {
            Kind::Trust => "Missing required field Action",
            Kind::Identity | Kind::Resource => "Policy statement must contain actions.",
        };
        let actions = actions.filter(|actions: &Actions| !actions.texts.is_empty());
        let actions = actions.ok_or_else(|| Error::new(no_action, at, ""))?;
        let resources = resources.filter(|resources: &Resources| !resources.texts.is_empty());
        if self.kind != Kind::Trust && resources.is_none() {
            return Err(Error::new("Policy statement must contain resources.", at, ""));
        }
        Ok(Statement { sid, effect, principals, actions, resources, conditions })
    }

    fn may_have_principal(&self, name: &str, at: &str) -> Result<(), Error> {
        match (self.kind, name) {
            (Kind::Identity, _) => Err(Error::new("Policy document should not specify a principal.", at, "")),
            (Kind::Trust, "NotPrincipal") => {
                Err(Error::new("AssumeRole policy must not contain NotPrincipal field.", at, ""))
            }
            _ => Ok(()),
        }
    }

    fn sid(&self, value: &Json, at: &str) -> Result<String, Error> {
        match value {
            Json::Text(sid) if self.kind == Kind::Resource => Ok(sid.clone()),
            Json::Text(sid) if sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(sid.clone()),
            Json::Text(sid) => Err(Error::new(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
                at,
                format!("{sid:?}"),
            )),
            other => Err(Error::syntax(at, format!("must be a string, not {}", other.kind()))),
        }
    }

    fn effect(&self, value: &Json, at: &str) -> Result<Effect, Error> {
        match value {
            Json::Text(text) if text == "Allow" => Ok(Effect::Allow),
            Json::Text(text) if text == "Deny" => Ok(Effect::Deny),
            Json::Text(text) => Err(self.malformed(&format!("Invalid effect: {text}"), at, "")),
            other => Err(Error::syntax(at, format!("must be Allow or Deny, not {}", other.kind()))),
        }
    }

    fn resources(&mut self, value: &Json, is_negated: bool, at: &str) -> Result<Resources, Error> {
        let texts = self.texts(value, at)?;
        let patterns = texts
            .iter()
            .map(|text| {
                check_resource(text, at)?;
                let template = Template::parse(text, self.version).map_err(|reason| Error::syntax(at, reason))?;
                Ok(Pattern::new(template, Reading::Resource))
            })
            .collect::<Result<_, _>>()?;
        Ok(Resources { is_negated, texts, patterns })
    }

    fn conditions(&mut self, value: &Json, at: &str) -> Result<Vec<Condition>, Error> {
        let object = |value: &Json, at: &str| match value {
            Json::Object(members) => Ok(members.clone()),
            other => Err(Error::syntax(at, format!("must be an object, not {}", other.kind()))),
        };
        let mut conditions = Vec::new();
        for (operator, keys) in object(value, at)? {
            let at = format!("{at}.{operator}");
            for (key, values) in object(&keys, &at)? {
                let at = format!("{at}.{key}");
                let values = self.texts(&values, &at)?;
                conditions.push(Condition::new(&operator, &key, values, self.version, &at)?);
            }
        }
        // In one order, so that a document written again is the same; all of them must hold.
        conditions.sort_by(|a: &Condition, b| (&a.operator, &a.key).cmp(&(&b.operator, &b.key)));
        Ok(conditions)
    }

    /// One string or a list of them; in conditions numbers and booleans are strings too.
    fn texts(&mut self, value: &Json, at: &str) -> Result<Vec<String>, Error> {
        let items = match value {
            Json::List(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        self.count(items.len(), at)?;
        let is_condition = at.contains(".Condition.");
        items
            .iter()
            .map(|item| match item {
                Json::Text(text) => Ok(text.clone()),
                Json::Scalar(text) if is_condition => Ok(text.clone()),
                other => Err(Error::syntax(at, format!("must be a string or a list of strings, not {}", other.kind()))),
            })
            .collect()
    }

    fn count(&mut self, patterns: usize, at: &str) -> Result<(), Error> {
        self.patterns += patterns;
        if self.patterns > PATTERNS_MAX {
            return Err(Error::syntax(at, format!("more than {PATTERNS_MAX} actions, resources and values together")));
        }
        Ok(())
    }
}

/// Refuses what is neither `*` nor begins as an ARN does, in IAM's words.
fn check_resource(text: &str, at: &str) -> Result<(), Error> {
    if text == "*" {
        return Ok(());
    }
    let mut parts = text.splitn(4, ':');
    let (Some("arn"), Some(partition)) = (parts.next(), parts.next()) else {
        return Err(Error::new(format!("Resource {text} must be in ARN format or \"*\"."), at, ""));
    };
    let is_partition = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    if !partition.starts_with("aws") || !partition.bytes().all(is_partition) {
        let rest = text.splitn(3, ':').nth(2).unwrap_or("*");
        let message = format!("Partition \"{partition}\" is not valid for resource \"arn:{partition}:{rest}\".");
        return Err(Error::new(message, at, ""));
    }
    match (parts.next(), parts.next()) {
        (Some(vendor), Some(_)) if !vendor.is_empty() && !vendor.contains(['*', '?', '$']) => Ok(()),
        _ => {
            let message = "Resource vendor must be fully qualified and cannot contain regexes.";
            Err(Error::new(message, at, format!("{text:?}")))
        }
    }
}
