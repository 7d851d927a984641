//! The windows of one person share a store of keys.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;

use super::wires::weather_to_clients;
use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::Figures;

/// People have the page open in two windows, which share a store of keys; windows stand still at the worst
/// moments, answers are lost on the way, and the other window asks again: each draft is paid once.
///
/// # Errors
/// The run itself failed.
pub async fn shared_key_store(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("two windows share a key", plan.seed);
    // Nobody runs out of money: a refusal would be no reason to pay once less.
    let manner = Manner {
        popular_percent: 0,
        overdraw_percent: 0,
        answer_max: Duration::from_secs(2),
        ..Manner::plain(ACCOUNTS)
    };
    let mut layout = layout(plan, 2);
    // A silent connection shall not cost its window a quarter of a minute.
    layout.settings.push(("PAYONCE_SERVER__KEEP_ALIVE_MS", "2000".to_owned()));
    let (stand, mut load) = begin(&Plan { payers: 1, ..*plan }, layout, &manner).await?;
    let suspensions = load.add_people(plan.payers, &manner);
    for place in &stand.places {
        place.door.set_weather(weather_to_clients);
        place.door.cut_all();
    }
    tokio::time::sleep(plan.duration()).await;
    stand.end_faults();
    note_recovery(&stand, &mut figures).await?;
    figures.times = suspensions.load(Ordering::Relaxed);
    claim_recovery(plan, &mut figures, Duration::from_secs(2));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
