//! A bounded queue between requests and a writer.
//!
//! A request waits for its answer at most until its time is over. It then withdraws its ticket, but
//! only while no transaction has it: whoever was told "not done" will not find it done later. A
//! ticket that a transaction has is answered by the writer, whose transactions have a limit too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

/// What a waiting request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Its turn.
    Queue,
    /// An account that somebody else has locked.
    Lock,
    /// A key that another request holds.
    Key,
    /// A database that does not answer.
    Database,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Waiting(Obstacle),
    /// A transaction has it: its outcome is not known before that ends.
    Taken,
    Withdrawn,
}

/// What a request and its ticket both see.
struct Shared {
    stage: Mutex<Stage>,
    /// Wakes a request whose time was over while a transaction had its ticket.
    released: Notify,
}

impl Shared {
    /// No code can panic while it holds this lock, so a poisoned one is as good as any.
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn withdraw(&self) -> Option<Obstacle> {
        let mut stage = self.stage();
        match *stage {
            Stage::Waiting(obstacle) => {
                *stage = Stage::Withdrawn;
                Some(obstacle)
            }
            Stage::Taken | Stage::Withdrawn => None,
        }
    }
}

/// A request's work, and the way to answer it.
pub(super) struct Ticket<W, A> {
    pub work: W,
    queued_at: Instant,
    shared: Arc<Shared>,
    answer: oneshot::Sender<A>,
}

impl<W, A> Ticket<W, A> {
    /// Takes the ticket for a transaction; `false` where the request has given up.
    pub fn take(&self) -> bool {
        let mut stage = self.shared.stage();
        match *stage {
            Stage::Waiting(_) | Stage::Taken => {
                *stage = Stage::Taken;
                true
            }
            Stage::Withdrawn => false,
        }
    }

    /// Lets the request wait on; it may give up from now on.
    pub fn release(&self, obstacle: Obstacle) {
        *self.shared.stage() = Stage::Waiting(obstacle);
        self.shared.released.notify_one();
    }

    pub fn is_withdrawn(&self) -> bool {
        matches!(*self.shared.stage(), Stage::Withdrawn)
    }

    /// How long the request has been waiting.
    pub fn waited(&self) -> Duration {
        self.queued_at.elapsed()
    }

    pub fn answer(self, answer: A) {
        // Nobody listens where the client has gone away; the work is done all the same.
        let _ = self.answer.send(answer);
    }
}

/// The way in.
pub(super) struct Queue<W, A> {
    tickets: mpsc::Sender<Ticket<W, A>>,
    timeout: Duration,
}

pub(super) type Inbox<W, A> = mpsc::Receiver<Ticket<W, A>>;

impl<W, A> Queue<W, A> {
    pub fn bounded(queue_max: usize, timeout: Duration) -> (Self, Inbox<W, A>) {
        let (tickets, inbox) = mpsc::channel(queue_max);
        (Self { tickets, timeout }, inbox)
    }

    /// Queues work and waits for its answer.
    ///
    /// # Errors
    /// What it was waiting for when its time was over; it was not done, and will not be. A full
    /// queue says so at once.
    pub async fn submit(&self, work: W) -> Result<A, Obstacle> {
        let (answer, mut answered) = oneshot::channel();
        let shared = Arc::new(Shared {
            stage: Mutex::new(Stage::Waiting(Obstacle::Queue)),
            released: Notify::new(),
        });
        let ticket =
            Ticket { work, queued_at: Instant::now(), shared: Arc::clone(&shared), answer };
        self.tickets.try_send(ticket).map_err(|_| Obstacle::Queue)?;

        if let Ok(answer) = tokio::time::timeout(self.timeout, &mut answered).await {
            return answer.map_err(|_| Obstacle::Database);
        }
        loop {
            if let Some(obstacle) = shared.withdraw() {
                return Err(obstacle);
            }
            tokio::select! {
                // Only a writer that is gone drops a ticket without an answer.
                answer = &mut answered => return answer.map_err(|_| Obstacle::Database),
                () = shared.released.notified() => {}
            }
        }
    }
}
