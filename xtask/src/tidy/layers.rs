//! Dependencies between our crates point one way, as the house draws them.
//!
//! A crate may name what is drawn for it, and `types` everywhere. Its tests may name whatever lies below it: that
//! changes nothing about the product. `engine` takes no I/O at all, and `anyhow` stays in programs.

use super::{Complaint, File};

/// Each crate and those it may name, lowest first.
const DRAWN: [(&str, &[&str]); 12] = [
    ("types", &[]),
    ("engine", &["types"]),
    ("executor", &["types"]),
    ("store", &["types"]),
    ("image", &["types"]),
    ("sandbox", &[]),
    ("wasm", &["executor", "types"]),
    ("process", &["engine", "sandbox", "executor", "types"]),
    ("node", &["engine", "store", "executor", "image", "types"]),
    ("server", &["node", "types"]),
    // The binary joins all parts; from the sandbox it takes the helper process it becomes and what doctor shows.
    ("updraft", &["server", "node", "process", "sandbox", "wasm", "store", "image", "types"]),
    // The simulation replays decisions, and nothing that performs them.
    ("sim", &["engine", "types"]),
];
/// Programs beside `crates/` that are drawn all the same.
const PROGRAMS: [&str; 1] = ["sim"];
/// All that the crate of pure decisions may take from outside: no I/O in any of it.
const ENGINE_OUTSIDE: [&str; 4] = ["regex-lite", "serde", "serde_json", "thiserror"];

/// Complaints about the manifests among `files`.
pub(super) fn check(files: &[File]) -> Vec<Complaint> {
    files.iter().filter_map(|file| Some((crate_of(&file.path)?, file))).flat_map(check_manifest).collect()
}

/// `engine` for `crates/engine/Cargo.toml`.
fn crate_of(path: &str) -> Option<&str> {
    let name = path.strip_suffix("/Cargo.toml")?;
    let name = name.strip_prefix("crates/").or_else(|| PROGRAMS.contains(&name).then_some(name))?;
    Some(name).filter(|name| !name.contains('/'))
}

fn check_manifest((name, file): (&str, &File)) -> Vec<Complaint> {
    let complain = |text: String| Complaint::new(&file.path, line_of(&file.text, &text), text);
    let Some((_, drawn)) = DRAWN.iter().find(|(drawn, _)| *drawn == name) else {
        return vec![complain(format!("no layer is drawn for {name}: add it to xtask/src/tidy/layers.rs"))];
    };
    let manifest = match file.text.parse::<toml::Table>() {
        Ok(manifest) => manifest,
        Err(error) => return vec![complain(format!("not TOML: {}", error.message()))],
    };
    let mut complaints = Vec::new();
    for (table, allowed) in
        [("dependencies", drawn.to_vec()), ("build-dependencies", drawn.to_vec()), ("dev-dependencies", below(name))]
    {
        for dependency in
            manifest.get(table).and_then(|value| value.as_table()).into_iter().flat_map(|table| table.keys())
        {
            match dependency.strip_prefix("updraft-") {
                Some(ours) if !allowed.contains(&ours) => {
                    complaints.push(complain(format!("{name} may not depend on {dependency}; it may on {allowed:?}")));
                }
                Some(_) => {}
                None if table == "dependencies" => complaints.extend(outside(name, dependency).map(complain)),
                None => {}
            }
        }
    }
    complaints
}

/// What is wrong with `name` using a crate that is not ours.
fn outside(name: &str, dependency: &str) -> Option<String> {
    if name == "engine" && !ENGINE_OUTSIDE.contains(&dependency) {
        return Some(format!("engine is pure and takes only {ENGINE_OUTSIDE:?} from outside, not {dependency}"));
    }
    (dependency == "anyhow" && name != "updraft" && !PROGRAMS.contains(&name))
        .then(|| format!("{name} is a library: errors are enums there, and anyhow stays in the binary"))
}

/// Everything under `name`, however far down.
fn below(name: &str) -> Vec<&'static str> {
    let direct = DRAWN.iter().find(|(drawn, _)| *drawn == name).map_or(&[][..], |(_, drawn)| *drawn);
    let mut all: Vec<_> = direct.iter().flat_map(|next| below(next)).chain(direct.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The line on which the last word of a complaint's subject stands, for a click in an editor.
fn line_of(manifest: &str, text: &str) -> usize {
    let mentioned = |line: &str| {
        let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
        key.len() > 2 && text.split([' ', ';', ',']).any(|word| word == key)
    };
    manifest.lines().position(mentioned).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, manifest: &str) -> Vec<String> {
        let file = File { path: format!("crates/{name}/Cargo.toml"), text: manifest.to_owned() };
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_against_the_drawing_is_named_with_its_line() {
        assert_eq!(
            complaints("store", "[dependencies]\nupdraft-types.workspace = true\nupdraft-node.workspace = true\n"),
            ["crates/store/Cargo.toml:3: store may not depend on updraft-node; it may on [\"types\"]"]
        );
        assert!(complaints("node", "[dependencies]\nupdraft-store.workspace = true\n").is_empty());
    }

    #[test]
    fn tests_may_reach_whatever_lies_below() {
        assert!(complaints("server", "[dev-dependencies]\nupdraft-executor.workspace = true\n").is_empty());
        assert_eq!(complaints("executor", "[dev-dependencies]\nupdraft-node.workspace = true\n").len(), 1);
    }

    #[test]
    fn engine_stays_pure_and_libraries_have_error_enums() {
        assert_eq!(complaints("engine", "[dependencies]\ntokio = \"1\"\n").len(), 1);
        assert!(complaints("engine", "[dev-dependencies]\nproptest = \"1\"\n").is_empty());
        assert_eq!(complaints("node", "[dependencies]\nanyhow = \"1\"\n").len(), 1);
        assert!(complaints("updraft", "[dependencies]\nanyhow = \"1\"\n").is_empty());
    }

    #[test]
    fn the_simulation_replays_decisions_only() {
        let complaints = |dependency: &str| {
            let text = format!("[dependencies]\n{dependency}.workspace = true\n");
            check(&[File { path: "sim/Cargo.toml".to_owned(), text }]).len()
        };
        assert_eq!((complaints("updraft-engine"), complaints("anyhow"), complaints("updraft-node")), (0, 0, 1));
    }

    #[test]
    fn a_crate_nobody_drew_is_refused() {
        assert!(complaints("misc", "[dependencies]\n")[0].contains("no layer is drawn for misc"));
    }

    #[test]
    fn the_drawing_has_no_circle() {
        for (index, (name, drawn)) in DRAWN.iter().enumerate() {
            for other in *drawn {
                let position = DRAWN.iter().position(|(drawn, _)| drawn == other);
                assert!(position.is_some_and(|position| position < index), "{name} → {other}");
            }
        }
    }
}
