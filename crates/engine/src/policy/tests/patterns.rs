//! Wildcards, against cases from the documentation and against a naive matcher.

use proptest::prelude::*;

use super::super::{
    Context,
    document::Version,
    pattern::{Pattern, Reading, matches},
    variable::Template,
};

#[test]
fn resources_match_within_segments_and_beyond() {
    for (pattern, text, expected) in [
        ("*", "anything:at/all", true),
        ("*", "", true),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y:z", true),
        ("arn:aws:s3:::b/*/test/*", "arn:aws:s3:::b/1/2/test/3/object.jpg", true),
        ("arn:aws:s3:::b/*/test/*", "arn:aws:s3:::b//test/object.jpg", true),
        ("arn:aws:s3:::b/*/test/*", "arn:aws:s3:::b/1-test/object.jpg", false),
        ("arn:aws:lambda:*:*:function:f", "arn:aws:lambda:eu-west-1:1:function:f", true),
        ("arn:aws:lambda:*:function:f", "arn:aws:lambda:eu-west-1:1:function:f", true),
        ("arn:aws:lambda:*", "arn:aws:lambda:eu-west-1:1:function:f", true),
        ("arn:aws:lambda:eu-*-1:1:function:f", "arn:aws:lambda:eu-west-1:1:function:f", true),
        ("arn:aws:lambda:eu*1:function:f", "arn:aws:lambda:eu-west-1:1:function:f", false),
        ("arn:aws:lambda:eu-west-1?1:function:f", "arn:aws:lambda:eu-west-1:1:function:f", false),
        ("arn:aws:lambda:eu-west-1:1:function:f?v1", "arn:aws:lambda:eu-west-1:1:function:f:v1", true),
        ("arn:aws:lambda:eu-west-1:1:function:f:*", "arn:aws:lambda:eu-west-1:1:function:f", false),
        ("arn:aws:s3:::b/?", "arn:aws:s3:::b/é", true),
        ("arn:aws:s3:::b/??", "arn:aws:s3:::b/é", false),
        ("arn:aws:s3:::b", "arn:aws:s3:::B", false),
    ] {
        assert_eq!(matches(pattern, text, Reading::Resource), expected, "{pattern} {text}");
    }
}

#[test]
fn many_stars_take_no_time() {
    let pattern = "*a".repeat(500);
    let text = "a".repeat(499) + "b";
    assert!(!matches(&pattern, &text, Reading::Text));
    // A `*` that runs on before one that does not: the slow matcher.
    let pattern = format!("*:{}", "a*a".repeat(300));
    let text = "a:".to_owned() + &"a".repeat(2000) + "b";
    assert!(!matches(&pattern, &text, Reading::Resource));
}

/// The definition, tried out in all ways there are.
fn naive(pattern: &[char], text: &[char], colons: usize, reading: Reading) -> bool {
    let is_free = reading == Reading::Text || colons >= 5;
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    match first {
        '*' if rest.first() == Some(&'*') => naive(rest, text, colons, reading),
        '*' => {
            let ends_segment = matches!(rest.first(), None | Some(':'));
            let runs_on = is_free || (reading == Reading::Resource && ends_segment);
            (0..=text.len())
                .any(|taken| (runs_on || !text[..taken].contains(&':')) && naive(rest, &text[taken..], colons, reading))
        }
        '?' => text
            .split_first()
            .is_some_and(|(one, after)| (is_free || *one != ':') && naive(rest, after, colons, reading)),
        plain => text.split_first().is_some_and(|(one, after)| {
            one == plain && naive(rest, after, colons + usize::from(*plain == ':'), reading)
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn the_matcher_is_the_naive_one(
        pattern in "[ab*?:é]{0,10}",
        text in "[ab:é]{0,10}",
        prefix in prop_oneof![Just(""), Just("::::"), Just(":::::")],
        reading in prop_oneof![Just(Reading::Text), Just(Reading::Resource), Just(Reading::Arn)],
    ) {
        let (pattern, text) = (format!("{prefix}{pattern}"), format!("{prefix}{text}"));
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(
            matches(&pattern, &text, reading),
            naive(&chars(&pattern), &chars(&text), 0, reading),
            "{} {} {:?}", pattern, text, reading
        );
    }

    #[test]
    fn a_variable_is_its_value(
        before in "[a*?:]{0,5}",
        value in "[ab:]{0,4}",
        after in "[b*?:]{0,5}",
        text in "[ab:]{0,12}",
        prefix in prop_oneof![Just(""), Just("::::"), Just(":::::")],
        reading in prop_oneof![Just(Reading::Text), Just(Reading::Resource), Just(Reading::Arn)],
    ) {
        let text = format!("{prefix}{text}");
        let context = Context::new().with("x", value.as_str());
        let with_variable = format!("{prefix}{before}${{x}}{after}");
        let pattern = Pattern::new(Template::parse(&with_variable, Version::V2012).unwrap(), reading);
        let filled_in = format!("{prefix}{before}{value}{after}");
        prop_assert_eq!(pattern.matches(&text, &context), Ok(matches(&filled_in, &text, reading)), "{}", filled_in);
    }
}
