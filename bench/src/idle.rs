//! The platform doing nothing, with many functions deployed and none of them ever invoked.

use std::{path::Path, thread, time::Instant};

use anyhow::Result;

use crate::{
    interrupt,
    package::Kind,
    plan::Plan,
    platform::{Function, Platform, Site},
    results::IdleRow,
};

/// Looks at the platform after it deployed the functions, and after it was started anew.
pub(crate) fn measure(site: &Site, plan: &Plan, scratch: &Path) -> Result<Vec<IdleRow>> {
    let functions: Vec<_> = (0..plan.idle_functions)
        .map(|number| {
            let kind = match number % 20 {
                0 | 1 => Kind::Wasm,
                2..=10 => Kind::Python,
                _ => Kind::Node,
            };
            Function { name: format!("idle-{number}"), kind, number }
        })
        .collect();
    let platform = Platform::start(site, scratch)?;
    platform.deploy(&functions)?;
    let deployed = look(&platform, plan, "idle-deployed", "after deploying them")?;
    platform.end()?;
    let platform = Platform::start(site, scratch)?;
    let restarted = look(&platform, plan, "idle-restarted", "after starting anew with them")?;
    platform.end()?;
    Ok(vec![deployed, restarted])
}

/// What an idle platform and all below it hold once it has settled, MB.
pub(crate) fn resident_mb(platform: &Platform<'_>, plan: &Plan) -> Result<f64> {
    settle(plan)?;
    Ok(platform.memory()?.1.rss_bytes as f64 / 1e6)
}

fn settle(plan: &Plan) -> Result<()> {
    let look_at = Instant::now() + plan.settling;
    while let Some(left) = look_at.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        thread::sleep(left.min(std::time::Duration::from_millis(100)));
    }
    Ok(())
}

fn look(platform: &Platform<'_>, plan: &Plan, id: &str, label: &str) -> Result<IdleRow> {
    settle(plan)?;
    let (processes, memory) = platform.memory()?;
    let row = IdleRow {
        id: id.to_owned(),
        label: label.to_owned(),
        processes,
        rss_mb: memory.rss_bytes as f64 / 1e6,
        pss_mb: memory.pss_bytes as f64 / 1e6,
    };
    eprintln!("  {id:<16} {:.1} MB resident in {processes} processes", row.rss_mb);
    Ok(row)
}
