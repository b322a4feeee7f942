//! How long and how often to measure, and what: the only place that `--quick`, `--rounds` and `--only` reach.

use std::time::Duration;

use anyhow::{Result, ensure};

/// Every server under load, in the order of their turns: its short name, and its name for people.
pub(crate) const SERVERS: [(&str, &str); 13] = [
    ("hyper", "bare hyper"),
    ("updraft-wasm", "**Updraft**, wasm, function URL"),
    ("updraft-wasm-api", "**Updraft**, wasm, Invoke"),
    ("updraft-wasm-fresh", "**Updraft**, wasm, function URL, a fresh guest for each request"),
    ("wasmtime", "`wasmtime serve`, same component"),
    ("wasmtime-reuse", "`wasmtime serve`, pooled and reusing instances"),
    ("workerd", "workerd, JavaScript"),
    ("node", "Node.js server by itself"),
    ("updraft-web", "**Updraft**, web, the same server"),
    ("updraft-python-api", "**Updraft**, Python, Invoke"),
    ("updraft-python-url", "**Updraft**, Python, function URL"),
    ("updraft-node-api", "**Updraft**, Node.js, Invoke"),
    ("updraft-node-url", "**Updraft**, Node.js, function URL"),
];

/// The parts of a run.
const PARTS: [&str; 8] = ["warm", "cold", "idle", "flood", "out", "snap", "signed", "many"];

/// What one run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Turns each server has.
    pub(crate) rounds: usize,
    /// Load before a measurement of a server that is ready at once.
    pub(crate) warmup: Duration,
    /// Load before a measurement of one that may first have to start a process for each connection.
    pub(crate) process_warmup: Duration,
    /// Length of one measurement.
    pub(crate) measured: Duration,
    /// Functions of each kind invoked cold.
    pub(crate) cold_functions: u32,
    /// Functions deployed on the idle platform.
    pub(crate) idle_functions: u32,
    /// Functions deployed on the platform with very many.
    pub(crate) many_functions: u32,
    /// How long an idle platform is left alone before it is looked at.
    pub(crate) settling: Duration,
    /// Whether this is the whole bench at full length.
    pub(crate) is_complete: bool,
    only: Vec<String>,
}

impl Plan {
    /// A plan by the command line's wishes; an error names what there is to choose from.
    pub(crate) fn new(is_quick: bool, rounds: Option<usize>, only: Vec<String>) -> Result<Self> {
        for name in &only {
            let is_known = PARTS.contains(&name.as_str()) || SERVERS.iter().any(|(id, _)| id == name);
            let names: Vec<_> = PARTS.into_iter().chain(SERVERS.map(|(id, _)| id)).collect();
            ensure!(is_known, "there is no {name:?} to measure; there are {}", names.join(", "));
        }
        ensure!(rounds.is_none_or(|rounds| (1..=1_000).contains(&rounds)), "rounds go from 1 to 1,000");
        let plan = Self {
            rounds: 5,
            warmup: Duration::from_millis(500),
            process_warmup: Duration::from_secs(4),
            measured: Duration::from_secs(3),
            cold_functions: 40,
            idle_functions: 1_000,
            many_functions: 10_000,
            settling: Duration::from_secs(5),
            is_complete: !is_quick && only.is_empty() && rounds.is_none_or(|rounds| rounds >= 5),
            only,
        };
        let plan = match is_quick {
            false => plan,
            true => Self {
                rounds: 2,
                warmup: Duration::from_millis(200),
                process_warmup: Duration::from_secs(2),
                measured: Duration::from_millis(700),
                cold_functions: 8,
                many_functions: 500,
                settling: Duration::from_secs(2),
                ..plan
            },
        };
        Ok(Self { rounds: rounds.unwrap_or(plan.rounds), ..plan })
    }

    /// Whether a part other than `warm` is to run.
    pub(crate) fn wants_part(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// Whether a server is to be loaded. Bare hyper always is when any other is: the rest is told in its terms.
    pub(crate) fn wants_server(&self, id: &str) -> bool {
        self.wants_part("warm") || self.only.iter().any(|name| name == id) || (id == "hyper" && self.wants_warm())
    }

    /// Whether any server is to be loaded.
    pub(crate) fn wants_warm(&self) -> bool {
        self.wants_part("warm") || SERVERS.iter().any(|(id, _)| self.only.iter().any(|name| name == id))
    }

    /// Whether the platform has a part in this run.
    pub(crate) fn wants_platform(&self) -> bool {
        let is_ours = |(id, _): &(&str, &str)| id.starts_with("updraft") && self.wants_server(id);
        PARTS[1..].iter().any(|part| self.wants_part(part)) || SERVERS.iter().any(is_ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chooses_parts_and_servers() {
        let plan = |only: &[&str]| Plan::new(true, None, only.iter().map(|name| (*name).to_owned()).collect());
        assert!(plan(&["updraft-vasm"]).unwrap_err().to_string().contains("updraft-wasm"));
        let one = plan(&["workerd"]).unwrap();
        assert!(one.wants_server("workerd") && one.wants_server("hyper") && !one.wants_server("wasmtime"));
        assert!(!one.wants_part("cold") && !one.wants_platform());
        let cold = plan(&["cold"]).unwrap();
        assert!(cold.wants_part("cold") && cold.wants_platform() && !cold.wants_warm() && !cold.wants_server("hyper"));
        let all = plan(&[]).unwrap();
        assert!(all.wants_server("node") && all.wants_part("idle") && !all.is_complete);
        assert!(Plan::new(false, None, Vec::new()).unwrap().is_complete);
    }
}
