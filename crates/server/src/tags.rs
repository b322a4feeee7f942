//! Tags, of whatever service, as conditions see them.
//!
//! The names of condition keys have no case (source: IAM user guide, «Condition»), and a tag's key is part of such a name. So
//! two tags whose keys differ in case alone could not be told apart, and one could stand in for the other: nothing here has both.

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
    }
}
