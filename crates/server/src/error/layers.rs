//! What goes wrong with layers, in AWS's words as recorded.

use updraft_node::layers;
use updraft_types::limits::RESOURCE_POLICY_BYTES_MAX;

use super::{Error, Kind};

impl Error {
    /// A layer version that is not there, as operations on its policy say it.
    pub(crate) fn layer_version_not_found(arn: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("Layer version {arn} does not exist."))
    }

    /// A layer version without a policy.
    pub(crate) fn no_layer_policy() -> Self {
        Self::new(Kind::ResourceNotFound, "No policy is associated with the given resource.")
    }

    /// Another account's layer that grants the caller nothing, or that is not there: the two are not told apart.
    pub(crate) fn layer_denied(caller: &str, action: &str, arn: &str) -> Self {
        let text = format!(
            "User: {caller} is not authorized to perform: {action} on resource: {arn} because no resource-based policy \
             allows the {action} action"
        );
        Self::new(Kind::AccessDenied, text)
    }

    /// Why something was not done to a layer version or its policy. `arn` is the version's, `sid` the statement's name.
    pub(crate) fn layer(error: layers::Error, arn: &str, sid: &str) -> Self {
        match error {
            layers::Error::NotFound => Self::layer_version_not_found(arn),
            layers::Error::NoStatement => {
                let text = format!("Statement {sid} is not found in resource policy.");
                Self::new(Kind::ResourceNotFound, text)
            }
            layers::Error::StatementExists => {
                let text = format!(
                    "The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the \
                     existing statement."
                );
                Self::new(Kind::ResourceConflict, text)
            }
            layers::Error::RevisionMismatch => Self::new(
                Kind::PreconditionFailed,
                "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve \
                 the latest Revision Id",
            ),
            layers::Error::PolicyTooLong => Self::new(
                Kind::PolicyLengthExceeded,
                format!("The final policy size would exceed the limit of {RESOURCE_POLICY_BYTES_MAX} bytes"),
            ),
            layers::Error::Change(error) => Self::change(error, "", arn),
        }
    }
}
