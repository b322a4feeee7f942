//! Permissions boundaries of users and roles: a managed policy that bounds what all others may give.

use super::{Call, Told, failure, grants};
use crate::query_protocol::{Checked, Xml};

pub(super) async fn put(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let boundary = checked.required("PermissionsBoundary", 20, 2_048);
    set(call, checked, Some(boundary)).await
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    set(call, Checked::new(call.form), None).await
}

async fn set(call: &Call<'_>, mut checked: Checked<'_>, boundary: Option<String>) -> Told {
    let holder = grants::holder(call, &mut checked);
    checked.done()?;
    let set = call.scope.node.identity().set_boundary(call.scope.account().clone(), holder, boundary).await;
    set.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

/// The boundary of a user or role, if it has one.
pub(super) fn write(xml: &mut Xml, boundary: Option<&str>) {
    if let Some(arn) = boundary {
        xml.node("PermissionsBoundary", |xml| {
            xml.leaf("PermissionsBoundaryType", "Policy");
            xml.leaf("PermissionsBoundaryArn", arn);
        });
    }
}
