//! Has an executor make what instances of a version with SnapStart are copied from, when it is published.
//!
//! The version is Pending meanwhile. A function that fails to initialise makes it Failed, as on Lambda; one that cannot
//! be copied makes it Active with a reason, and its instances start like any other. What fails for want of memory or the
//! like says nothing about the version: the executor tries again when an instance is started.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use updraft_executor::{Credentials, Initialization, Snapshot, Start};
use updraft_types::{Fault, Function, InstanceId, Timestamp};

use crate::{
    Handle,
    control::Error,
    logs::{self, Output},
    start::Starting,
};

/// Longest an initialisation for a snapshot may take. Lambda's: 130 seconds, or the function's timeout if that is longer.
const INIT_TIMEOUT_S: u64 = 130;

impl Handle {
    /// Makes the snapshot of a version that has one. Says why it has none after all.
    pub(crate) async fn snapshot(&self, function: &Function) -> Result<Option<String>, Error> {
        if !function.is_snapshotted() {
            return Ok(None);
        }
        let timeout = Duration::from_secs(function.configuration.timeout_s.into());
        let limit = timeout.max(Duration::from_secs(INIT_TIMEOUT_S));
        let made = tokio::time::timeout(limit, self.make_snapshot(function)).await;
        let (id, version) = (&function.id, function.version);
        match made {
            Ok(Ok(Snapshot::On)) => Ok(None),
            Ok(Ok(Snapshot::Off(why))) => {
                tracing::warn!(function = %id, %version, why, "SnapStart is off: instances start like any other");
                Ok(Some(why))
            }
            Ok(Ok(Snapshot::Later(why)) | Err(Fault::Platform { reason: why })) => {
                tracing::warn!(function = %id, %version, why, "there is no snapshot yet: it is made when it is needed");
                Ok(None)
            }
            Ok(Err(Fault::Init { error_type, body })) => {
                Err(Error::Package(format!("{error_type}: {}", String::from_utf8_lossy(&body))))
            }
            Ok(Err(fault)) => Err(Error::Package(fault.to_string())),
            Err(_) => Err(Error::Package(format!("its initialisation took more than {} seconds", limit.as_secs()))),
        }
    }

    async fn make_snapshot(&self, function: &Function) -> Result<Snapshot, Fault> {
        let shared = &self.inner.shared;
        let executor = self.inner.executors.of(function.configuration.runtime);
        let package = shared.ready_package(function, &**executor).await?;
        let layers = shared.ready_layers(function, &**executor, &package).await?;
        let id = InstanceId::random();
        let stream = logs::stream_name(function.version, id, Timestamp::now());
        let sink = shared.logs.sink(function.into(), &stream, function.configuration.logging);
        let issued = shared.identity.issue_for_function(function, Timestamp::now());
        let start = Start {
            id,
            function: Arc::new(function.clone()),
            package: package.folder.clone(),
            layers: layers.as_ref().map(|layers| layers.folder.clone()),
            log_stream: stream,
            guest: Arc::new(Starting::new(Instant::now(), Output(sink))),
            concurrency: executor.concurrency(&function.configuration),
            initialization: Initialization::OnDemand,
            credentials: issued.map(|issued| Credentials {
                access_key_id: issued.access_key_id,
                secret_access_key: issued.secret,
                session_token: issued.token.into(),
                expires_at: issued.expires_at,
            }),
        };
        executor.snapshot(start).await
    }
}
