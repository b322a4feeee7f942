//! The threat model and the attempts say the same.

use std::collections::BTreeSet;

use crate::{ATTEMPTS, support::Test};

pub(crate) const TESTS: &[(&str, Test)] = &[("the_threat_model_names_every_attempt", names_every_attempt)];

const DOCUMENT: &str = include_str!("../../../../docs/threat-model.md");

/// Where the document turns to components, which have no jail: their tests are those of `crates/wasm`.
const COMPONENTS: &str = "\n## Components\n";

/// Each row of the document ends with the test's name in backticks.
fn names_every_attempt() {
    let (of_jails, _) = DOCUMENT.split_once(COMPONENTS).expect("the document has a chapter on components");
    let named: Vec<&str> = of_jails
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |")?.rsplit_once('`').map(|(_, name)| name))
        .collect();
    let documented: BTreeSet<&str> = named.iter().copied().collect();
    let tested: BTreeSet<&str> = ATTEMPTS.iter().copied().flatten().map(|(name, _)| *name).collect();
    assert_eq!(documented.len(), named.len(), "a test is named by one row");
    let only = |these: &BTreeSet<&str>, those: &BTreeSet<&str>| -> Vec<String> {
        these.difference(those).map(|name| (*name).to_owned()).collect()
    };
    assert_eq!(only(&tested, &documented), Vec::<String>::new(), "attempts without a row");
    assert_eq!(only(&documented, &tested), Vec::<String>::new(), "rows without an attempt");
    assert!(tested.len() >= 60, "{}", tested.len());
}
