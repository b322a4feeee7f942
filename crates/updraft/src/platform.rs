//! The composition root: builds every part from one [`Config`], joins them, and runs them until told to stop.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use updraft_node::{Executors, Service};
use updraft_process::{ProcessExecutor, egress::Endpoint};
use updraft_sandbox::{OpenFiles, Spawner};
use updraft_server::{Authentication, RootKey, Server, Transport};
use updraft_store::Store;
use updraft_wasm::WasmExecutor;

use crate::{
    certificate::{self, Watch},
    config::{Config, Interpreters, Isolation},
};

/// A platform that listens.
pub struct Platform {
    server: Server,
    service: Service,
    scheme: &'static str,
    certificate: Option<Watch>,
}

impl Platform {
    /// Opens the data directory, starts every part and binds the listener.
    pub async fn start(config: &Config) -> anyhow::Result<Platform> {
        let directory = open_directory(&config.data)
            .with_context(|| format!("the data directory {} cannot be used", config.data.display()))?;
        // First, so that a directory in use is found out before anything of its owner is touched.
        let store =
            Store::open_with(updraft_store::Config { directory: directory.clone() }, config.master_key.clone()).await?;
        let endpoint = Endpoint::default();
        let executors = executors(config, &directory, endpoint.clone())?;
        let (service, handle) = Service::open(node(config, &directory), store, executors).await?;
        let (transport, certificate) = certificate::transport(config, &directory)?;
        let scheme = if matches!(transport, Transport::Tls(_)) { "https" } else { "http" };
        let server = updraft_server::bind(server(config, transport), handle).await?;
        if let Some(address) = server.guest_addr() {
            endpoint.announce(address);
        }
        Ok(Self { server, service, scheme, certificate })
    }

    /// Where it listens; the port is the one really bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// How this process itself speaks there: `http`, or `https` where it has a certificate.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Serves until `shutdown` completes, then drains: first the doors, then the node behind them.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (doors_closed, node_may_stop) = oneshot::channel::<()>();
        let doors = async {
            self.server.run(shutdown).await;
            drop(doors_closed);
        };
        let node = self.service.run(async {
            // The sender is only ever dropped; that is the signal.
            let _ = node_may_stop.await;
        });
        let certificate = async {
            match self.certificate {
                Some(watch) => watch.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(doors, node) } => {}
            () = certificate => {}
        }
        Ok(())
    }
}

/// Makes the data directory, for its owner alone, and gives its absolute path.
fn open_directory(path: &Path) -> io::Result<PathBuf> {
    if !path.is_dir() {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    path.canonicalize()
}

fn executors(config: &Config, directory: &Path, endpoint: Endpoint) -> anyhow::Result<Executors> {
    // Before the sandboxes' helper, which inherits it. Where it cannot be raised, fewer instances run at once.
    if let Err(error) = OpenFiles::raise() {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let spawner = Spawner::start(updraft_sandbox::Config {
        cgroup_name: cgroup_name(directory),
        require: match config.isolation {
            Isolation::Required => updraft_sandbox::Require::All,
            Isolation::BestEffort => updraft_sandbox::Require::BestEffort,
        },
    })?;
    let mut process = updraft_process::Config::new(directory.join("runtimes"), config.region.clone());
    process.versions = match config.interpreters {
        Interpreters::Exact => updraft_process::discover::Policy::Exact,
        Interpreters::Nearest => updraft_process::discover::Policy::Nearest,
    };
    process.egress.grant = config.egress;
    process.egress.denied.clone_from(&config.egress_deny);
    process.endpoint = (config.authentication == Authentication::Required).then_some(endpoint);
    process.prewarmed_max = config.prewarmed_max;
    let mut wasm = updraft_wasm::Config::new(directory.join("wasm"), config.region.clone());
    wasm.instances_max = config.capacity.instances_max;
    wasm.egress = process.egress.clone();
    Ok(Executors {
        process: Arc::new(ProcessExecutor::new(process, spawner)?),
        wasm: Arc::new(WasmExecutor::new(wasm)?),
    })
}

/// Unique to the data directory, so that a restart finds what its predecessor left and nothing else.
fn cgroup_name(directory: &Path) -> String {
    let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("updraft-{short}")
}

fn node(config: &Config, directory: &Path) -> updraft_node::Config {
    updraft_node::Config {
        images: updraft_node::images::Config {
            directory: directory.join("images"),
            registries: config.image_registries.clone(),
            limits: config.image_limits,
        },
        capacity: config.capacity,
        admission: config.admission,
        placement: config.placement,
        burst: config.burst,
        wait_max: config.queue_wait,
        keep_alive: config.keep_alive,
        events: config.events,
        logs: updraft_node::logs::Config {
            age_max: Duration::from_secs(u64::from(config.log_retention_days) * 24 * 3600),
            bytes_max_per_function: config.log_bytes_max,
        },
        drain_max: config.drain,
        ..updraft_node::Config::new(config.region.clone(), directory)
    }
}

fn server(config: &Config, transport: Transport) -> updraft_server::Config {
    let root = config.root.as_ref().map(|root| RootKey {
        access_key_id: root.access_key_id.clone(),
        secret_access_key: root.secret_access_key.clone(),
    });
    updraft_server::Config {
        authentication: config.authentication,
        roles: config.roles,
        trusted_proxies: config.trusted_proxies.clone(),
        transport,
        // Without authentication a function would be the platform's root user.
        has_guest_door: config.authentication == Authentication::Required,
        root,
        drain_max: config.drain,
        ..updraft_server::Config::new(config.listen, config.account.clone())
    }
}
