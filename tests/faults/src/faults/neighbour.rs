//! Another program locks rows and tables of the ledger.

use std::time::Duration;

use anyhow::Result;
use sqlx::Connection;

use super::{Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::{Figures, percentile};
use crate::postgres::Servers as _;
use crate::record::Outcome;
use crate::stand::Layout;

/// The account that the neighbour locks: the one that many pay.
const LOCKED: i64 = 1;

/// More than elsewhere: what is measured is who waits for the neighbour, not who waits for each other.
const NEIGHBOURS: i64 = 200;

/// A session of somebody else holds an account's row lock: only payments that need it wait.
///
/// # Errors
/// The run itself failed.
pub async fn neighbour(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("a neighbour holds an account's lock", plan.seed);
    let layout = Layout { accounts: NEIGHBOURS, ..layout(plan, 2) };
    let (mut stand, mut load) = begin(plan, layout, &Manner::plain(NEIGHBOURS)).await?;
    // Those who pay nobody but each other never need the locked one.
    let others = Manner { accounts: LOCKED + 1..=NEIGHBOURS, ..Manner::plain(NEIGHBOURS) };
    load.add_payers(plan.payers, &others);

    // When the lock was held.
    let mut held = Vec::new();
    for round in 0..plan.times {
        stand.pause(plan.pause).await;
        let mut session = stand.postgres.session().await?;
        let mut lock = session.begin().await?;
        let row = sqlx::query("SELECT FROM accounts WHERE id = $1 FOR UPDATE").bind(LOCKED);
        row.execute(&mut *lock).await?;
        let since_us = stand.world.recorder.now_us();
        figures.times += 1;
        // The first is longer than a request may wait.
        let longest = if round == 0 { 7_000 } else { 2_000 };
        tokio::time::sleep(Duration::from_millis(stand.rng.u64(longest - 500..=longest))).await;
        held.push((since_us, stand.world.recorder.now_us()));
        lock.rollback().await?;
        note_recovery(&stand, &mut figures).await?;
    }
    let (others, waited) = stand.world.recorder.look(|attempts| {
        let within = attempts.iter().filter(|attempt| {
            held.iter()
                .any(|(since, until)| *since <= attempt.asked_us && attempt.ended_us <= *until)
        });
        let (mut others, mut waited) = (Vec::new(), Vec::new());
        for attempt in within {
            let needs_it = [attempt.intent.from, attempt.intent.to].contains(&LOCKED);
            let is_paid = matches!(attempt.outcome, Outcome::Done { .. });
            if !needs_it && is_paid && !attempt.is_in_bulk {
                others.push(Duration::from_micros(attempt.ended_us - attempt.asked_us));
            } else if needs_it && is_paid {
                waited.push(attempt.intent.key.clone());
            }
        }
        (others, waited)
    });
    if others.is_empty() {
        figures.violations.push("nobody else was paid while the lock was held".to_owned());
    }
    if !waited.is_empty() {
        let what = format!("paid while somebody else held the account's lock: {waited:?}");
        figures.violations.push(what);
    }
    if plan.checks_time {
        let p99 = percentile(others, 99).as_secs_f64() * 1_000.0;
        figures.claim("p99 of payments that need another account, ms", p99, 500.0);
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(2));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
