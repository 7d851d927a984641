//! The writers: they post batches, and do what is to be done when one fails.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::batch::{self, FailedAttempt, Manner, Posted};
use super::intake::{Batch, Intake, Reserved};
use super::known_trouble::KnownTrouble;
use super::ticket::{Answer, PayTicket, Receipt, Timing};
use crate::config;
use crate::db::ErrorKind;
use crate::db::posting::{Holder, Locking};
use crate::domain::ledger::Outcome;
use crate::domain::{AccountId, Instruction};
use crate::service::findings;
use crate::service::queue::halves;
use crate::service::refusal::{Obstacle, Refusal};
use crate::service::retry::{Failure, Next, Stage};
use crate::service::session::Session;
use crate::telemetry::metrics::METRICS;

/// The waiting writer's pause between two rounds in which it could post nothing.
const WAITING_PAUSE: Duration = Duration::from_millis(20);

/// How often a batch waits, for `writer.lock_wait_ms_max` each time, for rows that other writers hold.
/// They let go when their commit is done. One that takes longer is in trouble, and treated as a stranger.
const WAITS_FOR_WRITERS_MAX: u32 = 10;

/// Posts batches on a session of its own.
pub(super) struct Writer {
    session: Session,
    settings: config::Writer,
    known: Arc<KnownTrouble>,
    names: BatchNames,
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

    /// Its two halves, the first to be tried last in the list.
    fn halves(mut self) -> [Self; 2] {
        let tickets = std::mem::take(&mut self.tickets);
        halves(tickets, Obstacle::Queue).map(|half| self.with(half))
    }

    /// The facts about it that count when it has failed.
    fn failure(&self, kind: ErrorKind, stage: Stage, attempts_max: u32) -> Failure {
        let Self { locking, takes_apart, attempt, is_renewed, .. } = *self;
        let has_written = matches!(stage, Stage::Claiming | Stage::Writing);
        Failure {
            kind,
            stage,
            attempt,
            attempts_max,
            is_alone: self.tickets.len() == 1,
            is_known_new: has_written && self.manner().reads_payments,
            waits_for_rows: locking != Locking::Skip,
            takes_apart,
            is_renewed,
        }
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

/// Work and knowledge that a batch leaves to later ones.
#[derive(Default)]
struct Leftovers {
    tickets: Vec<Aside>,
    blocked: BTreeSet<AccountId>,
    posted_any: bool,
}

impl Writer {
    pub fn new(session: Session, settings: config::Writer, known: Arc<KnownTrouble>) -> Self {
        Self { session, settings, known, names: BatchNames::default() }
    }

    /// Posts batch after batch, until the queue is closed.
    pub async fn run(mut self, intake: Arc<Intake>, aside: mpsc::Sender<Aside>) {
        while let Some(Batch { tickets, accounts }) = self.next_batch(&intake).await {
            let (free, concerned) = self.part(tickets);
            let left = self.post(vec![Round::first(free, Locking::Wait)], accounts).await;
            self.known.lock().block(&left.blocked);
            for waiting in left.tickets.into_iter().chain(concerned) {
                waiting.ticket.release(waiting.obstacle);
                if let Err(full) = aside.try_send(waiting) {
                    let Aside { ticket, obstacle, .. } = full.into_inner();
                    refuse(ticket, obstacle.into());
                }
            }
        }
    }

    /// The tickets that can be posted together, and those that known trouble concerns.
    fn part(&self, tickets: Vec<PayTicket>) -> (Vec<PayTicket>, Vec<Aside>) {
        let mut free = Vec::with_capacity(tickets.len());
        let mut concerned = Vec::new();
        let known = self.known.lock();
        for ticket in tickets {
            if known.suspects(ticket.work.principal()) {
                let aside = Aside::waiting(ticket, Obstacle::Queue);
                concerned.push(Aside { failures: 1, ..aside });
            } else if known.blocks(&ticket.work).is_some() {
                concerned.push(Aside::waiting(ticket, Obstacle::Lock));
            } else {
                free.push(ticket);
            }
        }
        (free, concerned)
    }

    /// The next batch; while there is none the session is kept open.
    async fn next_batch(&mut self, intake: &Intake) -> Option<Batch> {
        let mut batch = pin!(intake.next_batch());
        loop {
            tokio::select! {
                biased;
                batch = &mut batch => return batch,
                () = self.session.keep_open() => {}
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
            while waiting.len() < self.settings.queue_max.get()
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
                .flat_map(|ticket| ticket.work.accounts())
                .collect();
            let left = self.post(rounds, Reserved::default()).await;
            self.known.lock().update_blocked(&tried, &left.blocked);
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
        let known = self.known.lock();
        let mut awaited = HashSet::new();
        let mut together = Vec::new();
        let mut rounds = Vec::new();
        let mut later = VecDeque::new();
        for aside in waiting.drain(..) {
            let is_full =
                together.len().saturating_add(rounds.len()) >= self.settings.batch_max.get();
            let is_early = aside.due > now;
            // One that failed goes alone, and one such at a time: each may take as long as a transaction may.
            let is_second_suspect = aside.failures > 0 && !rounds.is_empty();
            let account = known.blocks(&aside.ticket.work);
            if is_full
                || is_early
                || is_second_suspect
                || account.is_some_and(|id| !awaited.insert(id))
            {
                later.push_back(aside);
            } else if aside.failures == 0 {
                together.push(aside.ticket);
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
            let awaited = known.blocks(&first.work);
            let locking = awaited.map_or(Locking::Skip, Locking::WaitFor);
            rounds.push(Round::first(together, locking));
        }
        rounds
    }

    /// Posts the tickets of each round that are not withdrawn, the last round first: together, or in
    /// parts where the whole fails.
    async fn post(&mut self, mut rounds: Vec<Round>, reserved: Reserved) -> Leftovers {
        let mut reserved = Some(reserved);
        let mut left = Leftovers::default();
        while let Some(mut round) = rounds.pop() {
            round.tickets.retain(PayTicket::take);
            if round.tickets.is_empty() {
                continue;
            }
            let waited: Vec<Duration> =
                round.tickets.iter().map(|ticket| ticket.queued_at.elapsed()).collect();
            let instructions: Vec<&Instruction> =
                round.tickets.iter().map(|ticket| &ticket.work).collect();
            // While this batch waits for its commit, the next one with its accounts can begin: it waits
            // for their locks.
            let hand_over = || {
                if rounds.is_empty() {
                    drop(reserved.take());
                }
            };
            match batch::post(&mut self.session, &instructions, round.manner(), hand_over).await {
                Ok(posted) => {
                    self.known.lock().database_down = false;
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
        left: &mut Leftovers,
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
                    let accounts = ticket.work.accounts();
                    let is_free_soon =
                        accounts.iter().all(|id| posted.blocked.get(id) != Some(&Holder::Stranger));
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
                Some(Outcome::Done(body)) => {
                    if failures > 0 {
                        self.known.lock().clear(ticket.work.principal());
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
        let blocked: BTreeSet<AccountId> = {
            let known = self.known.lock();
            let took_too_long =
                |id| waits > WAITS_FOR_WRITERS_MAX || (waits == 0 && known.is_blocked(id));
            let found = posted.blocked.into_iter();
            let blocked =
                found.filter(|(id, holder)| *holder == Holder::Stranger || took_too_long(*id));
            blocked.map(|(id, _)| id).collect()
        };
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

    /// Does what [`Failure::next`] says about a batch that failed.
    async fn recover(
        &mut self,
        round: Round,
        failed: &FailedAttempt,
        rounds: &mut Vec<Round>,
        left: &mut Leftovers,
    ) {
        let FailedAttempt { error, stage } = failed;
        let (kind, attempt, payments) = (error.kind(), round.attempt, round.tickets.len());
        let counted = attempt.saturating_add(1);
        if error.leaves_doubt() {
            round.tickets.iter().for_each(PayTicket::doubt);
        }
        match round.failure(kind, *stage, self.settings.attempts_max.get()).next() {
            Next::Again { pause, obstacle } => {
                if let Some(reason) = reason_to_repost(kind) {
                    METRICS.repost(reason);
                }
                if kind == ErrorKind::Unavailable {
                    self.known.lock().database_down = true;
                }
                let again = Round { attempt: counted, ..round }.again(obstacle);
                if !pause.is_zero() {
                    tracing::warn!(%error, attempt, payments, "a batch is posted again");
                    tokio::time::sleep(pause).await;
                }
                rounds.push(again);
            }
            Next::OnNewSession => {
                METRICS.repost("stale_session");
                tracing::warn!(%error, payments, "a session went stale");
                rounds.push(Round { is_renewed: true, ..round }.again(Obstacle::Queue));
            }
            Next::PassingOver => {
                // Only a writer that has nothing set aside waits for other writers again.
                let is_patient = round.locking == Locking::Wait;
                if !is_patient {
                    METRICS.repost("account_locked");
                }
                let waits = if is_patient { round.waits.saturating_add(1) } else { 0 };
                let passing_over = Round { locking: Locking::Skip, waits, ..round };
                rounds.push(passing_over.again(Obstacle::Lock));
            }
            Next::LockByLock => {
                METRICS.repost("write_locked");
                rounds.push(Round { takes_apart: true, ..round }.again(Obstacle::Lock));
            }
            Next::Halves => {
                METRICS.repost("refused");
                let attempt =
                    if kind == ErrorKind::LockNotAvailable { attempt } else { attempt.max(2) };
                rounds.extend(Round { attempt, ..round }.halves());
            }
            Next::WithoutLookUps => {
                METRICS.repost("account_locked");
                let mut round = round.again(Obstacle::Lock);
                let tickets = std::mem::take(&mut round.tickets);
                let (looking_up, rest): (Vec<_>, Vec<_>) =
                    tickets.into_iter().partition(|ticket| findings::looks_up(&ticket.work));
                left.tickets.extend(looking_up.into_iter().map(|ticket| {
                    let aside = Aside::waiting(ticket, Obstacle::Lock);
                    Aside { failures: 1, ..aside }
                }));
                rounds.push(round.with(rest));
            }
            Next::SetAside { obstacle, pause, spoils } => {
                let is_locked = kind == ErrorKind::LockNotAvailable;
                if !is_locked {
                    tracing::warn!(%error, attempt, "a payment is set aside, and posted again");
                    self.suspect(&round);
                }
                // A wait for a lock is no attempt that failed.
                let failures = if is_locked { u32::from(spoils) } else { attempt };
                let takes_apart = is_locked && spoils;
                left.tickets.extend(round.tickets.into_iter().map(|ticket| {
                    let aside = Aside::waiting(ticket, obstacle);
                    let due = aside.due.checked_add(pause).unwrap_or(aside.due);
                    Aside { failures, takes_apart, due, ..aside }
                }));
            }
            Next::Refuse(refusal) => {
                tracing::error!(%error, payments, "a batch is given up");
                if kind != ErrorKind::Unavailable {
                    self.suspect(&round);
                }
                round.tickets.into_iter().for_each(|ticket| refuse(ticket, refusal));
            }
        }
    }

    /// Keeps the payer of a payment that failed alone apart for a while.
    fn suspect(&self, round: &Round) {
        let mut known = self.known.lock();
        round.tickets.iter().for_each(|ticket| known.suspect(ticket.work.principal()));
    }
}

/// The label in the metrics of a batch that is posted again; none where that is to find out more.
fn reason_to_repost(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::KnownAlready => Some("known_already"),
        ErrorKind::Unavailable => Some("database_unavailable"),
        ErrorKind::Conflict | ErrorKind::Momentary => Some("conflict"),
        ErrorKind::LockNotAvailable | ErrorKind::Refused | ErrorKind::Stale => None,
    }
}

fn refuse(ticket: PayTicket, refusal: Refusal) {
    let result = Err(ticket.refusal(refusal));
    ticket.answer(Answer { result, timing: None });
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
