//! Connections are cut, delayed and held, on both sides of the service.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::Figures;
use crate::proxy::Fault;

/// A connection to Postgres: most meet something, and many of them at a COMMIT.
pub(super) fn weather_to_postgres(rng: &mut Rng) -> Option<Fault> {
    let bytes = (1 << rng.u32(4..17)) + rng.usize(0..512);
    let number = rng.u32(1..=8);
    Some(match rng.u8(0..40) {
        0..=3 => Fault::CutGoing(bytes),
        4..=7 => Fault::CutComing(bytes),
        8 => Fault::Silence(bytes),
        9 => Fault::Delay(Duration::from_millis(rng.u64(1..10))),
        10 => Fault::Trickle(rng.usize(1..64)),
        11..=14 => Fault::CommitUnsent(number),
        15..=19 => Fault::CommitSent(number),
        20..=24 => Fault::CommitHeld(number, Duration::from_millis(rng.u64(0..2_000))),
        25..=37 => Fault::CommitUnanswered(number),
        _ => return None,
    })
}

/// The wire to Postgres is cut at random bytes, before, within and after COMMITs; it falls silent,
/// delays and trickles.
///
/// # Errors
/// The run itself failed.
pub async fn wire_to_postgres(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the wire to Postgres fails", plan.seed);
    let (stand, load) = begin(plan, layout(plan, 2), &Manner::plain(ACCOUNTS)).await?;
    stand.wire.set_weather(weather_to_postgres);
    // Sessions that were opened before have no faults.
    stand.wire.cut_all();
    tokio::time::sleep(plan.duration() * 2).await;
    figures.times = stand.wire.counts().faults();
    stand.end_faults();
    note_recovery(&stand, &mut figures).await?;
    claim_recovery(plan, &mut figures, Duration::from_secs(10));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// A client's connection: a payment takes some 200 bytes each way.
pub(super) fn weather_to_clients(rng: &mut Rng) -> Option<Fault> {
    let bytes = rng.usize(0..1_500);
    Some(match rng.u8(0..10) {
        0..=1 => Fault::CutGoing(bytes),
        2..=4 => Fault::CutComing(bytes),
        5 => Fault::Silence(bytes),
        6 => Fault::Delay(Duration::from_millis(rng.u64(1..100))),
        7 => Fault::Trickle(1),
        _ => return None,
    })
}

/// The wire to clients is cut before a request is complete, after it, and in its answer; clients vanish,
/// and send byte by byte.
///
/// # Errors
/// The run itself failed.
pub async fn wire_to_clients(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the wire to clients fails", plan.seed);
    // Less than the service may take: who waits no longer asks again while the first is under way.
    let answer_max = Duration::from_secs(2);
    let manner = Manner { vanish_percent: 20, answer_max, ..Manner::plain(ACCOUNTS) };
    let mut layout = layout(plan, 2);
    // A silent connection shall not cost its client a quarter of a minute.
    layout.settings.push(("PAYONCE_SERVER__KEEP_ALIVE_MS", "2000".to_owned()));
    let (stand, load) = begin(plan, layout, &manner).await?;
    for place in &stand.places {
        place.door.set_weather(weather_to_clients);
        place.door.cut_all();
    }
    tokio::time::sleep(plan.duration()).await;
    figures.times = stand.places.iter().map(|place| place.door.counts().faults()).sum();
    stand.end_faults();
    note_recovery(&stand, &mut figures).await?;
    claim_recovery(plan, &mut figures, Duration::from_secs(2));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
