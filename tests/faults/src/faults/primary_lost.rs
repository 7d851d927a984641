//! The primary is lost, and its standby takes over.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_postgres::processes::{Paused, Pid};

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery_since, wait_for_payment};
use crate::client::Manner;
use crate::figures::Figures;
use crate::postgres::{Postgres, Servers as _};
use crate::proxy::Upstream;
use crate::stand::{Layout, STANDBY, Stand};

const IN_STEP: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";

/// Those of the service that have committed and wait for the standby.
const TERMINATE_WAITING: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name LIKE 'payonce%' AND wait_event = 'SyncRep'";

const SESSIONS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'payonce%'";

const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// The same from the promotion on, where the service was told of both servers.
const RECOVERY_OF_TWO_MAX: Duration = Duration::from_secs(2);

/// The primary is lost, and its synchronous standby takes over.
///
/// # Errors
/// The run itself failed, or the lost primary was reached when it came back.
pub async fn primary_lost(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the primary is lost", plan.seed);
    let (mut stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    for round in 0..plan.times {
        let standby = follow(&stand, round).await?;
        stand.pause(plan.pause).await;
        let since_us = stand.world.recorder.now_us();
        stand.postgres.kill()?;
        figures.times += 1;
        let mut lost = fail_over(&mut stand, standby)?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
        lost.start().await?;
        ensure_nobody_pays_there(&mut stand, &lost, plan.pause).await?;
        ensure!(lost.count(SESSIONS).await? == 0, "the service has sessions with the lost primary");
        lost.kill()?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// The primary is lost, and its synchronous standby takes over: the service has the list of both servers, and no
/// setting changes. What was the primary comes back first as it was, and then as the standby.
///
/// # Errors
/// The run itself failed, or payments were made on the lost primary when it came back.
pub async fn primary_lost_of_two(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the primary is lost, and the list leads on", plan.seed);
    let layout = Layout { has_standby: true, ..layout(plan, 2) };
    let (mut stand, load) = begin(plan, layout, &Manner::plain(ACCOUNTS)).await?;
    for _ in 0..plan.times {
        wait_for_standby(&stand.postgres, STANDBY).await?;
        stand.pause(plan.pause).await;
        let mut lost = fail_over_to_standby(&mut stand)?;
        figures.times += 1;
        let since_us = stand.world.recorder.now_us();
        note_recovery_since(since_us, &stand, &mut figures).await?;
        lost.start().await?;
        ensure_nobody_pays_there(&mut stand, &lost, plan.pause).await?;
        lost.follow(&stand.postgres, STANDBY).await?;
        stand.standby = Some(lost);
    }
    claim_recovery(plan, &mut figures, RECOVERY_OF_TWO_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// Makes a standby, and waits until every commit waits for it.
async fn follow(stand: &Stand, round: u32) -> Result<Postgres> {
    let name = format!("standby_{round}");
    let standby = stand.postgres.standby(&name).await?;
    wait_for_standby(&stand.postgres, &name).await?;
    Ok(standby)
}

/// Kills the primary, makes the stand's standby the primary, and returns what was it.
pub(super) fn fail_over_to_standby(stand: &mut Stand) -> Result<Postgres> {
    stand.postgres.kill()?;
    let promoted = stand.standby.take().context("there is no standby")?;
    promoted.promote()?;
    Ok(std::mem::replace(&mut stand.postgres, promoted))
}

/// Lets every commit wait for a standby.
pub(super) async fn wait_for_standby(primary: &Postgres, name: &str) -> Result<()> {
    primary.execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await?;
    primary.execute("SELECT pg_reload_conf()").await?;
    primary.until(IN_STEP).await
}

/// Makes the standby the primary, and returns what was it.
fn fail_over(stand: &mut Stand, standby: Postgres) -> Result<Postgres> {
    standby.promote()?;
    // The service's address of its database leads to the new one, and to nothing else.
    stand.wire.lead_to(Upstream::Unix(standby.socket()));
    stand.wire.cut_all();
    Ok(std::mem::replace(&mut stand.postgres, standby))
}

async fn ensure_nobody_pays_there(
    stand: &mut Stand,
    lost: &Postgres,
    pause: Duration,
) -> Result<()> {
    let payments = "SELECT count(*) FROM payments";
    let before = lost.count(payments).await?;
    stand.pause(pause).await;
    wait_for_payment(stand).await?;
    let after = lost.count(payments).await?;
    ensure!(before == after, "{} payments were made on the lost primary", after - before);
    Ok(())
}

/// The primary is cut off from its standby, and sessions that wait for the standby are terminated:
/// what they committed is then seen on the primary although the standby does not have it. The primary is
/// lost before it gets it.
///
/// There are no readers, and followers only afterwards: Postgres shows them such payments, too.
///
/// # Errors
/// The run itself failed.
pub async fn primary_lost_behind(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the primary is lost while cut off from its standby", plan.seed);
    let mut stand = Stand::start(layout(plan, 2)).await?;
    let mut load = stand.load();
    load.add_payers(plan.payers, &Manner::plain(ACCOUNTS));
    for round in 0..plan.times {
        let standby = follow(&stand, round).await?;
        stand.pause(plan.pause).await;
        let sender = stand.postgres.count("SELECT pid::bigint FROM pg_stat_replication").await?;
        let sender = Pid::from_raw(i32::try_from(sender)?).context("not a process id")?;
        let cut_off = Paused::stop(&[sender])?;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stand.postgres.execute(TERMINATE_WAITING).await?;
        }
        let since_us = stand.world.recorder.now_us();
        stand.postgres.kill()?;
        drop(cut_off);
        figures.times += 1;
        fail_over(&mut stand, standby)?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
