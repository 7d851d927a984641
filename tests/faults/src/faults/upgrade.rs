//! A new process takes the place of an old one.

use std::time::Duration;

use anyhow::Result;

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::Figures;
use crate::service::drain;

/// A new process takes over while the old one drains, under load.
///
/// # Errors
/// The run itself failed, or an old process did not end in order.
pub async fn upgrade(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("an upgrade under load", plan.seed);
    let mut layout = layout(plan, 1);
    // Longer than a client is silent between two requests: each learns from an answer that its
    // connection ends.
    layout.settings.push(("PAYONCE_SERVER__STOP_DELAY_MS", "1000".to_owned()));
    let (mut stand, load) = begin(plan, layout, &Manner::plain(ACCOUNTS)).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        // New connections go to the new one from here on.
        if let Some(old) = stand.start_service(0).await? {
            drain(old)?;
            figures.times += 1;
        }
        note_recovery(&stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(2));
    stand.finish(load, &mut figures).await?;
    if plan.checks_time {
        figures.claim("requests without an answer", figures.lost as f64, 0.0);
    }
    Ok(figures)
}
