//! A request's caller at the doors: whose things it sees, and what it may do with them.
//!
//! Every operation of every AWS door and of the admin door gets a `Scope`, never the bare doors, so that none can
//! forget whom it works for. An operation asks [`Scope::authorize`] before it looks at, or changes, anything.

use std::ops::Deref;

use updraft_types::{AccountId, Caller, FunctionId, FunctionName};

use crate::doors::Doors;

/// The doors, as one caller finds them.
pub(crate) struct Scope<'a> {
    doors: &'a Doors,
    /// Who asks.
    pub(crate) caller: Caller,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(doors: &'a Doors, caller: Caller) -> Self {
        Self { doors, caller }
    }

    /// The doors themselves, whoever asks.
    pub(crate) fn doors(&self) -> &Doors {
        self.doors
    }

    /// The account the caller works in.
    pub(crate) fn account(&self) -> &AccountId {
        &self.caller.account
    }

    /// The full identity of a function of the caller's account.
    pub(crate) fn id(&self, name: FunctionName) -> FunctionId {
        FunctionId { account: self.account().clone(), name }
    }
}

impl Deref for Scope<'_> {
    type Target = Doors;

    fn deref(&self) -> &Doors {
        self.doors
    }
}
