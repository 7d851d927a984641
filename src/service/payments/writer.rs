//! The writers: who is in a batch, and what is done when a batch fails.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::batch::{self, Failed, Manner, Posted, Stage};
use super::intake::{Batch, Intake, Reserved};
use super::{Answer, PayTicket, Receipt, Timing};
use crate::db::posting::{Holder, Locking};
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

/// How often a batch waits, for `writer.lock_wait_ms_max` each time, for rows that other writers hold.
/// They let go when their commit is done; one whose commit takes longer is in trouble.
const WAITS_FOR_WRITERS_MAX: u32 = 10;

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
    locks_tables: bool,
    /// The first has no more statements than it needs. From the second on the payments are read as well,
    /// so that a refusal can be final.
    attempt: u32,
    /// How often it has waited for other writers.
    waits: u32,
}

impl Round {
    fn first(tickets: Vec<PayTicket>, locking: Locking) -> Self {
        Self { tickets, locking, locks_tables: false, attempt: 1, waits: 0 }
    }

    fn manner(&self) -> Manner {
        let Self { locking, locks_tables, attempt, .. } = *self;
        Manner { locking, reads_payments: attempt > 1, locks_tables }
    }
}

/// A payment that is set aside for the waiting writer.
pub(super) struct Aside {
    ticket: PayTicket,
    obstacle: Obstacle,
    /// How often it failed, on its own: it is then kept apart from others, whom it would spoil it for.
    failures: u32,
    /// Not to be tried before.
    due: Instant,
}

impl Aside {
    fn waiting(ticket: PayTicket, obstacle: Obstacle) -> Self {
        Self { ticket, obstacle, failures: 0, due: Instant::now() }
    }
}

/// What a batch left to be done later.
#[derive(Default)]
struct Left {
    tickets: Vec<Aside>,
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
    pub async fn run(mut self, intake: Arc<Intake>, aside: mpsc::Sender<Aside>) {
        while let Some(Batch { tickets, accounts }) = intake.next_batch().await {
            let (concerned, free): (Vec<_>, Vec<_>) =
                tickets.into_iter().partition(|ticket| self.blocked.among(&ticket.work).is_some());
            let left = self.post(vec![Round::first(free, Locking::Wait)], accounts).await;
            self.blocked.add(&left.blocked);
            let concerned =
                concerned.into_iter().map(|ticket| Aside::waiting(ticket, Obstacle::Lock));
            for waiting in left.tickets.into_iter().chain(concerned) {
                waiting.ticket.release(waiting.obstacle);
                if let Err(full) = aside.try_send(waiting) {
                    let Aside { ticket, obstacle, .. } = full.into_inner();
                    refuse(ticket, obstacle.into());
                }
            }
        }
    }

    /// Posts what was set aside, again and again, until it is posted or withdrawn.
    pub async fn run_waiting(
        mut self,
        mut set_aside: mpsc::Receiver<Aside>,
        held: Arc<AtomicUsize>,
    ) {
        let mut waiting: VecDeque<Aside> = VecDeque::new();
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
            waiting.retain(|waiting| !waiting.ticket.is_withdrawn());
            held.store(waiting.len(), Ordering::Relaxed);

            let rounds = self.next_rounds(&mut waiting);
            let tried = rounds
                .iter()
                .flat_map(|round| &round.tickets)
                .flat_map(|ticket| [ticket.work.from(), ticket.work.to()])
                .collect();
            let left = self.post(rounds, Reserved::default()).await;
            self.blocked.update(&tried, &left.blocked);
            for aside in left.tickets {
                aside.ticket.release(aside.obstacle);
                waiting.push_back(aside);
            }
            held.store(waiting.len(), Ordering::Relaxed);
            if !left.posted_any {
                tokio::time::sleep(WAITING_PAUSE).await;
            }
        }
    }

    /// What the waiting writer tries next: together what has only to wait, and each by itself what has
    /// failed.
    ///
    /// Of the payments that wait for one and the same account, one finds out whether it is free: many
    /// of them shall not keep away those that wait for another.
    fn next_rounds(&self, waiting: &mut VecDeque<Aside>) -> Vec<Round> {
        let now = Instant::now();
        let mut awaited = HashSet::new();
        let mut together = Vec::new();
        let mut rounds = Vec::new();
        let mut later = VecDeque::new();
        for aside in waiting.drain(..) {
            let is_full = together.len().saturating_add(rounds.len()) >= self.limits.batch_max;
            let is_early = aside.due > now;
            let account = self.blocked.among(&aside.ticket.work);
            if is_full || is_early || account.is_some_and(|id| !awaited.insert(id)) {
                later.push_back(aside);
            } else if aside.failures == 0 {
                together.push(aside.ticket);
            } else {
                let attempt = aside.failures.saturating_add(1);
                let round = Round::first(vec![aside.ticket], Locking::Skip);
                rounds.push(Round { attempt, ..round });
            }
        }
        *waiting = later;
        if let Some(first) = together.first() {
            // It waits only while it holds nothing: whoever needs another of these accounts goes on.
            let awaited = self.blocked.among(&first.work);
            let locking = awaited.map_or(Locking::Skip, Locking::WaitFor);
            rounds.push(Round::first(together, locking));
        }
        rounds
    }

    /// Posts the tickets of each round that are not withdrawn, the last round first: together, or in
    /// parts where the whole fails.
    async fn post(&mut self, mut rounds: Vec<Round>, reserved: Reserved) -> Left {
        let mut reserved = Some(reserved);
        let mut left = Left::default();
        while let Some(mut round) = rounds.pop() {
            round.tickets.retain(PayTicket::take);
            if round.tickets.is_empty() {
                continue;
            }
            let waited: Vec<Duration> =
                round.tickets.iter().map(|ticket| ticket.queued_at.elapsed()).collect();
            let intents: Vec<&Intent> = round.tickets.iter().map(|ticket| &ticket.work).collect();
            // While this batch waits for its commit, the next one with its accounts can begin: it waits
            // for their locks.
            let hand_over = || {
                if rounds.is_empty() {
                    drop(reserved.take());
                }
            };
            match batch::post(&mut self.session, &intents, round.manner(), hand_over).await {
                Ok(posted) => {
                    self.database_down.store(false, Ordering::Relaxed);
                    rounds.extend(self.answer(round, &waited, posted, &mut left));
                }
                Err(failed) => self.recover(round, &failed, &mut rounds, &mut left).await,
            }
        }
        left
    }

    /// Answers what was decided. Returns what is to be tried again at once.
    fn answer(
        &mut self,
        round: Round,
        waited: &[Duration],
        posted: Posted,
        left: &mut Left,
    ) -> Option<Round> {
        METRICS.batch(waited, posted.lock, posted.commit);
        let Round { tickets, locks_tables, attempt, waits, .. } = round;
        let batch = self.names.next();
        let failures = if tickets.len() == 1 { attempt.saturating_sub(1) } else { 0 };
        let mut again = Vec::new();
        for ((ticket, outcome), queue) in tickets.into_iter().zip(posted.outcomes).zip(waited) {
            let result = match outcome {
                None => {
                    let is_free_soon = [ticket.work.from(), ticket.work.to()]
                        .iter()
                        .all(|id| posted.blocked.get(id) != Some(&Holder::Stranger));
                    if is_free_soon && (1..=WAITS_FOR_WRITERS_MAX).contains(&waits) {
                        ticket.release(Obstacle::Lock);
                        again.push(ticket);
                    } else {
                        let aside = Aside::waiting(ticket, Obstacle::Lock);
                        left.tickets.push(Aside { failures, ..aside });
                    }
                    continue;
                }
                Some(Outcome::InProgress) => {
                    left.tickets.push(Aside::waiting(ticket, Obstacle::Key));
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
        let strangers =
            posted.blocked.into_iter().filter(|(_, holder)| *holder == Holder::Stranger);
        let strangers: BTreeSet<AccountId> = strangers.map(|(id, _)| id).collect();
        if waits > 0 && !strangers.is_empty() {
            METRICS.repost("account_locked");
        }
        left.blocked.extend(strangers);
        if again.is_empty() {
            return None;
        }
        METRICS.repost("writer_awaited");
        Some(Round { tickets: again, locking: Locking::Wait, locks_tables, attempt, waits })
    }

    /// What to do about a batch that failed: the one place that decides whether it is posted
    /// again. The keys make that safe, also where the outcome of a commit is not known.
    ///
    /// Only an error about the connection is about all of a batch. Anything else that the server reports
    /// may be one payment's doing, so the batch is taken apart until that one is alone. A final refusal is
    /// given only to a payment that was alone in an attempt that had read its rows.
    async fn recover(
        &mut self,
        round: Round,
        failed: &Failed,
        rounds: &mut Vec<Round>,
        left: &mut Left,
    ) {
        let Failed { error, stage } = failed;
        let (kind, attempt) = (error.kind(), round.attempt);
        let is_alone = round.tickets.len() == 1;
        let may_try = attempt < self.limits.attempts_max;
        let next = attempt.saturating_add(1);
        if error.leaves_doubt() {
            round.tickets.iter().for_each(PayTicket::doubt);
        }
        match kind {
            Kind::LockNotAvailable => Self::recover_from_lock(round, *stage, rounds, left),
            Kind::Conflict if attempt == 1 && matches!(error, Error::KnownAlready) => {
                METRICS.repost("known_already");
                rounds.push(Round { attempt: next, ..round });
            }
            Kind::Unavailable if may_try => {
                METRICS.repost("database_unavailable");
                let payments = round.tickets.len();
                tracing::warn!(%error, attempt, payments, "a batch is posted again");
                self.database_down.store(true, Ordering::Relaxed);
                round.tickets.iter().for_each(|ticket| ticket.release(Obstacle::Database));
                tokio::time::sleep(pause_after(attempt)).await;
                rounds.push(Round { attempt: next, ..round });
            }
            Kind::Unavailable => {
                tracing::error!(%error, payments = round.tickets.len(), "a batch is given up");
                refuse_all(round.tickets, Refusal::DatabaseUnavailable);
            }
            // The moment may have been at fault, or the session, which is a new one then.
            Kind::Conflict | Kind::Momentary | Kind::Unexpected if attempt == 1 => {
                METRICS.repost(if kind == Kind::Unexpected { "unexpected" } else { "conflict" });
                tracing::warn!(%error, payments = round.tickets.len(), "a batch is posted again");
                if kind != Kind::Unexpected {
                    round.tickets.iter().for_each(|ticket| ticket.release(Obstacle::Queue));
                    tokio::time::sleep(pause_after(attempt)).await;
                }
                rounds.push(Round { attempt: next, ..round });
            }
            _ if !is_alone => {
                METRICS.repost("refused");
                rounds.extend(halves(Round { attempt: attempt.max(2), ..round }));
            }
            Kind::Conflict | Kind::Momentary if may_try => {
                tracing::warn!(%error, attempt, "a payment is set aside, and posted again");
                let due = Instant::now().checked_add(pause_after(attempt));
                left.tickets.extend(round.tickets.into_iter().map(|ticket| {
                    let aside = Aside::waiting(ticket, Obstacle::Database);
                    Aside { failures: attempt, due: due.unwrap_or(aside.due), ..aside }
                }));
            }
            Kind::Conflict | Kind::Momentary => {
                tracing::error!(%error, "a payment is given up");
                refuse_all(round.tickets, Refusal::DatabaseUnavailable);
            }
            Kind::Refused | Kind::Unexpected if attempt == 1 => {
                rounds.push(Round { attempt: next, ..round });
            }
            Kind::Refused | Kind::Unexpected => {
                tracing::error!(%error, "the database refused a payment");
                let nothing_was_done = *stage == Stage::Writing;
                refuse_all(
                    round.tickets,
                    if nothing_was_done { Refusal::Internal } else { Refusal::DatabaseUnavailable },
                );
            }
        }
    }

    /// What to do about a batch that waited for a lock for as long as it may.
    fn recover_from_lock(round: Round, stage: Stage, rounds: &mut Vec<Round>, left: &mut Left) {
        let obstacle = match stage {
            Stage::Locking if round.locking != Locking::Skip => {
                // Who holds the rows is told by the next attempt. Only a writer that has nothing set aside
                // waits for other writers again.
                let is_patient = round.locking == Locking::Wait;
                if !is_patient {
                    METRICS.repost("account_locked");
                }
                let waits = if is_patient { round.waits.saturating_add(1) } else { 0 };
                rounds.push(Round { locking: Locking::Skip, waits, ..round });
                return;
            }
            // Nothing waits for rows any more, so it was a table that somebody else has locked.
            Stage::Locking | Stage::Reading => Obstacle::Lock,
            Stage::Writing if !round.locks_tables => {
                METRICS.repost("write_locked");
                rounds.push(Round { locks_tables: true, ..round });
                return;
            }
            Stage::Writing if round.tickets.len() > 1 => {
                METRICS.repost("refused");
                rounds.extend(halves(round));
                return;
            }
            // Its accounts and the tables were free: its key was not.
            Stage::Writing => Obstacle::Key,
        };
        let tickets = round.tickets.into_iter();
        left.tickets.extend(tickets.map(|ticket| Aside::waiting(ticket, obstacle)));
    }
}

/// Of a round that failed, the two halves. The one with the culprit will be halved again.
fn halves(mut round: Round) -> [Round; 2] {
    let tickets = round.tickets.split_off(round.tickets.len().div_euclid(2));
    tickets.iter().for_each(|ticket| ticket.release(Obstacle::Queue));
    let Round { locking, locks_tables, attempt, waits, .. } = round;
    [Round { tickets, locking, locks_tables, attempt, waits }, round]
}

fn refuse_all(tickets: Vec<PayTicket>, refusal: Refusal) {
    tickets.into_iter().for_each(|ticket| refuse(ticket, refusal));
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
