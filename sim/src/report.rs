//! Which settings of each policy are replayed, and what is said of them in `docs/keep-alive.md`.

use std::{fmt::Write, time::Duration};

use updraft_engine::keep_alive::{Policy, adaptive, histogram};

use crate::figures::{Figures, at_equal};

/// The window others are compared with, minutes.
const REFERENCE_MIN: u64 = 10;
/// What is to be reached where as much is wasted: this part of the reference's 75th percentile.
const TARGET: f64 = 0.40;
/// What half of the published applications hold at most, megabytes.
const MIDDLING_MB: f64 = 170.0;

/// A policy with one of the settings of its curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Which curve it belongs to.
    pub family: &'static str,
    /// What is set.
    pub setting: String,
    /// The policy itself.
    pub policy: Policy,
}

/// How many settings of each policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Enough to draw the curves.
    Wide,
    /// Enough to compare at the reference's waste.
    Narrow,
    /// The reference, the paper's settings and the platform's default.
    Defaults,
}

/// All that is replayed, policies side by side.
pub fn candidates(sweep: Sweep) -> Vec<Candidate> {
    let (windows, ranges, worths, variants): (&[u64], &[u16], &[f64], bool) = match sweep {
        Sweep::Wide => (
            &[1, 2, 5, REFERENCE_MIN, 20, 30, 60, 120, 240, 480],
            &[5, 10, 30, 60, 120, 240, 480],
            &[10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0],
            true,
        ),
        Sweep::Narrow => (&[REFERENCE_MIN], &[5, 10, 30, 60, 120, 240], &[20.0, 60.0, 90.0, 120.0, 240.0], false),
        Sweep::Defaults => (&[REFERENCE_MIN], &[240], &[60.0], false),
    };
    let fixed = windows.iter().map(|minutes| Candidate {
        family: "fixed",
        setting: format!("{minutes} min"),
        policy: Policy::Fixed(Duration::from_secs(minutes * 60)),
    });
    let histogram = ranges.iter().map(|minutes| Candidate {
        family: "histogram",
        setting: format!("range {minutes} min"),
        policy: Policy::Histogram(histogram::Settings { range_minutes: *minutes, ..Default::default() }),
    });
    let adaptive = |family, fairness, worths: &[f64]| {
        let candidate = move |minutes: &f64| Candidate {
            family,
            setting: format!("worth {minutes} min of {MIDDLING_MB} MB"),
            policy: Policy::Adaptive(adaptive::Settings { worth_mb_s: MIDDLING_MB * 60.0 * minutes, fairness }),
        };
        worths.iter().map(candidate).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = fixed.chain(histogram).collect();
    all.extend(adaptive("adaptive", adaptive::Settings::default().fairness, worths));
    if variants {
        all.extend(adaptive("adaptive, all cold starts alike", 0.0, &[20.0, 60.0, 120.0]));
        all.extend(adaptive("adaptive, all functions alike", 1.0, &[60.0, 120.0, 240.0]));
    }
    all
}

/// One replay of all candidates.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// What was replayed.
    pub candidates: &'a [Candidate],
    /// What came of each.
    pub figures: &'a [Figures],
}

impl Results<'_> {
    fn reference(&self) -> &Figures {
        let is_reference =
            |candidate: &&Candidate| candidate.policy == Policy::Fixed(Duration::from_secs(REFERENCE_MIN * 60));
        let place = self.candidates.iter().position(|candidate| is_reference(&candidate));
        &self.figures[place.expect("every sweep has the reference")]
    }

    fn families(&self) -> Vec<&'static str> {
        let mut families: Vec<_> = self.candidates.iter().map(|candidate| candidate.family).collect();
        families.dedup();
        families
    }

    /// A family's value where it wastes what the reference does.
    fn at_reference(&self, family: &str, value: fn(&Figures) -> f64) -> Option<f64> {
        let of_family = self.candidates.iter().zip(self.figures).filter(|(candidate, _)| candidate.family == family);
        let curve: Vec<_> = of_family.map(|(_, figures)| (figures.idle_mb_s, value(figures))).collect();
        at_equal(&curve, self.reference().idle_mb_s)
    }

    /// What of the reference's 75th percentile is left where a policy wastes as much.
    pub fn ratio(&self, family: &str) -> Option<f64> {
        self.at_reference(family, Figures::p75).map(|p75| p75 / self.reference().p75())
    }

    /// A table of all policies where they waste the same.
    pub fn at_equal_waste(&self) -> String {
        let mut text = table(&[
            "at the waste of a fixed window of 10 minutes",
            "75th percentile by function",
            "of the fixed window's",
            "",
            "mean by function",
            "mean of all invocations",
        ]);
        for family in self.families() {
            let ratio = self.ratio(family);
            let verdict = match ratio {
                Some(ratio) if ratio <= TARGET => "met",
                Some(_) if family != "fixed" => "**not met**",
                _ => "",
            };
            row(
                &mut text,
                &[
                    family.to_owned(),
                    or_none(self.at_reference(family, Figures::p75), 1),
                    or_none(ratio, 1),
                    verdict.to_owned(),
                    or_none(self.at_reference(family, Figures::mean_by_function), 1),
                    or_none(self.at_reference(family, Figures::mean), 4),
                ],
            );
        }
        text
    }

    /// A table of every setting. Waste is given as a share of the reference's.
    pub fn curves(&self) -> String {
        let mut text = table(&[
            "policy",
            "setting",
            "waste",
            "75th percentile by function",
            "median",
            "90th",
            "mean by function",
            "mean of all invocations",
            "started ahead, for 1,000 invocations",
        ]);
        let reference = self.reference().idle_mb_s;
        for (candidate, figures) in self.candidates.iter().zip(self.figures) {
            row(
                &mut text,
                &[
                    candidate.family.to_owned(),
                    candidate.setting.clone(),
                    percent(figures.idle_mb_s / reference, 0),
                    percent(figures.p75(), 1),
                    percent(figures.percentile(0.5), 1),
                    percent(figures.percentile(0.9), 1),
                    percent(figures.mean_by_function(), 1),
                    percent(figures.mean(), 4),
                    format!("{:.2}", figures.ahead as f64 * 1_000.0 / figures.invocations.max(1) as f64),
                ],
            );
        }
        text
    }

    /// A table for nodes that are short of memory.
    pub fn under_pressure(&self) -> String {
        let mut text = table(&[
            "policy",
            "setting",
            "waste",
            "75th percentile by function",
            "mean by function",
            "mean of all invocations",
            "idle instances evicted",
            "found no room",
        ]);
        let reference = self.reference().idle_mb_s;
        for (candidate, figures) in self.candidates.iter().zip(self.figures) {
            row(
                &mut text,
                &[
                    candidate.family.to_owned(),
                    candidate.setting.clone(),
                    percent(figures.idle_mb_s / reference, 0),
                    percent(figures.p75(), 1),
                    percent(figures.mean_by_function(), 1),
                    percent(figures.mean(), 4),
                    figures.evicted.to_string(),
                    figures.refused.to_string(),
                ],
            );
        }
        text
    }

    /// How much was measured, in a sentence.
    pub fn extent(&self) -> String {
        let reference = self.reference();
        format!("{} functions were invoked {} times while measured.", reference.functions(), reference.invocations)
    }
}

/// A table's head; the first two columns are text, the others numbers.
fn table(columns: &[&str]) -> String {
    let mut text = String::new();
    row(&mut text, &columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>());
    let ruler = columns.iter().enumerate().map(|(index, _)| if index == 0 { "---" } else { "--:" });
    let _ = writeln!(text, "|{}|", ruler.collect::<Vec<_>>().join("|"));
    text
}

fn row(text: &mut String, cells: &[String]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}

fn or_none(share: Option<f64>, digits: usize) -> String {
    share.map_or("–".to_owned(), |share| percent(share, digits))
}

/// `document` with what stands between the marks of this name replaced.
pub fn written(document: &str, name: &str, body: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: "), format!("<!-- end of {name} -->"));
    let start = document.find(&begin)?;
    let start = start + document[start..].find("-->")? + 3;
    let stop = start + document[start..].find(&end)?;
    Some(format!("{}\n\n{}\n\n{}", &document[..start], body.trim(), &document[stop..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sweep_has_the_reference_and_no_setting_twice() {
        for sweep in [Sweep::Wide, Sweep::Narrow, Sweep::Defaults] {
            let all = candidates(sweep);
            assert!(all.iter().any(|candidate| candidate.setting == "10 min"));
            for (index, candidate) in all.iter().enumerate() {
                assert!(!all[..index].contains(candidate), "{candidate:?}");
            }
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_platform_and_the_paper() {
        let all = candidates(Sweep::Defaults);
        assert!(all.iter().any(|candidate| candidate.policy == Policy::default()));
        assert!(all.iter().any(|candidate| candidate.policy == Policy::Histogram(histogram::Settings::default())));
    }

    #[test]
    fn what_stands_between_the_marks_is_replaced() {
        let document = "# A\n<!-- figures: written by x -->\nold\n<!-- end of figures -->\nrest\n";
        let written = written(document, "figures", "new").unwrap();
        assert_eq!(written, "# A\n<!-- figures: written by x -->\n\nnew\n\n<!-- end of figures -->\nrest\n");
        assert_eq!(super::written(document, "scale", "new"), None);
    }
}
