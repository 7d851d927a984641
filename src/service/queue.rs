//! A bounded queue between requests and a writer.
//!
//! A request waits for its answer at most until its time is over. It then withdraws its ticket, but
//! only while no transaction has it: a request that was told "not done" will not find it done later. A
//! ticket that a transaction has is answered by the writer, whose transactions have a limit too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::refusal::{Obstacle, Refusal};

#[derive(Debug, Clone, Copy)]
enum TicketState {
    Waiting(Obstacle),
    /// A transaction has it: its outcome is not known before that ends.
    Taken,
    /// A transaction has it, and its request waits for nothing but that transaction.
    Leaving,
    Withdrawn(Obstacle),
}

/// The state that a request and its ticket share.
struct Shared {
    progress: Mutex<Progress>,
    /// Wakes a request that was leaving.
    released: Notify,
}

struct Progress {
    ticket: TicketState,
    /// The connection broke in a transaction that had it, perhaps after a commit.
    in_doubt: bool,
}

impl Shared {
    /// No code can panic while it holds this lock, so a poisoned one is as good as any.
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up waiting: at once, or when the transaction that has the ticket lets it go.
    fn withdraw(&self) -> Option<Obstacle> {
        let mut progress = self.progress();
        match progress.ticket {
            TicketState::Waiting(obstacle) | TicketState::Withdrawn(obstacle) => {
                progress.ticket = TicketState::Withdrawn(obstacle);
                Some(obstacle)
            }
            TicketState::Taken | TicketState::Leaving => {
                progress.ticket = TicketState::Leaving;
                None
            }
        }
    }
}

/// Withdraws the ticket of a request that is dropped, because its client went away.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

/// A request's work, and the way to answer it.
pub(super) struct Ticket<W, A> {
    pub work: W,
    /// When the request began to wait.
    pub queued_at: Instant,
    shared: Arc<Shared>,
    answer: oneshot::Sender<A>,
}

impl<W, A> Ticket<W, A> {
    /// Takes the ticket for a transaction; `false` where the request has given up.
    pub fn take(&self) -> bool {
        let mut progress = self.shared.progress();
        match progress.ticket {
            TicketState::Waiting(_) => {
                progress.ticket = TicketState::Taken;
                true
            }
            TicketState::Taken | TicketState::Leaving => true,
            TicketState::Withdrawn(_) => false,
        }
    }

    /// Lets the request wait on, or go where it has been leaving.
    pub fn release(&self, obstacle: Obstacle) {
        let mut progress = self.shared.progress();
        // It may have been done already: only the database can tell.
        let obstacle = if progress.in_doubt { Obstacle::Database } else { obstacle };
        progress.ticket = match progress.ticket {
            TicketState::Waiting(_) | TicketState::Taken => TicketState::Waiting(obstacle),
            TicketState::Leaving => TicketState::Withdrawn(obstacle),
            TicketState::Withdrawn(before) => TicketState::Withdrawn(before),
        };
        self.shared.released.notify_one();
    }

    /// Notes that it is not known whether the work was done; only an answer ends that.
    pub fn doubt(&self) {
        self.shared.progress().in_doubt = true;
    }

    /// The refusal that a request is given now: that nothing was done, unless that is in doubt.
    pub fn refusal(&self, refusal: Refusal) -> Refusal {
        if self.shared.progress().in_doubt { Refusal::DatabaseUnavailable } else { refusal }
    }

    pub fn is_withdrawn(&self) -> bool {
        matches!(self.shared.progress().ticket, TicketState::Withdrawn(_))
    }

    pub fn answer(self, answer: A) {
        // Nobody listens where the client has gone away; the work is done all the same.
        let _ = self.answer.send(answer);
    }
}

/// The two halves of tickets that failed together, the first to be tried last in the list. Their transaction
/// has ended, so a request whose time is over goes now.
pub(super) fn halves<W, A>(
    mut tickets: Vec<Ticket<W, A>>,
    obstacle: Obstacle,
) -> [Vec<Ticket<W, A>>; 2] {
    tickets.iter().for_each(|ticket| ticket.release(obstacle));
    let second = tickets.split_off(tickets.len().div_euclid(2));
    [second, tickets]
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

    /// How many requests wait to be taken up.
    pub fn waiting(&self) -> usize {
        self.tickets.max_capacity().saturating_sub(self.tickets.capacity())
    }

    /// Queues work and waits for its answer.
    ///
    /// # Errors
    /// The obstacle that it was waiting for when its time was over; it was not done, and will not be. A full
    /// queue says so at once.
    pub async fn submit(&self, work: W) -> Result<A, Obstacle> {
        let (answer, mut answered) = oneshot::channel();
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress {
                ticket: TicketState::Waiting(Obstacle::Queue),
                in_doubt: false,
            }),
            released: Notify::new(),
        });
        let waiting = Waiting(Arc::clone(&shared));
        let ticket =
            Ticket { work, queued_at: Instant::now(), shared: Arc::clone(&shared), answer };
        self.tickets.try_send(ticket).map_err(|_| Obstacle::Queue)?;

        // A ticket that was withdrawn is dropped without an answer; any other only by a writer that is
        // gone.
        let unanswered = |_| waiting.0.withdraw().unwrap_or(Obstacle::Database);
        if let Ok(answer) = tokio::time::timeout(self.timeout, &mut answered).await {
            return answer.map_err(unanswered);
        }
        loop {
            if let Some(obstacle) = waiting.0.withdraw() {
                return Err(obstacle);
            }
            tokio::select! {
                answer = &mut answered => return answer.map_err(unanswered),
                () = shared.released.notified() => {}
            }
        }
    }
}
