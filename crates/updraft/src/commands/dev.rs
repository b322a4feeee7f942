//! `updraft dev`: the platform in this process, and a folder that is deployed to it through the public API
//! whenever it is saved, its log on this terminal.
//!
//! The platform runs on the asynchronous runtime; the loop of watching, building and deploying is a thread of
//! its own that is told to stop and ends with the process. A failed build or deploy is shown, and whatever
//! served before goes on serving.

use std::{path::PathBuf, thread, time::Duration};

use owo_colors::{Stream, Style};
use updraft_sandbox::Need;
use updraft_types::Timestamp;

use super::{load, logs, serve, watch::Watch};
use crate::{
    cli,
    client::{Client, endpoint::Endpoint, logs::Query},
    config::{Config, Interpreters, Isolation, Mode, TlsSource},
    deploy::{self, Deployed, Request, manifest::Manifest, tool::Cancel},
    logging,
    output::{Output, paint},
    problem::{Problem, report},
};

/// How long the log's follower waits before it asks again after its connection ended.
const FOLLOW_AGAIN: Duration = Duration::from_millis(500);

/// Runs until told to stop.
pub fn run(arguments: cli::Dev, output: &Output) -> anyhow::Result<()> {
    let (config, _) = load(Mode::Dev, &arguments.platform, output)?;
    if config.tls != TlsSource::Off {
        return Err(Problem::usage("`updraft dev` speaks plain HTTP, for this machine alone")
            .try_next("leave tls, tls_certificate and tls_key to `updraft serve`")
            .into());
    }
    let is_there = |dir: &&std::path::PathBuf| dir.is_dir() || updraft_image::archive::is_image(dir);
    if let Some(dir) = arguments.dir.as_ref().filter(|dir| !is_there(dir)) {
        return Err(Problem::usage(format!("{} is neither a folder nor a container image", dir.display()))
            .try_next("`updraft deploy` takes a .zip or .wasm file")
            .into());
    }
    logging::start(&config)?;
    let cancel = Cancel::default();
    serve::runtime()?.block_on(async {
        let stop = serve::StopSignals::listen()?;
        let platform = serve::start(&config).await?;
        let url = format!("http://{}", platform.local_addr());
        greet(&url, &config, output)?;
        if let Some(folder) = arguments.dir {
            let session = Session {
                folder,
                client: client(&url, &config)?,
                output: output.clone(),
                cancel: cancel.clone(),
                aws: aws_command(&url, &config),
            };
            thread::Builder::new().name("dev-loop".to_owned()).spawn(move || session.run())?;
        }
        let shutdown = async {
            stop.first().await;
            cancel.cancel();
        };
        Box::pin(platform.run(shutdown)).await.map_err(serve::stopped)
    })
}

/// A client of the platform in this process, whatever the AWS variables say.
fn client(url: &str, config: &Config) -> Result<Client, Problem> {
    let mut variables = std::collections::BTreeMap::from([("AWS_REGION".to_owned(), config.region.to_string())]);
    if let Some(root) = &config.root {
        variables.insert("AWS_ACCESS_KEY_ID".to_owned(), root.access_key_id.clone());
        variables.insert("AWS_SECRET_ACCESS_KEY".to_owned(), root.secret_access_key.clone());
    }
    Ok(Client::new(Endpoint::resolve(Some(url), None, &variables)?))
}

/// The beginning of an aws command. The well-known test credentials are spelt out, others are not shown.
fn aws_command(url: &str, config: &Config) -> String {
    let is_test = config.root.as_ref().is_none_or(|root| root.secret_access_key == "test");
    let credentials = if is_test { "AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test " } else { "" };
    format!("{credentials}aws --endpoint-url {url} --region {}", config.region)
}

fn greet(url: &str, config: &Config, output: &Output) -> anyhow::Result<()> {
    output.line(format!("listening on {url}"))?;
    if config.isolation == Isolation::BestEffort {
        // What would only hold a second time is for `updraft doctor` to tell.
        for mechanism in updraft_sandbox::probe().iter().filter(|mechanism| mechanism.need != Need::Extra) {
            if let Some(weakness) = super::doctor::weakness(mechanism) {
                output.warn(weakness);
            }
        }
    }
    if config.interpreters == Interpreters::Nearest {
        tracing::debug!("functions run on the nearest interpreter where theirs is not here");
    }
    Ok(())
}

/// One folder being worked on.
struct Session {
    folder: PathBuf,
    client: Client,
    output: Output,
    cancel: Cancel,
    /// How the aws command line is told to talk to this platform.
    aws: String,
}

impl Session {
    fn run(self) {
        if let Err(error) = self.watch() {
            report(&error);
            self.output.note("the folder is not watched any more; the platform goes on");
        }
    }

    fn watch(&self) -> anyhow::Result<()> {
        if !self.folder.is_dir() {
            // An archive is written anew as a whole, at a time of its author's choosing: `updraft deploy` takes it again.
            let since = Timestamp::now();
            let deployed = self.deploy()?;
            self.announce(&deployed, true)?;
            return self.follow(deployed.summary.function_name, since);
        }
        let mut watch = Watch::start(&self.folder, self.outputs())?;
        let mut following = None;
        let mut first = true;
        loop {
            let since = Timestamp::now();
            let deployed = self.deploy();
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            match deployed {
                Ok(deployed) => {
                    self.announce(&deployed, first)?;
                    first = false;
                    let name = deployed.summary.function_name;
                    if following.as_ref() != Some(&name) {
                        self.follow(name.clone(), since)?;
                        following = Some(name);
                    }
                }
                Err(problem) => report(&problem.into()),
            }
            if Manifest::read(&self.folder).is_ok_and(|manifest| manifest.build.command.is_some()) {
                watch.settle()?;
            }
            if !watch.changed(&|| self.cancel.is_cancelled())? {
                return Ok(());
            }
        }
    }

    fn deploy(&self) -> Result<Deployed, Problem> {
        let request = Request { target: self.folder.clone(), flags: Manifest::default(), fresh: false };
        let prepared = deploy::prepare(&request, &self.output, &self.cancel)?;
        deploy::push(&prepared, &self.client, &self.output)
    }

    /// What a build may write inside the folder: no reason to build again.
    fn outputs(&self) -> Vec<String> {
        let package = Manifest::read(&self.folder).ok().and_then(|manifest| manifest.build.package);
        ["/node_modules".to_owned(), "/target".to_owned()]
            .into_iter()
            .chain(package.map(|path| format!("/{path}")))
            .collect()
    }

    fn announce(&self, deployed: &Deployed, first: bool) -> anyhow::Result<()> {
        let name = &deployed.summary.function_name;
        if !first {
            let done = format!("{name} {}", deployed.action.as_str());
            return Ok(self.output.line(paint(done, Stream::Stdout, Style::new().green()))?);
        }
        let mut lines = deployed.lines();
        lines.push(String::new());
        lines.push("try it:".to_owned());
        lines.extend(deployed.path_url.iter().map(|url| format!("  curl {url}")));
        lines.push(format!("  {} lambda invoke --function-name {name} /dev/stdout", self.aws));
        lines.push(format!("  updraft invoke {name}"));
        lines.push(String::new());
        let watching = format!("watching {}; Ctrl-C stops", self.folder.display());
        lines.push(paint(watching, Stream::Stdout, Style::new().dimmed()));
        Ok(self.output.line(lines.join("\n"))?)
    }

    /// Prints the function's log as it grows, in a thread that ends with the process.
    fn follow(&self, name: String, since: Timestamp) -> anyhow::Result<()> {
        let (client, output, cancel) = (self.client.clone(), self.output.clone(), self.cancel.clone());
        let mut since_ms = since.as_ms();
        thread::Builder::new().name("dev-log".to_owned()).spawn(move || {
            while !cancel.is_cancelled() {
                let lines = client.logs(&name, Query { since_ms, lines_max: 1_000, follow: true });
                for line in lines.into_iter().flatten().map_while(Result::ok) {
                    since_ms = line.at_ms + 1;
                    if logs::print(&line, &output).is_err() {
                        return;
                    }
                }
                thread::sleep(FOLLOW_AGAIN);
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_in_this_process_is_called_whatever_aws_variables_say() {
        use crate::config::{layers::Sources, settings::Flags};
        let sources = Sources { file: None, environment: &Default::default(), flags: &Flags::default() };
        let (config, _) = Config::load(Mode::Dev, &sources).unwrap();
        assert_eq!(client("http://127.0.0.1:7", &config).unwrap().url(), "http://127.0.0.1:7");
    }

    #[test]
    fn only_the_test_credentials_are_spelt_out() {
        use crate::config::{layers::Sources, settings::Flags};
        let shown = |secret: &str| {
            let environment = [("UPDRAFT_ROOT_SECRET_ACCESS_KEY".to_owned(), secret.to_owned())].into();
            let sources = Sources { file: None, environment: &environment, flags: &Flags::default() };
            aws_command("http://x", &Config::load(Mode::Dev, &sources).unwrap().0)
        };
        assert!(shown("test").contains("AWS_SECRET_ACCESS_KEY=test"));
        assert!(!shown("hunter2").contains("hunter2"));
    }
}
