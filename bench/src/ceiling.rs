//! The ceiling: the service's own statements and its rule, driven as fast as they go, without
//! HTTP, queues and waiting. The distance of the service from it is the cost of these.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use payonce::db::posting::{self, Locking};
use payonce::db::{self, PgConnection, Purpose, Target};
use payonce::domain::ledger::{self, Findings};
use payonce::domain::{AccountId, Amount, IdempotencyKey, Instruction, Intent};
use sqlx::Connection;
use tokio::task::JoinSet;

use crate::report::{Latency, Load};
use crate::stand::Database;
use crate::wrk;

/// The default `writer.batch_max`.
const BATCH: u32 = 256;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sessions side by side. Each has accounts of its own, so that none waits for another's locks.
pub async fn run(database: &Database, sessions: u32, accounts: u32, seconds: u32) -> Result<Load> {
    let target = Target::new(&database.url, TIMEOUT, 5_000, 100)?;
    let mut ready = Vec::new();
    for number in 0..sessions {
        let share = Share { number, sessions, accounts, run: wrk::run_name(), count: 0 };
        ready.push((db::connect(&target, Purpose::Write).await?, share));
    }
    let started = Instant::now();
    let end = started.checked_add(Duration::from_secs(seconds.into())).context("too long")?;
    let mut tasks = JoinSet::new();
    for (mut conn, mut share) in ready {
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let intents = share.next_batch()?;
                let before = Instant::now();
                post(&mut conn, &intents).await?;
                times.push(before.elapsed().as_secs_f64() * 1_000.0);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    let batches = f64::from(u32::try_from(times.len())?);
    let done = batches * f64::from(BATCH);
    let per_second = done / started.elapsed().as_secs_f64();
    Ok(Load { done, per_second, latency: Latency::of(times) })
}

/// One batch, as `service::payments::batch` posts it when nothing is in its way.
async fn post(conn: &mut PgConnection, batch: &[Instruction]) -> Result<()> {
    let batch: Vec<&Instruction> = batch.iter().collect();
    let ids: BTreeSet<AccountId> = batch.iter().flat_map(|it| it.accounts()).collect();
    let mut tx = conn.begin().await?;
    let accounts = posting::lock_accounts(&mut tx, &ids, Locking::Wait).await?;
    let (now, known) = posting::read_keys(&mut tx, &batch).await?;
    let found = Findings { now, known, ..Findings::default() };
    let decision = ledger::decide(&accounts, &found, batch.iter().copied());
    posting::write(&mut tx, &decision).await?;
    tx.commit().await?;
    Ok(())
}

/// The accounts of one session: every `sessions`th.
struct Share {
    number: u32,
    sessions: u32,
    accounts: u32,
    run: String,
    count: u32,
}

impl Share {
    fn next_batch(&mut self) -> Result<Vec<Instruction>> {
        (0..BATCH).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Result<Instruction> {
        self.count = self.count.wrapping_add(1);
        let from = self.account();
        let mut to = self.account();
        while to == from {
            to = self.account();
        }
        let key = format!("{}-{:02}-{:09}", self.run, self.number, self.count);
        let (from, to) = (AccountId::new(from.into())?, AccountId::new(to.into())?);
        let amount = Amount::from_cents(1)?;
        let intent = Intent::new(from, to, amount, None, IdempotencyKey::new(key)?, None)?;
        Ok(Instruction::Pay(intent))
    }

    /// One of 1 to `accounts` that leaves `number` when divided by `sessions`.
    fn account(&self) -> u32 {
        let each = self.accounts.div_euclid(self.sessions);
        let place = fastrand::u32(..each);
        place.saturating_mul(self.sessions).saturating_add(self.number).saturating_add(1)
    }
}
