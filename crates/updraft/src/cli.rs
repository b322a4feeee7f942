//! The command line as clap sees it: names, flags and the help a person reads. No behaviour.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use updraft_types::{AccountId, Egress, FunctionName, Runtime, function::Architecture};

use crate::{config::settings::Flags, deploy::manifest::Manifest};

const ABOUT: &str =
    "Updraft: a serverless cloud in one binary. It runs ordinary functions in sandboxes, behind AWS Lambda's own API.";

const AFTER_HELP: &str = "\
Start here:
  updraft dev examples/hello      run a folder, redeploy it on save
  updraft invoke hello -p '{}'    call it
  curl http://127.0.0.1:4566/fn/hello/
  aws --endpoint-url http://127.0.0.1:4566 lambda list-functions

Exit codes:
  0  done                         4  the platform refused
  1  the function failed          5  the build failed
  2  wrong usage or settings      6  the package could not be prepared
  3  no platform answers          7  the platform could not start
  70 anything else

Client commands read AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN and AWS_REGION, and default to http://127.0.0.1:4566.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "updraft", version, about = ABOUT, after_help = AFTER_HELP, disable_help_subcommand = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Print JSON for scripts instead of text for people
    #[arg(long, global = true, env = "UPDRAFT_JSON", hide_env_values = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order help shows them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the platform here, deploy a folder, and redeploy it on every save
    Dev(Dev),
    /// Run the platform as a service, until SIGTERM or SIGINT
    Serve(Serve),
    /// Build a folder (or take a zip, a component or a container image) and make it the function's code
    Deploy(Deploy),
    /// Call a function and print what it returns
    Invoke(Invoke),
    /// List the functions
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show one function
    Get(Get),
    /// Delete functions
    Rm(Rm),
    /// Print a function's log
    Logs(Logs),
    /// List what was given up of a function's asynchronous events
    DeadLetters(DeadLetters),
    /// Look after accounts and the access keys of their root users
    #[command(subcommand)]
    Account(AccountCommand),
    /// Look after container images that functions may have
    #[command(subcommand)]
    Image(ImageCommand),
    /// Say who may do what, and which statement of a policy says so
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List the runtimes, and which of this host's interpreters run them
    Runtimes,
    /// Check what this host offers for isolation, and what is missing
    Doctor,
    /// Show or check the platform's settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script: updraft completions bash > /etc/bash_completion.d/updraft
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where the platform's settings come from.
#[derive(Debug, Args)]
pub struct Platform {
    /// The configuration file [default: updraft.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "UPDRAFT_CONFIG", hide_env_values = true, help_heading = "Platform")]
    pub config: Option<PathBuf>,
    /// The settings given as flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// Where client commands send their requests.
#[derive(Debug, Args)]
pub struct Endpoint {
    /// The platform to talk to [default: $AWS_ENDPOINT_URL, or http://127.0.0.1:4566]
    #[arg(long, value_name = "URL", env = "UPDRAFT_ENDPOINT_URL", hide_env_values = true)]
    pub endpoint_url: Option<String>,
    /// Certificates to trust, in place of the usual authorities (PEM) [default: $AWS_CA_BUNDLE]
    #[arg(long, value_name = "FILE", env = "UPDRAFT_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<PathBuf>,
}

/// `updraft dev`
#[derive(Debug, Args)]
pub struct Dev {
    /// The folder with the function, or a container image; without one only the platform runs
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Settings.
    #[command(flatten)]
    pub platform: Platform,
}

/// `updraft serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Settings.
    #[command(flatten)]
    pub platform: Platform,
}

/// `updraft deploy`
#[derive(Debug, Args)]
pub struct Deploy {
    /// A folder, a .zip or a .wasm file; or a container image: an OCI layout, or an archive of `docker save`
    #[arg(value_name = "DIR|ZIP|WASM|TAR", default_value = ".", value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,
    /// What the function is.
    #[command(flatten)]
    pub function: FunctionFlags,
    /// Fetch dependencies anew instead of taking them from the cache
    #[arg(long)]
    pub fresh: bool,
    /// Where to.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// What `deploy` says about the function; goes over function.toml.
#[derive(Debug, Args)]
#[command(next_help_heading = "Function (over function.toml)")]
pub struct FunctionFlags {
    /// Its name [default: the folder's or file's]
    #[arg(long)]
    pub name: Option<FunctionName>,
    /// python3.N, nodejsN.x, provided.al2023, wasm or web [default: by what is there]
    #[arg(long)]
    pub runtime: Option<Runtime>,
    /// Its entry point, such as app.handler [default: by runtime]
    #[arg(long)]
    pub handler: Option<String>,
    /// The role whose credentials it has, by name or ARN [default: updraft-basic, which may write logs]
    #[arg(long)]
    pub role: Option<String>,
    /// Memory limit, MB
    #[arg(long, value_name = "MB")]
    pub memory_mb: Option<u32>,
    /// Longest time one call may take, seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout_s: Option<u32>,
    /// An environment variable; may be given many times
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = variable)]
    pub environment: Vec<(String, String)>,
    /// What it may connect to: none, all, or rules with commas between, such as api.example.com:443
    #[arg(long, value_name = "RULES")]
    pub egress: Option<Egress>,
    /// Give it no public URL, and take away the one it has
    #[arg(long)]
    pub no_url: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl From<FunctionFlags> for Manifest {
    fn from(flags: FunctionFlags) -> Manifest {
        Manifest {
            name: flags.name,
            runtime: flags.runtime,
            handler: flags.handler,
            role: flags.role,
            memory_mb: flags.memory_mb,
            timeout_s: flags.timeout_s,
            url: flags.no_url.then_some(false),
            egress: flags.egress,
            environment: (!flags.environment.is_empty()).then(|| flags.environment.into_iter().collect()),
            ..Manifest::default()
        }
    }
}

/// `updraft invoke`
#[derive(Debug, Args)]
pub struct Invoke {
    /// The function's name or ARN
    pub name: String,
    /// The event: JSON, @FILE, or - for standard input
    #[arg(long, short, value_name = "JSON|@FILE|-", default_value = "{}")]
    pub payload: String,
    /// Have it run later and don't wait
    #[arg(long = "async")]
    pub asynchronous: bool,
    /// Print the end of the log on standard error
    #[arg(long, conflicts_with = "asynchronous")]
    pub tail: bool,
    /// Where.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `updraft ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// Where.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `updraft get`
#[derive(Debug, Args)]
pub struct Get {
    /// The function's name or ARN
    pub name: String,
    /// Where.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `updraft rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// Names or ARNs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `updraft logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The function's name
    pub name: String,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub follow: bool,
    /// Only what is newer: 10m, 2h, 3d, or an instant such as 2026-11-23T10:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most this many of the newest lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub lines: u32,
    /// Where.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `updraft dead-letters`
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// The function's name
    pub name: String,
    /// At most this many of the newest
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Where.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `updraft account`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account, and print its root user's first access key
    Create {
        /// What people call it
        name: String,
        /// Its twelve digits [default: chosen at random]
        #[arg(long, value_name = "ID")]
        id: Option<AccountId>,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List the accounts
    Ls {
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Delete an account without functions, with its users, roles, policies and keys
    Rm {
        /// Its twelve digits
        account: AccountId,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Look after the access keys of an account's root user
    #[command(subcommand)]
    Key(KeyCommand),
}

/// `updraft image`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Send an image to the platform, under a name that ImageUri may say
    Push {
        /// What to call it: NAME or NAME:TAG
        #[arg(value_name = "NAME[:TAG]")]
        name: String,
        /// An OCI layout (a folder or a tar), or an archive of `docker save`
        #[arg(value_hint = ValueHint::AnyPath)]
        path: PathBuf,
        /// Which image, where there are several
        #[arg(long, value_name = "TAG")]
        from: Option<String>,
        /// x86_64 or arm64 [default: this machine's]
        #[arg(long, value_parser = architecture)]
        architecture: Option<Architecture>,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List the images
    Ls {
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Take names away; functions that have an image keep it
    Rm {
        /// What they are called
        #[arg(required = true, value_name = "NAME[:TAG]")]
        names: Vec<String>,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

fn architecture(text: &str) -> Result<Architecture, String> {
    match text {
        "x86_64" | "amd64" => Ok(Architecture::X86_64),
        "arm64" | "aarch64" => Ok(Architecture::Arm64),
        _ => Err("expected x86_64 or arm64".to_owned()),
    }
}

/// `updraft policy`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether somebody may do something: which statement allows or denies it, or what the nearest ones lack
    Check {
        /// Such as lambda:InvokeFunction
        action: String,
        /// The ARN of what it is done to, or *
        resource: String,
        /// Whose permission: the ARN of a user or role of your account [default: your own]
        #[arg(long = "as", value_name = "ARN")]
        principal: Option<String>,
        /// A condition key and its value: aws:SourceIp=192.0.2.7
        #[arg(long, value_name = "KEY=VALUE")]
        context: Vec<String>,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// `updraft account key`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it; there are two at most
    Create {
        /// The account's twelve digits
        account: AccountId,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List the keys, without their secrets
    Ls {
        /// The account's twelve digits
        account: AccountId,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Make a new key, print it, and disable an old one
    Rotate {
        /// The account's twelve digits
        account: AccountId,
        /// The old key's id
        key: String,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Have a key refused
    Disable {
        /// The account's twelve digits
        account: AccountId,
        /// The key's id
        key: String,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Have a disabled key accepted again
    Enable {
        /// The account's twelve digits
        account: AccountId,
        /// The key's id
        key: String,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Delete a key
    Rm {
        /// The account's twelve digits
        account: AccountId,
        /// The key's id
        key: String,
        /// Where.
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// `updraft config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting, and where its value comes from
    Show(ConfigArguments),
    /// Say whether the settings are acceptable
    Check(ConfigArguments),
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// Whose defaults apply
    #[arg(long = "for", value_name = "COMMAND", value_enum, default_value_t = ModeArgument::Serve)]
    pub mode: ModeArgument,
    /// Settings.
    #[command(flatten)]
    pub platform: Platform,
}

/// A command that starts the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArgument {
    /// updraft serve
    Serve,
    /// updraft dev
    Dev,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_but_secrets_is_a_flag_and_every_one_is_in_the_docs() {
        use crate::config::settings::{Kind, SETTINGS};
        let documentation = include_str!("../../../docs/configuration.md");
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        for setting in SETTINGS {
            assert_eq!(
                help.contains(&format!("--{} ", setting.flag())),
                setting.kind != Kind::Secret,
                "{}",
                setting.key
            );
            assert!(documentation.contains(&format!("`{}`", setting.key)), "{}", setting.key);
        }
    }

    #[test]
    fn flags_become_a_manifest() {
        let words = ["updraft", "deploy", "x.zip", "--runtime", "python3.11", "-e", "A=1=2", "-e", "B=", "--no-url"];
        let words = words.into_iter().chain(["--egress", "a.example:443,10.0.0.0/8:5432"]);
        let Command::Deploy(deploy) = Cli::try_parse_from(words).unwrap().command else { panic!("not deploy") };
        let manifest = Manifest::from(deploy.function);
        let environment = manifest.environment.unwrap();
        assert_eq!((environment["A"].as_str(), environment["B"].as_str(), manifest.url), ("1=2", "", Some(false)));
        assert_eq!(manifest.egress.unwrap().to_string(), "a.example:443, 10.0.0.0/8:5432");
        for bad in
            [["--env", "A"], ["--env", "=1"], ["--runtime", "java"], ["--name", "a b"], ["--egress", "a.example"]]
        {
            assert!(Cli::try_parse_from(["updraft", "deploy"].into_iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
