//! Whether the database is there for payments, and what time it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::{Duration as SignedDuration, OffsetDateTime};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::config::{Settings, milliseconds};
use crate::db::{self, Error, Open, PgConnection, Purpose, Target, Unfit};
use crate::telemetry::metrics::METRICS;

/// How far the clocks of the database and the service may be apart before somebody is told.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::seconds(5);

/// How often the service looks by itself, for its metrics, where nobody else asks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[must_use]
pub fn is_too_far_apart(skew: SignedDuration) -> bool {
    skew.abs() > CLOCK_SKEW_MAX
}

/// Looks at the database as a writer would find it, on a session of its own: many reads do not make the
/// service unready.
pub struct HealthProbe {
    target: Target,
    /// How long a look may take, and the wait for its turn half of that.
    limit: Duration,
    /// Requests that wait for their turn, and the one whose turn it is.
    askers: Semaphore,
    session: Mutex<Option<Open>>,
    is_skewed: AtomicBool,
}

/// The reason why the service is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReady {
    /// Too many ask.
    Overloaded,
    /// The database takes no payments: a sentence that says why, as far as everybody may know it. The
    /// operator was told all.
    Database(String),
}

impl HealthProbe {
    pub(super) fn new(target: &Target, settings: &Settings) -> Self {
        Self {
            target: target.clone(),
            limit: milliseconds(settings.database.read_timeout_ms),
            askers: Semaphore::new(settings.writer.queue_max.get()),
            session: Mutex::default(),
            is_skewed: AtomicBool::new(false),
        }
    }

    /// Whether the database answers, has the ledger in it, and takes payments. Returns how far its
    /// clock is ahead of ours.
    ///
    /// # Errors
    /// It does not, or too many ask.
    pub async fn ready(&self) -> Result<SignedDuration, NotReady> {
        let looked = self.look().await;
        // That too many ask says nothing of the database.
        if looked != Err(NotReady::Overloaded) {
            METRICS.ready(looked.is_ok());
        }
        if let Ok(skew) = looked {
            self.tell_of(skew);
        }
        looked
    }

    async fn look(&self) -> Result<SignedDuration, NotReady> {
        let _asker = self.askers.try_acquire().map_err(|_| NotReady::Overloaded)?;
        let turn = timeout(self.limit.div_f32(2.0), self.session.lock()).await;
        let mut session = turn.map_err(|_| NotReady::Overloaded)?;
        // Taken out: a look that is cut off leaves none behind, because its answer is still to come.
        let young = session.take().filter(Open::is_young);
        let looked = timeout(self.limit, self.look_with(young)).await;
        match looked.unwrap_or_else(|_| Err(Error::timed_out())) {
            Ok((skew, kept)) => {
                *session = Some(kept);
                Ok(skew)
            }
            Err(error) => {
                tracing::warn!(%error, "the service is not ready");
                Err(NotReady::Database(match error.unfit() {
                    Some(Unfit::LacksRights { .. }) => {
                        "The service's role lacks rights that payments need: `payonce migrate` gives them."
                            .to_owned()
                    }
                    Some(unfit) => format!("The database is not to be used: {unfit}."),
                    None => "The database does not answer as it should; the service's log says why."
                        .to_owned(),
                }))
            }
        }
    }

    /// Looks, and where the session says no, again on a new one: what a role may do and what its database
    /// sets for it is taken up when a session begins, so an old one may not know better.
    async fn look_with(&self, kept: Option<Open>) -> Result<(SignedDuration, Open), Error> {
        if let Some(mut kept) = kept
            && let Ok(skew) = self.look_once(&mut kept.conn).await
        {
            return Ok((skew, kept));
        }
        let mut new = Open::new(&self.target, Purpose::Look).await?;
        let skew = self.look_once(&mut new.conn).await?;
        Ok((skew, new))
    }

    async fn look_once(&self, conn: &mut PgConnection) -> Result<SignedDuration, Error> {
        let asked_at = OffsetDateTime::now_utc();
        let now = db::health::look(conn, &self.target).await?;
        Ok(skew(asked_at, now, OffsetDateTime::now_utc()))
    }

    fn tell_of(&self, skew: SignedDuration) {
        METRICS.clock_skew(skew);
        let is_skewed = is_too_far_apart(skew);
        if is_skewed != self.is_skewed.swap(is_skewed, Ordering::Relaxed) {
            let skew_seconds = skew.as_seconds_f64();
            if is_skewed {
                tracing::warn!(
                    skew_seconds,
                    "the database's clock and the service's are far apart"
                );
            } else {
                tracing::info!(skew_seconds, "the database's clock and the service's agree again");
            }
        }
    }
}

/// Looks again and again, for the metrics.
pub async fn keep_looking(health: Arc<HealthProbe>) {
    loop {
        // The operator is told of all that it finds.
        let _ = health.ready().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a clock that was read between two moments of ours is certainly off.
#[expect(clippy::arithmetic_side_effects, reason = "no clock is some 10,000 years off")]
fn skew(before: OffsetDateTime, read: OffsetDateTime, after: OffsetDateTime) -> SignedDuration {
    if read < before {
        read - before
    } else if read > after {
        read - after
    } else {
        SignedDuration::ZERO
    }
}
