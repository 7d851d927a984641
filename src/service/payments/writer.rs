//! The writers: who is in a batch, and what is done when a batch fails.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::batch::{self, Failed, Manner, Posted, Stage};
use super::intake::{Batch, Intake, Reserved};
use super::known_trouble::{Blocked, Suspects};
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
/// They let go when their commit is done. One that takes longer is in trouble, and treated as a stranger.
const WAITS_FOR_WRITERS_MAX: u32 = 10;

/// Posts batches on a session of its own.
pub(super) struct Writer {
    session: Session,
    limits: Limits,
    known: Arc<KnownTrouble>,
    names: BatchNames,
}

/// Facts that the writers share.
#[derive(Default)]
pub(super) struct KnownTrouble {
    blocked: Blocked,
    suspects: Suspects,
    pub database_down: AtomicBool,
}

/// Tickets to be posted together, and how.
struct Round {
    tickets: Vec<PayTicket>,
    locking: Locking,
    takes_apart: bool,
    /// The first has no more statements than it needs. From the second on the payments are read as well,
    /// so that a refusal can be final.
    attempt: u32,
    /// How often it has waited for other writers.
    waits: u32,
    /// Whether it was given a new session because one had gone stale.
    is_renewed: bool,
}

impl Round {
    fn first(tickets: Vec<PayTicket>, locking: Locking) -> Self {
        Self { tickets, locking, takes_apart: false, attempt: 1, waits: 0, is_renewed: false }
    }

    fn manner(&self) -> Manner {
        let Self { locking, takes_apart, attempt, .. } = *self;
        Manner { locking, reads_payments: attempt > 1, takes_apart }
    }

    /// The same for a part of its tickets.
    fn with(&self, tickets: Vec<PayTicket>) -> Self {
        let Self { locking, takes_apart, attempt, waits, is_renewed, .. } = *self;
        Self { tickets, locking, takes_apart, attempt, waits, is_renewed }
    }

    /// To be tried again: its transaction has ended, so a request whose time is over goes now.
    fn again(self, obstacle: Obstacle) -> Self {
        self.tickets.iter().for_each(|ticket| ticket.release(obstacle));
        self
    }
}

/// A payment that is set aside for the waiting writer.
pub(super) struct Aside {
    ticket: PayTicket,
    obstacle: Obstacle,
    /// How often it failed, on its own: it is then kept apart from others, whom it would spoil it for.
    failures: u32,
    /// Whether its write has waited for a lock: it is then taken apart from the beginning.
    takes_apart: bool,
    /// Not to be tried before.
    due: Instant,
}

impl Aside {
    fn waiting(ticket: PayTicket, obstacle: Obstacle) -> Self {
        Self { ticket, obstacle, failures: 0, takes_apart: false, due: Instant::now() }
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
    pub fn new(session: Session, limits: Limits, known: Arc<KnownTrouble>) -> Self {
        Self { session, limits, known, names: BatchNames::default() }
    }

    /// Posts batch after batch, until the queue is closed.
    pub async fn run(mut self, intake: Arc<Intake>, aside: mpsc::Sender<Aside>) {
        while let Some(Batch { tickets, accounts }) = intake.next_batch().await {
            let mut free = Vec::with_capacity(tickets.len());
            let mut concerned = Vec::new();
            for ticket in tickets {
                if self.known.suspects.has(ticket.work.from()) {
                    let aside = Aside::waiting(ticket, Obstacle::Queue);
                    concerned.push(Aside { failures: 1, ..aside });
                } else if self.known.blocked.among(&ticket.work).is_some() {
                    concerned.push(Aside::waiting(ticket, Obstacle::Lock));
                } else {
                    free.push(ticket);
                }
            }
            let left = self.post(vec![Round::first(free, Locking::Wait)], accounts).await;
            self.known.blocked.add(&left.blocked);
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
            self.known.blocked.update(&tried, &left.blocked);
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

    /// Chooses the next rounds of the waiting writer: payments that only have to wait go together, and one
    /// that has failed goes by itself.
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
            let account = self.known.blocked.among(&aside.ticket.work);
            if is_full || is_early || account.is_some_and(|id| !awaited.insert(id)) {
                later.push_back(aside);
            } else if aside.failures == 0 {
                together.push(aside.ticket);
            } else if !rounds.is_empty() {
                // One at a time: each may take as long as a transaction may.
                later.push_back(aside);
            } else {
                let attempt = aside.failures.saturating_add(1);
                let takes_apart = aside.takes_apart;
                let round = Round::first(vec![aside.ticket], Locking::Skip);
                rounds.push(Round { takes_apart, attempt, ..round });
            }
        }
        *waiting = later;
        if let Some(first) = together.first() {
            // It waits only while it holds nothing: payments that need another of these accounts go on.
            let awaited = self.known.blocked.among(&first.work);
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
                    self.known.database_down.store(false, Ordering::Relaxed);
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
        let Round { attempt, waits, .. } = round;
        let rest = round.with(Vec::new());
        let tickets = round.tickets;
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
                Some(Outcome::Posted(body)) => {
                    if failures > 0 {
                        self.known.suspects.clear(ticket.work.from());
                    }
                    Ok(Receipt { body, replayed: false })
                }
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
        let is_blocked = |id: AccountId, holder: Holder| {
            let took_too_long =
                waits > WAITS_FOR_WRITERS_MAX || (waits == 0 && self.known.blocked.has(id));
            holder == Holder::Stranger || took_too_long
        };
        let blocked = posted.blocked.into_iter().filter(|(id, holder)| is_blocked(*id, *holder));
        let blocked: BTreeSet<AccountId> = blocked.map(|(id, _)| id).collect();
        if waits > 0 && !blocked.is_empty() {
            METRICS.repost("account_locked");
        }
        left.blocked.extend(blocked);
        if again.is_empty() {
            return None;
        }
        METRICS.repost("writer_awaited");
        Some(Round { tickets: again, locking: Locking::Wait, ..rest })
    }

    /// Decides, as the one place that does, whether a batch that failed is posted again. The keys make that
    /// safe, also where the outcome of a commit is not known.
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
                rounds.push(Round { attempt: next, ..round }.again(Obstacle::Queue));
            }
            Kind::Unavailable if may_try => {
                METRICS.repost("database_unavailable");
                let payments = round.tickets.len();
                tracing::warn!(%error, attempt, payments, "a batch is posted again");
                self.known.database_down.store(true, Ordering::Relaxed);
                let again = Round { attempt: next, ..round }.again(Obstacle::Database);
                tokio::time::sleep(pause_after(attempt)).await;
                rounds.push(again);
            }
            Kind::Unavailable => {
                tracing::error!(%error, payments = round.tickets.len(), "a batch is given up");
                refuse_all(round.tickets, Refusal::DatabaseUnavailable);
            }
            Kind::Stale if !round.is_renewed => {
                METRICS.repost("stale_session");
                tracing::warn!(%error, payments = round.tickets.len(), "a session went stale");
                rounds.push(Round { is_renewed: true, ..round }.again(Obstacle::Queue));
            }
            // The moment may have been at fault.
            Kind::Conflict | Kind::Momentary if attempt == 1 => {
                METRICS.repost("conflict");
                tracing::warn!(%error, payments = round.tickets.len(), "a batch is posted again");
                let again = Round { attempt: next, ..round }.again(Obstacle::Queue);
                tokio::time::sleep(pause_after(attempt)).await;
                rounds.push(again);
            }
            _ if !is_alone => {
                METRICS.repost("refused");
                rounds.extend(halves(Round { attempt: attempt.max(2), ..round }));
            }
            Kind::Conflict | Kind::Momentary if may_try => {
                self.suspect(&round);
                tracing::warn!(%error, attempt, "a payment is set aside, and posted again");
                let due = Instant::now().checked_add(pause_after(attempt));
                left.tickets.extend(round.tickets.into_iter().map(|ticket| {
                    let aside = Aside::waiting(ticket, Obstacle::Database);
                    Aside { failures: attempt, due: due.unwrap_or(aside.due), ..aside }
                }));
            }
            Kind::Conflict | Kind::Momentary => {
                self.suspect(&round);
                tracing::error!(%error, "a payment is given up");
                refuse_all(round.tickets, Refusal::DatabaseUnavailable);
            }
            Kind::Refused | Kind::Stale if attempt == 1 => {
                rounds.push(Round { attempt: next, ..round }.again(Obstacle::Queue));
            }
            Kind::Refused | Kind::Stale => {
                self.suspect(&round);
                tracing::error!(%error, "the database refused a payment");
                let nothing_was_done = matches!(stage, Stage::Claiming | Stage::Writing);
                refuse_all(
                    round.tickets,
                    if nothing_was_done { Refusal::Internal } else { Refusal::DatabaseUnavailable },
                );
            }
        }
    }

    /// Keeps the payer of a payment that failed alone apart for a while.
    fn suspect(&self, round: &Round) {
        round.tickets.iter().for_each(|ticket| self.known.suspects.add(ticket.work.from()));
    }

    /// Decides about a batch that waited for a lock for as long as it may.
    fn recover_from_lock(round: Round, stage: Stage, rounds: &mut Vec<Round>, left: &mut Left) {
        let is_alone = round.tickets.len() == 1;
        let (obstacle, failures) = match stage {
            Stage::Locking if round.locking != Locking::Skip => {
                // Who holds the rows is told by the next attempt. Only a writer that has nothing set aside
                // waits for other writers again.
                let is_patient = round.locking == Locking::Wait;
                if !is_patient {
                    METRICS.repost("account_locked");
                }
                let waits = if is_patient { round.waits.saturating_add(1) } else { 0 };
                let skipping = Round { locking: Locking::Skip, waits, ..round };
                rounds.push(skipping.again(Obstacle::Lock));
                return;
            }
            // Nothing waits for rows any more, so it was a table that somebody else has locked.
            Stage::Locking | Stage::Reading => (Obstacle::Lock, 0),
            Stage::Claiming | Stage::Writing if !round.takes_apart => {
                METRICS.repost("write_locked");
                rounds.push(Round { takes_apart: true, ..round }.again(Obstacle::Lock));
                return;
            }
            Stage::Claiming | Stage::Writing if !is_alone => {
                METRICS.repost("refused");
                rounds.extend(halves(round));
                return;
            }
            // Its accounts and the tables were free, and it wrote nothing but its key.
            Stage::Claiming => (Obstacle::Key, 1),
            // The key was free, too: a trigger waits for something.
            Stage::Writing => (Obstacle::Lock, 1),
        };
        let tickets = round.tickets.into_iter().map(|ticket| Aside::waiting(ticket, obstacle));
        let takes_apart = failures > 0;
        left.tickets.extend(tickets.map(|aside| Aside { failures, takes_apart, ..aside }));
    }
}

/// Of a round that failed, the two halves. The one with the culprit will be halved again.
fn halves(round: Round) -> [Round; 2] {
    let mut round = round.again(Obstacle::Queue);
    let tickets = round.tickets.split_off(round.tickets.len().div_euclid(2));
    [round.with(tickets), round]
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
