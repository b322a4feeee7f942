//! Keeps the instances that are always to be there: starts them at deploy, after a restart and after a change, and again
//! when they die. How many and when, `engine::provision` decides.

use std::time::Duration;

use crate::Handle;

/// Time between two looks at functions that have such instances, when nothing changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

impl Handle {
    /// Looks after provisioned instances, for ever.
    pub(crate) async fn run_provisioner(self) {
        let pools = &self.inner.pools;
        loop {
            let catalog = self.catalog();
            let mut has_any = false;
            for id in catalog.provisioned() {
                has_any = true;
                // One that is pending or broken is looked at again when that changes.
                if let Ok(pool) = pools.find_or_open(id, &self.inner.catalog) {
                    pool.pump();
                }
            }
            drop(catalog);
            if has_any {
                // An error means that nothing changed before the next look was due.
                let _ = tokio::time::timeout(LOOK_INTERVAL, pools.changed.notified()).await;
            } else {
                pools.changed.notified().await;
            }
        }
    }
}
