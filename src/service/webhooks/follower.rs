//! A follower: the task of one webhook. It goes through the feed from the webhook's position and delivers one payment
//! after another; after a failure it waits, and tries the same one again. So a slow receiver delays nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::delivery::{Courier, Failure};
use super::lease::Lease;
use super::pages::Pages;
use crate::db::webhooks::{Endpoint, Next, Reached};
use crate::domain::{FeedPayment, Position, Timestamp};

/// The pause where the feed cannot be read, or a failure cannot be noted.
const PAUSE: Duration = Duration::from_secs(1);

/// The things that all followers share.
pub(super) struct Shared {
    pub pages: Pages,
    pub courier: Arc<Courier>,
    pub lease: Lease,
    /// Between a failure and the next attempt, the first, the second... After the last one there is none.
    pub pauses: Vec<Duration>,
    pub reports: mpsc::Sender<Report>,
}

/// What a follower has to be noted in the database.
pub(super) enum Report {
    Reached(Reached),
    Failed {
        /// Everything before the payment that it was about.
        reached: Reached,
        failures: u32,
        why: String,
        next: Next,
        /// How long until the next attempt is due; `None`: the webhook was removed or changed meanwhile.
        due_in: oneshot::Sender<Option<Duration>>,
    },
}

/// The time of the payment that a follower is about to deliver.
#[derive(Default)]
pub(super) struct Head(AtomicI64);

impl Head {
    /// Nothing is made in that moment.
    const NONE: i64 = i64::MIN;

    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::NONE)))
    }

    fn set(&self, made_at: Option<Timestamp>) {
        self.0.store(made_at.map_or(Self::NONE, Timestamp::unix_us), Ordering::Relaxed);
    }

    /// How long ago it was made; zero where everything is delivered.
    pub fn age(&self, now: Timestamp) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            Self::NONE => Duration::ZERO,
            made_at => {
                let us = now.unix_us().saturating_sub(made_at);
                Duration::from_micros(u64::try_from(us).unwrap_or_default())
            }
        }
    }
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    head: Arc<Head>,
    /// Ends when nothing more is to be delivered.
    endpoints: watch::Receiver<Arc<Endpoint>>,
    endpoint: Arc<Endpoint>,
    position: Position,
    failures: u32,
    due: Instant,
}

/// What a follower does after an attempt.
enum Then {
    GoOn,
    /// Something has changed: it looks again.
    LookAgain,
    /// The webhook is disabled.
    End,
}

impl Follower {
    pub fn new(
        shared: Arc<Shared>,
        head: Arc<Head>,
        mut endpoints: watch::Receiver<Arc<Endpoint>>,
    ) -> Self {
        let endpoint = Arc::clone(&endpoints.borrow_and_update());
        Self {
            shared,
            head,
            endpoints,
            position: endpoint.position,
            failures: endpoint.failures,
            due: after(endpoint.due_in),
            endpoint,
        }
    }

    pub async fn run(mut self) {
        loop {
            let page = tokio::select! {
                biased;
                changed = self.endpoints.changed() => match changed {
                    Ok(()) => {
                        self.take_up_change().await;
                        continue;
                    }
                    Err(_) => return,
                },
                page = self.shared.pages.after(self.position) => page,
            };
            match page {
                Ok(page) => {
                    if matches!(self.go_through(&page).await, Then::End) {
                        return;
                    }
                    self.head.set(None);
                }
                // The operator was told.
                Err(_) => self.unless_changed(tokio::time::sleep(PAUSE)).await.unwrap_or_default(),
            }
        }
    }

    /// With other accounts it goes on from where the database says: it may have passed over what is about them.
    ///
    /// The database may not know of the last delivery: its note was of the webhook before the change.
    async fn take_up_change(&mut self) {
        let new = Arc::clone(&self.endpoints.borrow_and_update());
        if new.revision != self.endpoint.revision {
            self.failures = self.failures.min(new.failures);
            self.due = after(new.due_in);
        }
        if new.accounts != self.endpoint.accounts {
            self.position = new.position;
        }
        self.endpoint = new;
        if self.position > self.endpoint.position {
            self.report(Report::Reached(self.reached(self.position, self.failures == 0))).await;
        }
    }

    async fn go_through(&mut self, page: &[FeedPayment]) -> Then {
        let mut has_passed_over = false;
        let first = self.position;
        for made in page.iter().filter(|made| made.position > first) {
            let is_wanted = self.endpoint.accounts.take_part_in(&made.payment);
            if is_wanted {
                match self.deliver(made).await {
                    Then::GoOn => {}
                    then => return then,
                }
            }
            has_passed_over = !is_wanted;
            self.position = made.position;
        }
        if has_passed_over {
            self.report(Report::Reached(self.reached(self.position, false))).await;
        }
        Then::GoOn
    }

    /// Delivers a payment, however often it takes.
    async fn deliver(&mut self, made: &FeedPayment) -> Then {
        self.head.set(Some(made.payment.created_at));
        loop {
            let shared = Arc::clone(&self.shared);
            let turn = async {
                tokio::time::sleep_until(self.due).await;
                shared.lease.holds().await;
            };
            if unless_changed(&mut self.endpoints, turn).await.is_none() {
                return Then::LookAgain;
            }
            // It is not given up half-way, so that its outcome is noted.
            match shared.courier.deliver(&self.endpoint, made).await {
                Ok(()) => {
                    self.failures = 0;
                    self.report(Report::Reached(self.reached(made.position, true))).await;
                    return Then::GoOn;
                }
                Err(failure) => {
                    if let then @ (Then::LookAgain | Then::End) = self.note(failure).await {
                        return then;
                    }
                }
            }
        }
    }

    /// Notes a failure, and when the next attempt is due.
    async fn note(&mut self, failure: Failure) -> Then {
        let Failure { why, is_final, retry_after } = failure;
        let failures = self.failures.saturating_add(1);
        let pause = usize::try_from(self.failures).ok().and_then(|it| self.shared.pauses.get(it));
        let next = match pause {
            Some(pause) if !is_final => Next::After { pause: *pause, at_least: retry_after },
            _ => Next::Disable,
        };
        let webhook = self.endpoint.id.uuid();
        let (due_in, noted) = oneshot::channel();
        let reached = self.reached(self.position, false);
        let report = Report::Failed { reached, failures, why: why.clone(), next, due_in };
        self.report(report).await;
        match (noted.await, next) {
            (Ok(Some(due_in)), Next::After { .. }) => {
                tracing::info!(%webhook, failures, why, ?due_in, "a delivery failed");
                self.failures = failures;
                self.due = after(due_in);
                Then::GoOn
            }
            (Ok(Some(_)), Next::Disable) => {
                tracing::warn!(%webhook, failures, why, "a webhook was disabled");
                Then::End
            }
            // What has changed is about to be told.
            (Ok(None) | Err(_), _) => {
                let _ = self.unless_changed(tokio::time::sleep(PAUSE)).await;
                Then::LookAgain
            }
        }
    }

    fn reached(&self, position: Position, delivered: bool) -> Reached {
        let Endpoint { id, revision, .. } = *self.endpoint;
        Reached { id, revision, position, delivered }
    }

    async fn report(&self, report: Report) {
        // Where nobody takes it any more, this task is about to be ended.
        let _ = self.shared.reports.send(report).await;
    }

    async fn unless_changed<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        unless_changed(&mut self.endpoints, wait).await
    }
}

/// Waits; `None` where the webhook was changed or is to be let go.
async fn unless_changed<T>(
    endpoints: &mut watch::Receiver<Arc<Endpoint>>,
    wait: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = endpoints.changed() => {
            // It is taken up by the one loop that does.
            endpoints.mark_changed();
            None
        }
        done = wait => Some(done),
    }
}

fn after(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}
