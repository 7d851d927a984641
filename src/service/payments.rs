//! Sending payments: the way in, and the writers behind it.
//!
//! ```text
//! send() -> queue -> writer ... writer -> one transaction per batch -> answers
//!                        \-> set aside -> waiting writer -> ...
//! ```
//!
//! A writer takes everything that is waiting and posts it as one transaction (group commit). When
//! the service is idle that is one payment at once; when it is busy, one commit pays for many.
//! Payments that need a row which somebody else holds are set aside for the waiting writer, whose
//! only work they are, so that they delay nobody else.

mod batch;
mod intake;
mod known_trouble;
mod ticket;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use intake::Intake;
use known_trouble::KnownTrouble;
pub use ticket::{Answer, Receipt, Timing};
use writer::{Aside, Writer};

use super::queue::Queue;
use super::refusal::{Obstacle, Refusal};
use super::session::Session;
use crate::config::{Settings, milliseconds};
use crate::db::Target;
use crate::domain::Instruction;

/// The way in to the writers.
pub struct Payments {
    queue: Queue<Instruction, Answer>,
    aside: mpsc::WeakSender<Aside>,
    /// The number of those that the waiting writer has taken.
    held_aside: Arc<AtomicUsize>,
    known: Arc<KnownTrouble>,
}

impl Payments {
    pub(super) fn start(target: &Target, settings: &Settings, tasks: &mut JoinSet<()>) -> Self {
        let Settings { server, database, writer: settings, .. } = settings;
        let queue_max = settings.queue_max.get();
        let (queue, inbox) = Queue::bounded(queue_max, milliseconds(server.request_timeout_ms));
        let intake = Arc::new(Intake::new(inbox, settings.batch_max.get()));
        let (aside, set_aside) = mpsc::channel(queue_max);
        let transaction_timeout = milliseconds(database.transaction_timeout_ms);
        let known = Arc::new(KnownTrouble::default());
        let writer = || {
            let session = Session::new(target.clone(), transaction_timeout);
            Writer::new(session, settings.clone(), Arc::clone(&known))
        };
        for _ in 0..settings.count.get() {
            tasks.spawn(writer().run(Arc::clone(&intake), aside.clone()));
        }
        let held_aside = Arc::new(AtomicUsize::new(0));
        tasks.spawn(writer().run_waiting(set_aside, Arc::clone(&held_aside)));
        // The waiting writer ends with the others, which have the strong ones.
        Self { queue, aside: aside.downgrade(), held_aside, known }
    }

    /// How many wait to be put into a batch.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// How many wait for an account that somebody else has locked, or for a key.
    pub(super) fn set_aside(&self) -> usize {
        let on_the_way = self
            .aside
            .upgrade()
            .map_or(0, |aside| aside.max_capacity().saturating_sub(aside.capacity()));
        on_the_way.saturating_add(self.held_aside.load(Ordering::Relaxed))
    }

    /// Sends a payment, or another instruction, and waits until it is carried out, found to be carried out
    /// already, or refused.
    pub async fn send(&self, instruction: Instruction) -> Answer {
        match self.queue.submit(instruction).await {
            Ok(answer) => answer,
            Err(Obstacle::Queue) if self.known.lock().database_down => {
                Answer { result: Err(Refusal::DatabaseUnavailable), timing: None }
            }
            Err(obstacle) => Answer { result: Err(obstacle.into()), timing: None },
        }
    }
}
