//! SnapStart: first requests to versions whose module takes a second to import, and a hundred of one at once.
//!
//! Each version has been published, so that its module has been imported and its first copy made; none has an instance. The
//! floor is what bare interpreters take in the same round.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{
    client::Client,
    cold,
    package::Kind,
    plan::Plan,
    platform::{Function, Platform, Site},
    results::ScaleRow,
    scale,
};

/// Measures both. Without an interpreter that has snapshots there is nothing to measure, which is an error.
pub(crate) fn measure(site: &Site, plan: &Plan, scratch: &Path) -> Result<Vec<ScaleRow>> {
    let platform = Platform::start(site, scratch)?;
    // No more at once than the platform keeps originals of: those that gave way would be imported again.
    let (rounds, cold) = (u32::try_from(plan.rounds)?, plan.cold_functions.min(12));
    let function = |name: String, number| Function { name, kind: Kind::Slow, number };
    platform.deploy(&[Function { name: "snap-python".to_owned(), kind: Kind::Python, number: 0 }])?;
    let (python, _) = platform.interpreter("snap-python")?;
    let python = cold::host_executable(python, &site.interpreters.python.executable);
    let mut floor = ScaleRow::new("snap-floor", "`python3 -c pass`", "ms");
    let mut first = ScaleRow::new("snap-cold", "**Updraft**, SnapStart, a module of 1 s, first request", "ms");
    let mut bare = ScaleRow::new("snap-starts-100", "100 × `python3 -c pass`, all started at once", "ms");
    let mut ours = ScaleRow::new("snap-100", "**Updraft**, SnapStart, 0 → 100 instances, all calls answered", "ms");
    let functions: Vec<_> = (0..=cold).map(|number| function(format!("snap-{number}"), number)).collect();
    platform.deploy(&functions)?;
    let mut client = Client::connect(platform.address())?;
    for number in 0..=cold {
        let target = platform.invoke(&format!("snap-{number}:1"), Kind::Slow);
        let floor_ms = cold::start_and_end(&python, ["-c", "pass"])?.as_secs_f64() * 1e3;
        let reply = client.send(&target.request)?.expect(200)?;
        ensure!(reply.text().contains(target.expect), "another answer than expected: {}", reply.text());
        // The platform's own first steps are no function's.
        if number > 0 {
            floor.values.push(floor_ms);
            first.values.push(reply.took.as_secs_f64() * 1e3);
        }
    }
    for round in 1..=rounds {
        let name = format!("snap-out-{round}");
        platform.deploy(&[function(name.clone(), 1000 + round)])?;
        bare.values.push(scale::start_at_once(&python)?);
        ours.values.push(scale::from_nothing(&platform, &name, ":1", Kind::Slow)?);
    }
    platform.end()?;
    Ok(vec![floor.told(), first.told(), bare.told(), ours.told()])
}
