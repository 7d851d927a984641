//! Reads go to a replica that has its troubles.

use std::time::Duration;

use anyhow::{Context, Result};

use super::primary_lost::{fail_over_to_standby, wait_for_standby};
use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery_since};
use crate::client::Manner;
use crate::figures::Figures;
use crate::postgres::{Postgres, Servers as _};
use crate::stand::{Layout, STANDBY, Stand};

/// After the promotion.
const RECOVERY_MAX: Duration = Duration::from_secs(2);

/// The service reads from the standby. In turn that replays nothing for a while, stands still, is killed, and is promoted
/// because the primary is lost: no reader sees less than was acknowledged before he asked.
///
/// # Errors
/// The run itself failed.
pub async fn replicas_read(plan: &Plan) -> Result<Figures> {
    let mut figures =
        Figures::new("the primary is lost, or the replica that is read has trouble", plan.seed);
    let settings = vec![("PAYONCE_DATABASE__READ_FROM", "replicas".to_owned())];
    let layout = Layout { has_standby: true, settings, ..layout(plan, 2) };
    let (mut stand, load) = begin(plan, layout, &Manner::plain(ACCOUNTS)).await?;
    stand.world.recorder.reads_run_ahead();
    wait_for_standby(&stand.postgres, STANDBY).await?;
    for round in 0..plan.times {
        stand.pause(plan.pause).await;
        figures.times += 1;
        match round % 4 {
            0 => replays_nothing(&mut stand, plan.pause).await?,
            1 => {
                // Payments wait for it meanwhile.
                let paused = standby(&mut stand)?.pause()?;
                stand.pause(plan.pause).await;
                paused.resume();
            }
            2 => {
                standby(&mut stand)?.kill()?;
                stand.pause(plan.pause).await;
                standby(&mut stand)?.start().await?;
            }
            _ => {
                let mut lost = fail_over_to_standby(&mut stand)?;
                let since_us = stand.world.recorder.now_us();
                note_recovery_since(since_us, &stand, &mut figures).await?;
                lost.follow(&stand.postgres, STANDBY).await?;
                stand.standby = Some(lost);
                wait_for_standby(&stand.postgres, STANDBY).await?;
            }
        }
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

async fn replays_nothing(stand: &mut Stand, pause: Duration) -> Result<()> {
    standby(stand)?.execute("SELECT pg_wal_replay_pause()").await?;
    stand.pause(pause).await;
    standby(stand)?.execute("SELECT pg_wal_replay_resume()").await
}

fn standby(stand: &mut Stand) -> Result<&mut Postgres> {
    stand.standby.as_mut().context("there is no standby")
}
