//! The faults, each with the load under which it happens.

mod service_killed;

pub use service_killed::service_killed;

use std::time::Duration;

use anyhow::Result;

use crate::client::{Load, Manner};
use crate::figures::Figures;
use crate::stand::{Layout, Stand};

/// Accounts in most runs: few enough that payments meet each other.
const ACCOUNTS: i64 = 24;

/// How long a run is.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// How often the fault happens.
    pub times: u32,
    /// The longest pause between two of them.
    pub pause: Duration,
    pub payers: u32,
    /// Whether claims about time are checked, for which the machine must have nothing else to do.
    pub checks_time: bool,
}

impl Plan {
    /// A few seconds.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        let pause = Duration::from_millis(700);
        Self { seed, times: 4, pause, payers: 8, checks_time: false }
    }
}

/// A stand with clients on it.
async fn begin(plan: &Plan, layout: Layout, manner: &Manner) -> Result<(Stand, Load)> {
    let mut stand = Stand::start(layout).await?;
    let mut load = stand.load();
    load.add_payers(plan.payers, manner);
    load.add_readers(4);
    stand.world.recorder.recovery().await?;
    Ok((stand, load))
}

fn layout(plan: &Plan, processes: usize) -> Layout {
    Layout { seed: plan.seed, processes, accounts: ACCOUNTS, ..Layout::default() }
}

async fn note_recovery(stand: &Stand, figures: &mut Figures) -> Result<()> {
    figures.recoveries.push(stand.world.recorder.recovery().await?);
    Ok(())
}
