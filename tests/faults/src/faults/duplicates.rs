use anyhow::Result;

use super::{ACCOUNTS, Plan, begin, layout};
use crate::client::Manner;
use crate::figures::Figures;

/// Every request is sent 2 to 20 times, at once and later, to different processes.
///
/// # Errors
/// The run itself failed.
pub async fn duplicates(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("every request is sent again and again", plan.seed);
    let manner = Manner { copies: 2..=20, again_percent: 50, ..Manner::plain(ACCOUNTS) };
    let (stand, load) = begin(plan, layout(plan, 2), &manner).await?;
    tokio::time::sleep(plan.duration()).await;
    stand.finish(load, &mut figures).await?;
    figures.times = figures.repeated;
    Ok(figures)
}
