use std::time::Duration;

use anyhow::{Result, ensure};

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::Figures;
use crate::proxy::Upstream;
use crate::stand::Stand;

const IN_STEP: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";

/// The primary is lost, and its synchronous standby takes over.
///
/// # Errors
/// The run itself failed, or the lost primary was reached when it came back.
pub async fn primary_lost(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the primary is lost", plan.seed);
    let (mut stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    for round in 0..plan.times {
        let standby = stand.postgres.standby(&format!("standby_{round}")).await?;
        let name = format!("ALTER SYSTEM SET synchronous_standby_names = 'standby_{round}'");
        stand.postgres.execute(&name).await?;
        stand.postgres.execute("SELECT pg_reload_conf()").await?;
        stand.postgres.until(IN_STEP).await?;
        // What was committed before that is not promised to be there: it waits for all of it.
        stand.postgres.execute("SELECT txid_current()").await?;
        stand.pause(plan.pause).await;

        stand.postgres.kill()?;
        figures.times += 1;
        standby.promote()?;
        // The service's address of its database leads to the new one, and to nothing else.
        stand.wire.lead_to(Upstream::Unix(standby.socket()));
        stand.wire.cut_all();
        let mut lost = std::mem::replace(&mut stand.postgres, standby);
        note_recovery(&stand, &mut figures).await?;
        lost.start().await?;
        ensure_nobody_pays_there(&mut stand, &lost, plan.pause).await?;
        lost.kill()?;
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(10));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

async fn ensure_nobody_pays_there(
    stand: &mut Stand,
    lost: &crate::postgres::Postgres,
    pause: Duration,
) -> Result<()> {
    let payments = "SELECT count(*) FROM payments";
    let before = lost.count(payments).await?;
    stand.pause(pause).await;
    stand.world.recorder.recovery().await?;
    let after = lost.count(payments).await?;
    ensure!(before == after, "{} payments were made on the lost primary", after - before);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'payonce%'";
    ensure!(lost.count(sessions).await? == 0, "the service has sessions with the lost primary");
    Ok(())
}
