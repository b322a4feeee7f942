//! Raw JSON text: checking it without building a document, and making it compact.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// What is wrong with a document, worded as Lambda's own reader (Jackson) would; `Ok` means valid UTF-8 and valid
/// JSON. Nothing is copied or built. Source of the two wordings in full: AWS's recorded invoke responses.
pub(crate) fn check(document: &[u8]) -> Result<&str, String> {
    if let Ok(text) = std::str::from_utf8(document)
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
    {
        return Ok(text);
    }
    let (what, line, column) = match serde_json::from_slice::<IgnoredAny>(document) {
        Ok(_) => {
            let valid = std::str::from_utf8(document).map_or_else(|error| error.valid_up_to(), str::len);
            let (line, column) = position(&document[..valid]);
            let byte = document.get(valid).copied().unwrap_or_default();
            (format!("Invalid UTF-8 start byte 0x{byte:02x}"), line, column)
        }
        Err(error) if error.is_eof() => (String::from("Unexpected end-of-input"), error.line(), error.column()),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let at = offset(document, line, column);
            let what = match document.get(at) {
                Some(byte) if error.to_string().starts_with("expected value") => format!(
                    "Unexpected character ({}): expected a valid value (JSON String, Number, Array, Object or token \
                     'null', 'true' or 'false')",
                    character(*byte)
                ),
                Some(byte) => format!("Unexpected character ({})", character(*byte)),
                None => String::from("Unexpected end-of-input"),
            };
            (what, line, column)
        }
    };
    let source = "REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)";
    Err(format!("Could not parse payload into json: {what}\n at [Source: {source}; line: {line}, column: {column}]"))
}

fn character(byte: u8) -> String {
    if byte.is_ascii_graphic() || byte == b' ' {
        format!("'{}' (code {byte})", char::from(byte))
    } else {
        format!("(CTRL-CHAR, code {byte})")
    }
}

/// Line and column, from 1, of the byte after `before`.
fn position(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// The offset of a line and column, both from 1.
fn offset(document: &[u8], line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        None => 0,
        Some(newline) => document
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(newline)
            .map_or(document.len(), |(at, _)| at + 1),
    };
    start + column.saturating_sub(1)
}

/// Valid JSON without the whitespace between its tokens; numbers and the order of members stay as they are.
pub(crate) fn compact(document: &str) -> Cow<'_, str> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let mut kept: Option<String> = None;
    let (mut in_string, mut is_escaped, mut run) = (false, false, 0);
    for (at, byte) in document.bytes().enumerate() {
        if in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_string = true;
        } else if is_space(byte) {
            kept.get_or_insert_with(|| String::with_capacity(document.len())).push_str(&document[run..at]);
            run = at + 1;
        }
    }
    match kept {
        None => Cow::Borrowed(document),
        Some(mut kept) => {
            kept.push_str(&document[run..]);
            Cow::Owned(kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded against AWS: test_lambda_invoke_payload_encoding_error.
    #[test]
    fn bad_payloads_are_told_as_aws_does() {
        let at = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)";
        assert_eq!(
            check(b"\"n\x87r\x9e\"").unwrap_err(),
            format!("Could not parse payload into json: Invalid UTF-8 start byte 0x87\n at {at}; line: 1, column: 3]")
        );
        assert_eq!(
            check(b"\x99\xeb,j\x07").unwrap_err(),
            format!(
                "Could not parse payload into json: Unexpected character ((CTRL-CHAR, code 153)): expected a valid value \
                 (JSON String, Number, Array, Object or token 'null', 'true' or 'false')\n at {at}; line: 1, column: 1]"
            )
        );
        for bad in ["", "{", "{\"a\":}", "nul", "1 2", "\"\u{1}\"", "\n\n x"] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
        for good in ["{}", " [1, null]\n", "\"\"", "3", "1e400"] {
            assert_eq!(check(good.as_bytes()), Ok(good));
        }
    }

    #[test]
    fn a_deep_document_is_no_danger() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(check(deep.as_bytes()).is_ok());
    }

    #[test]
    fn compact_keeps_what_counts() {
        assert_eq!(compact("{ \"a b\" : [ 1.50,\n\t\"\\\" \" ] }"), "{\"a b\":[1.50,\"\\\" \"]}");
        assert!(matches!(compact("{\"a\":1}"), Cow::Borrowed(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn check_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let agreed = std::str::from_utf8(&bytes).is_ok() && serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
            prop_assert_eq!(check(&bytes).is_ok(), agreed);
        }

        #[test]
        fn compact_changes_no_meaning(text in "[\\[\\]{}:,\" \n\\\\a0-9]{0,40}") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                let again: serde_json::Value = serde_json::from_str(&compact(&text)).unwrap();
                prop_assert_eq!(again, value);
            }
        }
    }
}
