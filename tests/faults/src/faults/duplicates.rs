//! Requests are sent many times, while old keys are removed.

use anyhow::Result;

use super::{ACCOUNTS, Plan, begin, layout};
use crate::client::Manner;
use crate::figures::Figures;
use crate::postgres::Servers as _;

/// Makes keys as old as they have to be to be removed; those that a payment is using are left out.
const AGE: &str = "UPDATE idempotency_keys SET created_at = created_at - interval '60 days'
    WHERE (user_id, key) IN (SELECT user_id, key FROM idempotency_keys FOR UPDATE SKIP LOCKED)";

const SOME_ARE_REMOVED: &str = "SELECT EXISTS (SELECT FROM payments
    WHERE from_id <> 0 AND payment_request_id IS NULL AND NOT EXISTS (SELECT FROM idempotency_keys
        WHERE user_id = from_id AND key = idempotency_key))";

/// Every request is sent 2 to 20 times, at once and later, to different processes, while these remove old
/// keys.
///
/// # Errors
/// The run itself failed.
pub async fn duplicates(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("every request is sent again and again", plan.seed);
    let manner = Manner { copies: 2..=20, again_percent: 50, ..Manner::plain(ACCOUNTS) };
    let mut layout = layout(plan, 2);
    layout.settings.push(("PAYONCE_PRUNE__INTERVAL_SECONDS", "1".to_owned()));
    let (mut stand, load) = begin(plan, layout, &manner).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        stand.postgres.execute(AGE).await?;
    }
    stand.postgres.until(SOME_ARE_REMOVED).await?;
    stand.finish(load, &mut figures).await?;
    figures.times = figures.repeated;
    Ok(figures)
}
