//! A document written again: what `Document::parse` reads as the same document.

use serde_json::{Map, Value, json};

use super::{
    document::{Document, Effect, Statement, Version},
    principal::{Entry, Principals},
};

impl Document {
    /// The document as JSON, lists where IAM would also take single values.
    pub fn to_json(&self) -> String {
        let mut document = Map::new();
        if let Some(version) = self.version {
            let text = match version {
                Version::V2008 => "2008-10-17",
                Version::V2012 => "2012-10-17",
            };
            document.insert("Version".into(), text.into());
        }
        if let Some(id) = &self.id {
            document.insert("Id".into(), id.as_str().into());
        }
        document.insert("Statement".into(), self.statements.iter().map(statement).collect());
        Value::Object(document).to_string()
    }
}

fn statement(statement: &Statement) -> Value {
    let mut object = Map::new();
    let mut put = |is_negated: bool, name: &str, value: Value| {
        object.insert(if is_negated { format!("Not{name}") } else { name.to_owned() }, value);
    };
    if let Some(sid) = &statement.sid {
        put(false, "Sid", sid.as_str().into());
    }
    put(false, "Effect", if statement.effect == Effect::Allow { "Allow" } else { "Deny" }.into());
    if let Some(of) = &statement.principals {
        put(of.is_negated, "Principal", principals(of));
    }
    put(statement.actions.is_negated, "Action", json!(statement.actions.texts));
    if let Some(resources) = &statement.resources {
        put(resources.is_negated, "Resource", json!(resources.texts));
    }
    if !statement.conditions.is_empty() {
        let mut operators = Map::new();
        for condition in &statement.conditions {
            let keys = operators.entry(condition.operator.as_str()).or_insert_with(|| json!({}));
            keys[condition.key.as_str()] = json!(condition.values);
        }
        put(false, "Condition", operators.into());
    }
    object.into()
}

fn principals(principals: &Principals) -> Value {
    let mut kinds = Map::new();
    for entry in &principals.entries {
        let (kind, value) = match entry {
            Entry::Everybody => ("AWS", "*"),
            Entry::Account(account) => ("AWS", account.as_str()),
            Entry::Arn(arn, _) => ("AWS", arn.as_str()),
            Entry::Service(name) => ("Service", name.as_str()),
            Entry::Federated(name) => ("Federated", name.as_str()),
        };
        if let Value::Array(values) = kinds.entry(kind).or_insert_with(|| json!([])) {
            values.push(value.into());
        }
    }
    kinds.into()
}
