//! Any pattern and any line: parsing and matching end, without panic, and say the same twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_engine::filter_pattern::FilterPattern;

fuzz_target!(|input: (&str, &str)| {
    let (pattern, line) = input;
    if let Ok(pattern) = FilterPattern::parse(pattern) {
        let selected = pattern.matches(line);
        assert_eq!(pattern.matches(line), selected);
        assert!(selected || !pattern.is_empty());
    }
});
