//! Writes down what clients ask and are told, on one clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::record::{
    Attempt, BalanceRead, Delivery, Draft, ErrandRun, FeedRead, Heard, Outcome, Records, Scroll,
};

/// A recovery that takes longer fails the run.
const RECOVERY_MAX: Duration = Duration::from_mins(1);

pub struct Recorder {
    began: Instant,
    records: Mutex<Records>,
    /// When the youngest payment that was acknowledged had been asked for.
    paid_asked_us: AtomicU64,
    delivered: AtomicU64,
    /// Clients that gave up before they had a definite answer, or before they had read all of the feed.
    given_up: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            records: Mutex::default(),
            paid_asked_us: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    /// Microseconds since the run began.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    pub fn attempt(&self, attempt: Attempt) {
        if matches!(attempt.outcome, Outcome::Done { .. }) {
            self.paid_asked_us.fetch_max(attempt.asked_us, Ordering::Relaxed);
        }
        self.lock().attempts.push(attempt);
    }

    pub fn errand(&self, run: ErrandRun) {
        self.lock().errands.push(run);
    }

    pub fn balance(&self, read: BalanceRead) {
        self.lock().balances.push(read);
    }

    pub fn scroll(&self, scroll: Scroll) {
        self.lock().scrolls.push(scroll);
    }

    pub fn feed(&self, read: FeedRead) {
        self.lock().feed.push(read);
    }

    pub fn heard(&self, heard: Heard) {
        self.lock().heard.push(heard);
    }

    pub fn deliver_after(&self, position: u64) {
        self.lock().deliveries_after = Some(position);
    }

    pub fn delivery(&self, delivery: Delivery) {
        if let Some(position) = delivery.position().filter(|_| delivery.is_taken) {
            self.delivered.fetch_max(position, Ordering::Relaxed);
        }
        self.lock().deliveries.push(delivery);
    }

    /// The largest position that a receiver has taken.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn draft(&self, draft: Draft) {
        self.lock().drafts.push(draft);
    }

    /// From now on the database may refuse this payer's payments.
    pub fn refuse(&self, payer: i64) {
        self.lock().refused_payers.insert(payer);
    }

    pub fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// How long it takes from a moment until a payment is acknowledged that was asked for since.
    ///
    /// # Errors
    /// None is within a minute from now.
    pub async fn recovery(&self, since_us: u64) -> Result<Duration> {
        let began = Instant::now();
        while self.paid_asked_us.load(Ordering::Relaxed) < since_us {
            ensure!(began.elapsed() < RECOVERY_MAX, "no payment was made for {RECOVERY_MAX:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Duration::from_micros(self.now_us().saturating_sub(since_us)))
    }

    /// Reads may be answered by replicas from now on.
    pub fn reads_run_ahead(&self) {
        self.lock().reads_run_ahead = true;
    }

    /// All that was written down until now.
    #[must_use]
    pub fn take(&self) -> Records {
        std::mem::take(&mut self.lock())
    }

    /// Looks at the attempts so far.
    pub fn look<T>(&self, at: impl FnOnce(&[Attempt]) -> T) -> T {
        at(&self.lock().attempts)
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
