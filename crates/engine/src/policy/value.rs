//! The values that conditions compare, read from text: numbers, instants, networks, booleans.

use std::net::IpAddr;

/// Reads a decimal number. Compared as IEEE doubles, so whole numbers are exact up to 2^53.
pub(super) fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

/// Reads `true` or `false` in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Reads an instant as nanoseconds since the Unix epoch: ISO 8601 as the W3C profiles it (`2026-11-27`,
/// `2026-11-27T01:02Z`, `2026-11-27T01:02:03.004+05:30`), or whole seconds since the epoch.
/// Source: IAM User Guide, «Condition operators», Date.
pub(super) fn instant(text: &str) -> Option<i128> {
    if let Ok(seconds) = text.parse::<i64>() {
        let is_year = text.len() == 4;
        return (!is_year).then(|| i128::from(seconds) * NANOSECONDS).or_else(|| days(seconds, 1, 1));
    }
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let year = fixed(parts.next()?, 4)?;
    let month = fixed(parts.next()?, 2)?;
    let day = parts.next().map_or(Some(1), |day| fixed(day, 2))?;
    if parts.next().is_some() {
        return None;
    }
    Some(days(year, month, day)? + time.map_or(Some(0), time_of_day)?)
}

const NANOSECONDS: i128 = 1_000_000_000;

/// `01:02:03.004+05:30` as nanoseconds after midnight, UTC. A time has an offset, or `Z`.
fn time_of_day(text: &str) -> Option<i128> {
    let zone = text.find(['Z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone);
    let mut parts = clock.split(':');
    let (hour, minute) = (fixed(parts.next()?, 2)?, fixed(parts.next()?, 2)?);
    let (second, fraction) = parts.next().map_or(Some((0, 0)), |seconds| {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=9).contains(digits))?;
        Some((fixed(whole, 2)?, fixed(fraction, fraction.len())? * 10_i64.pow(9 - digits)))
    })?;
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let offset_minutes = match zone {
        "Z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let (hours, minutes) = (fixed(hours, 2)?, fixed(minutes, 2)?);
            let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let seconds = hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(i128::from(seconds) * NANOSECONDS + i128::from(fraction))
}

/// A number of exactly `digits` digits.
fn fixed(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Midnight of a day of the Gregorian calendar, in nanoseconds since the epoch. Years are counted from March, so that the
/// leap day comes last.
fn days(year: i64, month: i64, day: i64) -> Option<i128> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let since_march_0 = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    Some(i128::from((since_march_0 - 719_468) * 86_400) * NANOSECONDS)
}

/// An address or a network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `203.0.113.0/24`, `2001:db8::/32`, or an address alone. Bits after the prefix do not count.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().ok()?,
            Some(_) => return None,
            None => bits,
        };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `text` is an address in the network. An IPv4 address written as IPv6 is an IPv4 address.
    pub(super) fn contains(&self, text: &str) -> bool {
        let Ok(address) = text.parse::<IpAddr>() else { return false };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("0", 0),
            ("1795426830", 1_795_426_830),
            ("2026-11-23T09:40:30Z", 1_795_426_830),
            ("2026-11-23T09:40:30.000Z", 1_795_426_830),
            ("2026-11-23T15:10:30+05:30", 1_795_426_830),
            ("2026-11-23T01:40:30-08:00", 1_795_426_830),
            ("2026-11-23T09:40Z", 1_795_426_800),
            ("2000-02-29", 951_782_400),
            ("2024-03", 1_709_251_200),
            ("2013", 1_356_998_400),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(instant(text), Some(seconds * NANOSECONDS), "{text}");
        }
        assert_eq!(instant("1970-01-01T00:00:00.25Z"), Some(NANOSECONDS / 4));
        for text in
            ["", "now", "2023-02-29", "2026-13-01", "2026-11-23T09:40:30", "2026-11-23T09:61Z", "2026-11-23x", "26-1-2"]
        {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, expected) in [
            ("203.0.113.0/24", "203.0.113.200", true),
            ("203.0.113.0/24", "203.0.114.1", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("0.0.0.0/0", "198.51.100.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("203.0.113.0/24", "::ffff:203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:1::9", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db9::", true),
            ("10.0.0.0/8", "not an address", false),
        ] {
            assert_eq!(Network::parse(network).unwrap().contains(address), expected, "{network} {address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "10.0.0.0/", "example.com"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_finite_decimals() {
        assert_eq!(number("-1.50"), Some(-1.5));
        for text in ["", "nan", "inf", "0x10", "1,5", "1e999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
