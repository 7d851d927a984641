//! A cluster loses its leader, a replica, or those who know who leads.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    ACCOUNTS, Plan, attend, claim_recovery, layout, note_recovery_since, wait_for_payment,
};
use crate::client::{Load, Manner};
use crate::cluster::Cluster;
use crate::figures::Figures;
use crate::record::Outcome;
use crate::stand::Stand;

/// `ttl`, in which nobody may take a lost leader's place, and what comes after it.
const RECOVERY_MAX: Duration = Duration::from_secs(40);

/// The leader steps down in order.
const SWITCHOVER_MAX: Duration = Duration::from_secs(10);

/// Longer than any payment is waited for: each is refused at least once.
const WITHOUT_STANDBY: Duration = Duration::from_secs(12);

async fn begin(plan: &Plan) -> Result<(Stand<Cluster>, Load)> {
    let stand = Stand::of_cluster(layout(plan, 2)).await?;
    attend(plan, stand, &Manner::plain(ACCOUNTS)).await
}

/// Until all servers are in step, and for a while of payments.
async fn settle(stand: &mut Stand<Cluster>, plan: &Plan) -> Result<()> {
    stand.postgres.wait_until_whole()?;
    stand.pause(plan.pause).await;
    Ok(())
}

async fn finish(stand: Stand<Cluster>, load: Load, mut figures: Figures) -> Result<Figures> {
    stand.postgres.wait_until_whole()?;
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// `kill -9` of the leader with its Patroni; it comes back as a replica.
///
/// # Errors
/// The run itself failed.
pub async fn cluster_leader_killed(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("a cluster's leader is killed", plan.seed);
    let (mut stand, load) = begin(plan).await?;
    for _ in 0..plan.times {
        settle(&mut stand, plan).await?;
        let leader = stand.postgres.wait_for_leader(None).await?;
        let since_us = stand.world.recorder.now_us();
        stand.postgres.nodes.kill_node(leader)?;
        figures.times += 1;
        stand.postgres.wait_for_leader(Some(leader)).await?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
        stand.postgres.nodes.start_node(leader)?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    finish(stand, load, figures).await
}

/// SIGSTOP of the leader with its Patroni, until another one leads; then it wakes, and believes that it leads.
///
/// There are no readers, and followers only afterwards: until its Patroni has looked who leads, it shows the past to
/// those who ask it. Where it is deployed a watchdog restarts it instead.
///
/// # Errors
/// The run itself failed.
pub async fn cluster_leader_stopped(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("a cluster's leader is stopped and goes on", plan.seed);
    let mut stand = Stand::of_cluster(layout(plan, 2)).await?;
    let mut load = stand.load();
    load.add_payers(plan.payers, &Manner::plain(ACCOUNTS));
    wait_for_payment(&stand).await?;
    for _ in 0..plan.times {
        settle(&mut stand, plan).await?;
        let leader = stand.postgres.wait_for_leader(None).await?;
        let since_us = stand.world.recorder.now_us();
        let paused = stand.postgres.nodes.pause_node(leader)?;
        figures.times += 1;
        stand.postgres.wait_for_leader(Some(leader)).await?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
        drop(paused);
        wait_for_payment(&stand).await?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    finish(stand, load, figures).await
}

/// Two of three etcds are killed, until the leader has stepped down, and come back.
///
/// # Errors
/// The run itself failed.
pub async fn cluster_etcd_lost(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("a cluster loses two of its three etcds", plan.seed);
    let (mut stand, load) = begin(plan).await?;
    for _ in 0..plan.times {
        settle(&mut stand, plan).await?;
        let spared = stand.rng.usize(0..stand.postgres.nodes.size());
        let lost = (0..stand.postgres.nodes.size()).filter(|node| *node != spared);
        for node in lost.clone() {
            stand.postgres.nodes.kill_etcd(node)?;
        }
        figures.times += 1;
        stand.postgres.wait_for_no_leader().await?;
        stand.pause(plan.pause).await;
        let since_us = stand.world.recorder.now_us();
        for node in lost {
            stand.postgres.nodes.start_etcd(node)?;
        }
        note_recovery_since(since_us, &stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    finish(stand, load, figures).await
}

/// `kill -9` of the server that commits wait for: they go on with the other one. Then of that one, too: payments wait,
/// none is acknowledged, and those that have waited too long are refused for now. Then both come back.
///
/// # Errors
/// The run itself failed; or a payment was acknowledged that only one server had, or none was refused.
pub async fn cluster_replica_lost(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("a cluster loses one replica, and both", plan.seed);
    let (mut stand, load) = begin(plan).await?;
    for _ in 0..plan.times {
        settle(&mut stand, plan).await?;
        let leader = stand.postgres.wait_for_leader(None).await?;
        let first = stand.postgres.nodes.synchronous().context("commits wait for no server")?;
        let nodes = 0..stand.postgres.nodes.size();
        let second = nodes.into_iter().find(|node| ![leader, first].contains(node));
        let second = second.context("there is no other replica")?;
        let since_us = stand.world.recorder.now_us();
        stand.postgres.nodes.kill_node(first)?;
        figures.times += 1;
        note_recovery_since(since_us, &stand, &mut figures).await?;

        stand.postgres.nodes.kill_node(second)?;
        let alone_us = stand.world.recorder.now_us();
        tokio::time::sleep(WITHOUT_STANDBY).await;
        let (mut paid, mut refused) = (0, 0);
        stand.world.recorder.look(|attempts| {
            for attempt in attempts.iter().filter(|attempt| attempt.asked_us > alone_us) {
                match attempt.outcome {
                    Outcome::Done { .. } => paid += 1,
                    Outcome::Refused { retryable: true, .. } => refused += 1,
                    Outcome::Refused { .. } | Outcome::Lost => {}
                }
            }
        });
        ensure!(paid == 0, "{paid} payments were acknowledged that one server alone had");
        ensure!(refused > 0, "payments that wait for a standby are not refused");
        let since_us = stand.world.recorder.now_us();
        stand.postgres.nodes.start_node(second)?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
        stand.postgres.nodes.start_node(first)?;
    }
    claim_recovery(plan, &mut figures, RECOVERY_MAX);
    finish(stand, load, figures).await
}

/// The leader is changed by hand, as before work on its machine.
///
/// # Errors
/// The run itself failed.
pub async fn cluster_switchover(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("a cluster's leader is changed by hand", plan.seed);
    let (mut stand, load) = begin(plan).await?;
    for _ in 0..plan.times {
        settle(&mut stand, plan).await?;
        let since_us = stand.world.recorder.now_us();
        tokio::task::block_in_place(|| stand.postgres.nodes.switch_over())?;
        figures.times += 1;
        note_recovery_since(since_us, &stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, SWITCHOVER_MAX);
    finish(stand, load, figures).await
}
