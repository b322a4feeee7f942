//! GetRandomPassword.

use http::Response;
use serde_json::json;
use updraft_types::Body;

use super::invalid_parameter;
use crate::{
    api_error::ApiError,
    aws_json::{Input, Rule, answer},
};

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &[u8] = b"0123456789";
const PUNCTUATION: &[u8] = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

pub(super) fn answer_one(mut input: Input) -> Result<Response<Body>, ApiError> {
    let length = input.number("PasswordLength", 1..=4096)?.unwrap_or(32);
    let excluded = input.text("ExcludeCharacters", &Rule::length(0..=4096))?.unwrap_or_default();
    let mut kinds: Vec<Vec<u8>> = Vec::new();
    for (name, kind) in [
        ("ExcludeLowercase", LOWER),
        ("ExcludeUppercase", UPPER),
        ("ExcludeNumbers", DIGITS),
        ("ExcludePunctuation", PUNCTUATION),
    ] {
        if !input.flag(name)?.unwrap_or(false) {
            kinds.push(kind.to_vec());
        }
    }
    if input.flag("IncludeSpace")?.unwrap_or(false) {
        kinds.push(b" ".to_vec());
    }
    let requires_each = input.flag("RequireEachIncludedType")?.unwrap_or(true);
    input.finish()?;
    kinds.iter_mut().for_each(|kind| kind.retain(|char| !excluded.contains(char::from(*char))));
    kinds.retain(|kind| !kind.is_empty());
    let all = kinds.concat();
    let length = usize::try_from(length).unwrap_or(32);
    if all.is_empty() || (requires_each && kinds.len() > length) {
        return Err(invalid_parameter("No password is as long and has such characters as asked for."));
    }
    let mut password: Vec<u8> = Vec::with_capacity(length);
    if requires_each {
        password.extend(kinds.iter().map(|kind| kind[below(kind.len())]));
    }
    password.extend((password.len()..length).map(|_| all[below(all.len())]));
    for last in (1..password.len()).rev() {
        password.swap(last, below(last + 1));
    }
    Ok(answer(&json!({ "RandomPassword": String::from_utf8_lossy(&password) })))
}

/// So many of these characters.
pub(super) fn pick(characters: &[u8], count: usize) -> String {
    (0..count).map(|_| char::from(characters[below(characters.len())])).collect()
}

/// A number below `bound` (from 1), each as likely as the others: what would favour the lower ones is drawn again.
fn below(bound: usize) -> usize {
    let bound = bound as u64;
    let fair = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = u64::from_ne_bytes(updraft_node::random());
        if drawn < fair {
            return usize::try_from(drawn % bound).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_and_none_beyond() {
        let mut seen = [false; 5];
        for _ in 0..1_000 {
            seen[below(5)] = true;
        }
        assert_eq!((seen, below(1)), ([true; 5], 0));
        assert_eq!(pick(b"x", 6), "xxxxxx");
    }
}
