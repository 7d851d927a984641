//! Several faults at once.

use std::time::Duration;

use anyhow::Result;

use super::wires::{weather_to_clients, weather_to_postgres};
use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::Figures;

/// Everything at once: both wires fail, requests are sent again and again by clients that vanish, and
/// processes are killed, of the service and of Postgres.
///
/// # Errors
/// The run itself failed.
pub async fn everything(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("everything at once", plan.seed);
    let manner = Manner {
        copies: 1..=4,
        again_percent: 20,
        vanish_percent: 10,
        answer_max: Duration::from_secs(2),
        ..Manner::plain(ACCOUNTS)
    };
    let (mut stand, load) = begin(plan, layout(plan, 2), &manner).await?;
    stand.wire.set_weather(weather_to_postgres);
    stand.wire.cut_all();
    for place in &stand.places {
        place.door.set_weather(weather_to_clients);
        place.door.cut_all();
    }
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        figures.times += 1;
        if stand.rng.u8(0..3) == 0 {
            stand.postgres.kill()?;
            stand.postgres.start().await?;
        } else {
            let place = stand.rng.usize(0..2);
            stand.kill_service(place)?;
            stand.start_service(place).await?;
        }
    }
    stand.end_faults();
    note_recovery(&stand, &mut figures).await?;
    claim_recovery(plan, &mut figures, Duration::from_secs(10));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
