//! Rules for single source files: they say what they own, stay readable, and leave nothing for later.

use super::{Complaint, File};

/// Past this many lines, look for the noun hiding inside.
const LINES_MAX: usize = 1000;
/// Promises to come back. Put together so that this file does not break its own rule.
const PROMISES: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];
/// Folders that exist on somebody's machine only.
const MACHINE_FOLDERS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

/// Complaints about all of `files`.
pub(super) fn check(files: &[File]) -> Vec<Complaint> {
    files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let is_rust = file.path.ends_with(".rs");
    if is_rust && is_in_src(&file.path) && !file.text.starts_with("//!") {
        complaints.push(Complaint::new(&file.path, 1, "must begin with `//!`: what it owns, refuses and guarantees"));
    }
    if is_written_by_hand(&file.path) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            complaints.push(Complaint::new(&file.path, 0, format!("{lines} lines; {LINES_MAX} at most, better 350")));
        }
        complaints.extend(
            file.text
                .lines()
                .zip(1..)
                .flat_map(|(line, number)| check_line(line, is_rust).map(move |text| (number, text)))
                .map(|(number, text)| Complaint::new(&file.path, number, text)),
        );
    }
    if file.path.ends_with("package-lock.json") {
        let resolved = file.text.lines().position(|line| line.trim_start().starts_with("\"resolved\":"));
        complaints.extend(resolved.map(|index| {
            let advice = "names a registry's host; make it with `npm install --omit-lockfile-registry-resolved`";
            Complaint::new(&file.path, index + 1, advice)
        }));
    }
    complaints
}

fn is_in_src(path: &str) -> bool {
    path.starts_with("src/") || path.contains("/src/")
}

fn is_written_by_hand(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(extension, "rs" | "py" | "mjs" | "js" | "cjs" | "ts" | "c" | "wit" | "sh" | "toml" | "md" | "sql" | "ini")
        || path == ".ci/run"
}

fn check_line(line: &str, is_rust: bool) -> impl Iterator<Item = String> {
    let promise = PROMISES.iter().find(|promise| holds_word(line, promise));
    let folder = MACHINE_FOLDERS.iter().find(|folder| names_folder(line, folder));
    let glob = is_rust && is_glob_reexport(line);
    promise
        .map(|promise| format!("`{promise}` is a promise; keep it, or file an issue and leave it out"))
        .into_iter()
        .chain(folder.map(|folder| format!("`{folder}…` is a path on somebody's machine")))
        .chain(glob.then(|| "re-exports by name, so that a reader sees what a module offers".to_owned()))
}

fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let ends = word.ends_with('(') || !after.is_some_and(char::is_alphanumeric);
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') && ends
    })
}

/// Whether `folder` stands there as the beginning of a path, not inside a URL or a longer one.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        before.is_none_or(|letter| !letter.is_alphanumeric() && !"._-}~/".contains(letter))
    })
}

fn is_glob_reexport(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("pub") && line.split_whitespace().any(|word| word == "use") && line.ends_with("::*;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_module_begins_with_its_header() {
        assert_eq!(complaints("crates/a/src/lib.rs", "//! Owns a.\n"), Vec::<String>::new());
        assert_eq!(complaints("crates/a/src/lib.rs", "use std::fs;\n").len(), 1);
        assert!(complaints("crates/a/build.rs", "fn main() {}\n").is_empty());
    }

    #[test]
    fn promises_are_found_as_words_only() {
        for line in [concat!("// TO", "DO: later"), concat!("    to", "do!()"), concat!("unimple", "mented!(\"x\")")] {
            assert_eq!(complaints("a.py", line).len(), 1, "{line}");
        }
        for line in ["a mastodon", concat!("TO", "DOS"), "fn todo_list() {}"] {
            assert!(complaints("a.py", line).is_empty(), "{line}");
        }
    }

    #[test]
    fn machine_paths_are_found_where_a_path_begins() {
        let [root, home, work] = MACHINE_FOLDERS;
        for line in [format!("cd {home}me"), format!("\"{root}x\""), format!("`{work}main`"), format!("a={home}b")] {
            assert_eq!(complaints("a.md", &line).len(), 1, "{line}");
        }
        for line in [format!("https://example.org{home}page"), format!("$X{work}dir"), format!("target{work}main")] {
            assert!(complaints("a.md", &line).is_empty(), "{line}");
        }
    }

    #[test]
    fn globs_are_not_reexported() {
        assert_eq!(complaints("a.rs", "pub use inner::*;").len(), 1);
        assert_eq!(complaints("a.rs", "pub(crate) use inner::*;").len(), 1);
        assert!(complaints("a.rs", "    use super::*;").is_empty());
        assert!(complaints("a.rs", "pub use inner::One;").is_empty());
    }

    #[test]
    fn long_files_and_lock_files_with_hosts_are_refused() {
        assert_eq!(complaints("a.rs", &"\n".repeat(LINES_MAX + 1)).len(), 1);
        assert!(complaints("a.rs", &"\n".repeat(LINES_MAX)).is_empty());
        assert!(complaints("data.json", &"\n".repeat(LINES_MAX + 1)).is_empty());
        assert_eq!(complaints("x/package-lock.json", "{\n  \"resolved\": \"https://…\"\n}").len(), 1);
    }
}
