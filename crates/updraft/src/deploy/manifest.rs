//! `function.toml`: what a folder says about the function it holds. Every key is optional; an unknown one is
//! refused with a suggestion. Flags of `updraft deploy` overlay it.

use std::{collections::BTreeMap, path::Path};

use updraft_types::{Egress, FunctionName, Runtime, egress::Rule, function::Reuse};

use crate::{client::scaling::Scaling, problem::Problem, suggest};

/// The manifest's file name.
pub const FILE_NAME: &str = "function.toml";

const KEYS: &[&str] = &[
    "name",
    "runtime",
    "handler",
    "role",
    "memory_mb",
    "timeout_s",
    "url",
    "egress",
    "allow",
    "environment",
    "build",
    "scaling",
];
const BUILD_KEYS: &[&str] = &["command", "package"];
const SCALING_KEYS: &[&str] = &["instances_max", "instances_min", "instance_concurrency", "weight", "instances"];

/// What is said about a function; `None` is unsaid. Also what the flags of `deploy` say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// The function's name.
    pub name: Option<FunctionName>,
    /// What runs it.
    pub runtime: Option<Runtime>,
    /// Its entry point.
    pub handler: Option<String>,
    /// The role whose credentials it has: a name or an ARN.
    pub role: Option<String>,
    /// Memory, MB.
    pub memory_mb: Option<u32>,
    /// Timeout, seconds.
    pub timeout_s: Option<u32>,
    /// Whether it has a public URL.
    pub url: Option<bool>,
    /// Where it may connect to: `egress = "all"` or `"none"`, or the rules of `allow`.
    pub egress: Option<Egress>,
    /// Its environment variables.
    pub environment: Option<BTreeMap<String, String>>,
    /// How it is built.
    pub build: Build,
    /// How it scales.
    pub scaling: Option<Scaling>,
}

/// The `[build]` table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Build {
    /// Run in the folder by `sh -c`, instead of pip, npm or cargo.
    pub command: Option<String>,
    /// The folder or file to package, relative to the folder.
    pub package: Option<String>,
}

impl Manifest {
    /// Reads a folder's manifest; a folder without one says nothing.
    pub fn read(folder: &Path) -> Result<Manifest, Problem> {
        let path = folder.join(FILE_NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => Manifest::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Manifest::default()),
            Err(error) => Err(Problem::usage(format!("{} could not be read", path.display())).because(error)),
        }
    }

    /// Reads a manifest's text; `place` names it in errors.
    pub fn parse(text: &str, place: &str) -> Result<Manifest, Problem> {
        let table: toml::Table =
            text.parse().map_err(|error| Problem::usage(format!("{place} is not valid TOML")).because(error))?;
        let top = Section { place, prefix: "", table: &table };
        top.refuse_unknown(KEYS)?;
        let no_build = toml::Table::new();
        let build = Section { place, prefix: "build.", table: top.table_at("build")?.unwrap_or(&no_build) };
        build.refuse_unknown(BUILD_KEYS)?;
        Ok(Manifest {
            name: top.parsed("name")?,
            runtime: top.parsed("runtime")?,
            handler: top.text("handler")?.map(str::to_owned),
            role: top.text("role")?.map(str::to_owned),
            memory_mb: top.number("memory_mb")?,
            timeout_s: top.number("timeout_s")?,
            url: top.get("url", "true or false", toml::Value::as_bool)?,
            egress: top.egress()?,
            environment: top.table_at("environment")?.map(|table| top.environment(table)).transpose()?,
            build: Build {
                command: build.text("command")?.map(str::to_owned),
                package: build.text("package")?.map(str::to_owned),
            },
            scaling: top.table_at("scaling")?.map(|table| scaling(place, table)).transpose()?,
        })
    }

    /// This manifest with everything `above` says put over it. Variables are merged one by one.
    pub fn overlaid(mut self, above: Manifest) -> Manifest {
        if let Some(more) = above.environment {
            self.environment.get_or_insert_default().extend(more);
        }
        Manifest {
            name: above.name.or(self.name),
            runtime: above.runtime.or(self.runtime),
            handler: above.handler.or(self.handler),
            role: above.role.or(self.role),
            memory_mb: above.memory_mb.or(self.memory_mb),
            timeout_s: above.timeout_s.or(self.timeout_s),
            url: above.url.or(self.url),
            egress: above.egress.or(self.egress),
            environment: self.environment,
            build: Build {
                command: above.build.command.or(self.build.command),
                package: above.build.package.or(self.build.package),
            },
            scaling: above.scaling.or(self.scaling),
        }
    }
}

fn scaling(place: &str, table: &toml::Table) -> Result<Scaling, Problem> {
    let section = Section { place, prefix: "scaling.", table };
    section.refuse_unknown(SCALING_KEYS)?;
    Ok(Scaling {
        instances_max: section.number("instances_max")?,
        instances_min: section.number("instances_min")?.unwrap_or(0),
        instance_concurrency: section.number("instance_concurrency")?,
        weight: section.number("weight")?,
        instances: match section.text("instances")? {
            None | Some("reused") => Reuse::Reused,
            Some("fresh") => Reuse::Fresh,
            Some(_) => return Err(section.problem("instances", "expected \"reused\" or \"fresh\"")),
        },
    })
}

/// One table of the manifest, with what is needed to say where in it something is wrong.
struct Section<'a> {
    place: &'a str,
    prefix: &'static str,
    table: &'a toml::Table,
}

impl<'a> Section<'a> {
    fn refuse_unknown(&self, known: &[&str]) -> Result<(), Problem> {
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Problem::usage(format!("{}: there is no key `{}{key}`", self.place, self.prefix))
                .try_next(suggest::hint(key, known))),
        }
    }

    fn problem(&self, key: &str, why: impl std::fmt::Display) -> Problem {
        Problem::usage(format!("{}: `{}{key}` is not acceptable", self.place, self.prefix)).because(why)
    }

    fn get<T>(&self, key: &str, wanted: &str, read: fn(&'a toml::Value) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.problem(key, format!("expected {wanted}, not {}", value.type_str())))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        self.get(key, "text in quotes", toml::Value::as_str)
    }

    fn table_at(&self, key: &str) -> Result<Option<&'a toml::Table>, Problem> {
        self.get(key, "a table", toml::Value::as_table)
    }

    fn parsed<T>(&self, key: &str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let parse = |text: &str| text.parse().map_err(|error| self.problem(key, error));
        self.text(key)?.map(parse).transpose()
    }

    fn number(&self, key: &str) -> Result<Option<u32>, Problem> {
        let number = self.get(key, "a whole number", toml::Value::as_integer)?;
        number.map(|number| u32::try_from(number).map_err(|error| self.problem(key, error))).transpose()
    }

    fn egress(&self) -> Result<Option<Egress>, Problem> {
        let word = match self.text("egress")? {
            None => None,
            Some("none") => Some(Egress::none()),
            Some("all") => Some(Egress::all()),
            Some(_) => return Err(self.problem("egress", "expected \"none\" or \"all\"; rules go into `allow`")),
        };
        let Some(rules) = self.get("allow", "a list of rules", toml::Value::as_array)? else { return Ok(word) };
        if word.is_some() {
            return Err(self.problem("allow", "`egress` says already what may be reached; keep one of the two"));
        }
        let rule_of = |value: &toml::Value| {
            let text = value.as_str();
            let text = text.ok_or_else(|| format!("expected text in quotes, not {}", value.type_str()))?;
            text.parse::<Rule>().map_err(|error| error.to_string())
        };
        let rules = rules.iter().map(rule_of).collect::<Result<Vec<_>, _>>();
        let rules = rules.map_err(|why| self.problem("allow", why))?;
        Egress::allow(rules).map(Some).map_err(|error| self.problem("allow", error))
    }

    fn environment(&self, table: &toml::Table) -> Result<BTreeMap<String, String>, Problem> {
        let text_of = |(name, value): (&String, &toml::Value)| {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                other => {
                    let why = format!("expected text in quotes, not {}", other.type_str());
                    return Err(self.problem(&format!("environment.{name}"), why));
                }
            };
            Ok((name.clone(), text))
        };
        table.iter().map(text_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, Problem> {
        Manifest::parse(text, "function.toml")
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = parse(
            r#"
            name = "hello"
            runtime = "python3.11"
            handler = "app.handler"
            memory_mb = 256
            timeout_s = 5
            url = false
            allow = ["api.example.com:443", "10.0.0.0/8:5432"]
            [environment]
            MODE = "fast"
            RETRIES = 3
            [build]
            command = "make"
            package = "dist"
            [scaling]
            instances_max = 5
            instances_min = 1
            instances = "fresh"
            "#,
        )
        .unwrap();
        let scaling =
            Scaling { instances_max: Some(5), instances_min: 1, instances: Reuse::Fresh, ..Scaling::default() };
        assert_eq!(manifest.scaling, Some(scaling));
        assert_eq!(manifest.runtime, Some(Runtime::Python { minor: 11 }));
        assert_eq!((manifest.memory_mb, manifest.timeout_s, manifest.url), (Some(256), Some(5), Some(false)));
        assert_eq!(manifest.environment.unwrap()["RETRIES"], "3");
        assert_eq!(manifest.egress.unwrap().to_string(), "api.example.com:443, 10.0.0.0/8:5432");
        assert_eq!(manifest.build.package.as_deref(), Some("dist"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("memroy_mb = 1", "did you mean `memory_mb`?"),
            ("[build]\ncomand = \"x\"", "did you mean `command`?"),
            ("memory_mb = \"128\"", "expected a whole number, not string"),
            ("memory_mb = -1", "memory_mb"),
            ("runtime = \"java21\"", "is not a runtime"),
            ("name = \"a b\"", "not a valid function name"),
            ("environment = 3", "expected a table"),
            ("[scaling]\ninstances_mox = 3", "did you mean `instances_max`?"),
            ("[scaling]\ninstances = \"new\"", "is not acceptable"),
            ("[environment]\nA = [1]", "environment.A"),
            ("name = ", "not valid TOML"),
            ("egress = \"some\"", "rules go into `allow`"),
            ("egress = true", "expected text in quotes"),
            ("egress = \"all\"\nallow = []", "keep one of the two"),
            ("allow = \"a.example:443\"", "expected a list of rules"),
            ("allow = [443]", "expected text in quotes, not integer"),
            ("allow = [\"a.example\"]", "HOST:PORT"),
            ("allow = [\"169.254.169.254:80\"]", "no rule can open it"),
        ] {
            let problem = format!("{:?}", parse(text).unwrap_err());
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn flags_overlay_the_file() {
        let file = parse("handler = \"a.b\"\nmemory_mb = 128\n[environment]\nA = \"1\"\nB = \"1\"").unwrap();
        let flags = parse("memory_mb = 512\n[environment]\nB = \"2\"").unwrap();
        let both = file.overlaid(flags);
        assert_eq!((both.handler.as_deref(), both.memory_mb), (Some("a.b"), Some(512)));
        let environment = both.environment.unwrap();
        assert_eq!((environment["A"].as_str(), environment["B"].as_str()), ("1", "2"));
    }
}
