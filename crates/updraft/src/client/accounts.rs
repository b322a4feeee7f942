//! Accounts, the keys of their root users, and questions about policies, at the platform's admin door.

use http::Method;
use serde_json::{Value, json};

use super::{Call, Client, Error, segment};

const ACCOUNTS: &str = "/_updraft/v1/accounts";

impl Client {
    /// Every account, the platform's own first.
    pub fn accounts(&self) -> Result<Value, Error> {
        self.call(Call::new("listing accounts", Method::GET, ACCOUNTS), &|_| ())?.json()
    }

    /// Whether a principal may do something, and why.
    pub fn check_policy(&self, question: &Value) -> Result<Value, Error> {
        let body = question.to_string();
        let call = Call::new("checking a policy", Method::POST, "/_updraft/v1/policy/check").json(body.as_bytes());
        self.call(call, &|_| ())?.json()
    }

    /// Makes an account; the answer holds its root user's first key, with the secret.
    pub fn create_account(&self, name: &str, account: Option<&str>) -> Result<Value, Error> {
        let body = json!({ "name": name, "account": account }).to_string();
        self.call(Call::new("making an account", Method::POST, ACCOUNTS).json(body.as_bytes()), &|_| ())?.json()
    }

    /// Deletes an account.
    pub fn delete_account(&self, account: &str) -> Result<(), Error> {
        let target = format!("{ACCOUNTS}/{}", segment(account));
        self.call(Call::new("deleting an account", Method::DELETE, target), &|_| ()).map(drop)
    }

    /// The access keys of an account's root user.
    pub fn account_keys(&self, account: &str) -> Result<Value, Error> {
        self.call(Call::new("listing access keys", Method::GET, keys(account)), &|_| ())?.json()
    }

    /// Makes one; the answer holds the secret.
    pub fn create_account_key(&self, account: &str) -> Result<Value, Error> {
        self.call(Call::new("making an access key", Method::POST, keys(account)), &|_| ())?.json()
    }

    /// Enables or disables one.
    pub fn set_account_key(&self, account: &str, key: &str, is_active: bool) -> Result<(), Error> {
        let body = json!({ "status": if is_active { "Active" } else { "Inactive" } }).to_string();
        let target = format!("{}/{}", keys(account), segment(key));
        self.call(Call::new("changing an access key", Method::PUT, target).json(body.as_bytes()), &|_| ()).map(drop)
    }

    /// Deletes one.
    pub fn delete_account_key(&self, account: &str, key: &str) -> Result<(), Error> {
        let target = format!("{}/{}", keys(account), segment(key));
        self.call(Call::new("deleting an access key", Method::DELETE, target), &|_| ()).map(drop)
    }
}

fn keys(account: &str) -> String {
    format!("{ACCOUNTS}/{}/keys", segment(account))
}
