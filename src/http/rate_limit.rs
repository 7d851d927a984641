//! How often a payer may pay, and an address may ask. Each limit is a bucket that fills evenly (the
//! generic cell rate algorithm); callers learn from `RateLimit` how full theirs is.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::error::ApiError;
use super::headers::{RATE_LIMIT, RATE_LIMIT_POLICY, X_FORWARDED_FOR};
use crate::config::Settings;
use crate::domain::AccountId;

const MINUTE: Duration = Duration::from_mins(1);

/// After so many requests those callers are forgotten whose bucket is full again.
const SWEEP_REQUESTS: u32 = 65_536;

/// The limits of the settings; `None`: no limit.
pub(super) struct RateLimits {
    pub payer: Option<Limit<AccountId>>,
    address: Option<Limit<Network>>,
    trusted_proxies: usize,
}

impl RateLimits {
    pub fn of(settings: &Settings) -> Self {
        let limits = &settings.rate_limit;
        Self {
            payer: Limit::new("payer", limits.payer_per_minute, limits.payer_burst),
            address: Limit::new("address", limits.address_per_minute, limits.address_burst),
            trusted_proxies: settings.server.trusted_proxies.get(),
        }
    }
}

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

/// What is left to a caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    name: &'static str,
    burst: u32,
    remaining: u32,
    period: Duration,
}

/// A caller has nothing left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exceeded {
    pub standing: Standing,
    pub retry_after_seconds: u64,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(
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
    pub fn check(&self, caller: &K) -> Result<Standing, Exceeded> {
        if self.until_sweep.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.buckets.retain_recent();
            self.until_sweep.store(SWEEP_REQUESTS, Ordering::Relaxed);
        }
        let Self { name, burst, period, .. } = *self;
        let standing = |remaining| Standing { name, burst: burst.get(), remaining, period };
        match self.buckets.check_key(caller) {
            Ok(left) => Ok(standing(left.remaining_burst_capacity())),
            Err(refused) => {
                let wait = refused.wait_time_from(self.buckets.clock().now());
                Err(Exceeded { standing: standing(0), retry_after_seconds: ceil_seconds(wait) })
            }
        }
    }
}

/// Whole seconds, at least one.
fn ceil_seconds(duration: Duration) -> u64 {
    let begun = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(begun).max(1)
}

impl Standing {
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
        let Self { standing: Standing { name, .. }, retry_after_seconds } = self;
        write!(f, "This {name} asks too often; the next request is due in {retry_after_seconds} s.")
    }
}

/// Who shares a bucket: an IPv4 address, or a network of IPv6, of which one subscriber has 2^64
/// addresses (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Limits all requests but those of whoever watches the service.
pub(super) async fn by_address<B: MessageBody + 'static>(
    limits: web::Data<RateLimits>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let limit = limits.address.as_ref().filter(|_| !is_watching(request.path()));
    let address = limit.and_then(|_| client_address(&request, limits.trusted_proxies));
    let standing = match limit.zip(address) {
        Some((limit, address)) => limit.check(&Network::of(address)).map(Some),
        None => Ok(None),
    };
    match standing {
        Ok(standing) => {
            let mut response = next.call(request).await?;
            if let Some(standing) = standing {
                standing.tell(response.headers_mut());
            }
            Ok(response.map_into_left_body())
        }
        Err(exceeded) => {
            let answer = ApiError::from(exceeded).error_response();
            Ok(request.into_response(answer).map_into_right_body())
        }
    }
}

fn is_watching(path: &str) -> bool {
    path.starts_with("/health/") || path == "/metrics"
}

/// The client's address: that of the connection, or what the outermost of our own proxies saw.
/// Further to the left of `X-Forwarded-For` stands what the client itself has claimed.
fn client_address(request: &ServiceRequest, trusted_proxies: usize) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|address| address.ip());
    let headers: Vec<&HeaderValue> = request.headers().get_all(X_FORWARDED_FOR).collect();
    // As bytes, so that nothing that a client puts to the left can spoil what stands on the right.
    let seen = headers.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let seen = seen.map(<[u8]>::trim_ascii).filter(|address| !address.is_empty());
    let trusted = seen.take(trusted_proxies).last();
    trusted.and_then(|text| parse_address(std::str::from_utf8(text).ok()?)).or(peer)
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests;
