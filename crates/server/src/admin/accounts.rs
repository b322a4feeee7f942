//! Accounts and the access keys of their root users, for the root user of the platform's own account alone.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET accounts` | | `[{"account", "name", "created_at_ms", "functions", "is_platform"}]` |
//! | `POST accounts` | `{"name", "account"?}` | 201, the account and `"key"`, the root user's first |
//! | `DELETE accounts/ID` | | 204, with all that it has; 409 while it has functions |
//! | `GET accounts/ID/keys` | | `[{"access_key_id", "status", "created_at_ms"}]` |
//! | `POST accounts/ID/keys` | | 201, the key with `"secret_access_key"` |
//! | `PUT accounts/ID/keys/KEY` | `{"status": "Active" \| "Inactive"}` | 204 |
//! | `DELETE accounts/ID/keys/KEY` | | 204 |
//!
//! A secret is told when its key is made, and never again. The platform's own account has, beside the keys kept here, the
//! pair that its configuration names.

use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use updraft_types::{
    AccountId, Body,
    iam::{AccessKey, KeyStatus, Secret},
};

use crate::{body::Held, error::Error, lambda::read_json, respond, scope::Scope};

/// Longest name of an account, characters.
const NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    status: KeyStatus,
}

#[derive(Serialize)]
struct AccountView<'a> {
    account: &'a AccountId,
    name: &'a str,
    created_at_ms: Option<u64>,
    functions: usize,
    is_platform: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyView<'a>>,
}

#[derive(Serialize)]
struct KeyView<'a> {
    access_key_id: &'a str,
    status: KeyStatus,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<&'a str>,
}

impl<'a> KeyView<'a> {
    fn of(key: &'a AccessKey, secret: Option<&'a Secret>) -> Self {
        Self {
            access_key_id: &key.id,
            status: key.status,
            created_at_ms: key.created_at.as_ms(),
            secret_access_key: secret.map(Secret::expose),
        }
    }
}

/// Answers a request for what follows `accounts`.
pub(super) async fn serve(
    scope: &Scope<'_>,
    path: &str,
    method: &Method,
    body: &Held,
) -> Result<Response<Body>, Error> {
    // Nor what expires: keys are made here.
    if !scope.is_root_of(&scope.doors().account) || scope.is_token_session() {
        return Err(Error::not_the_platforms_root());
    }
    let segments: Vec<&str> = path.splitn(4, '/').collect();
    match (method, &segments[..]) {
        (&Method::GET, [""]) => Ok(list(scope)),
        (&Method::POST, [""]) => create(scope, read_json(body).await?).await,
        (&Method::DELETE, ["", id]) => delete(scope, known(scope, id)?).await,
        (&Method::GET, ["", id, "keys"]) => Ok(keys(scope, &known(scope, id)?)),
        (&Method::POST, ["", id, "keys"]) => create_key(scope, known(scope, id)?).await,
        (&Method::PUT, ["", id, "keys", key]) => {
            let (account, KeyChange { status }) = (known(scope, id)?, read_json(body).await?);
            let changed = scope.node.identity().set_key_status(account, None, (*key).to_owned(), status).await;
            changed.map(|()| respond::empty(StatusCode::NO_CONTENT)).map_err(Error::identity)
        }
        (&Method::DELETE, ["", id, "keys", key]) => {
            let deleted = scope.node.identity().delete_key(known(scope, id)?, None, (*key).to_owned()).await;
            deleted.map(|()| respond::empty(StatusCode::NO_CONTENT)).map_err(Error::identity)
        }
        _ => Err(Error::admin_not_found()),
    }
}

/// An account that there is: the platform's own, or one that was made.
fn known(scope: &Scope<'_>, segment: &str) -> Result<AccountId, Error> {
    let id: Option<AccountId> = segment.parse().ok();
    let is_known = |id: &AccountId| *id == scope.doors().account || scope.node.identity().has_account(id);
    id.filter(is_known).ok_or_else(|| Error::no_such_account(segment))
}

fn list(scope: &Scope<'_>) -> Response<Body> {
    let catalog = scope.node.catalog();
    let own = &scope.doors().account;
    let made = scope.node.identity().accounts();
    let view = |account, name, created_at_ms, is_platform| AccountView {
        account,
        name,
        created_at_ms,
        functions: catalog.list(account, None).count(),
        is_platform,
        key: None,
    };
    let made = made.iter().filter(|account| account.id != *own);
    let mut all = vec![view(own, "platform", None, true)];
    all.extend(made.map(|account| view(&account.id, &account.name, Some(account.created_at.as_ms()), false)));
    respond::json(StatusCode::OK, &all)
}

async fn create(scope: &Scope<'_>, draft: Draft) -> Result<Response<Body>, Error> {
    let is_name = (1..=NAME_CHARS_MAX).contains(&draft.name.chars().count()) && !draft.name.contains(char::is_control);
    if !is_name {
        return Err(Error::invalid_parameter(format!("An account's name has 1 to {NAME_CHARS_MAX} characters")));
    }
    let wanted = match &draft.account {
        None => None,
        Some(text) => {
            let id: AccountId = text.parse().map_err(|error| Error::invalid_parameter(format!("{error}")))?;
            if id == scope.doors().account {
                return Err(Error::account_exists());
            }
            Some(id)
        }
    };
    let identity = scope.node.identity();
    let account = scope.node.create_account(draft.name, wanted).await.map_err(Error::identity)?;
    let (key, secret) = identity.create_key(account.id.clone(), None).await.map_err(Error::identity)?;
    let view = AccountView {
        account: &account.id,
        name: &account.name,
        created_at_ms: Some(account.created_at.as_ms()),
        functions: 0,
        is_platform: false,
        key: Some(KeyView::of(&key, Some(&secret))),
    };
    Ok(respond::json(StatusCode::CREATED, &view))
}

async fn delete(scope: &Scope<'_>, id: AccountId) -> Result<Response<Body>, Error> {
    if id == scope.doors().account {
        return Err(Error::invalid_parameter("The platform's own account cannot be deleted"));
    }
    scope.node.delete_account(id).await.map_err(Error::identity)?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

fn keys(scope: &Scope<'_>, id: &AccountId) -> Response<Body> {
    let keys = scope.node.identity().snapshot().keys_of(id, None);
    let views: Vec<_> = keys.iter().map(|key| KeyView::of(key, None)).collect();
    respond::json(StatusCode::OK, &views)
}

async fn create_key(scope: &Scope<'_>, id: AccountId) -> Result<Response<Body>, Error> {
    let (key, secret) = scope.node.identity().create_key(id, None).await.map_err(Error::identity)?;
    Ok(respond::json(StatusCode::CREATED, &KeyView::of(&key, Some(&secret))))
}
