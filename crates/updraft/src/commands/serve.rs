//! `updraft serve`: the platform as a service. One line on standard output when it is ready, its log on
//! standard error; SIGTERM and SIGINT drain, a second one ends at once.

use std::io::IsTerminal;

use owo_colors::{Stream, Style};
use tokio::signal::unix::{Signal, SignalKind, signal};
use updraft_server::Authentication;

use super::load;
use crate::{
    cli,
    config::{Config, Mode},
    logging,
    output::{Output, paint, say},
    platform::Platform,
    problem::{Exit, Problem},
};

/// Serves until told to stop.
pub fn run(arguments: cli::Serve, output: &Output) -> anyhow::Result<()> {
    let (config, _) = load(Mode::Serve, &arguments.platform, output)?;
    logging::start(&config)?;
    runtime()?.block_on(async {
        let stop = StopSignals::listen()?;
        let platform = start(&config).await?;
        match (config.authentication, &config.root) {
            (Authentication::Off, _) => {
                tracing::warn!("authentication is off: whoever reaches the port may do anything");
            }
            (Authentication::Required, None) => tracing::warn!(
                "no root credentials are set (root_access_key_id, root_secret_access_key): nobody can sign as root"
            ),
            (Authentication::Required, Some(_)) => {}
        }
        // Whoever reads it waits for it; that nobody can is no reason not to serve.
        let _ = output.line(format!("listening on {}://{}", platform.scheme(), platform.local_addr()));
        Box::pin(platform.run(stop.first())).await.map_err(stopped)
    })
}

/// The asynchronous runtime the platform lives on.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Starts the platform; a failure is [`Exit::Start`] with all its causes.
pub async fn start(config: &Config) -> Result<Platform, anyhow::Error> {
    Box::pin(Platform::start(config)).await.map_err(|error| classified(error, "the platform could not start"))
}

/// A platform that stopped by itself.
pub fn stopped(error: anyhow::Error) -> anyhow::Error {
    classified(error, "the platform stopped")
}

fn classified(error: anyhow::Error, what: &str) -> anyhow::Error {
    if error.is::<Problem>() {
        return error;
    }
    Problem::new(Exit::Start, what).because(format!("{error:#}")).into()
}

/// SIGINT and SIGTERM, heard from the moment this exists.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<StopSignals> {
        Ok(StopSignals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Completes with the first signal. From then on a second one ends the process at once.
    pub async fn first(mut self) {
        self.next().await;
        if std::io::stderr().is_terminal() {
            say(paint("stopping; once more to stop at once", Stream::Stderr, Style::new().dimmed()));
        } else {
            tracing::info!("stopping");
        }
        tokio::spawn(async move {
            let code = self.next().await;
            std::process::exit(code);
        });
    }

    /// The exit code a shell would show for the signal.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
