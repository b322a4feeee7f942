//! "Did you mean": the known name nearest to one that is not known.

/// The candidate within a third of the word's length (at least 1, at most 3 edits, a swap counting as one).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// What to say after refusing `word`: the nearest name, or all of them.
pub fn hint(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["listen", "data", "region"];
        assert_eq!(nearest("lisetn", known), Some("listen"));
        assert_eq!(nearest("Region", known), Some("region"));
        assert_eq!(nearest("dat", known), Some("data"));
        assert_eq!(nearest("elephant", known), None);
        assert_eq!(hint("elephant", &known), "known here: listen, data, region");
    }
}
