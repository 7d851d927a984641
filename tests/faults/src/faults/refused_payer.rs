//! The database refuses the payments of one payer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery, wait_for_payment};
use crate::client::Manner;
use crate::figures::{Figures, percentile};
use crate::postgres::Servers as _;
use crate::record::Outcome;
use crate::stand::{Layout, Stand};

/// The one whose payments the database refuses: an account of its own, which nobody else pays from.
const REFUSED: i64 = ACCOUNTS + 1;

/// Its refusals, in turn: faults of a trigger, of rights, of the data on disk, and what is
/// elsewhere about all: time limits, a full disk, conflicts.
const SQLSTATES: [&str; 10] =
    ["P0001", "P0002", "42501", "0A000", "2F003", "55000", "XX001", "57014", "53100", "40001"];

/// After the last fault, the payer whom the database refused has to be paid for within this time.
const FORGIVEN_MAX: Duration = Duration::from_mins(1);

/// The function is replaced, not the trigger: that takes no lock on the table.
fn refuse_with(sqlstate: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION refuse_payer() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not this payer' USING ERRCODE = '{sqlstate}'; END $$"
    )
}

/// The database refuses all payments of one payer, with an error of every kind in turn, while others pay
/// and ask again at full speed: nobody else is told of trouble.
///
/// # Errors
/// The run itself failed.
pub async fn refused_payer(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the database refuses one payer", plan.seed);
    let layout = Layout { accounts: REFUSED, ..layout(plan, 2) };
    let others =
        Manner { copies: 1..=3, again_percent: 80, pause_ms_max: 2, ..Manner::plain(ACCOUNTS) };
    let (mut stand, mut load) = begin(plan, layout, &others).await?;
    stand.world.recorder.refuse(REFUSED);
    stand.postgres.execute(&refuse_with("P0001")).await?;
    let trigger = format!(
        "CREATE TRIGGER refuse_payer BEFORE INSERT ON payments FOR EACH ROW
         WHEN (NEW.from_id = {REFUSED}) EXECUTE FUNCTION refuse_payer()"
    );
    stand.postgres.execute(&trigger).await?;
    let refused = Manner { payer: Some(REFUSED), copies: 1..=3, pause_ms_max: 2, ..others };
    load.add_payers(plan.payers.div_ceil(4), &refused);

    let since_us = stand.world.recorder.now_us();
    let turns = SQLSTATES.iter().cycle().take(plan.times.try_into()?);
    for sqlstate in turns {
        stand.postgres.execute(&refuse_with(sqlstate)).await?;
        figures.times += 1;
        stand.pause(plan.pause).await;
        wait_for_payment(&stand).await?;
    }
    let until_us = stand.world.recorder.now_us();
    stand.postgres.execute("DROP TRIGGER refuse_payer ON payments").await?;
    note_recovery(&stand, &mut figures).await?;
    wait_until_forgiven(&stand, stand.world.recorder.now_us()).await?;

    let (was_refused, others) = stand.world.recorder.look(|attempts| {
        let within = attempts
            .iter()
            .filter(|attempt| since_us <= attempt.asked_us && attempt.ended_us <= until_us);
        let (refused, others): (Vec<_>, Vec<_>) =
            within.partition(|attempt| attempt.intent.from == REFUSED);
        let was_refused = refused.iter().any(|it| matches!(it.outcome, Outcome::Refused { .. }));
        let paid =
            others.iter().filter(|it| matches!(it.outcome, Outcome::Done { .. }) && !it.is_in_bulk);
        let times: Vec<Duration> =
            paid.map(|it| Duration::from_micros(it.ended_us - it.asked_us)).collect();
        (was_refused, times)
    });
    ensure!(was_refused, "the payer was never refused");
    if plan.checks_time {
        let p99 = percentile(others, 99).as_secs_f64() * 1_000.0;
        figures.claim("p99 of payments of others, ms", p99, 1_000.0);
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(2));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// Waits until a payment of the payer who was refused is acknowledged that was asked for since.
async fn wait_until_forgiven(stand: &Stand, since_us: u64) -> Result<()> {
    let began = Instant::now();
    let is_paid = || {
        stand.world.recorder.look(|attempts| {
            attempts.iter().rev().any(|it| {
                it.asked_us >= since_us
                    && it.intent.from == REFUSED
                    && matches!(it.outcome, Outcome::Done { .. })
            })
        })
    };
    while !is_paid() {
        ensure!(began.elapsed() < FORGIVEN_MAX, "the payer stays refused for {FORGIVEN_MAX:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
