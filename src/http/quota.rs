//! How often somebody may do something. Each has a bucket that fills evenly (the generic cell rate
//! algorithm); callers learn from `RateLimit` how full theirs is.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::headers::{RATE_LIMIT, RATE_LIMIT_POLICY};

const MINUTE: Duration = Duration::from_mins(1);

/// After so many requests those callers are forgotten whose bucket is full again.
const SWEEP_REQUESTS: u32 = 65_536;

type Buckets<K> =
    RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A limit for each caller of a kind.
pub(super) struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    burst: NonZeroU32,
    /// After which one more request is free.
    period: Duration,
    buckets: Buckets<K>,
    until_sweep: AtomicU32,
}

/// The rest of a caller's quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuotaState {
    name: &'static str,
    burst: u32,
    remaining: u32,
    period: Duration,
}

/// A caller has nothing left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exceeded {
    pub quota: QuotaState,
    pub retry_after_seconds: u64,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    /// `None`: there is no limit.
    pub fn new(
        name: &'static str,
        per_minute: Option<NonZeroU32>,
        burst: Option<NonZeroU32>,
    ) -> Option<Self> {
        let per_minute = per_minute?;
        let burst = burst.unwrap_or(per_minute);
        let period = MINUTE.checked_div(per_minute.get())?;
        let quota = Quota::with_period(period)?.allow_burst(burst);
        let buckets = RateLimiter::keyed(quota).with_middleware();
        Some(Self { name, burst, period, buckets, until_sweep: SWEEP_REQUESTS.into() })
    }

    /// Takes one request out of a caller's bucket.
    pub fn check(&self, caller: &K) -> Result<QuotaState, Exceeded> {
        if self.until_sweep.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.buckets.retain_recent();
            self.until_sweep.store(SWEEP_REQUESTS, Ordering::Relaxed);
        }
        let Self { name, burst, period, .. } = *self;
        let quota = |remaining| QuotaState { name, burst: burst.get(), remaining, period };
        match self.buckets.check_key(caller) {
            Ok(left) => Ok(quota(left.remaining_burst_capacity())),
            Err(refused) => {
                let wait = refused.wait_time_from(self.buckets.clock().now());
                Err(Exceeded { quota: quota(0), retry_after_seconds: ceil_seconds(wait) })
            }
        }
    }
}

/// Whole seconds, at least one.
fn ceil_seconds(duration: Duration) -> u64 {
    let begun = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(begun).max(1)
}

impl QuotaState {
    /// Adds what the caller is to know to an answer. Each limit is a member of a list (RFC 9651), so
    /// a header for each will do.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let Self { name, burst, remaining, period } = *self;
        let used = burst.saturating_sub(remaining);
        let (reset, window) = (period.saturating_mul(used), period.saturating_mul(burst));
        let (reset, window) = (ceil_seconds(reset), ceil_seconds(window));
        let left = HeaderValue::try_from(format!("\"{name}\";r={remaining};t={reset}"));
        let policy = HeaderValue::try_from(format!("\"{name}\";q={burst};w={window}"));
        if let (Ok(left), Ok(policy)) = (left, policy) {
            headers.append(RATE_LIMIT, left);
            headers.append(RATE_LIMIT_POLICY, policy);
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quota: QuotaState { name, .. }, retry_after_seconds } = self;
        write!(f, "This {name} asks too often; the next request is due in {retry_after_seconds} s.")
    }
}
