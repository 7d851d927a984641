//! A process of the service is killed, or stands still.

use std::time::Duration;

use anyhow::Result;
use local_postgres::processes::Paused;

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery, note_recovery_since};
use crate::client::Manner;
use crate::figures::Figures;

/// How many positions come while a process stands still: some passes of the other one.
const POSITIONS: i64 = 20;

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

/// SIGSTOP of one of two processes, until the other one has given payments their positions in the feed; then it goes on, and
/// believes that it is the one that does.
///
/// # Errors
/// The run itself failed.
pub async fn service_paused(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the service is stopped and goes on", plan.seed);
    // Whoever asked the process that stands still asks the other one soon.
    let manner = Manner { answer_max: Duration::from_secs(1), ..Manner::plain(ACCOUNTS) };
    let mut layout = layout(plan, 2);
    // A process that stood still believes that its clients did.
    layout.settings.push(("PAYONCE_SERVER__READ_TIMEOUT_MS", "60000".to_owned()));
    let (mut stand, load) = begin(plan, layout, &manner).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        let place = stand.rng.usize(0..2);
        let paused = Paused::stop(&[stand.service(place)?.pid()])?;
        figures.times += 1;
        stand.wait_for_positions(POSITIONS).await?;
        paused.resume();
        note_recovery(&stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(5));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
