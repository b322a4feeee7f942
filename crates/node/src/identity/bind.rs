//! Whom policies name, when they are stored: users and roles by their unique ids.
//!
//! A grant is to somebody, not to whoever is called so: one who is deleted and made again is another. Where AWS writes the id in the
//! ARN's place (source: IAM user guide, «AWS JSON policy elements: Principal»), the text stays as it was sent here, and the ids
//! stand beside it. A name that nobody has when the policy is stored is nobody's for good; it is not refused, which would tell
//! whom other accounts have.

use updraft_store::identity as stored_identity;
use updraft_types::{
    Function,
    iam::{PrincipalIds, Role},
};

use super::{
    Identity, Snapshot,
    document::{Document, Kind, stored},
};

impl Snapshot {
    /// Whom each statement of a policy names as it is now.
    pub fn ids_in(&self, document: &Document) -> Vec<PrincipalIds> {
        let id_of = |arn: &str| Some((arn.to_owned(), self.principal_id(arn)?.to_owned()));
        (0..document.len()).map(|statement| document.principal_arns(statement).filter_map(id_of).collect()).collect()
    }

    /// The unique id of the user or role that has an ARN, or of the role that it names a session of.
    fn principal_id(&self, arn: &str) -> Option<&str> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, _, service, _, account, name] = parts[..] else { return None };
        let (members, last) = (self.members(&account.parse().ok()?), name.rsplit('/').next()?);
        if service == "sts" {
            return members.role(name.split('/').nth(1)?).map(|role| role.id.as_str());
        }
        let user = members.user(last).filter(|user| user.arn() == arn).map(|user| &user.id);
        let role = || members.role(last).filter(|role| role.arn() == arn).map(|role| &role.id);
        user.or_else(role).map(String::as_str)
    }
}

impl Identity {
    /// Binds the policies of functions that were stored before that was noted, to whom they name now.
    pub(crate) async fn bind_policies(&self, functions: &mut [Function]) -> Result<(), stored_identity::Error> {
        let snapshot = self.snapshot();
        for function in functions {
            let mut is_changed = false;
            for policy in function.policies.values_mut() {
                if policy.statements.iter().all(|statement| statement.principals.is_some()) {
                    continue;
                }
                let ids = snapshot.ids_in(&stored(&policy.document(), Kind::Resource, "a resource policy"));
                let mut ids = ids.into_iter();
                for statement in &mut policy.statements {
                    // One that cannot be read any more names nobody.
                    let ids = ids.next().unwrap_or_default();
                    is_changed |= statement.principals.is_none();
                    statement.principals.get_or_insert(ids);
                }
            }
            if is_changed {
                let replaced = self.inner.store.functions().replace(function.clone(), function.revision.clone()).await;
                replaced.map_err(|error| stored_identity::Error::Internal(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// The same of the trust policies of roles.
    pub(super) async fn bind_trust(&self, unbound: Vec<Role>) -> Result<(), stored_identity::Error> {
        for Role { account, name, trust, .. } in unbound {
            let ids = self.snapshot().ids_in(&stored(&trust, Kind::Trust, &name));
            let bind = move |role: &mut Role| {
                role.trusted = Some(ids);
                Ok(())
            };
            let bound = self.inner.store.identity().amend_role(account, name, bind).await;
            let role = bound.map_err(|error| stored_identity::Error::Internal(error.to_string()))?;
            self.publish(|next| next.put_role(role));
        }
        Ok(())
    }
}
