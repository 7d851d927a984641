//! The writers: who is in a batch, and what is done when a batch fails.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::batch::{self, Posted, Reading};
use super::intake::{Batch, Intake, Reserved};
use super::{Answer, PayTicket, Receipt, Timing};
use crate::db::posting::Locking;
use crate::db::{Error, Kind};
use crate::domain::ledger::Outcome;
use crate::domain::{AccountId, Intent};
use crate::service::queue::Obstacle;
use crate::service::session::Session;
use crate::service::{Limits, Refusal};
use crate::telemetry::metrics::METRICS;

/// The pause before a batch is posted again: doubled each time, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// The waiting writer's pause between two rounds in which it could post nothing.
const WAITING_PAUSE: Duration = Duration::from_millis(20);

/// The accounts that were found locked by somebody else. Payments that need them go straight to
/// the waiting writer, instead of making a whole batch wait again.
#[derive(Default)]
pub(super) struct Blocked(Mutex<HashSet<AccountId>>);

impl Blocked {
    fn add(&self, ids: &BTreeSet<AccountId>) {
        self.lock().extend(ids);
    }

    /// Replaces what is known of `tried` by what was found now.
    fn update(&self, tried: &BTreeSet<AccountId>, found: &BTreeSet<AccountId>) {
        let mut blocked = self.lock();
        blocked.retain(|id| !tried.contains(id));
        blocked.extend(found);
    }

    /// The blocked account that a payment needs.
    fn among(&self, intent: &Intent) -> Option<AccountId> {
        let blocked = self.lock();
        [intent.from(), intent.to()].into_iter().find(|id| blocked.contains(id))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<AccountId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Posts batches on a session of its own.
pub(super) struct Writer {
    session: Session,
    limits: Limits,
    blocked: Arc<Blocked>,
    database_down: Arc<AtomicBool>,
    names: BatchNames,
}

/// Tickets to be posted together, and how.
struct Round {
    tickets: Vec<PayTicket>,
    locking: Locking,
    attempt: u32,
}

/// What a batch left to be done later.
#[derive(Default)]
struct Left {
    tickets: Vec<(PayTicket, Obstacle)>,
    blocked: BTreeSet<AccountId>,
    posted_any: bool,
}

impl Writer {
    pub fn new(
        session: Session,
        limits: Limits,
        blocked: Arc<Blocked>,
        database_down: Arc<AtomicBool>,
    ) -> Self {
        Self { session, limits, blocked, database_down, names: BatchNames::default() }
    }

    /// Posts batch after batch, until the queue is closed.
    pub async fn run(mut self, intake: Arc<Intake>, aside: mpsc::Sender<PayTicket>) {
        while let Some(Batch { tickets, accounts }) = intake.next_batch().await {
            let (concerned, free): (Vec<_>, Vec<_>) =
                tickets.into_iter().partition(|ticket| self.blocked.among(&ticket.work).is_some());
            let left = self.post(free, Locking::Wait, accounts).await;
            self.blocked.add(&left.blocked);
            let concerned = concerned.into_iter().map(|ticket| (ticket, Obstacle::Lock));
            for (ticket, obstacle) in left.tickets.into_iter().chain(concerned) {
                ticket.release(obstacle);
                if let Err(full) = aside.try_send(ticket) {
                    refuse(full.into_inner(), obstacle.into());
                }
            }
        }
    }

    /// Posts what was set aside, again and again, until it is posted or withdrawn.
    pub async fn run_waiting(
        mut self,
        mut set_aside: mpsc::Receiver<PayTicket>,
        held: Arc<AtomicUsize>,
    ) {
        let mut waiting: VecDeque<PayTicket> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match set_aside.recv().await {
                    Some(ticket) => waiting.push_back(ticket),
                    None => return,
                }
            }
            while waiting.len() < self.limits.queue_max
                && let Ok(ticket) = set_aside.try_recv()
            {
                waiting.push_back(ticket);
            }
            waiting.retain(|ticket| !ticket.is_withdrawn());
            held.store(waiting.len(), Ordering::Relaxed);

            let tickets = self.next_round(&mut waiting);
            let tried =
                tickets.iter().flat_map(|ticket| [ticket.work.from(), ticket.work.to()]).collect();
            // It waits only while it holds nothing: whoever needs another of these accounts goes on.
            let awaited = tickets.first().and_then(|ticket| self.blocked.among(&ticket.work));
            let locking = awaited.map_or(Locking::Skip, Locking::WaitFor);
            let left = self.post(tickets, locking, Reserved::default()).await;
            self.blocked.update(&tried, &left.blocked);
            for (ticket, obstacle) in left.tickets {
                ticket.release(obstacle);
                waiting.push_back(ticket);
            }
            held.store(waiting.len(), Ordering::Relaxed);
            if !left.posted_any {
                tokio::time::sleep(WAITING_PAUSE).await;
            }
        }
    }

    /// Of the payments that wait for one and the same account, one finds out whether it is free: many
    /// of them shall not keep away those that wait for another.
    fn next_round(&self, waiting: &mut VecDeque<PayTicket>) -> Vec<PayTicket> {
        let mut awaited = HashSet::new();
        let mut round = Vec::new();
        let mut later = VecDeque::new();
        for ticket in waiting.drain(..) {
            let account = self.blocked.among(&ticket.work);
            let is_represented = account.is_some_and(|id| !awaited.insert(id));
            if is_represented || round.len() >= self.limits.batch_max {
                later.push_back(ticket);
            } else {
                round.push(ticket);
            }
        }
        *waiting = later;
        round
    }

    /// Posts the tickets that are not withdrawn: together, or in parts where the whole fails.
    async fn post(
        &mut self,
        tickets: Vec<PayTicket>,
        locking: Locking,
        reserved: Reserved,
    ) -> Left {
        let mut reserved = Some(reserved);
        let mut left = Left::default();
        let mut rounds = vec![Round { tickets, locking, attempt: 1 }];
        while let Some(mut round) = rounds.pop() {
            round.tickets.retain(PayTicket::take);
            if round.tickets.is_empty() {
                continue;
            }
            let waited: Vec<Duration> =
                round.tickets.iter().map(|ticket| ticket.queued_at.elapsed()).collect();
            let intents: Vec<&Intent> = round.tickets.iter().map(|ticket| &ticket.work).collect();
            // Only a repeated attempt can be about a payment whose key's row is gone.
            let reading = if round.attempt == 1 { Reading::Keys } else { Reading::KeysAndPayments };
            // While this batch waits for its commit, the next one with its accounts can begin: it waits
            // for their locks.
            let hand_over = || {
                if rounds.is_empty() {
                    drop(reserved.take());
                }
            };
            let session = &mut self.session;
            match batch::post(session, &intents, round.locking, reading, hand_over).await {
                Ok(posted) => {
                    self.database_down.store(false, Ordering::Relaxed);
                    self.answer(round.tickets, &waited, posted, &mut left);
                }
                Err(error) => self.recover(round, &error, &mut rounds, &mut left).await,
            }
        }
        left
    }

    fn answer(
        &mut self,
        tickets: Vec<PayTicket>,
        waited: &[Duration],
        posted: Posted,
        left: &mut Left,
    ) {
        METRICS.batch(waited, posted.lock, posted.commit);
        let batch = self.names.next();
        left.blocked.extend(posted.blocked);
        for ((ticket, outcome), queue) in tickets.into_iter().zip(posted.outcomes).zip(waited) {
            let result = match outcome {
                None => {
                    left.tickets.push((ticket, Obstacle::Lock));
                    continue;
                }
                Some(Outcome::InProgress) => {
                    left.tickets.push((ticket, Obstacle::Key));
                    continue;
                }
                Some(Outcome::Posted(body)) => Ok(Receipt { body, replayed: false }),
                Some(Outcome::Replayed(body)) => Ok(Receipt { body, replayed: true }),
                Some(Outcome::Declined(declined)) => Err(Refusal::Declined(declined)),
            };
            left.posted_any = true;
            let timing = Timing {
                queue: *queue,
                lock: posted.lock,
                commit: posted.commit,
                batch: Arc::clone(&batch),
            };
            ticket.answer(Answer { result, timing: Some(timing) });
        }
    }

    /// What to do about a batch that failed: the one place that decides whether it is posted
    /// again. The keys make that safe, also where the outcome of a commit is not known.
    async fn recover(
        &mut self,
        round: Round,
        error: &Error,
        rounds: &mut Vec<Round>,
        left: &mut Left,
    ) {
        let Round { mut tickets, locking, attempt } = round;
        if error.leaves_doubt() {
            tickets.iter().for_each(PayTicket::doubt);
        }
        match error.kind() {
            Kind::Conflict if attempt == 1 && matches!(error, Error::KnownAlready) => {
                METRICS.repost("known_already");
                rounds.push(Round { tickets, locking, attempt: 2 });
            }
            Kind::LockNotAvailable if locking != Locking::Skip => {
                METRICS.repost("account_locked");
                rounds.push(Round { tickets, locking: Locking::Skip, attempt });
            }
            Kind::Refused | Kind::LockNotAvailable if tickets.len() > 1 => {
                METRICS.repost("refused");
                // Some of it is at fault. The half with the culprit will be halved again.
                let second = tickets.split_off(tickets.len().div_euclid(2));
                second.iter().for_each(|ticket| ticket.release(Obstacle::Queue));
                rounds.push(Round { tickets: second, locking, attempt });
                rounds.push(Round { tickets, locking, attempt });
            }
            Kind::LockNotAvailable => {
                // Its accounts were free: what it waited for is its key.
                left.tickets.extend(tickets.into_iter().map(|ticket| (ticket, Obstacle::Key)));
            }
            Kind::Conflict | Kind::Unavailable if attempt < self.limits.attempts_max => {
                let unavailable = error.kind() == Kind::Unavailable;
                METRICS.repost(if unavailable { "database_unavailable" } else { "conflict" });
                tracing::warn!(%error, attempt, payments = tickets.len(), "a batch is posted again");
                self.database_down.store(unavailable, Ordering::Relaxed);
                let obstacle = if unavailable { Obstacle::Database } else { Obstacle::Queue };
                tickets.iter().for_each(|ticket| ticket.release(obstacle));
                tokio::time::sleep(pause_after(attempt)).await;
                rounds.push(Round { tickets, locking, attempt: attempt.saturating_add(1) });
            }
            Kind::Conflict | Kind::Unavailable => {
                tracing::error!(%error, payments = tickets.len(), "a batch is given up");
                tickets.into_iter().for_each(|ticket| refuse(ticket, Refusal::DatabaseUnavailable));
            }
            Kind::Refused | Kind::Bug => {
                tracing::error!(%error, payments = tickets.len(), "the database refused a batch");
                tickets.into_iter().for_each(|ticket| refuse(ticket, Refusal::Internal));
            }
        }
    }
}

fn refuse(ticket: PayTicket, refusal: Refusal) {
    let result = Err(ticket.refusal(refusal));
    ticket.answer(Answer { result, timing: None });
}

/// 10 ms after the first attempt, then twice as long each time.
pub(in crate::service) fn pause_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1);
    PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE_LONGEST)
}

/// Names for batches: a part that no other writer has, and a number.
struct BatchNames {
    writer: String,
    count: u64,
}

impl Default for BatchNames {
    fn default() -> Self {
        let random = Uuid::new_v4().simple().to_string();
        Self { writer: random.chars().take(8).collect(), count: 0 }
    }
}

impl BatchNames {
    fn next(&mut self) -> Arc<str> {
        self.count = self.count.wrapping_add(1);
        format!("{}-{}", self.writer, self.count).into()
    }
}
