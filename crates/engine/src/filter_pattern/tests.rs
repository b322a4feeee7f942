//! The examples of the user guide, and what must hold for any pattern and any line.

use proptest::prelude::*;

use super::*;

fn selected<'a>(pattern: &str, lines: &[&'a str]) -> Vec<&'a str> {
    let parsed = FilterPattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    lines.iter().copied().filter(|line| parsed.matches(line)).collect()
}

const REQUESTS: [&str; 6] = [
    "[ERROR 400] BAD REQUEST",
    "[ERROR 401] UNAUTHORIZED REQUEST",
    "[ERROR 419] MISSING ARGUMENTS",
    "[ERROR 420] INVALID ARGUMENTS",
    "[WARN 500] INTERNAL SERVER ERROR",
    "[INFO] fine",
];

#[test]
fn terms() {
    for (pattern, expected) in [
        ("", &[0, 1, 2, 3, 4, 5][..]),
        ("   ", &[0, 1, 2, 3, 4, 5]),
        ("ERROR", &[0, 1, 2, 3, 4]),
        ("error", &[]),
        ("ERROR ARGUMENTS", &[2, 3]),
        ("?ERROR ?ARGUMENTS", &[0, 1, 2, 3, 4]),
        ("?UNAUTHORIZED ?fine", &[1, 5]),
        ("ERROR -ARGUMENTS", &[0, 1, 4]),
        ("-ERROR", &[5]),
        ("\"INTERNAL SERVER ERROR\"", &[4]),
        ("ERROR -\"INTERNAL SERVER\" -ARGUMENTS", &[0, 1]),
        ("\"[ERROR 4\"", &[0, 1, 2, 3]),
        ("%ERROR 4[0-9]0%", &[0, 3]),
        ("?%4.0% ?fine", &[0, 3, 5]),
        ("-%\\[(ERROR|WARN)%", &[5]),
        // Beside another kind, terms with a question mark are passed over.
        ("?UNAUTHORIZED ?fine -ERROR", &[5]),
        ("?UNAUTHORIZED ARGUMENTS", &[2, 3]),
    ] {
        let expected: Vec<_> = expected.iter().map(|&index| REQUESTS[index]).collect();
        assert_eq!(selected(pattern, &REQUESTS), expected, "{pattern}");
    }
    assert_eq!(selected(r#""say \"hi\\""#, &[r#"say "hi\"#, "say hi"]), [r#"say "hi\"#]);
}

const DOCUMENT: &str = r#"{ "eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "code": 500, "text": "500",
    "ratio": -1.5e1, "arrayKey": ["value", "another value"], "a.b": "dotted", "ok": true, "no": false, "nil": null,
    "objectList": [{ "name": "a", "id": 1 }, { "name": "b", "id": 2 }], "user": { "id": "u-1", "deep": { "er": 7 } } }"#;

#[test]
fn json() {
    for (pattern, expected) in [
        (r#"{ $.eventType = "UpdateTrail" }"#, true),
        (r#"{ $.eventType = UpdateTrail }"#, true),
        (r#"{$.eventType="UpdateTrail"}"#, true),
        (r#"{ $.eventType = "updatetrail" }"#, false),
        (r#"{ $.eventType != "Other" }"#, true),
        ("{ $.sourceIPAddress != 123.123.* }", true),
        ("{ $.sourceIPAddress = 111.111.* }", true),
        (r#"{ $.eventType = "*Trail" || $.code = 1 }"#, true),
        (r#"{ $.arrayKey[0] = "value" }"#, true),
        (r#"{ $.arrayKey[1] = "value" }"#, false),
        (r#"{ $.arrayKey[9] = "value" }"#, false),
        (r#"{ $.arrayKey[*] = "another*" }"#, true),
        ("{ $.objectList[1].id = 2 }", true),
        ("{ $.objectList[*].id = 3 }", false),
        (r#"{ $["a.b"] = "dotted" }"#, true),
        (r#"{ $.user['deep'].er >= 7 }"#, true),
        ("{ $.user.deep.er > 7 }", false),
        ("{ $.user.id = * }", true),
        ("{ $.user.id = %^u-[0-9]$% }", true),
        ("{ $.user.id = %^[0-9]$% }", false),
        ("{ $.code = 500 }", true),
        ("{ $.code = 5e2 }", true),
        ("{ $.code = 5* }", true),
        ("{ $.code >= 400 && $.code < 500 }", false),
        ("{ $.code <= 500 }", true),
        ("{ $.text = 500 }", true),
        ("{ $.text > 1 }", false),
        ("{ $.ratio = -15 }", true),
        ("{ $.ratio < -14.5 }", true),
        ("{ $.nil IS NULL }", true),
        ("{ $.nil NOT EXISTS }", false),
        ("{ $.gone NOT EXISTS }", true),
        ("{ $.gone IS NULL }", false),
        ("{ $.gone != 5 }", false),
        ("{ $.user != 5 }", false),
        ("{ $.ok IS TRUE && $.no is false }", true),
        ("{ $.ok IS FALSE }", false),
        ("{ $.ok = true }", true),
        // && binds closer than ||, parentheses closest.
        ("{ $.ok IS TRUE || $.ok IS FALSE && $.code = 1 }", true),
        ("{ ($.ok IS TRUE || $.ok IS FALSE) && $.code = 1 }", false),
        (r#"{ $.eventType = "UpdateTrail" && ($.code >= 500 || $.user.id = nobody) }"#, true),
    ] {
        assert_eq!(selected(pattern, &[DOCUMENT]).len() == 1, expected, "{pattern}");
    }
    assert!(selected("{ $.a NOT EXISTS }", &["not json", "{ \"a\"", "7", "\"text\""]).is_empty());
}

const ACCESS: &str = r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;

#[test]
fn columns() {
    for (pattern, expected) in [
        ("[ip, id, user, timestamp, request, status_code, bytes]", true),
        ("[ip, id, user, timestamp, request, status_code]", false),
        ("[ip, id, user, timestamp, request, status_code = 4*, bytes > 1000]", true),
        ("[ip, id, user, timestamp, request, status_code = 4*, bytes > 2000]", false),
        ("[ip, id, user, timestamp, request = *.html*, status_code = 4*, bytes]", true),
        ("[..., status_code = 404, bytes]", true),
        ("[..., request =%index\\.%, status_code != 404, bytes]", false),
        ("[ip = 127.0.*, ..., bytes]", true),
        ("[ip, ..., status_code, bytes < 1534]", false),
        ("[ip, ...]", true),
        ("[...]", true),
        ("[a, b, c, d, e, f, g, ..., h]", false),
        ("[ip, id, user = frank || user = joe, ...]", true),
        ("[ip, id, (user != frank) && user != joe, ...]", false),
        (r#"[ip, id, user, timestamp = "10/Oct*", ...]"#, true),
    ] {
        assert_eq!(selected(pattern, &[ACCESS]).len() == 1, expected, "{pattern}");
    }
    assert!(selected("[a]", &[""]).is_empty());
    assert_eq!(selected("[w1, w2]", &["[open \"a b", "x \"y z\" q"]), [""; 0]);
}

#[test]
fn what_is_no_pattern_is_refused() {
    for pattern in [
        "a/b",
        "?",
        "-",
        "\"open",
        "%open",
        "%%",
        "%(%",
        "%a{99999}%",
        "%a% %b% %c%",
        "{",
        "{}",
        "{ $.a }",
        "{ $.a = }",
        "{ a = 1 }",
        "{ $. = 1 }",
        "{ $.a[ = 1 }",
        "{ $.a[x] = 1 }",
        "{ $.a[99999999999999999999] = 1 }",
        "{ $.a > \"b\" }",
        "{ $.a IS }",
        "{ $.a IS NULLISH }",
        "{ $.a NOT }",
        "{ $.a = 1 && }",
        "{ ($.a = 1 }",
        "{ $.a = 1 } trailing",
        "[",
        "[]",
        "[a,]",
        "[a",
        "[..., ...]",
        "[a = 1 && b = 2]",
        "[a || a]",
    ] {
        assert!(FilterPattern::parse(pattern).is_err(), "{pattern}");
    }
    let deep = |depth| format!("{{ {}$.a = 1{} }}", "(".repeat(depth), ")".repeat(depth));
    assert!(FilterPattern::parse(&deep(NESTING_MAX)).is_ok());
    assert!(FilterPattern::parse(&deep(NESTING_MAX + 1)).is_err());
    assert!(FilterPattern::parse(&"ü".repeat(CHARACTERS_MAX)).is_ok());
    assert!(FilterPattern::parse(&"x".repeat(CHARACTERS_MAX + 1)).is_err());
}

fn any_pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "$",
        ".a",
        "[0]",
        "[*]",
        "[\"b\"]",
        "=",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "%",
        "\"",
        "\\",
        "*",
        "...",
        ",",
        "IS",
        "NULL",
        "NOT",
        "EXISTS",
        "TRUE",
        "-",
        "?",
        "1",
        "-2.5e3",
        "x",
        "ü",
        " ",
        "{ $.a = 1 }",
        "[a, b]",
        "%a+%",
        "\u{0}",
    ]);
    prop_oneof![".{0,60}", proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_too_odd(pattern in any_pattern(), line in prop_oneof![".{0,80}", any_pattern(), Just(DOCUMENT.to_owned())]) {
        if let Ok(pattern) = FilterPattern::parse(&pattern) {
            let first = pattern.matches(&line);
            prop_assert_eq!(pattern.matches(&line), first);
            prop_assert!(!pattern.is_empty() || first);
        }
    }

    #[test]
    fn terms_are_as_said(
        terms in proptest::collection::vec(("[-?]?", "[ab]{1,3}"), 0..5),
        line in "[ab ]{0,12}",
    ) {
        let of = |sign: &str| terms.iter().filter(|(kind, _)| kind == sign).map(|(_, text)| &text[..]).collect::<Vec<_>>();
        let (all, any, none) = (of(""), of("?"), of("-"));
        let expected = all.iter().all(|text| line.contains(text))
            && !none.iter().any(|text| line.contains(text))
            && (any.is_empty() || !all.is_empty() || !none.is_empty() || any.iter().any(|text| line.contains(text)));
        let pattern: String = terms.iter().map(|(sign, text)| format!("{sign}{text} ")).collect();
        prop_assert_eq!(FilterPattern::parse(&pattern).unwrap().matches(&line), expected);
    }
}
