//! The functions that exist, with their versions and aliases, as an immutable snapshot swapped on every change.
//!
//! Readers load one `Arc` and see one moment. Only `control` makes a new snapshot, and only after the store
//! has the change.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, OnceLock},
};

use updraft_engine::routing::{self, Choice};
use updraft_types::{
    AccountId, Alias, AliasName, Function, FunctionId, FunctionName, Qualifier, Region, Version, VersionId,
    function::{FunctionUrl, ResourcePolicy, Scaling},
};

use crate::{
    identity::document::{self, Document, Kind},
    storage::CodeUsage,
};

/// All functions at one moment.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    functions: BTreeMap<FunctionId, Arc<Entry>>,
    urls: HashMap<String, (FunctionId, Option<AliasName>)>,
    /// Sums over each account that has functions.
    kept: HashMap<AccountId, Kept>,
    /// Those that have instances which are always there.
    provisioned: BTreeSet<VersionId>,
}

/// One function.
#[derive(Debug, Clone)]
struct Entry {
    latest: Arc<Function>,
    versions: BTreeMap<u64, Arc<Function>>,
    aliases: BTreeMap<AliasName, Arc<Alias>>,
    /// `latest.policies`, compiled.
    policies: Arc<BTreeMap<String, CompiledPolicy>>,
}

/// A function's resource policy as it is asked.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// What it says.
    pub document: Arc<Document>,
    opens_url: OnceLock<bool>,
}

impl CompiledPolicy {
    /// Whether it lets everybody call a URL of AuthType NONE, whatever a request holds. `decide` is asked the first time.
    pub fn opens_url(&self, decide: impl FnOnce(&Document) -> bool) -> bool {
        *self.opens_url.get_or_init(|| decide(&self.document))
    }
}

/// Sums over an account's functions.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    reserved: u32,
    /// The same and, for functions without a reservation, what is provisioned.
    committed: u32,
    code: CodeUsage,
}

/// What can have a function URL.
#[derive(Debug, Clone)]
pub enum UrlOwner {
    /// The function's as it is now.
    Function(Arc<Function>),
    /// An alias's.
    Alias(Arc<Alias>),
}

impl UrlOwner {
    /// Its URL, if it has one.
    pub fn url(&self) -> Option<&FunctionUrl> {
        match self {
            UrlOwner::Function(function) => function.url.as_ref(),
            UrlOwner::Alias(alias) => alias.url.as_ref(),
        }
    }

    /// Its ARN: an alias's ends with its name.
    pub fn arn(&self, region: &Region) -> String {
        match self {
            UrlOwner::Function(function) => function.id.arn(region),
            UrlOwner::Alias(alias) => alias.arn(region),
        }
    }
}

impl Entry {
    fn new(latest: Arc<Function>) -> Self {
        let policies = Arc::new(compiled(&latest.policies));
        Self { latest, versions: BTreeMap::new(), aliases: BTreeMap::new(), policies }
    }

    /// The same with the function as it is now.
    fn with_latest(self, latest: Arc<Function>) -> Self {
        let policies = match latest.policies == self.latest.policies {
            true => self.policies,
            false => Arc::new(compiled(&latest.policies)),
        };
        Self { latest, policies, ..self }
    }

    fn version(&self, version: Version) -> Option<&Arc<Function>> {
        match version {
            Version::Latest => Some(&self.latest),
            Version::Number(number) => self.versions.get(&number),
        }
    }

    /// The concurrency provisioned for one version: its own, and its share of what its aliases have.
    fn provisioned(&self, version: Version) -> u32 {
        let own = self.version(version).and_then(|function| function.settings.provisioned);
        let of_alias = |alias: &Arc<Alias>| {
            let requested = alias.provisioned.map_or(0, |provisioned| provisioned.requested);
            let weight = alias.additional.map_or(0.0, |additional| additional.weight);
            let (primary, additional) = routing::share(requested, weight);
            match alias.additional {
                _ if alias.version == version => primary,
                Some(other) if Version::Number(other.version) == version => additional,
                _ => 0,
            }
        };
        let of_aliases = self.aliases.values().map(of_alias).fold(0, u32::saturating_add);
        own.map_or(0, |own| own.requested).saturating_add(of_aliases)
    }

    fn provisioned_in_sum(&self) -> u32 {
        let of_versions = self.versions.values().filter_map(|function| function.settings.provisioned);
        let of_aliases = self.aliases.values().filter_map(|alias| alias.provisioned);
        of_versions.chain(of_aliases).map(|provisioned| provisioned.requested).fold(0, u32::saturating_add)
    }

    fn kept(&self) -> Kept {
        let reserved = self.latest.scaling.reserved_concurrency;
        let versions = self.versions.values().map(|version| version.code.size_bytes);
        Kept {
            reserved: reserved.unwrap_or(0),
            committed: reserved.unwrap_or_else(|| self.provisioned_in_sum()),
            code: CodeUsage { functions: 1, bytes: self.latest.code.size_bytes + versions.sum::<u64>() },
        }
    }

    fn urls(&self) -> impl Iterator<Item = (&str, Option<&AliasName>)> {
        let own = self.latest.url.iter().map(|url| (url.url_id.as_str(), None));
        let aliases = self.aliases.values();
        own.chain(aliases.filter_map(|alias| Some((alias.url.as_ref()?.url_id.as_str(), Some(&alias.name)))))
    }
}

impl Catalog {
    /// The catalog of exactly these functions, published versions and aliases. What belongs to no function is left out.
    pub fn new(
        functions: impl IntoIterator<Item = Function>,
        versions: impl IntoIterator<Item = Function>,
        aliases: impl IntoIterator<Item = Alias>,
    ) -> Self {
        let entry = |latest: Function| (latest.id.clone(), Entry::new(latest.into()));
        let mut entries: BTreeMap<FunctionId, Entry> = functions.into_iter().map(entry).collect();
        for version in versions {
            if let (Some(entry), Version::Number(number)) = (entries.get_mut(&version.id), version.version) {
                entry.versions.insert(number, version.into());
            }
        }
        for alias in aliases {
            if let Some(entry) = entries.get_mut(&alias.function) {
                entry.aliases.insert(alias.name.clone(), alias.into());
            }
        }
        let mut catalog = Self::default();
        for (id, entry) in entries {
            catalog.put(&id, Some(entry));
        }
        catalog
    }

    /// One function as it is now: its version `$LATEST`.
    pub fn get(&self, id: &FunctionId) -> Option<&Arc<Function>> {
        self.functions.get(id).map(|entry| &entry.latest)
    }

    /// One version of a function.
    pub fn version(&self, id: &VersionId) -> Option<&Arc<Function>> {
        self.functions.get(&id.function)?.version(id.version)
    }

    /// One alias of a function.
    pub fn alias(&self, id: &FunctionId, name: &AliasName) -> Option<&Arc<Alias>> {
        self.functions.get(id)?.aliases.get(name)
    }

    /// A function's resource policy under a qualifier; the unqualified function's under the empty text.
    pub fn policy(&self, id: &FunctionId, qualifier: &str) -> Option<&CompiledPolicy> {
        self.functions.get(id)?.policies.get(qualifier)
    }

    /// A function's published versions in order of their numbers.
    pub fn versions(&self, id: &FunctionId) -> impl DoubleEndedIterator<Item = &Arc<Function>> {
        self.functions.get(id).into_iter().flat_map(|entry| entry.versions.values())
    }

    /// A function's aliases in order of their names.
    pub fn aliases(&self, id: &FunctionId) -> impl Iterator<Item = &Arc<Alias>> {
        self.functions.get(id).into_iter().flat_map(|entry| entry.aliases.values())
    }

    /// The version that a qualifier names; of an alias, the one it points at first.
    pub fn find(&self, id: &FunctionId, qualifier: &Qualifier) -> Option<&Arc<Function>> {
        let entry = self.functions.get(id)?;
        entry.version(match qualifier {
            Qualifier::Version(version) => *version,
            Qualifier::Alias(name) => entry.aliases.get(name)?.version,
        })
    }

    /// The version that one call by a qualifier goes to. `draw` is random, evenly spread over all its values; it is
    /// asked for where an alias has two versions.
    pub fn route(&self, id: &FunctionId, qualifier: &Qualifier, draw: impl FnOnce() -> u32) -> Option<&Arc<Function>> {
        let entry = self.functions.get(id)?;
        entry.version(match qualifier {
            Qualifier::Version(version) => *version,
            Qualifier::Alias(name) => {
                let alias = entry.aliases.get(name)?;
                match alias.additional {
                    Some(additional) if routing::choose(additional.weight, draw()) == Choice::Additional => {
                        Version::Number(additional.version)
                    }
                    _ => alias.version,
                }
            }
        })
    }

    /// The function or alias whose URL has this id.
    pub fn by_url(&self, url_id: &str) -> Option<UrlOwner> {
        let (id, alias) = self.urls.get(url_id)?;
        let entry = self.functions.get(id)?;
        Some(match alias {
            None => UrlOwner::Function(entry.latest.clone()),
            Some(name) => UrlOwner::Alias(entry.aliases.get(name)?.clone()),
        })
    }

    /// Every function of every account, as it is now.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values().map(|entry| &entry.latest)
    }

    /// Every version of every function, `$LATEST` among them.
    pub fn all_versions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values().flat_map(|entry| std::iter::once(&entry.latest).chain(entry.versions.values()))
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
            .map(|(_, entry)| &entry.latest)
    }

    /// The sum of the concurrency that an account's functions have reserved.
    pub fn reserved(&self, account: &AccountId) -> u32 {
        self.kept.get(account).map_or(0, |kept| kept.reserved)
    }

    /// The sum of the concurrency that an account has promised to single functions: what they have reserved, and what is
    /// provisioned of those that have not.
    pub fn committed(&self, account: &AccountId) -> u32 {
        self.kept.get(account).map_or(0, |kept| kept.committed)
    }

    /// What an account's functions and their versions keep of code.
    pub(crate) fn code_usage(&self, account: &AccountId) -> CodeUsage {
        self.kept.get(account).map_or(CodeUsage::default(), |kept| kept.code)
    }

    /// The sum of the concurrency provisioned for a function's versions and aliases.
    pub fn provisioned_of(&self, id: &FunctionId) -> u32 {
        self.functions.get(id).map_or(0, |entry| entry.provisioned_in_sum())
    }

    /// How far a version may scale: as its function, save that the instances that are always there are of `$LATEST`.
    pub(crate) fn scaling(&self, id: &VersionId) -> Option<Bounds> {
        let entry = self.functions.get(&id.function)?;
        let scaling = entry.latest.scaling;
        Some(match id.version {
            Version::Latest => Bounds { scaling, provisioned: 0 },
            version => {
                Bounds { scaling: Scaling { instances_min: 0, ..scaling }, provisioned: entry.provisioned(version) }
            }
        })
    }

    /// Versions that have instances which are always there.
    pub(crate) fn provisioned(&self) -> impl Iterator<Item = &VersionId> {
        self.provisioned.iter()
    }

    /// The same with this version of its function in place of the one there was.
    pub(crate) fn with(&self, function: Arc<Function>) -> Self {
        let id = function.id.clone();
        self.changed(&id, |entry| match (entry, function.version) {
            (Some(entry), Version::Latest) => Some(entry.with_latest(function)),
            (None, Version::Latest) => Some(Entry::new(function)),
            (entry, Version::Number(number)) => entry.map(|mut entry| {
                entry.versions.insert(number, function);
                entry
            }),
        })
    }

    pub(crate) fn with_alias(&self, alias: Arc<Alias>) -> Self {
        let id = alias.function.clone();
        self.changed(&id, |entry| {
            entry.map(|mut entry| {
                entry.aliases.insert(alias.name.clone(), alias);
                entry
            })
        })
    }

    pub(crate) fn without(&self, id: &FunctionId) -> Self {
        self.changed(id, |_| None)
    }

    pub(crate) fn without_version(&self, id: &FunctionId, number: u64) -> Self {
        self.changed(id, |entry| {
            entry.map(|mut entry| {
                entry.versions.remove(&number);
                entry
            })
        })
    }

    pub(crate) fn without_alias(&self, id: &FunctionId, name: &AliasName) -> Self {
        self.changed(id, |entry| {
            entry.map(|mut entry| {
                entry.aliases.remove(name);
                entry
            })
        })
    }

    fn changed(&self, id: &FunctionId, change: impl FnOnce(Option<Entry>) -> Option<Entry>) -> Self {
        let mut next = self.clone();
        let entry = change(self.functions.get(id).map(|entry| Entry::clone(entry)));
        next.put(id, entry);
        next
    }

    /// Puts an entry, or none, in the place of the one there was, and keeps what is derived from it.
    fn put(&mut self, id: &FunctionId, entry: Option<Entry>) {
        if let Some(before) = self.functions.remove(id) {
            before.urls().for_each(|(url_id, _)| drop(self.urls.remove(url_id)));
            if let Some(kept) = self.kept.get_mut(&id.account) {
                let own = before.kept();
                kept.reserved -= own.reserved;
                kept.committed = kept.committed.saturating_sub(own.committed);
                kept.code.functions -= own.code.functions;
                kept.code.bytes -= own.code.bytes;
                if kept.code.functions == 0 {
                    self.kept.remove(&id.account);
                }
            }
            let all =
                std::iter::once(Version::Latest).chain(before.versions.keys().map(|number| Version::Number(*number)));
            for version in all {
                self.provisioned.remove(&VersionId { function: id.clone(), version });
            }
        }
        let Some(entry) = entry else { return };
        for (url_id, alias) in entry.urls() {
            self.urls.insert(url_id.to_owned(), (id.clone(), alias.cloned()));
        }
        let (own, kept) = (entry.kept(), self.kept.entry(id.account.clone()).or_default());
        kept.reserved += own.reserved;
        kept.committed = kept.committed.saturating_add(own.committed);
        kept.code.functions += own.code.functions;
        kept.code.bytes += own.code.bytes;
        if entry.latest.scaling.instances_min > 0 {
            self.provisioned.insert(VersionId::latest(id.clone()));
        }
        for version in entry.versions.keys().map(|number| Version::Number(*number)) {
            if entry.provisioned(version) > 0 {
                self.provisioned.insert(VersionId { function: id.clone(), version });
            }
        }
        self.functions.insert(id.clone(), Arc::new(entry));
    }
}

/// Resource policies as they are asked. One that cannot be read any more allows nobody anything.
fn compiled(policies: &BTreeMap<String, ResourcePolicy>) -> BTreeMap<String, CompiledPolicy> {
    let compile = |policy: &ResourcePolicy| {
        let ids = policy.statements.iter().map(|statement| statement.principals.as_ref());
        let document = document::stored_for(&policy.document(), Kind::Resource, "a resource policy", ids);
        CompiledPolicy { document, opens_url: OnceLock::new() }
    };
    policies.iter().map(|(qualifier, policy)| (qualifier.clone(), compile(policy))).collect()
}

/// What bounds one version's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) scaling: Scaling,
    /// Calls at once that are to find an instance ready.
    pub(crate) provisioned: u32,
}
