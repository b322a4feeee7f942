//! Changes to how far a function may scale: reserved concurrency, and bounds of its instances.
//!
//! Like every change they are durable before they count. They leave revision and instances alone, save that another
//! concurrency or reuse of instances needs new ones.

use std::sync::Arc;

use updraft_engine::admission;
use updraft_types::{
    Function, FunctionId,
    function::{Reuse, Scaling},
    limits::{FUNCTION_INSTANCES, FUNCTION_WEIGHT, UNRESERVED_CONCURRENCY_MIN},
};

use crate::{
    Handle,
    control::{Error, detached},
};

impl Handle {
    /// Reserves concurrency for a function, or with `None` gives its reservation back.
    pub async fn reserve_concurrency(&self, id: &FunctionId, asked: Option<u32>) -> Result<Arc<Function>, Error> {
        let (handle, id) = (self.clone(), id.clone());
        detached(async move {
            // Reservations of one account are set one after the other: each is checked against all that are stored.
            let _reserving = handle.inner.changes.reserving.lock().await;
            let _turn = handle.turn(&id).await;
            let current = handle.current(&id, None)?;
            let provisioned = handle.catalog().provisioned_of(&id);
            if asked.is_some_and(|asked| asked < provisioned) {
                return Err(Error::BelowProvisioned { provisioned });
            }
            let own = current.scaling.reserved_concurrency.unwrap_or(provisioned);
            let others = handle.catalog().committed(&id.account).saturating_sub(own);
            let limits = handle.admission_limits();
            if asked.is_some_and(|asked| !admission::may_reserve(asked, others, limits, UNRESERVED_CONCURRENCY_MIN)) {
                return Err(Error::Unreservable);
            }
            let mut next = Function::clone(&current);
            next.scaling.reserved_concurrency = asked;
            handle.replace(&current, next).await
        })
        .await
    }

    /// Sets the bounds of a function's instances; its reservation stays as it is, whatever `asked` says of one.
    pub async fn set_scaling(&self, id: &FunctionId, asked: Scaling) -> Result<Arc<Function>, Error> {
        let (handle, id) = (self.clone(), id.clone());
        detached(async move {
            let _turn = handle.turn(&id).await;
            let current = handle.current(&id, None)?;
            check(&asked, &current)?;
            let mut next = Function::clone(&current);
            next.scaling = Scaling { reserved_concurrency: current.scaling.reserved_concurrency, ..asked };
            let function = handle.replace(&current, next).await?;
            let lives = |scaling: &Scaling| (scaling.instance_concurrency, scaling.instances);
            if lives(&function.scaling) != lives(&current.scaling) {
                handle.inner.pools.close_function(&id);
            }
            Ok(function)
        })
        .await
    }
}

fn check(asked: &Scaling, function: &Function) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::Scaling(text));
    let (least, most) = (FUNCTION_INSTANCES.start(), FUNCTION_INSTANCES.end());
    if asked.instances_max.is_some_and(|max| !FUNCTION_INSTANCES.contains(&max)) {
        return refuse(format!("instances_max goes from {least} to {most}"));
    }
    if asked.instances_min > asked.instances_max.unwrap_or(*most) {
        return refuse(format!("instances_min goes from 0 to instances_max, and to {most} at most"));
    }
    if asked.weight.is_some_and(|weight| !FUNCTION_WEIGHT.contains(&weight)) {
        return refuse(format!("weight goes from {} to {}", FUNCTION_WEIGHT.start(), FUNCTION_WEIGHT.end()));
    }
    let runtime = function.configuration.runtime;
    let concurrency_max = runtime.instance_concurrency_max();
    if asked.instance_concurrency.is_some_and(|calls| calls < 1 || calls > concurrency_max) {
        return refuse(match concurrency_max {
            1 => format!("an instance of {runtime} takes one call at a time: instance_concurrency can only be 1"),
            max => format!("instance_concurrency goes from 1 to {max}"),
        });
    }
    if asked.instances == Reuse::Fresh && !runtime.may_be_fresh() {
        return refuse(format!("instances of {runtime} are always reused; only a component's can be fresh"));
    }
    Ok(())
}
