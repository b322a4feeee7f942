//! Query parameters, decoded on demand.

use std::{fmt::Display, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::validate::Violations;
use crate::error::Error;

/// A request's query string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    raw: &'a str,
}

impl<'a> Query<'a> {
    pub(super) fn new(raw: Option<&'a str>) -> Self {
        Self { raw: raw.unwrap_or_default() }
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    /// Every value of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = String> {
        form_urlencoded::parse(self.raw.as_bytes())
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
    }

    /// `Marker`: the entry after which a page begins, from a marker that we made.
    pub(super) fn marker<T: FromStr>(&self) -> Result<Option<T>, Error> {
        let Some(marker) = self.get("Marker").filter(|marker| !marker.is_empty()) else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        match text.and_then(|text| text.parse().ok()) {
            Some(entry) => Ok(Some(entry)),
            None => Err(Error::invalid_parameter("The Marker is not one that a list has returned.")),
        }
    }

    /// `MaxItems`: how many entries a page holds. Lambda serves at most `page_max` whatever is asked.
    pub(super) fn page(&self, page_max: usize) -> Result<usize, Error> {
        let Some(text) = self.get("MaxItems") else { return Ok(page_max) };
        let number: i64 = text.parse().map_err(|_| {
            Error::serialization(format!("MaxItems is not a number: {:?}", text.get(..40).unwrap_or(&text)))
        })?;
        let mut violations = Violations::default();
        violations.range("maxItems", number, 1..=10_000);
        violations.check()?;
        Ok(usize::try_from(number).unwrap_or(page_max).min(page_max))
    }
}

/// What names a list's last entry to whoever asks for the entries after it.
pub(super) fn marker_of(entry: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(entry.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::new(Some("tagKeys=a%20b&Qualifier=%24LATEST&tagKeys=c&MaxItems=3"));
        assert_eq!(query.get("Qualifier").as_deref(), Some("$LATEST"));
        assert_eq!(query.all("tagKeys").collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(query.page(50), Ok(3));
        let next = format!("Marker={}", marker_of(&17));
        assert_eq!(Query::new(Some(&next)).marker::<u64>(), Ok(Some(17)));
        assert_eq!((query.marker::<u64>(), Query::new(Some("Marker=")).marker::<u64>()), (Ok(None), Ok(None)));
        assert!(Query::new(Some("Marker=!")).marker::<u64>().is_err());
        assert_eq!(Query::new(None).page(50), Ok(50));
        assert_eq!(Query::new(Some("MaxItems=9999")).page(50), Ok(50));
        for bad in ["MaxItems=0", "MaxItems=10001", "MaxItems=x", "MaxItems="] {
            assert!(Query::new(Some(bad)).page(50).is_err(), "{bad}");
        }
    }
}
