//! Tags, of whatever service, as conditions see them.
//!
//! The names of condition keys have no case (source: IAM user guide, «Condition»), and a tag's key is part of such a name. So
//! two tags whose keys differ in case alone could not be told apart, and one could stand in for the other: nothing here has both.

use std::collections::BTreeMap;

/// Condition keys with a value each; one with several values stands there once for each.
pub(crate) type Keys = Vec<(String, String)>;

/// What conditions are told of tags that a request brings: `aws:RequestTag/KEY` of each, and `aws:TagKeys`.
pub(crate) fn brought<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Keys {
    let each = |(key, value): (&str, &str)| [(format!("aws:RequestTag/{key}"), value.to_owned()), named(key)];
    tags.into_iter().flat_map(each).collect()
}

/// What they are told of tags that a request takes away: `aws:TagKeys`.
pub(crate) fn taken_away<'a>(keys: impl IntoIterator<Item = &'a str>) -> Keys {
    keys.into_iter().map(named).collect()
}

fn named(key: &str) -> (String, String) {
    ("aws:TagKeys".to_owned(), key.to_owned())
}

/// The same keys, as acts have them.
pub(crate) fn borrowed(keys: &Keys) -> Vec<(&str, &str)> {
    keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The first of `tags` that cannot be there beside those that `now` has: its key is one of theirs in another case, or that of
/// another of `tags`.
pub(crate) fn hidden<'a>(now: &BTreeMap<String, String>, tags: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let is_other = |key: &&str| now.keys().any(|known| known != key && known.eq_ignore_ascii_case(key));
    let keys = || tags.keys().map(String::as_str);
    twice(keys()).or_else(|| keys().find(is_other))
}

/// Why a tag that is [`hidden`] is refused.
pub(crate) fn hidden_text(key: &str) -> String {
    format!("The tag key {key:.128} differs from another in case alone, which conditions could not tell apart")
}

/// The first key that is there a second time, whatever its case.
pub(crate) fn twice<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    keys.into_iter().find(|key| !seen.insert(key.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_tell_keys_apart() {
        assert_eq!(twice(["team", "Team"]), Some("Team"));
        assert_eq!(twice(["a", "b", "a"]), Some("a"));
        assert_eq!(twice(["a", "b", "ab", ""]), None);
        let map = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), String::new())).collect::<BTreeMap<_, _>>();
        assert_eq!(hidden(&map(&["team"]), &map(&["Team"])), Some("Team"));
        assert_eq!(hidden(&map(&[]), &map(&["Team", "team"])), Some("team"));
        assert_eq!(hidden(&map(&["team", "a"]), &map(&["team", "b"])), None);
    }

    #[test]
    fn conditions_are_told_of_each_tag() {
        let keys = brought([("team", "red"), ("Cost", "")]);
        let expected = [
            ("aws:RequestTag/team", "red"),
            ("aws:TagKeys", "team"),
            ("aws:RequestTag/Cost", ""),
            ("aws:TagKeys", "Cost"),
        ];
        assert_eq!(borrowed(&keys), expected);
        assert_eq!(borrowed(&taken_away(["a"])), [("aws:TagKeys", "a")]);
    }
}
