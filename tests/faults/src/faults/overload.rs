//! Many more requests come than can be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use tokio::task::JoinSet;

use super::{ACCOUNTS, Plan, claim_recovery, layout, note_recovery, wait_for_payment};
use crate::client::{ANSWER_MAX, Manner, World};
use crate::figures::{Figures, percentile};
use crate::proxy::Fault;
use crate::record::{Intent, Outcome, Reference};
use crate::service::memory_kib_max;
use crate::stand::Stand;

/// How long each way to Postgres takes at the most, so that two cores can ask for ten times more
/// than two writers can do.
const ONE_WAY_MAX: Duration = Duration::from_millis(3);

/// How many payments may wait: what can be done in well under a second.
const QUEUE_MAX: usize = 32;

const TIMES_TOO_MUCH: f64 = 10.0;

/// How many requests may be under way, so that a service which does not refuse is seen to be slow
/// instead of taking all our memory.
const UNDER_WAY_MAX: usize = 20_000;

const MEMORY_KIB_MAX: u64 = 256 * 1024;

/// The number of the first of those who ask once, as clients.
const FLOOD: u32 = 10_000;

/// How much of its speed may be lost afterwards.
const SPEED_LOST_PERCENT_MAX: f64 = 30.0;

/// Ten times more payments than it can make, whether or not it answers (an open model), one payment in
/// each transaction.
///
/// # Errors
/// The run itself failed.
pub async fn overload(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("ten times too much load", plan.seed);
    let mut layout = layout(plan, 1);
    layout.settings.extend([
        ("PAYONCE_WRITER__BATCH_MAX", "1".to_owned()),
        ("PAYONCE_WRITER__QUEUE_MAX", QUEUE_MAX.to_string()),
    ]);
    let mut stand = Stand::start(layout).await?;
    stand.wire.set_weather(|_| Some(Fault::Delay(ONE_WAY_MAX)));
    stand.wire.cut_all();

    let mut load = stand.load();
    // More than there are writers, less than the queue holds: what it can do, and no refusals.
    load.add_payers(16, &Manner { pause_ms_max: 0, popular_percent: 0, ..Manner::plain(ACCOUNTS) });
    load.add_followers(1);
    wait_for_payment(&stand).await?;
    tokio::time::sleep(plan.pause).await;
    let usual = rate(&stand, plan.pause * 2).await;
    let memory_before = memory_kib_max(stand.service(0)?)?;

    let mut refusals = Vec::new();
    let mut accepted = Vec::new();
    let mut speed = usual;
    for round in 0..plan.times {
        let began_us = stand.world.recorder.now_us();
        flood(&stand, usual * TIMES_TOO_MUCH, plan.pause, round).await;
        figures.times += 1;
        let ended_us = stand.world.recorder.now_us();
        stand.world.recorder.look(|attempts| {
            for attempt in attempts.iter().rev().take_while(|it| it.ended_us >= began_us) {
                let is_within = (began_us..=ended_us).contains(&attempt.asked_us);
                if !is_within || attempt.is_in_bulk {
                    continue;
                }
                let took = Duration::from_micros(attempt.ended_us - attempt.asked_us);
                match &attempt.outcome {
                    Outcome::Done { .. } => accepted.push(took),
                    Outcome::Refused { retryable: true, .. } => refusals.push(took),
                    _ => {}
                }
            }
        });
        note_recovery(&stand, &mut figures).await?;
        tokio::time::sleep(plan.pause).await;
        speed = rate(&stand, plan.pause * 2).await.min(speed);
    }
    let memory = memory_kib_max(stand.service(0)?)?;
    if refusals.is_empty() {
        figures.violations.push("ten times too much was not refused".to_owned());
    }
    if memory > MEMORY_KIB_MAX {
        let what = format!("the service took {memory} KiB of memory, {memory_before} before");
        figures.violations.push(what);
    }
    if plan.checks_time {
        let ms = |times| percentile(times, 99).as_secs_f64() * 1_000.0;
        figures.claim("p99 of refusals, ms", ms(refusals), 250.0);
        figures.claim("p99 of accepted payments, ms", ms(accepted), 2_000.0);
        figures.claim("memory, MiB", memory as f64 / 1_024.0, MEMORY_KIB_MAX as f64 / 1_024.0);
        let lost = 100.0 * (1.0 - speed / usual);
        figures.claim("speed that was lost after it, %", lost, SPEED_LOST_PERCENT_MAX);
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(5));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// Payments per second, over a while.
async fn rate(stand: &Stand, over: Duration) -> f64 {
    let paid = || {
        stand.world.recorder.look(|attempts| {
            attempts.iter().filter(|it| matches!(it.outcome, Outcome::Done { .. })).count()
        })
    };
    let (before, started) = (paid(), Instant::now());
    tokio::time::sleep(over).await;
    (paid() - before) as f64 / started.elapsed().as_secs_f64()
}

/// Asks at a fixed rate, and waits for the last answer.
async fn flood(stand: &Stand, per_second: f64, duration: Duration, round: u32) {
    let http = reqwest::Client::new();
    let mut asking = JoinSet::new();
    let (began, mut sent) = (Instant::now(), 0_u32);
    while began.elapsed() < duration {
        let due = began.elapsed().as_secs_f64() * per_second;
        while f64::from(sent) < due && asking.len() < UNDER_WAY_MAX {
            sent += 1;
            let (world, http) = (Arc::clone(&stand.world), http.clone());
            asking.spawn(async move { ask_once(&world, &http, round, sent).await });
        }
        while asking.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    asking.join_all().await;
}

/// Somebody who asks once and goes away with whatever the answer is.
async fn ask_once(world: &World, http: &reqwest::Client, round: u32, number: u32) {
    let mut rng = Rng::with_seed(world.run ^ (u64::from(round + 1) << 32 | u64::from(number)));
    let from = rng.i64(1..=ACCOUNTS);
    let to = (from + rng.i64(0..ACCOUNTS - 1)) % ACCOUNTS + 1;
    let key = format!("{:x}-flood-{round}-{number}", world.run);
    let (amount, refers_to) = (rng.i64(1..=500), Reference::Nothing);
    let intent = Intent { from, to, amount, key, note: None, refers_to };
    world.ask(http, world.doors[0], FLOOD + round, &intent, ANSWER_MAX).await;
}
