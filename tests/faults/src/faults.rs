//! The faults, each with the load under which it happens.

mod clock_jumps;
mod cluster;
mod disk_full;
mod duplicates;
mod everything;
mod neighbour;
mod overload;
mod postgres_killed;
mod primary_lost;
mod refused_payer;
mod replicas_read;
mod service_killed;
mod shared_key_store;
mod upgrade;
mod wires;

pub use clock_jumps::{clock_jumps, fake_clock};
pub use cluster::{
    cluster_etcd_lost, cluster_leader_killed, cluster_leader_stopped, cluster_replica_lost,
    cluster_switchover,
};
pub use disk_full::{Disk, disk_full};
pub use duplicates::duplicates;
pub use everything::everything;
pub use neighbour::neighbour;
pub use overload::overload;
pub use postgres_killed::{postgres_killed, postgres_paused, sessions_terminated};
pub use primary_lost::{primary_lost, primary_lost_behind, primary_lost_of_two};
pub use refused_payer::refused_payer;
pub use replicas_read::replicas_read;
pub use service_killed::{service_killed, service_paused};
pub use shared_key_store::shared_key_store;
pub use upgrade::upgrade;
pub use wires::{wire_to_clients, wire_to_postgres};

use std::time::Duration;

use anyhow::Result;

use crate::client::{Load, Manner};
use crate::figures::Figures;
use crate::postgres::{Files, Servers};
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
    /// Whether claims about time are checked, for which the machine must have nothing else to do, and
    /// commits wait for a disk.
    pub checks_time: bool,
}

impl Plan {
    /// A few seconds.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        let pause = Duration::from_millis(700);
        Self { seed, times: 4, pause, payers: 8, checks_time: false }
    }

    /// How long load goes on under a fault that lasts.
    fn duration(&self) -> Duration {
        self.pause * self.times
    }
}

/// A stand with clients on it.
async fn begin(plan: &Plan, layout: Layout, manner: &Manner) -> Result<(Stand, Load)> {
    attend(plan, Stand::start(layout).await?, manner).await
}

/// Adds clients to a stand.
async fn attend<S: Servers>(
    plan: &Plan,
    mut stand: Stand<S>,
    manner: &Manner,
) -> Result<(Stand<S>, Load)> {
    let mut load = stand.load();
    load.add_payers(plan.payers, manner);
    load.add_readers(4);
    load.add_followers(3);
    load.add_listeners(2);
    load.add_receiver(stand.service(0)?.address()?).await?;
    wait_for_payment(&stand).await?;
    Ok((stand, load))
}

fn layout(plan: &Plan, processes: usize) -> Layout {
    let postgres_files = if plan.checks_time { Files::OnDisk } else { Files::InMemory };
    let seed = plan.seed;
    Layout { seed, processes, accounts: ACCOUNTS, postgres_files, ..Layout::default() }
}

/// Waits for a payment that is asked for from now on.
async fn wait_for_payment<S: Servers>(stand: &Stand<S>) -> Result<Duration> {
    stand.world.recorder.recovery(stand.world.recorder.now_us()).await
}

/// Waits for the next payment after a fault has ended.
async fn note_recovery<S: Servers>(stand: &Stand<S>, figures: &mut Figures) -> Result<()> {
    note_recovery_since(stand.world.recorder.now_us(), stand, figures).await
}

/// The same where the end of a fault takes its time, as a restart does.
async fn note_recovery_since<S: Servers>(
    since_us: u64,
    stand: &Stand<S>,
    figures: &mut Figures,
) -> Result<()> {
    figures.recoveries.push(stand.world.recorder.recovery(since_us).await?);
    Ok(())
}

/// Where time matters: the slowest recovery is at most this long.
fn claim_recovery(plan: &Plan, figures: &mut Figures, most: Duration) {
    let slowest = figures.recoveries.iter().max().copied().unwrap_or_default();
    if plan.checks_time {
        let what = "slowest recovery, s";
        figures.claim(what, slowest.as_secs_f64(), most.as_secs_f64());
    }
}
