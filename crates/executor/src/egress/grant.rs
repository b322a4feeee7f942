//! What the operator grants: whose word counts, and what nobody reaches.

use std::{fmt, sync::Arc};

use updraft_types::egress::{Egress, Network, Policy};

use super::{Outside, System};

/// Where functions may connect to, as far as the whole host is concerned.
#[derive(Clone)]
pub struct Config {
    /// What counts.
    pub grant: Grant,
    /// Networks that no function reaches, whatever its rules.
    pub denied: Vec<Network>,
    /// The world outside; tests have another.
    pub outside: Arc<dyn Outside>,
}

/// Whose word counts about egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Nobody's: no function reaches anything.
    Off,
    /// The function's rules; one without any reaches nothing.
    Rules,
    /// The function's rules; one without any reaches every public address.
    RulesOrAll,
}

impl Default for Config {
    /// The function's rules, on this host's network.
    fn default() -> Self {
        Self { grant: Grant::Rules, denied: Vec::new(), outside: Arc::new(System::new()) }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("grant", &self.grant).field("denied", &self.denied).finish_non_exhaustive()
    }
}

impl Config {
    /// What a function that says `said` may reach.
    pub fn policy(&self, said: Option<&Egress>) -> Policy {
        let egress = match (self.grant, said) {
            (Grant::Off, _) | (Grant::Rules, None) => Egress::none(),
            (Grant::RulesOrAll, None) => Egress::all(),
            (_, Some(said)) => said.clone(),
        };
        Policy::new(egress, self.denied.as_slice().into())
    }
}
