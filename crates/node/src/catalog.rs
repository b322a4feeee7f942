//! The functions that exist, as an immutable snapshot swapped on every change.
//!
//! Readers load one `Arc` and see one moment. Only `control` makes a new snapshot, and only after the store
//! has the change.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use updraft_types::{AccountId, Function, FunctionId, FunctionName};

/// All functions at one moment.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    functions: BTreeMap<FunctionId, Arc<Function>>,
    urls: HashMap<String, FunctionId>,
    /// The sum of each account's reservations, where there are any.
    reserved: HashMap<AccountId, u32>,
    /// Those that have instances which are always there.
    provisioned: BTreeSet<FunctionId>,
}

impl Catalog {
    /// The catalog of exactly these functions.
    pub fn new(functions: impl IntoIterator<Item = Function>) -> Self {
        let mut catalog = Self::default();
        for function in functions {
            catalog.insert(Arc::new(function));
        }
        catalog
    }

    /// One function.
    pub fn get(&self, id: &FunctionId) -> Option<&Arc<Function>> {
        self.functions.get(id)
    }

    /// The function whose URL has this id.
    pub fn by_url(&self, url_id: &str) -> Option<&Arc<Function>> {
        self.functions.get(self.urls.get(url_id)?)
    }

    /// Every function of every account.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values()
    }

    /// An account's functions in order of name, those after `after` (exclusive) only.
    pub fn list<'a>(
        &'a self,
        account: &'a AccountId,
        after: Option<&FunctionName>,
    ) -> impl Iterator<Item = &'a Arc<Function>> {
        // No name sorts before "-", the first of the characters a name may hold.
        let start = match after {
            Some(name) => Bound::Excluded(FunctionId { account: account.clone(), name: name.clone() }),
            None => Bound::Included(FunctionId {
                account: account.clone(),
                name: "-".parse().expect("a hyphen is a function name"),
            }),
        };
        self.functions
            .range((start, Bound::Unbounded))
            .take_while(move |(id, _)| id.account == *account)
            .map(|(_, function)| function)
    }

    /// The sum of the concurrency that an account's functions have reserved.
    pub fn reserved(&self, account: &AccountId) -> u32 {
        self.reserved.get(account).copied().unwrap_or(0)
    }

    /// Functions that have instances which are always there.
    pub(crate) fn provisioned(&self) -> impl Iterator<Item = &FunctionId> {
        self.provisioned.iter()
    }

    pub(crate) fn with(&self, function: Arc<Function>) -> Self {
        let mut next = self.clone();
        next.insert(function);
        next
    }

    pub(crate) fn without(&self, id: &FunctionId) -> Self {
        let mut next = self.clone();
        next.drop_parts(id);
        next.functions.remove(id);
        next
    }

    fn insert(&mut self, function: Arc<Function>) {
        self.drop_parts(&function.id);
        if let Some(url) = &function.url {
            self.urls.insert(url.url_id.clone(), function.id.clone());
        }
        if let Some(reserved) = function.scaling.reserved_concurrency {
            *self.reserved.entry(function.id.account.clone()).or_default() += reserved;
        }
        if function.scaling.instances_min > 0 {
            self.provisioned.insert(function.id.clone());
        }
        self.functions.insert(function.id.clone(), function);
    }

    /// Drops what is kept of a function beside itself.
    fn drop_parts(&mut self, id: &FunctionId) {
        let Some(function) = self.functions.get(id) else { return };
        self.provisioned.remove(id);
        if let Some(url) = &function.url {
            self.urls.remove(&url.url_id);
        }
        if let Some(reserved) = function.scaling.reserved_concurrency
            && let Some(sum) = self.reserved.get_mut(&id.account)
        {
            *sum -= reserved;
        }
    }
}
