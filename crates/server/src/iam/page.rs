//! Pages of lists: `Marker`, `MaxItems`, `IsTruncated`.
//!
//! Lists are in order of a name, and a marker is the last name told, so that pages stay right while things are made and
//! deleted in between.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

use crate::{
    api_error::ApiError,
    query_protocol::{Checked, Form, Xml},
};

/// Entries of a page unless asked otherwise.
const ITEMS_DEFAULT: u32 = 100;
/// Most entries of a page.
const ITEMS_MAX: u32 = 1_000;

/// Some entries of a list, and where the next begin.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    next: Option<String>,
}

impl<T> Page<T> {
    /// The page that a request asks for, of entries in order of `key`.
    pub(super) fn of<'a>(
        form: &Form,
        all: impl Iterator<Item = T>,
        key: impl Fn(&T) -> &'a str,
    ) -> Result<Self, ApiError>
    where
        T: 'a,
    {
        let mut checked = Checked::new(form);
        let max = checked.number("MaxItems", 1, ITEMS_MAX).unwrap_or(ITEMS_DEFAULT);
        // AWS's have 320 characters at most; ours hold an ARN.
        checked.optional("Marker", 1, 2_048);
        checked.done()?;
        let after = match form.get("Marker") {
            None => None,
            Some(marker) => {
                let name = BASE64.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let wrong = || ApiError::bad_request("ValidationError", format!("Invalid Marker: {marker:.40}"));
                Some(name.ok_or_else(wrong)?)
            }
        };
        let mut rest = all.filter(|item| after.as_deref().is_none_or(|after| key(item) > after));
        let items: Vec<T> = rest.by_ref().take(max as usize).collect();
        let is_more = rest.next().is_some();
        let next = items.last().filter(|_| is_more).map(|last| BASE64.encode(key(last)));
        Ok(Self { items, next })
    }

    /// Says whether there is more.
    pub(super) fn end(&self, xml: &mut Xml) {
        xml.leaf("IsTruncated", self.next.is_some());
        xml.leaf_if("Marker", self.next.as_ref());
    }
}

/// The path prefix that a request asks for.
pub(super) fn path_prefix(form: &Form) -> Result<String, ApiError> {
    let mut checked = Checked::new(form);
    let prefix = checked.optional("PathPrefix", 1, 512).unwrap_or_else(|| "/".to_owned());
    if !prefix.starts_with('/') {
        checked.add("PathPrefix", &prefix, r"Member must satisfy regular expression pattern: \u002F[\u0021-\u007F]*");
    }
    checked.done()?;
    Ok(prefix)
}
