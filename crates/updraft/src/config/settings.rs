//! The one table of the platform's settings. A flag, an environment variable, a key of `updraft.toml`, a line
//! of `updraft config show` and a line of help all come from the same row.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Command, builder::PossibleValuesParser};

/// One setting.
pub struct Setting {
    /// Its key in `updraft.toml`; also its flag with hyphens, and its variable in capitals after `UPDRAFT_`.
    pub key: &'static str,
    /// What help shows in place of the value.
    pub value_name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// The value where nothing else is said; empty means not set.
    pub default: &'static str,
    /// The default under `updraft dev`, where it differs.
    pub default_in_dev: Option<&'static str>,
    /// What values look like.
    pub kind: Kind,
}

/// What a setting's values look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown, nor taken from the command line, where others could read it.
    Secret,
    /// A whole number.
    Integer,
    /// One of these.
    Choice(&'static [&'static str]),
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("UPDRAFT_{}", self.key.to_uppercase())
    }

    /// The flag, without its hyphens in front.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }
}

/// Every setting, in the order they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        value_name: "ADDRESS",
        help: "Where to listen; port 0 picks a free one",
        default: "127.0.0.1:4566",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "data",
        value_name: "DIR",
        help: "Where functions, code and logs are kept",
        default: ".updraft",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "region",
        value_name: "REGION",
        help: "The region in every ARN and function URL",
        default: "us-east-1",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "account",
        value_name: "ID",
        help: "The account in every ARN, twelve digits",
        default: "000000000000",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "root_access_key_id",
        value_name: "ID",
        help: "The root credentials' key id",
        default: "",
        default_in_dev: Some("test"),
        kind: Kind::Text,
    },
    Setting {
        key: "root_secret_access_key",
        value_name: "KEY",
        help: "The root credentials' secret; from the file or the environment only",
        default: "",
        default_in_dev: Some("test"),
        kind: Kind::Secret,
    },
    Setting {
        key: "authentication",
        value_name: "WHETHER",
        help: "Whether requests have to be signed; off: whoever reaches the port is the root user",
        default: "required",
        default_in_dev: None,
        kind: Kind::Choice(&["required", "off"]),
    },
    Setting {
        key: "roles",
        value_name: "WHETHER",
        help: "Whether a function's role has to be there for Lambda to assume; optional: without one it runs without credentials",
        default: "required",
        default_in_dev: Some("optional"),
        kind: Kind::Choice(&["required", "optional"]),
    },
    Setting {
        key: "tls",
        value_name: "HOW",
        help: "What protects requests on their way: nothing, a certificate made here, files, or a proxy in front",
        default: "off",
        default_in_dev: None,
        kind: Kind::Choice(&["off", "generated", "files", "proxy"]),
    },
    Setting {
        key: "tls_certificate",
        value_name: "FILE",
        help: "The certificate, with those that vouch for it after it (PEM); for tls = files",
        default: "",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "tls_key",
        value_name: "FILE",
        help: "The certificate's private key (PEM); for tls = files",
        default: "",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "trusted_proxies",
        value_name: "NETWORKS",
        help: "Proxies whose X-Forwarded-For says who asks, in CIDR form with commas between",
        default: "",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "master_key",
        value_name: "KEY",
        help: "What secrets are sealed under, 64 hexadecimal digits; from the file or the environment only",
        default: "",
        default_in_dev: None,
        kind: Kind::Secret,
    },
    Setting {
        key: "master_key_file",
        value_name: "FILE",
        help: "A file that holds the master key; not set, the data directory's own",
        default: "",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "isolation",
        value_name: "HOW",
        help: "What to do where the kernel lacks a sandbox mechanism: refuse to start, or warn and do without",
        default: "required",
        default_in_dev: Some("best-effort"),
        kind: Kind::Choice(&["required", "best-effort"]),
    },
    Setting {
        key: "interpreters",
        value_name: "WHICH",
        help: "Which interpreter may run a function: the version it names, or else the nearest one here",
        default: "exact",
        default_in_dev: Some("nearest"),
        kind: Kind::Choice(&["exact", "nearest"]),
    },
    Setting {
        key: "egress",
        value_name: "WHAT",
        help: "What functions reach outside that say nothing about it; off: none reaches anything, whatever it says",
        default: "none",
        default_in_dev: Some("all"),
        kind: Kind::Choice(&["off", "none", "all"]),
    },
    Setting {
        key: "egress_deny",
        value_name: "NETWORKS",
        help: "Networks that no function reaches, in CIDR form with commas between",
        default: "",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "image_registries",
        value_name: "HOSTS",
        help: "Registries that functions may have container images from, with commas between; not set, none",
        default: "",
        default_in_dev: None,
        kind: Kind::Text,
    },
    Setting {
        key: "image_megabytes_max",
        value_name: "MB",
        help: "What a container image may unpack to",
        default: "10240",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "memory_mb_max",
        value_name: "MB",
        help: "Sum of the memory sizes of all instances; not set, the host's memory",
        default: "",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "instances_max",
        value_name: "N",
        help: "Most instances at once",
        default: "1000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "function_instances_max",
        value_name: "N",
        help: "Most instances of one function at once",
        default: "1000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "busy_instances_max",
        value_name: "N",
        help: "Instances of one function that are started beside others while the processors are busy; not set, two for each core",
        default: "",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "growth_max",
        value_name: "N",
        help: "Concurrent executions one function may grow by at once, and every 10 seconds after that",
        default: "1000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "concurrency_max",
        value_name: "N",
        help: "Most invocations of an account at once; further ones are answered 429",
        default: "1000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "code_mb_max",
        value_name: "MB",
        help: "Most code an account keeps: packages of its functions and their versions, and its layers",
        default: "76800",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "queue_max",
        value_name: "N",
        help: "Most callers waiting for one function; further ones are answered 429",
        default: "1000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "node_queue_max",
        value_name: "N",
        help: "Most callers waiting for any function; further ones are answered 429",
        default: "10000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "queue_wait_s",
        value_name: "SECONDS",
        help: "Longest a caller waits for an instance before it is answered 429",
        default: "30",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "keep_alive",
        value_name: "POLICY",
        help: "How instances without work are kept: by what each function's past calls teach, or for a fixed time",
        default: "adaptive",
        default_in_dev: None,
        kind: Kind::Choice(&["adaptive", "histogram", "fixed"]),
    },
    Setting {
        key: "keep_alive_s",
        value_name: "SECONDS",
        help: "How long an instance without work is kept; given alone, it means keep_alive = \"fixed\"",
        default: "600",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "prewarmed_max",
        value_name: "N",
        help: "Most interpreters of one kind kept running for the next cold start; 0 for none",
        default: "4",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "async_in_flight_max",
        value_name: "N",
        help: "Most asynchronous events at work at once; one function may have half of them, an account three quarters",
        default: "200",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "async_events_max",
        value_name: "N",
        help: "Most asynchronous events pending for one function; further ones are answered 429",
        default: "100000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "async_account_events_max",
        value_name: "N",
        help: "Most asynchronous events pending for all functions of an account",
        default: "500000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "async_account_megabytes_max",
        value_name: "MB",
        help: "Most that an account's pending events take on disk; one function's, half of that",
        default: "1000",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "async_retry_pause_s",
        value_name: "SECONDS",
        help: "How long after a function's first error its event is tried again; after the second it is twice as long",
        default: "60",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "dead_letter_days",
        value_name: "DAYS",
        help: "How long is kept what was given up of asynchronous events",
        default: "14",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "drain_s",
        value_name: "SECONDS",
        help: "How long running invocations may take to finish once the platform is told to stop",
        default: "10",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "log_retention_days",
        value_name: "DAYS",
        help: "How long functions' logs are kept",
        default: "14",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "log_megabytes_max",
        value_name: "MB",
        help: "How much log is kept for each function",
        default: "64",
        default_in_dev: None,
        kind: Kind::Integer,
    },
    Setting {
        key: "log",
        value_name: "FILTER",
        help: "How much the platform says about itself: error, warn, info, debug, trace, or a tracing filter",
        default: "info",
        default_in_dev: Some("warn"),
        kind: Kind::Text,
    },
    Setting {
        key: "log_format",
        value_name: "FORMAT",
        help: "How it says that; auto is text on a terminal and JSON otherwise",
        default: "auto",
        default_in_dev: None,
        kind: Kind::Choice(&["auto", "text", "json"]),
    },
];

/// Every key, for suggestions.
pub fn keys() -> Vec<&'static str> {
    SETTINGS.iter().map(|setting| setting.key).collect()
}

/// The settings given as flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(pub BTreeMap<&'static str, String>);

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS.iter().filter(|setting| setting.kind != Kind::Secret) {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.0.insert(setting.key, value.clone());
            }
        }
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        SETTINGS
            .iter()
            .filter(|setting| setting.kind != Kind::Secret)
            .fold(command, |command, setting| command.arg(argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let default = match (setting.default, setting.default_in_dev) {
        ("", None) => String::new(),
        ("", Some(dev)) => format!(" [default in dev: {dev}]"),
        (default, None) => format!(" [default: {default}]"),
        (default, Some(dev)) => format!(" [default: {default}; in dev: {dev}]"),
    };
    let argument = Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.value_name)
        .help(format!("{}{default} [env: {}]", setting.help, setting.variable()))
        .help_heading("Platform");
    match setting.kind {
        Kind::Choice(values) => argument.value_parser(PossibleValuesParser::new(values)),
        Kind::Text | Kind::Integer | Kind::Secret => argument,
    }
}
