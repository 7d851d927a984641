//! Postgres is killed or stands still, or its sessions are terminated.

use std::time::Duration;

use anyhow::Result;

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery, note_recovery_since};
use crate::client::Manner;
use crate::figures::Figures;
use crate::postgres::Servers as _;

const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// `kill -9` of Postgres, all its processes, and its restart.
///
/// # Errors
/// The run itself failed.
pub async fn postgres_killed(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("Postgres is killed", plan.seed);
    let (mut stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        stand.postgres.kill()?;
        figures.times += 1;
        let down = Duration::from_millis(stand.rng.u64(0..1_000));
        tokio::time::sleep(down).await;
        let since_us = stand.world.recorder.now_us();
        stand.postgres.start().await?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// SIGSTOP of Postgres for some seconds: long enough for every time limit of the service.
///
/// # Errors
/// The run itself failed.
pub async fn postgres_paused(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("Postgres is stopped and goes on", plan.seed);
    let (mut stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    for round in 0..plan.times {
        stand.pause(plan.pause).await;
        let paused = stand.postgres.pause()?;
        figures.times += 1;
        // The first is longer than a transaction and a request may take.
        let longest = if round == 0 { 7_000 } else { 2_000 };
        tokio::time::sleep(Duration::from_millis(stand.rng.u64(longest / 2..=longest))).await;
        paused.resume();
        note_recovery(&stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// `pg_terminate_backend` of the service's sessions, at random.
///
/// # Errors
/// The run itself failed.
pub async fn sessions_terminated(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("sessions are terminated", plan.seed);
    let (mut stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    let mut session = stand.postgres.session().await?;
    for _ in 0..plan.times * 10 {
        stand.pause(plan.pause.div_f64(10.0)).await;
        let pids: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'payonce%' ORDER BY pid",
        )
        .fetch_all(&mut session)
        .await?;
        let Some(pid) = stand.rng.choice(pids) else {
            continue;
        };
        let terminate = sqlx::query_scalar("SELECT pg_terminate_backend($1)").bind(pid);
        let terminated: bool = terminate.fetch_one(&mut session).await?;
        figures.times += u64::from(terminated);
    }
    note_recovery(&stand, &mut figures).await?;
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
