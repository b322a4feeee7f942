//! Making ids and secrets as AWS shapes them.
//!
//! An access key's id holds its account (source: what `sts get-access-key-info` is known to read): of the ten characters
//! after the prefix the first 48 bits are a one, the account's number in 40 bits, and seven bits of chance; the rest is
//! chance too. So an id alone says whose it is.

use updraft_store::seal::random;
use updraft_types::{AccountId, iam::Secret};

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters after the prefix of an access key's id.
const KEY_CHARS: u32 = 16;

/// A unique id such as `AROA…`: the prefix and 17 characters.
pub(super) fn unique(prefix: &str) -> String {
    let chars = random::<17>().map(|byte| char::from(BASE32[usize::from(byte % 32)]));
    prefix.chars().chain(chars).collect()
}

/// An access key's id: `AKIA…` of a long-term key, `ASIA…` of a session.
pub(super) fn access_key(prefix: &str, account: &AccountId) -> String {
    let number: u128 = account.as_str().parse().expect("an account is twelve digits");
    let chance = u128::from(u64::from_le_bytes(random())) & ((1 << 39) - 1);
    let bits = 1 << 79 | number << 39 | chance;
    let chars = (0..KEY_CHARS).rev().map(|index| char::from(BASE32[(bits >> (5 * index)) as usize % 32]));
    prefix.chars().chain(chars).collect()
}

/// The account that an access key's id says it is of, whether there is such a key or not.
pub fn account_of(access_key_id: &str) -> Option<AccountId> {
    let chars = access_key_id.strip_prefix("AKIA").or_else(|| access_key_id.strip_prefix("ASIA"))?;
    if chars.len() != KEY_CHARS as usize {
        return None;
    }
    let mut bits: u128 = 0;
    for char in chars.bytes() {
        let value = BASE32.iter().position(|known| *known == char)?;
        bits = bits << 5 | value as u128;
    }
    let number = bits >> 39 & ((1 << 40) - 1);
    format!("{number:012}").parse().ok()
}

/// A secret access key: 40 characters of base64, 240 bits of chance.
pub(super) fn secret() -> Secret {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(random::<30>()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_keys_id_says_whose_it_is() {
        for account in ["000000000000", "111122223333", "999999999999"] {
            let account: AccountId = account.parse().unwrap();
            let id = access_key("AKIA", &account);
            assert_eq!((id.len(), account_of(&id)), (20, Some(account.clone())), "{id}");
            assert_ne!(id, access_key("AKIA", &account));
        }
        // Read by others the same way: the example of AWS's documentation is of some account.
        assert!(account_of("ASIAQNZGKIQY56JQ7WML").is_some());
        for bad in ["", "AKIA", "AKIAIOSFODNN7EXAMPL1", "AKIAéééééééé", "test"] {
            assert_eq!(account_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_and_secrets_have_their_length() {
        assert_eq!(unique("AROA").len(), 21);
        assert_eq!(secret().expose().len(), 40);
    }
}
