//! A process of the service is killed.

use std::time::Duration;

use anyhow::Result;

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery_since};
use crate::client::Manner;
use crate::figures::Figures;

/// `kill -9` of the service, again and again: of one of two processes, and sometimes of both.
///
/// # Errors
/// The run itself failed.
pub async fn service_killed(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the service is killed", plan.seed);
    let (mut stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        let place = stand.rng.usize(0..2);
        let both = stand.rng.u8(0..4) == 0;
        let since_us = stand.world.recorder.now_us();
        stand.kill_service(place)?;
        figures.times += 1;
        if both {
            stand.kill_service(1 - place)?;
            figures.times += 1;
            stand.start_service(1 - place).await?;
        }
        stand.start_service(place).await?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(5));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
