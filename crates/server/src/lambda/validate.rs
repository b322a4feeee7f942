//! Constraints of the service model, and violations of them in AWS's words: "N validation errors detected: Value
//! '…' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128".

use std::ops::RangeInclusive;

use crate::error::Error;

/// Most characters of a value repeated in a message. Ours: AWS repeats it whole.
const VALUE_CHARS_MAX: usize = 512;

/// What a request breaks, gathered so that it is told everything at once.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<String>);

impl Violations {
    /// `Err` if there is anything to tell.
    pub(super) fn check(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::validation(&self.0)) }
    }

    /// A constraint that no other method words.
    pub(super) fn constraint(&mut self, member: &str, value: &str, constraint: &str) {
        self.add(member, value, constraint);
    }

    fn add(&mut self, member: &str, value: &str, constraint: &str) {
        let value = shortened(value);
        self.0.push(format!("Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"));
    }

    /// A member that has to be there.
    pub(super) fn required<T>(&mut self, member: &str, value: Option<&T>) {
        if value.is_none() {
            self.0.push(format!("Value null at '{member}' failed to satisfy constraint: Member must not be null"));
        }
    }

    pub(super) fn length_max(&mut self, member: &str, value: &str, max: usize) {
        if value.chars().count() > max {
            self.add(member, value, &format!("Member must have length less than or equal to {max}"));
        }
    }

    pub(super) fn entries_max(&mut self, member: &str, values: &[String], max: usize) {
        if values.len() > max {
            let text = format!("[{}]", values.join(", "));
            self.add(member, &text, &format!("Member must have length less than or equal to {max}"));
        }
    }

    /// A list whose entries break a constraint.
    pub(super) fn list(&mut self, member: &str, values: &[String], constraint: &str) {
        self.add(member, &format!("[{}]", values.join(", ")), constraint);
    }

    pub(super) fn pattern(&mut self, member: &str, value: &str, matches: bool, pattern: &str) {
        if !matches {
            self.add(member, value, &format!("Member must satisfy regular expression pattern: {pattern}"));
        }
    }

    pub(super) fn one_of(&mut self, member: &str, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            self.add(member, value, &format!("Member must satisfy enum value set: [{}]", allowed.join(", ")));
        }
    }

    pub(super) fn range(&mut self, member: &str, value: i64, range: RangeInclusive<u32>) {
        let (min, max) = (i64::from(*range.start()), i64::from(*range.end()));
        if value < min {
            let constraint = format!("Member must have value greater than or equal to {min}");
            self.add(member, &value.to_string(), &constraint);
        } else if value > max {
            self.add(member, &value.to_string(), &format!("Member must have value less than or equal to {max}"));
        }
    }

    /// A list of enum values with at most one entry, as `Architectures` is.
    pub(super) fn single(&mut self, member: &str, values: &[String], allowed: &[&str]) {
        let text = format!("[{}]", values.join(", "));
        if values.is_empty() {
            self.add(member, &text, "Member must have length greater than or equal to 1");
        } else if values.len() > 1 {
            self.add(member, &text, "Member must have length less than or equal to 1");
        }
        if values.iter().any(|value| !allowed.contains(&value.as_str())) {
            let allowed = allowed.join(", ");
            let constraint = format!(
                "Member must satisfy constraint: [Member must satisfy enum value set: [{allowed}], Member must not be \
                 null]"
            );
            self.add(member, &text, &constraint);
        }
    }

    /// A role's ARN: `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`.
    pub(super) fn role(&mut self, value: &str) {
        let pattern = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
        self.pattern("role", value, is_role(value), pattern);
    }
}

fn is_role(value: &str) -> bool {
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, role] = parts[..] else { return false };
    let Some(name) = role.strip_prefix("role") else { return false };
    super::name::is_partition(partition)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte))
}

/// A value as a message may repeat it.
pub(super) fn shortened(value: &str) -> &str {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => &value[..end],
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(add: impl FnOnce(&mut Violations)) -> Option<String> {
        let mut violations = Violations::default();
        add(&mut violations);
        violations.0.into_iter().next()
    }

    /// Messages as recorded against AWS: test_create_lambda_exceptions.
    #[test]
    fn words_are_awss() {
        assert_eq!(
            told(|violations| violations.role("r1")).unwrap(),
            r"Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
        );
        assert_eq!(
            told(|violations| violations.range("memorySize", 1, 128..=32_768)).unwrap(),
            "Value '1' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"
        );
        let architectures = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            told(|violations| violations.single("architectures", &values, &["x86_64", "arm64"]))
        };
        assert_eq!(
            architectures(&["x86_64", "arm64"]).unwrap(),
            "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"
        );
        assert_eq!(
            architectures(&["X86_64"]).unwrap(),
            "Value '[X86_64]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"
        );
        assert_eq!(architectures(&["arm64"]), None);
        assert_eq!(
            told(|violations| violations.one_of("functionVersion", "invalid", &["ALL"])).unwrap(),
            "Value 'invalid' at 'functionVersion' failed to satisfy constraint: Member must satisfy enum value set: [ALL]"
        );
    }

    #[test]
    fn roles() {
        for good in
            ["arn:aws:iam::000000000000:role/r", "arn::iam::000000000000:role/a/b@c", "arn:aws:iam::000000000000:rolex"]
        {
            assert!(is_role(good), "{good}");
        }
        for bad in [
            "",
            "r1",
            "arn:aws:iam::0:role/r",
            "arn:aws:iam::000000000000:role",
            "arn:aws:iam::000000000000:role/a b",
            "arn:aws:iam::000000000000:user/r",
        ] {
            assert!(!is_role(bad), "{bad}");
        }
    }
}
