//! The choice of payments that are posted together.
//!
//! Two batches that need one account wait for each other in the database, and with 50,000 accounts
//! and batches of 256 that would be nearly every two: the writers would work in turn. So no account
//! is in two batches that are being written, and while one batch is, another can be. That only makes
//! it fast; what makes it right, also among processes, are the rows' locks.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::ticket::{Answer, PayTicket};
use crate::domain::{AccountId, Instruction};
use crate::service::queue;

type Inbox = queue::Inbox<Instruction, Answer>;

/// Hands out batches.
pub(super) struct Intake {
    /// One writer at a time makes its batch, or waits for something to put into it.
    backlog: tokio::sync::Mutex<Backlog>,
    under_way: Arc<UnderWay>,
    batch_max: usize,
}

/// All payments that are in no batch yet.
struct Backlog {
    inbox: Inbox,
    /// Payments that were not put into a batch, oldest first; at most as many as a batch has.
    passed_over: VecDeque<PayTicket>,
}

/// Payments to post together.
pub(super) struct Batch {
    pub tickets: Vec<PayTicket>,
    pub accounts: Reserved,
}

impl Intake {
    pub fn new(inbox: Inbox, batch_max: usize) -> Self {
        let backlog = Backlog { inbox, passed_over: VecDeque::new() };
        Self { backlog: backlog.into(), under_way: Arc::default(), batch_max }
    }

    /// Everything that waits and can be posted now, up to a batch, the oldest first; waits until
    /// there is something. `None` when the queue is closed and empty.
    pub async fn next_batch(&self) -> Option<Batch> {
        let Backlog { inbox, passed_over } = &mut *self.backlog.lock().await;
        let under_way = &self.under_way;
        loop {
            let mut builder = BatchBuilder::default();
            for ticket in std::mem::take(passed_over) {
                builder.place(ticket, under_way, passed_over);
            }
            loop {
                while builder.tickets.len() < self.batch_max
                    && passed_over.len() < self.batch_max
                    && let Ok(ticket) = inbox.try_recv()
                {
                    builder.place(ticket, under_way, passed_over);
                }
                if !builder.tickets.is_empty() {
                    let accounts = under_way.reserve(builder.accounts);
                    return Some(Batch { tickets: builder.tickets, accounts });
                }
                if passed_over.is_empty() {
                    builder.place(inbox.recv().await?, under_way, passed_over);
                    continue;
                }
                let has_room = passed_over.len() < self.batch_max;
                tokio::select! {
                    () = under_way.freed.notified() => break,
                    Some(ticket) = inbox.recv(), if has_room => {
                        builder.place(ticket, under_way, passed_over);
                    }
                }
            }
        }
    }
}

/// A batch that is being made.
#[derive(Default)]
struct BatchBuilder {
    tickets: Vec<PayTicket>,
    accounts: HashSet<AccountId>,
    /// The accounts of those passed over. A later payment that needs one of them is passed over
    /// as well: else one whose two accounts are never free at one moment would wait for ever.
    awaited: HashSet<AccountId>,
}

impl BatchBuilder {
    /// Puts a payment into the batch, or with those that are passed over.
    fn place(
        &mut self,
        ticket: PayTicket,
        under_way: &UnderWay,
        passed_over: &mut VecDeque<PayTicket>,
    ) {
        let needed = ticket.work.accounts();
        if under_way.has_any_of(needed) || needed.iter().any(|id| self.awaited.contains(id)) {
            self.awaited.extend(needed);
            passed_over.push_back(ticket);
        } else {
            self.accounts.extend(needed);
            self.tickets.push(ticket);
        }
    }
}

/// The accounts of the batches that are being written.
#[derive(Default)]
struct UnderWay {
    accounts: Mutex<HashSet<AccountId>>,
    freed: Notify,
}

impl UnderWay {
    fn has_any_of(&self, ids: [AccountId; 2]) -> bool {
        let accounts = self.lock();
        ids.iter().any(|id| accounts.contains(id))
    }

    fn reserve(self: &Arc<Self>, accounts: HashSet<AccountId>) -> Reserved {
        self.lock().extend(&accounts);
        Reserved { accounts, among: Arc::clone(self) }
    }

    /// No code can panic while it holds this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, HashSet<AccountId>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accounts that no other batch gets as long as this exists.
#[derive(Default)]
pub(super) struct Reserved {
    accounts: HashSet<AccountId>,
    among: Arc<UnderWay>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut accounts = self.among.lock();
        for id in &self.accounts {
            accounts.remove(id);
        }
        drop(accounts);
        self.among.freed.notify_one();
    }
}
