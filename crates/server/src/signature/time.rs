//! The two ways a request says when it was signed: `20150830T123600Z`, and a `Date` header's older spelling.

use jiff::{civil, fmt::rfc2822, tz::Offset};

/// Seconds since the Unix epoch of a basic ISO 8601 instant; exactly `YYYYMMDDTHHMMSSZ` and nothing else.
pub(super) fn parse_basic(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i16> {
        let digits = &bytes[from..to];
        digits.iter().try_fold(0_i16, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i16::from(digit - b'0')))
    };
    let small = |from: usize, to: usize| number(from, to).and_then(|number| i8::try_from(number).ok());
    let day = civil::Date::new(number(0, 4)?, small(4, 6)?, small(6, 8)?).ok()?;
    let time = civil::Time::new(small(9, 11)?, small(11, 13)?, small(13, 15)?, 0).ok()?;
    Some(Offset::UTC.to_timestamp(civil::DateTime::from_parts(day, time)).ok()?.as_second())
}

/// Seconds since the Unix epoch of a `Date` header: RFC 2822's spelling or the basic one.
pub(super) fn parse_header(text: &str) -> Option<i64> {
    parse_basic(text).or_else(|| Some(rfc2822::parse(text).ok()?.timestamp().as_second()))
}

/// `20150830T123600Z`. What no calendar has is the nearest end of it.
pub(super) fn basic(seconds: i64) -> String {
    let end = if seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let instant = jiff::Timestamp::from_second(seconds).unwrap_or(end);
    instant.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_written() {
        assert_eq!(parse_basic("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(basic(1_440_938_160), "20150830T123600Z");
        assert_eq!(parse_header("Fri, 24 May 2013 00:00:00 GMT"), Some(1_369_353_600));
        assert_eq!(basic(1_369_353_600), "20130524T000000Z");
        for odd in
            ["", "20150830T123600", "20150830t123600Z", "20150230T123600Z", "2015083éT12360Z", "+0150830T123600Z"]
        {
            assert_eq!(parse_header(odd), None, "{odd}");
        }
        assert_eq!(basic(i64::MAX), basic(i64::MAX - 1));
    }
}
