//! Whether the database is there for payments, and what time it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::{Duration as SignedDuration, OffsetDateTime};

use super::reading::Readers;
use super::{Limits, Refusal};
use crate::db::{self, PgConnection, Purpose, Target};
use crate::telemetry::metrics::METRICS;

/// How far the clocks of the database and the service may be apart before somebody is told.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::seconds(5);

/// How often the service looks by itself, for its metrics, where nobody else asks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[must_use]
pub fn is_too_far_apart(skew: SignedDuration) -> bool {
    skew.abs() > CLOCK_SKEW_MAX
}

/// Looks at the database, on a session of its own: many reads do not make the service unready.
pub struct Health {
    readers: Readers,
    is_skewed: AtomicBool,
}

impl Health {
    pub(super) fn new(target: &Target, limits: Limits) -> anyhow::Result<Self> {
        let wait_max = limits.read_timeout.div_f32(2.0);
        let pool = db::pool(target.clone(), Purpose::Look, 1, wait_max)?;
        let readers = Readers::new(pool, limits.queue_max, limits.read_timeout);
        Ok(Self { readers, is_skewed: AtomicBool::new(false) })
    }

    /// Whether the database answers, has the ledger in it, and takes payments. Returns how far its
    /// clock is ahead of ours.
    ///
    /// # Errors
    /// [`Refusal::DatabaseUnavailable`], the operator was told why; or [`Refusal::Overloaded`]: too
    /// many ask.
    pub async fn ready(&self) -> Result<SignedDuration, Refusal> {
        let looked = self.look().await;
        METRICS.ready(looked.is_ok());
        looked
    }

    async fn look(&self) -> Result<SignedDuration, Refusal> {
        let look = async |conn: &mut PgConnection| {
            let asked_at = OffsetDateTime::now_utc();
            let health = db::health::look(conn).await?;
            Ok((asked_at, health, OffsetDateTime::now_utc()))
        };
        let (asked_at, health, answered_at) =
            self.readers.run(look).await.map_err(|refusal| match refusal {
                Refusal::Overloaded => Refusal::Overloaded,
                _ => Refusal::DatabaseUnavailable,
            })?;
        if let Some(trouble) = health.trouble() {
            tracing::warn!("the database is not ready: {trouble}");
            return Err(Refusal::DatabaseUnavailable);
        }
        let skew = skew(asked_at, health.now, answered_at);
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
        Ok(skew)
    }
}

/// Looks again and again, for the metrics.
pub async fn keep_looking(health: Arc<Health>) {
    loop {
        // Whatever it finds is told to the operator.
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
