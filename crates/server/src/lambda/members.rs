//! Members of requests that more than one operation has, and those that this platform does not have yet.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::error::Error;

/// A blob: base64 in JSON, decoded straight from the request's text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Bytes);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
                use base64::{Engine, engine::general_purpose::STANDARD};
                let decoded = STANDARD.decode(text).map_err(|error| E::custom(format!("not base64: {error}")))?;
                Ok(Blob(decoded.into()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Members of CreateFunction and UpdateFunctionConfiguration that ask for what is not built yet. Empty ones ask for
/// nothing and are accepted, since clients send them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Unsupported {
    accelerator_config: Value,
    capacity_provider_config: Value,
    code_signing_config_arn: Value,
    dead_letter_config: Value,
    durable_config: Value,
    file_system_configs: Value,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Value,
    publish_to: Value,
    runtime_config: Value,
    tenancy_config: Value,
    vpc_config: Value,
}

impl Unsupported {
    /// Refuses the first member that asks for something.
    pub(super) fn refuse(&self) -> Result<(), Error> {
        let members = [
            ("AcceleratorConfig", &self.accelerator_config),
            ("CapacityProviderConfig", &self.capacity_provider_config),
            ("CodeSigningConfigArn", &self.code_signing_config_arn),
            ("DeadLetterConfig", &self.dead_letter_config),
            ("DurableConfig", &self.durable_config),
            ("FileSystemConfigs", &self.file_system_configs),
            ("KMSKeyArn", &self.kms_key_arn),
            ("PublishTo", &self.publish_to),
            ("RuntimeConfig", &self.runtime_config),
            ("TenancyConfig", &self.tenancy_config),
            ("VpcConfig", &self.vpc_config),
        ];
        refuse_asking(&members)
    }
}

/// Refuses the first of these members that asks for something.
pub(super) fn refuse_asking(members: &[(&str, &Value)]) -> Result<(), Error> {
    match members.iter().find(|(_, value)| asks_for_something(value)) {
        Some((name, _)) => Err(Error::unsupported_member(name)),
        None => Ok(()),
    }
}

/// Whether a value is more than null, false, empty, or made of such.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(asks_for_something),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_members_are_accepted_and_others_refused_by_name() {
        let read = |text: &str| serde_json::from_str::<Unsupported>(text).unwrap().refuse();
        let empty = r#"{"VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[],"Ipv6AllowedForDualStack":false},
            "DeadLetterConfig":{"TargetArn":""},"KMSKeyArn":"","SnapStart":{"ApplyOn":"None"},
            "Unknown":1}"#;
        assert_eq!(read(empty), Ok(()));
        for (text, member) in [
            (r#"{"VpcConfig":{"SubnetIds":["s"]}}"#, "VpcConfig"),
            (r#"{"DurableConfig":{"ExecutionTimeout":1}}"#, "DurableConfig"),
        ] {
            assert_eq!(read(text), Err(Error::unsupported_member(member)));
        }
    }

    #[test]
    fn blobs_are_base64() {
        assert_eq!(serde_json::from_str::<Blob>("\"aGk=\"").unwrap(), Blob("hi".into()));
        assert_eq!(serde_json::from_str::<Blob>("\"aGk\\u003d\"").unwrap(), Blob("hi".into()));
        for bad in ["\"aGk\"", "\"!\"", "1"] {
            assert!(serde_json::from_str::<Blob>(bad).unwrap_err().is_data(), "{bad}");
        }
    }
}
