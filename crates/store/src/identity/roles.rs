//! Roles.

use rusqlite::Connection;
use updraft_types::{AccountId, iam::Role};

use super::{
    ChangeError, Identity, Quota, Refusal, grants,
    record::{self, Stop},
};

impl Identity {
    /// Adds a role without grants.
    pub async fn create_role(&self, role: Role) -> Result<(), ChangeError> {
        self.change(move |connection| record::insert(connection, &role)).await
    }

    /// Changes a role's trust policy, description, longest session and tags, and answers it; `change` may refuse. Its
    /// name and id stay.
    pub async fn amend_role(
        &self,
        account: AccountId,
        name: String,
        change: impl FnOnce(&mut Role) -> Result<(), Quota> + Send + 'static,
    ) -> Result<Role, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut role: Role = record::read(connection, &account, &name)?;
            change(&mut role).map_err(Refusal::Quota)?;
            role.name.clone_from(&name);
            record::replace(connection, &name, &role)?;
            Ok(role)
        };
        self.change(verb).await
    }

    /// Removes a role that has no policies left.
    pub async fn delete_role(&self, account: AccountId, name: String) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| -> Result<(), Stop> {
            let _: Role = record::read(connection, &account, &name)?;
            grants::must_be_none(connection, &account, "role", &name)?;
            record::remove::<Role>(connection, &account, &name)
        };
        self.change(verb).await
    }
}
