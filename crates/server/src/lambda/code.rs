//! Where a package comes from, as CreateFunction and UpdateFunctionCode say it. Only inline zips so far.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use updraft_types::function::Architecture;

use super::{
    members::{Blob, refuse_asking},
    validate::Violations,
};
use crate::error::Error;

/// `FunctionCode`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Source {
    zip_file: Option<Blob>,
    s3_bucket: Value,
    s3_key: Value,
    s3_object_version: Value,
    image_uri: Value,
    #[serde(rename = "SourceKMSKeyArn")]
    source_kms_key_arn: Value,
}

impl Source {
    /// The zip; other sources are refused by name.
    pub(super) fn into_zip(self) -> Result<Bytes, Error> {
        refuse_asking(&[
            ("Code.S3Bucket", &self.s3_bucket),
            ("Code.S3Key", &self.s3_key),
            ("Code.S3ObjectVersion", &self.s3_object_version),
            ("Code.ImageUri", &self.image_uri),
            ("Code.SourceKMSKeyArn", &self.source_kms_key_arn),
        ])?;
        match self.zip_file {
            Some(Blob(zip)) => Ok(zip),
            None => Err(Error::invalid_parameter("Please provide a source for your function code.")),
        }
    }
}

/// `Architectures`: at most one.
pub(super) fn architecture(values: Option<&[String]>, violations: &mut Violations) -> Option<Architecture> {
    let values = values?;
    violations.single("architectures", values, &["x86_64", "arm64"]);
    match values.first()?.as_str() {
        "arm64" => Some(Architecture::Arm64),
        _ => Some(Architecture::X86_64),
    }
}
