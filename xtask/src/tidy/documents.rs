//! Documents stay true: they name files that exist, and the two readmes say the same.

use super::{Complaint, File};

/// Documents whose paths must exist.
const CHECKED: [&str; 5] = ["ARCHITECTURE.md", "README.md", "README.zh.md", "CONTRIBUTING.md", "docs/threat-model.md"];
/// What a path in a document begins with, from the repository's root.
const FOLDERS: [&str; 9] = ["crates/", "xtask/", "bench/", "sim/", "examples/", "docs/", ".ci/", ".config/", ".cargo/"];

/// Complaints about the documents among `files`; `exists` answers for a path from the repository's root.
pub(super) fn check(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let find = |path: &str| files.iter().find(|file| file.path == path);
    for name in CHECKED {
        match find(name) {
            Some(document) => complaints.extend(missing_paths(document, &exists)),
            None => complaints.push(Complaint::new(name, 0, "is missing")),
        }
    }
    if let (Some(english), Some(chinese)) = (find("README.md"), find("README.zh.md")) {
        complaints.extend(differences(english, chinese));
    }
    complaints
}

/// Paths in backticks, or as a link's target, that do not exist.
fn missing_paths(document: &File, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (line, number) in document.text.lines().zip(1..) {
        let quoted = line.split('`').skip(1).step_by(2);
        let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let linked = linked.filter(|target| !target.contains("://") && !target.starts_with('#'));
        let named = quoted.filter(|text| is_path(text)).chain(linked);
        for path in named.map(|path| path.split('#').next().unwrap_or(path).trim_end_matches('/')) {
            let in_crates = path.ends_with(".rs") && exists(&format!("crates/{path}"));
            if !exists(path) && !in_crates {
                complaints.push(Complaint::new(&document.path, number, format!("names {path}, which does not exist")));
            }
        }
    }
    complaints
}

/// Whether text in backticks means a path of this repository.
fn is_path(text: &str) -> bool {
    let plain = !text.contains([' ', '*', '{', '<', '…', '$']);
    let ours = FOLDERS.iter().any(|folder| text.starts_with(folder));
    plain && (ours || text.contains('/') && !text.starts_with('/') && text.ends_with(".rs"))
}

/// Where the two readmes part: their headings by level, or the commands they show.
fn differences(english: &File, chinese: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let (ours, theirs) = (headings(&english.text), headings(&chinese.text));
    if ours != theirs {
        let text = format!("has headings of levels {theirs:?}, and README.md {ours:?}");
        complaints.push(Complaint::new(&chinese.path, 0, text));
    }
    let (ours, theirs) = (commands(&english.text), commands(&chinese.text));
    let only = |these: &[String], those: &[String]| these.iter().find(|line| !those.contains(line)).cloned();
    if let Some(line) = only(&ours, &theirs) {
        complaints.push(Complaint::new(&chinese.path, 0, format!("lacks the command `{line}` of README.md")));
    }
    if let Some(line) = only(&theirs, &ours) {
        complaints.push(Complaint::new(&english.path, 0, format!("lacks the command `{line}` of README.zh.md")));
    }
    complaints
}

fn headings(text: &str) -> Vec<usize> {
    prose_and_code(text)
        .filter(|(is_code, line)| !is_code && line.starts_with('#'))
        .map(|(_, line)| line.chars().take_while(|letter| *letter == '#').count())
        .collect()
}

/// Lines of code blocks, without the words after them (a comment, or a second column), which may be translated.
fn commands(text: &str) -> Vec<String> {
    prose_and_code(text)
        .filter(|(is_code, _)| *is_code)
        .map(|(_, line)| line.trim())
        .map(|line| line.split(" # ").next().unwrap_or(line).split("  ").next().unwrap_or(line).trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Each line, and whether it stands in a fenced or indented code block.
fn prose_and_code(text: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut fenced = false;
    text.lines().filter_map(move |line| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        Some((fenced || line.starts_with("    "), line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_document_names_only_what_exists() {
        let text = "See `crates/node/src/pool.rs`, `node/src/gone.rs` and [this](docs/gone.md#part).\n\
                    `/var/task`, `cargo xtask test`, `crates/*/src` and [there](https://example.org/x) are no paths.\n";
        let complaints = missing_paths(&file("ARCHITECTURE.md", text), |path| path == "crates/node/src/pool.rs");
        let texts: Vec<_> = complaints.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "ARCHITECTURE.md:1: names node/src/gone.rs, which does not exist",
                "ARCHITECTURE.md:1: names docs/gone.md, which does not exist",
            ]
        );
    }

    #[test]
    fn short_paths_are_looked_up_under_crates() {
        let document = file("ARCHITECTURE.md", "`node/src/pool.rs`");
        assert!(missing_paths(&document, |path| path == "crates/node/src/pool.rs").is_empty());
    }

    #[test]
    fn the_readmes_have_the_same_headings_and_commands() {
        let english = file("README.md", "# A\n## B\n    updraft dev # starts\n```\naws x\n# not a heading\n```\n");
        let same = file("README.zh.md", "# 甲\n## 乙\n    updraft dev      启动\n```\naws x\n```\n");
        assert!(differences(&english, &same).is_empty());
        let other = file("README.zh.md", "# 甲\n    updraft serve\n    aws x\n");
        let texts: Vec<_> = differences(&english, &other).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "README.zh.md: has headings of levels [1], and README.md [1, 2]",
                "README.zh.md: lacks the command `updraft dev` of README.md",
                "README.md: lacks the command `updraft serve` of README.zh.md",
            ]
        );
    }

    #[test]
    fn a_missing_document_is_said() {
        assert_eq!(check(&[], |_| true).len(), CHECKED.len());
    }
}
