//! Cases and properties of rules and of the decision.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{Denial, Egress, Host, HostName, Network, Policy, Rule, Why, parse_authority, reach, reach::Reach};

fn policy(rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|rule| rule.parse().unwrap());
    Policy::new(Egress::allow(rules).unwrap(), [network("198.51.100.0/24")].into())
}

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn judge(rules: &[&str], asked: &str, port: u16, address: &str) -> Result<(), Why> {
    let asked = host(asked);
    policy(rules).judge(&asked, port, address.parse().unwrap()).map_err(|denial| denial.why)
}

/// Every rule that could open anything.
const EVERYTHING: &[&str] = &["*:*", "0.0.0.0/0:*", "[::/0]:*", "10.0.0.0/8:*", "[fc00::/7]:*", "evil.example:*"];

#[test]
fn what_is_never_reachable_is_not_under_any_rules() {
    for address in [
        // Metadata services.
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        // This host, and nobody in particular.
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.255",
        "::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "ff02::1",
        "fe80::1",
        "fec0::1",
        // The same in IPv6's clothing: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP.
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::",
        "2001:0:7f00:1::",
        "2001:0:0808:0808:0:0:80ff:fffe",
        "2001:4860::5efe:7f00:1",
        "2001:4860::200:5efe:a9fe:a9fe",
        // Not given out.
        "100::1",
        "4000::1",
        "5f00::1",
    ] {
        let parsed: IpAddr = address.parse().unwrap();
        assert!(matches!(reach::of(parsed), Reach::Never(_)), "{address}");
        for asked in [address, "evil.example"] {
            assert!(matches!(judge(EVERYTHING, asked, 80, address), Err(Why::Never(_))), "{asked} at {address}");
        }
        assert!(policy(EVERYTHING).admit(&Host::Address(parsed), 80).is_err(), "{address}");
    }
}

#[test]
fn public_and_private_addresses_are_told_apart() {
    for public in [
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "2606:4700::1111",
        "64:ff9b::8.8.8.8",
        "2002:0808:0808::1",
        "192.0.1.1",
        "11.0.0.0",
    ] {
        assert_eq!(reach::of(public.parse().unwrap()), Reach::Public, "{public}");
        assert_eq!(judge(&["*:*"], public, 443, public), Ok(()), "{public}");
        assert_eq!(judge(&["0.0.0.0/0:443", "[::/0]:443"], public, 443, public), Ok(()), "{public}");
    }
    for private in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "198.18.0.1",
        "203.0.113.7",
        "fd12:3456::1",
        "fc00::1",
        "2001:db8::1",
        "64:ff9b::10.0.0.1",
        "2002:0a00:1::1",
    ] {
        assert_eq!(reach::of(private.parse().unwrap()), Reach::Private, "{private}");
        assert_eq!(judge(&["*:*", "0.0.0.0/0:*", "[::/0]:*"], private, 443, private), Err(Why::Private), "{private}");
        assert_eq!(judge(&["a.example:443"], "a.example", 443, private), Err(Why::Private), "{private}");
    }
}

#[test]
fn rules_open_what_they_name_and_nothing_else() {
    let rules = &["api.example.com:443", "*.wild.example:*", "10.1.0.0/16:5432", "[fd00:1::/32]:22", "8.8.4.4:53"];
    let cases: &[(&str, u16, &str, Result<(), Why>)] = &[
        ("api.example.com", 443, "93.184.216.34", Ok(())),
        ("API.Example.COM.", 443, "93.184.216.34", Ok(())),
        ("api.example.com", 80, "93.184.216.34", Err(Why::NotAllowed)),
        ("example.com", 443, "93.184.216.34", Err(Why::NotAllowed)),
        ("xapi.example.com", 443, "93.184.216.34", Err(Why::NotAllowed)),
        ("api.example.com.evil.example", 443, "93.184.216.34", Err(Why::NotAllowed)),
        ("93.184.216.34", 443, "93.184.216.34", Err(Why::NotAllowed)),
        ("a.wild.example", 1, "9.9.9.9", Ok(())),
        ("a.b.wild.example", 65535, "2606:4700::1", Ok(())),
        ("wild.example", 443, "9.9.9.9", Err(Why::NotAllowed)),
        ("notwild.example", 443, "9.9.9.9", Err(Why::NotAllowed)),
        ("10.1.2.3", 5432, "10.1.2.3", Ok(())),
        ("::ffff:10.1.2.3", 5432, "10.1.2.3", Ok(())),
        ("10.1.2.3", 5433, "10.1.2.3", Err(Why::NotAllowed)),
        ("10.2.0.1", 5432, "10.2.0.1", Err(Why::NotAllowed)),
        ("db.internal", 5432, "10.1.2.3", Err(Why::NotAllowed)),
        ("a.wild.example", 5432, "10.1.2.3", Ok(())),
        ("a.wild.example", 5433, "10.1.2.3", Err(Why::Private)),
        ("fd00:1::5", 22, "fd00:1::5", Ok(())),
        ("8.8.4.4", 53, "8.8.4.4", Ok(())),
        // An address that is not the one asked for is not what was allowed.
        ("8.8.4.4", 53, "8.8.8.8", Err(Why::NotAllowed)),
    ];
    for (asked, port, address, expected) in cases {
        assert_eq!(judge(rules, asked, *port, address), *expected, "{asked}:{port} at {address}");
    }
    assert_eq!(judge(&[], "api.example.com", 443, "9.9.9.9"), Err(Why::NotAllowed));
}

#[test]
fn the_operator_has_the_last_word() {
    let all = &["*:*", "198.51.100.0/24:*"];
    assert_eq!(judge(all, "198.51.100.1", 443, "198.51.100.1"), Err(Why::Operator));
    assert_eq!(judge(all, "a.example", 443, "198.51.100.1"), Err(Why::Operator));
    assert_eq!(judge(all, "a.example", 443, "64:ff9b::198.51.100.1"), Err(Why::Operator));
}

#[test]
fn a_name_no_rule_names_is_not_looked_up() {
    let policy = policy(&["api.example.com:443", "10.0.0.0/8:443"]);
    let denial = policy.admit(&host("secret.attacker.example"), 443).unwrap_err();
    assert_eq!(denial.why, Why::NotAllowed);
    assert_eq!(
        denial.to_string(),
        "secret.attacker.example:443: no egress rule of this function allows it; the rule \"secret.attacker.example:443\" would"
    );
    assert!(policy.admit(&host("api.example.com"), 443).is_ok());
}

#[test]
fn denials_name_the_rule_that_helps_and_only_if_one_does() {
    let text = |asked: &str, address: &str| {
        policy(&["*:*"]).judge(&host(asked), 5432, address.parse().unwrap()).unwrap_err().to_string()
    };
    assert_eq!(
        text("db.internal", "10.0.0.5"),
        "db.internal:5432 leads to 10.0.0.5: it is a private address, which a rule has to name as such; the rule \"10.0.0.5:5432\" would"
    );
    assert_eq!(text("::1", "::1"), "[::1]:5432: it is the platform's own loopback, and never reachable");
    assert!(!text("a.example", "64:ff9b::10.0.0.1").contains("would"));
    let own = Denial { host: host("10.0.0.5"), port: 22, address: None, why: Why::OwnHost };
    assert_eq!(own.remedy(), None);
}

#[test]
fn hosts_have_one_spelling() {
    assert_eq!(host("Example.COM."), host("example.com"));
    assert_eq!(host("[::ffff:1.2.3.4]"), host("1.2.3.4"));
    assert_eq!(host("1.2.3.4."), host("1.2.3.4"));
    assert_eq!(host("xn--bcher-kva.example").to_string(), "xn--bcher-kva.example");
    for bad in [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "a b",
        "a/b",
        "a@b",
        "bücher.example",
        "a\0b",
        "*",
        "*.a",
        // Numbers in disguise: decimal, octal, hexadecimal, short forms.
        "2130706433",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0x",
        "1.2.3.4.5",
        "256.1.1.1",
        "a.0x1",
        "a.1",
        "1.2.3.04",
        // IPv6 with zone, unclosed, empty.
        "fe80::1%eth0",
        "[fe80::1%25eth0]",
        "[::1",
        "::1]",
        "[]",
        "[1.2.3.4]",
        ":",
        "1:2",
    ] {
        assert!(bad.parse::<Host>().is_err(), "{bad:?}");
    }
    assert!(format!("{}.example", "a".repeat(64)).parse::<HostName>().is_err());
    assert!("a.".repeat(127).parse::<HostName>().is_ok());
    assert!("a.".repeat(128).parse::<HostName>().is_err());
}

#[test]
fn authorities_are_read_strictly() {
    assert_eq!(parse_authority("a.example:443").unwrap(), (host("a.example"), 443));
    assert_eq!(parse_authority("[::1]:80").unwrap(), (host("::1"), 80));
    for bad in [
        "a.example",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:+80",
        "::1:80",
        "a:b:80",
        "user@a.example:80",
        "a.example:0000080",
        ":80",
    ] {
        assert!(parse_authority(bad).is_err(), "{bad}");
    }
}

#[test]
fn rules_are_read_and_written_alike() {
    for (text, canonical) in [
        ("API.example.com.:443", "api.example.com:443"),
        ("*.example.com:*", "*.example.com:*"),
        ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
        ("10.0.0.1/32:5432", "10.0.0.1:5432"),
        ("1.2.3.4:80", "1.2.3.4:80"),
        ("[2606:4700::/32]:443", "[2606:4700::/32]:443"),
        ("[2606:4700::1]:443", "[2606:4700::1]:443"),
        ("*:443", "*:443"),
        ("*:*", "*:*"),
    ] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string(), canonical);
        assert_eq!(canonical.parse::<Rule>().unwrap(), rule);
    }
    for (bad, part) in [
        ("example.com", "HOST:PORT"),
        ("example.com:0", "not a port"),
        ("example.com:70000", "not a port"),
        ("example.com:http", "neither a port"),
        ("https://example.com:443", "IPv6"),
        ("10.0.0.1/8:443", "bits are set"),
        ("10.0.0.0/33:443", "larger"),
        ("10.0.0.0/+8:443", "no number"),
        ("10.0.0.0/:443", "no number"),
        ("2606:4700::1:443", "brackets"),
        ("[2606:4700::1:443", "not closed"),
        ("[::ffff:10.0.0.0/104]:443", "written as IPv4"),
        ("*.*.example.com:443", "parts between dots"),
        ("a.*.example.com:443", "parts between dots"),
        ("169.254.169.254:80", "no rule can open it"),
        ("127.0.0.1:80", "no rule can open it"),
        ("localhost:80", "no rule can open it"),
        ("*.localhost:80", "no rule can open it"),
        ("127.0.0.0/8:80", "no rule can open it"),
        ("[::1]:80", "no rule can open it"),
        ("[fe80::/64]:80", "no rule can open it"),
        ("[64:ff9b::127.0.0.1]:80", "no rule can open it"),
        ("100.100.100.200:80", "no rule can open it"),
    ] {
        let error = bad.parse::<Rule>().unwrap_err().to_string();
        assert!(error.contains(part), "{bad}: {error}");
    }
}

#[test]
fn egress_travels_as_json() {
    let read = |text: &str| serde_json::from_str::<Egress>(text);
    assert_eq!(read("\"none\"").unwrap(), Egress::none());
    assert_eq!(read("\"all\"").unwrap(), Egress::all());
    assert_eq!(read(r#"{"allow": []}"#).unwrap(), Egress::none());
    assert_eq!(read(r#"{"allow": ["*:*"]}"#).unwrap(), Egress::all());
    let some = read(r#"{"allow": ["a.example:443", "10.0.0.0/8:5432", "A.example:443"]}"#).unwrap();
    assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"allow":["a.example:443","10.0.0.0/8:5432"]}"#);
    assert_eq!(some.to_string(), "a.example:443, 10.0.0.0/8:5432");
    assert_eq!(serde_json::to_string(&Egress::all()).unwrap(), "\"all\"");
    assert_eq!(serde_json::to_string(&Egress::none()).unwrap(), "\"none\"");
    for egress in [&some, &Egress::all(), &Egress::none()] {
        assert_eq!(egress.to_string().parse::<Egress>().unwrap(), *egress);
    }
    assert_eq!("a.example:443,10.0.0.0/8:5432".parse::<Egress>().unwrap(), some);
    assert!("a.example:443,".parse::<Egress>().is_err() && "".parse::<Egress>().is_err());
    for (bad, part) in [
        ("\"some\"", "egress is"),
        ("[]", "egress is"),
        (r#"{"allow": ["a"], "deny": []}"#, "egress is"),
        (r#"{"allow": ["a"]}"#, "HOST:PORT"),
        (r#"{"allow": ["169.254.169.254:80"]}"#, "no rule can open it"),
    ] {
        assert!(read(bad).unwrap_err().to_string().contains(part), "{bad}: {:?}", read(bad));
    }
    let many: Vec<String> = (0..=super::RULES_MAX).map(|number| format!("h{number}.example:443")).collect();
    let many = serde_json::json!({ "allow": many }).to_string();
    assert!(read(&many).unwrap_err().to_string().contains("40 is the most"));
}

fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

/// Addresses that IPv6 wraps around an IPv4 one.
fn wrapped(inner: Ipv4Addr, rest: u64) -> Vec<Ipv6Addr> {
    let bits = u128::from(inner.to_bits());
    let teredo = (0x2001_0000_u128 << 96) | (u128::from(rest as u32) << 64) | u128::from(!inner.to_bits());
    vec![
        inner.to_ipv6_mapped(),
        inner.to_ipv6_compatible(),
        Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | bits),
        Ipv6Addr::from_bits((0x2002_u128 << 112) | (bits << 80) | u128::from(rest)),
        Ipv6Addr::from_bits(teredo),
        Ipv6Addr::from_bits((0x2606_4700_u128 << 96) | (0x5efe_u128 << 32) | bits),
    ]
}

proptest! {
    /// No wrapping makes an address more reachable than it is.
    #[test]
    fn wrapping_opens_nothing(inner in any_v4(), rest in any::<u64>()) {
        let bare = reach::of(IpAddr::V4(inner));
        for outer in wrapped(inner, rest) {
            match (bare, reach::of(IpAddr::V6(outer))) {
                (Reach::Never(_), Reach::Never(_)) | (Reach::Public, _) => {}
                (Reach::Private, Reach::Private | Reach::Never(_)) => {}
                (bare, wrapped) => prop_assert!(false, "{inner} is {bare:?} and {outer} is {wrapped:?}"),
            }
        }
    }

    /// Whatever the rules, nothing that is never reachable is allowed, and nothing private by rules that don't
    /// name it.
    #[test]
    fn never_is_never(bits in any::<u128>(), v4 in any::<bool>(), port in 1_u16.., prefix in 0_u8..=32) {
        let address = if v4 { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) } else { IpAddr::V6(Ipv6Addr::from_bits(bits)) };
        let wide = format!("{}/{prefix}:*", Ipv4Addr::from_bits((bits as u32).checked_shr(32 - u32::from(prefix)).map_or(0, |kept| kept.checked_shl(32 - u32::from(prefix)).unwrap_or(0))));
        let mut rules: Vec<Rule> = EVERYTHING.iter().map(|rule| rule.parse().unwrap()).collect();
        rules.extend(wide.parse::<Rule>());
        let policy = Policy::new(Egress::allow(rules).unwrap(), [].into());
        for asked in [Host::Address(address.to_canonical()), host("evil.example")] {
            let judged = policy.judge(&asked, port, address);
            if let Reach::Never(_) = reach::of(address) {
                prop_assert!(judged.is_err());
            }
            if let Host::Address(_) = asked {
                prop_assert_eq!(policy.admit(&asked, port).is_ok(), judged.is_ok());
            }
        }
        let public_only = Policy::new(Egress::all(), [].into());
        let allowed = public_only.judge(&Host::Address(address.to_canonical()), port, address).is_ok();
        prop_assert_eq!(allowed, reach::of(address) == Reach::Public);
    }

    /// Nothing is allowed without rules.
    #[test]
    fn none_is_none(bits in any::<u128>(), port in any::<u16>()) {
        let address = IpAddr::V6(Ipv6Addr::from_bits(bits));
        let policy = Policy::new(Egress::none(), [].into());
        prop_assert!(policy.judge(&Host::Address(address.to_canonical()), port, address).is_err());
        prop_assert!(policy.judge(&host("a.example"), port, address).is_err());
    }

    /// What is written is read back, and no text makes the parsers panic.
    #[test]
    fn texts_are_taken_or_refused(text in "\\PC{0,40}", near in "[a-z0-9.*:/\\[\\]x_-]{0,40}") {
        for text in [text, near] {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
            }
            if let Ok(parsed) = text.parse::<Host>() {
                prop_assert_eq!(parsed.to_string().parse::<Host>().unwrap(), parsed);
            }
            if let Ok((parsed, port)) = parse_authority(&text) {
                prop_assert_eq!(parse_authority(&format!("{parsed}:{port}")).unwrap(), (parsed, port));
            }
        }
    }

    /// A name is never something that the C library's resolver would take for an address.
    #[test]
    fn no_name_is_a_number(text in "(0x|0X|0)?[0-9a-f]{1,9}(\\.(0x|0)?[0-9a-f]{1,9}){0,3}\\.?") {
        if let Ok(Host::Name(name)) = text.parse::<Host>() {
            let last = name.as_str().rsplit('.').next().unwrap();
            prop_assert!(last.bytes().any(|byte| !byte.is_ascii_digit()) && !last.starts_with("0x"), "{}", name);
        }
    }

    /// A network holds exactly the addresses that share its prefix.
    #[test]
    fn networks_hold_what_shares_their_prefix(bits in any::<u32>(), other in any::<u32>(), prefix in 0_u8..=32) {
        let keep = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let text = format!("{}/{prefix}", Ipv4Addr::from_bits(bits & keep));
        let network: Network = text.parse().unwrap();
        prop_assert_eq!(network.contains(IpAddr::V4(Ipv4Addr::from_bits(other))), (bits ^ other) & keep == 0);
        prop_assert!(network.covers(network) && network.contains(network.first()));
    }
}
