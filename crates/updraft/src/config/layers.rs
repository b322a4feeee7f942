//! Merges the four layers a setting may come from: defaults, file, environment, flags. The later one wins.
//!
//! Invariant: every setting ends with exactly one value and the layer it came from; an unknown key of the file
//! is refused, an unknown variable that looks like a misspelt one is warned about.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    Mode,
    settings::{Flags, Kind, SETTINGS, Setting, keys},
};
use crate::{problem::Problem, suggest};

/// The file read when no other is named and it exists.
pub const FILE_NAME: &str = "updraft.toml";

/// Variables that are ours and not settings of the platform.
const OTHER_VARIABLES: &[&str] = &["UPDRAFT_CONFIG", "UPDRAFT_JSON", "UPDRAFT_ENDPOINT_URL", "UPDRAFT_CA_FILE"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The setting's `UPDRAFT_*` variable.
    Environment(String),
    /// The setting's flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// A setting with its value.
pub struct Value {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value; empty where it is not set.
    pub text: String,
    /// The layer the value came from.
    pub origin: Origin,
}

/// All settings, merged.
pub struct Merged {
    /// In the order of [`SETTINGS`].
    pub values: Vec<Value>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Said once to the user.
    pub warnings: Vec<String>,
}

/// What the layers are read from.
pub struct Sources<'a> {
    /// The file to read; without one, `updraft.toml` in the working directory if it is there.
    pub file: Option<&'a Path>,
    /// Variables that start with `UPDRAFT_`.
    pub environment: &'a BTreeMap<String, String>,
    /// Flags.
    pub flags: &'a Flags,
}

impl Merged {
    /// Reads and merges all layers.
    pub fn read(mode: Mode, sources: &Sources<'_>) -> Result<Merged, Problem> {
        let file = match sources.file {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from(FILE_NAME)).filter(|path| path.exists()),
        };
        let from_file = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let values = SETTINGS
            .iter()
            .map(|setting| {
                let (text, origin) = if let Some(text) = sources.flags.0.get(setting.key) {
                    (text.clone(), Origin::Flag(setting.flag()))
                } else if let Some(text) = sources.environment.get(&setting.variable()) {
                    (text.clone(), Origin::Environment(setting.variable()))
                } else if let (Some(text), Some(path)) = (from_file.get(setting.key), &file) {
                    (text.clone(), Origin::File(path.clone()))
                } else {
                    let in_dev = setting.default_in_dev.filter(|_| mode == Mode::Dev);
                    (in_dev.unwrap_or(setting.default).to_owned(), Origin::Default)
                };
                Value { setting, text, origin }
            })
            .collect();
        Ok(Merged { values, file, warnings: misspelt_variables(sources.environment) })
    }

    /// A setting's value. Panics on a key that is not in the table.
    pub fn value(&self, key: &str) -> &Value {
        self.values.iter().find(|value| value.setting.key == key).expect("every key asked for is in the table")
    }

    /// A setting's value, parsed; the error names the setting, its layer and what is wrong.
    pub fn parse<T>(&self, key: &str) -> Result<T, Problem>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let value = self.value(key);
        value.text.parse().map_err(|error: T::Err| value.problem(error))
    }

    /// A choice as its position among the setting's values.
    pub fn choice(&self, key: &str) -> Result<usize, Problem> {
        let value = self.value(key);
        let Kind::Choice(choices) = value.setting.kind else { unreachable!("{key} is no choice") };
        let found = choices.iter().position(|choice| *choice == value.text);
        found.ok_or_else(|| {
            value
                .problem(format!("expected one of {}", choices.join(", ")))
                .try_next(suggest::hint(&value.text, choices))
        })
    }
}

impl Value {
    /// Says that this value is not acceptable.
    pub fn problem(&self, why: impl fmt::Display) -> Problem {
        let text = if self.setting.kind == Kind::Secret { "…" } else { &self.text };
        Problem::usage(format!("{}: `{} = {text}` is not acceptable", self.origin, self.setting.key)).because(why)
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let place = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::usage(format!("the configuration file {place} could not be read")).because(error))?;
    let table: toml::Table =
        text.parse().map_err(|error| Problem::usage(format!("{place} is not valid TOML")).because(error))?;
    table.into_iter().map(|(key, value)| Ok((key.clone(), file_value(path, &key, value)?))).collect()
}

/// One value of the file as text, after checking that the key is known and the type is the setting's.
fn file_value(path: &Path, key: &str, value: toml::Value) -> Result<String, Problem> {
    let place = path.display();
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
        return Err(Problem::usage(format!("{place}: there is no setting `{key}`"))
            .try_next(suggest::hint(&key.replace('-', "_"), &keys())));
    };
    let wrong_type = |wanted: &str| {
        Problem::usage(format!("{place}: `{key}` must be {wanted}")).because(format!("it is {}", value.type_str()))
    };
    match (setting.kind, &value) {
        (Kind::Integer, toml::Value::Integer(number)) => Ok(number.to_string()),
        (Kind::Integer, _) => Err(wrong_type("a whole number, without quotes")),
        (_, toml::Value::String(text)) if ["data", "tls_certificate", "tls_key"].contains(&key) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            Ok(folder.join(text).to_string_lossy().into_owned())
        }
        (_, toml::Value::String(text)) => Ok(text.clone()),
        _ => Err(wrong_type("text in quotes")),
    }
}

fn misspelt_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<String> = SETTINGS
        .iter()
        .map(Setting::variable)
        .chain(OTHER_VARIABLES.iter().map(|variable| (*variable).to_owned()))
        .collect();
    environment
        .keys()
        .filter(|variable| !known.contains(variable))
        .filter_map(|variable| {
            let near = suggest::nearest(variable, known.iter().map(String::as_str))?;
            Some(format!("the variable {variable} means nothing to updraft; did you mean {near}?"))
        })
        .collect()
}
