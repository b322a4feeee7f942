//! One file a command. Each takes its parsed arguments and an [`Output`], and returns an error that already
//! says what to do next.

mod account;
mod completions;
mod config;
mod dead_letters;
mod deploy;
mod dev;
mod doctor;
mod get;
mod image;
mod invoke;
mod logs;
mod ls;
mod policy;
mod rm;
mod runtimes;
mod serve;
mod watch;

use std::path::PathBuf;

use crate::{
    certificate,
    cli::{self, Cli, Command},
    client::{
        Client,
        endpoint::{self, Endpoint},
    },
    config::{self as settings, Config, Mode, TlsSource, layers::Merged, layers::Sources, settings::Flags},
    output::Output,
    problem::Problem,
};

/// Runs what the command line asks for.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let output = Output::new(cli.json);
    match cli.command {
        Command::Dev(arguments) => dev::run(arguments, &output),
        Command::Serve(arguments) => serve::run(arguments, &output),
        Command::Deploy(arguments) => deploy::run(arguments, &output),
        Command::Invoke(arguments) => invoke::run(&arguments, &output),
        Command::Ls(arguments) => ls::run(&arguments, &output),
        Command::Get(arguments) => get::run(&arguments, &output),
        Command::Rm(arguments) => rm::run(&arguments, &output),
        Command::Logs(arguments) => logs::run(&arguments, &output),
        Command::DeadLetters(arguments) => dead_letters::run(&arguments, &output),
        Command::Account(command) => account::run(&command, &output),
        Command::Image(command) => image::run(&command, &output),
        Command::Policy(command) => policy::run(&command, &output),
        Command::Runtimes => runtimes::run(&output),
        Command::Doctor => doctor::run(&output),
        Command::Config(arguments) => config::run(arguments, &output),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// The settings a command that starts the platform runs with; misspelt variables are warned about.
fn load(mode: Mode, platform: &cli::Platform, output: &Output) -> Result<(Config, Merged), Problem> {
    let sources =
        Sources { file: platform.config.as_deref(), environment: &settings::environment(), flags: &platform.flags };
    let loaded = Config::load(mode, &sources)?;
    for warning in &loaded.1.warnings {
        output.warn(warning);
    }
    Ok(loaded)
}

/// A client for where the command line, the AWS variables or this folder's configuration point.
fn client(arguments: &cli::Endpoint) -> Result<Client, Problem> {
    let variables = endpoint::variables();
    let given = arguments.endpoint_url.as_deref();
    let local = if Endpoint::is_said(given, &variables) { None } else { local()? };
    let (url, made_here) = local.unzip();
    let endpoint = Endpoint::resolve(given, url.as_deref(), &variables)?;
    let bundle = variables.get("AWS_CA_BUNDLE").filter(|file| !file.is_empty()).map(PathBuf::from);
    let trusted = arguments.ca_file.clone().or(bundle).or(made_here.flatten());
    Ok(Client::new(match trusted {
        Some(file) => endpoint.trusting(&file)?,
        None => endpoint,
    }))
}

/// Where a platform configured as this folder says listens, unless that leaves the port open; and the certificate it made
/// for itself, if it did.
fn local() -> Result<Option<(String, Option<PathBuf>)>, Problem> {
    let environment = settings::environment();
    let file = environment.get("UPDRAFT_CONFIG").map(std::path::PathBuf::from);
    let sources = Sources { file: file.as_deref(), environment: &environment, flags: &Flags::default() };
    let (config, _) = Config::load(Mode::Serve, &sources)?;
    let scheme = match config.tls {
        TlsSource::Generated | TlsSource::Files { .. } => "https",
        TlsSource::Off | TlsSource::Proxy => "http",
    };
    let made_here = (config.tls == TlsSource::Generated).then(|| certificate::generated(&config.data));
    let made_here = made_here.filter(|certificate| certificate.exists());
    Ok((config.listen.port() != 0).then(|| (format!("{scheme}://{}", config.listen), made_here)))
}
