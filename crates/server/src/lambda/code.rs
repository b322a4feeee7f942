//! Where code comes from, as CreateFunction and UpdateFunctionCode say it: an inline zip, or a container image.

use serde::Deserialize;
use serde_json::Value;
use updraft_node::control;
use updraft_types::{Function, function::Architecture};

use super::{
    members::{Blob, refuse_asking},
    validate::Violations,
};
use crate::error::Error;

/// `PackageType`, which a function has for life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackageType {
    /// A zip.
    Zip,
    /// A container image.
    Image,
}

impl PackageType {
    /// That of a function that is there.
    pub(super) fn of(function: &Function) -> Self {
        if function.code.image.is_some() { PackageType::Image } else { PackageType::Zip }
    }
}

/// `FunctionCode`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Source {
    zip_file: Option<Blob>,
    s3_bucket: Value,
    s3_key: Value,
    s3_object_version: Value,
    s3_object_storage_mode: Value,
    image_uri: Option<String>,
    #[serde(rename = "SourceKMSKeyArn")]
    source_kms_key_arn: Value,
}

impl Source {
    /// The source for a function of a package type; others are refused, by name where they are not built. `verb` is what
    /// is done to the function, for AWS's texts (those of updating are recorded, those of creating made like them).
    pub(super) fn into_source(self, package: PackageType, verb: &str) -> Result<control::Source, Error> {
        refuse_asking(&[
            ("Code.S3Bucket", &self.s3_bucket),
            ("Code.S3Key", &self.s3_key),
            ("Code.S3ObjectVersion", &self.s3_object_version),
            ("Code.S3ObjectStorageMode", &self.s3_object_storage_mode),
            ("Code.SourceKMSKeyArn", &self.source_kms_key_arn),
        ])?;
        match (package, self.image_uri, self.zip_file) {
            (PackageType::Image, Some(uri), None) => Ok(control::Source::Image(uri)),
            (PackageType::Image, ..) => Err(Error::invalid_parameter(format!(
                "Please provide ImageUri when {verb} a function with packageType Image."
            ))),
            (PackageType::Zip, Some(_), _) => Err(Error::invalid_parameter(format!(
                "Please don't provide ImageUri when {verb} a function with packageType Zip."
            ))),
            (PackageType::Zip, None, Some(Blob(zip))) => Ok(control::Source::Zip(zip)),
            (PackageType::Zip, None, None) => {
                Err(Error::invalid_parameter("Please provide a source for your function code."))
            }
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
