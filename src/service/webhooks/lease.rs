//! The lease: for how long it is certain that this process is the one that sends.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Postgres ends the session that makes this process the one that sends when it is idle for longer than two seconds.
const CERTAIN_FOR: Duration = Duration::from_millis(1_500);

/// A process that was paused finds, when it goes on, that its lease is over: it begins no delivery until a statement
/// has told it that its session still lives.
pub(super) struct Lease(watch::Sender<Instant>);

impl Lease {
    pub fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    /// A statement of the session was answered that had been sent then.
    pub fn extend(&self, asked_at: Instant) {
        self.0.send_replace(asked_at.checked_add(CERTAIN_FOR).unwrap_or(asked_at));
    }

    /// Waits until it holds.
    pub async fn holds(&self) {
        // The sender is in `self`: it does not end before the wait.
        let _ = self.0.subscribe().wait_for(|until| Instant::now() < *until).await;
    }
}
