//! Deliveries: one payment, signed by Standard Webhooks, to one address, once.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, redirect};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;

use super::address::{NotPublic, PublicAddresses, WebhookUrl};
use crate::config::{self, milliseconds};
use crate::db::webhooks::Endpoint;
use crate::domain::{FeedPayment, WebhookMessage};
use crate::telemetry::metrics::METRICS;

/// How much of an answer is read, and for how long, so that the connection can be used again. What it says is nobody's.
const ANSWER_BYTES_MAX: usize = 16_384;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections to a receiver that waits for nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pause that a receiver can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What is kept of the reason for a failure.
const WHY_CHARACTERS_MAX: usize = 200;

/// What came of a delivery, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Delivered,
    /// Answered with a status that is no success.
    Rejected,
    /// Answered with 410: nothing more is wanted.
    Gone,
    TimedOut,
    /// The address is not a public one.
    NotPublic,
    Unreachable,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Delivered,
        Self::Rejected,
        Self::Gone,
        Self::TimedOut,
        Self::NotPublic,
        Self::Unreachable,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::TimedOut => "timed_out",
            Self::NotPublic => "not_public",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The names of what may come of deliveries.
pub fn outcomes() -> impl Iterator<Item = &'static str> {
    Outcome::ALL.into_iter().map(Outcome::name)
}

/// A delivery that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For operators.
    pub why: String,
    /// Whether the receiver wants nothing more, ever.
    pub is_final: bool,
    /// How long the receiver wants to be left alone, at least.
    pub retry_after: Duration,
}

/// Brings payments to receivers.
pub(super) struct Courier {
    client: Client,
    may_be_private: bool,
}

impl Courier {
    /// # Errors
    /// The client cannot be built.
    pub fn new(settings: &config::Webhooks) -> anyhow::Result<Self> {
        let may_be_private = settings.allow_private_addresses;
        let mut client = Client::builder()
            .user_agent(concat!("payonce/", env!("CARGO_PKG_VERSION")))
            .timeout(milliseconds(settings.timeout_ms))
            .redirect(redirect::Policy::none())
            // A proxy would look names up by itself.
            .no_proxy()
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE_TIMEOUT);
        if !may_be_private {
            client = client.dns_resolver(PublicAddresses);
        }
        Ok(Self { client: client.build()?, may_be_private })
    }

    /// Delivers a payment.
    ///
    /// # Errors
    /// The receiver did not say that it has it. It may have it all the same.
    pub async fn deliver(&self, to: &Endpoint, made: &FeedPayment) -> Result<(), Failure> {
        let (outcome, result) = match self.attempt(to, made).await {
            Ok(()) => (Outcome::Delivered, Ok(())),
            Err((outcome, failure)) => (outcome, Err(failure)),
        };
        METRICS.webhook_delivery(outcome.name());
        result
    }

    async fn attempt(&self, to: &Endpoint, made: &FeedPayment) -> Result<(), (Outcome, Failure)> {
        // The settings may have changed since it was added.
        let url = WebhookUrl::new(&to.url, self.may_be_private)
            .map_err(|invalid| failure(Outcome::NotPublic, &invalid.to_string()))?;
        let id = made.payment.id.uuid().to_string();
        let timestamp = OffsetDateTime::now_utc().unix_timestamp();
        let body = WebhookMessage::of(made).json();
        let signature = signature(to, &id, timestamp, &body)
            .ok_or_else(|| failure(Outcome::Unreachable, "its secret cannot be used"))?;
        let request = self
            .client
            .post(url.url())
            .header(CONTENT_TYPE, "application/json")
            .header(standardwebhooks::HEADER_WEBHOOK_ID, id)
            .header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body);
        let response = request.send().await.map_err(|error| unanswered(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // Where it is not read to its end, the connection is closed.
        let _ = timeout(ANSWER_TIMEOUT, read(response)).await;
        if status.is_success() {
            return Ok(());
        }
        let is_final = status.as_u16() == 410;
        let outcome = if is_final { Outcome::Gone } else { Outcome::Rejected };
        let why = match status.as_u16() {
            300..400 => format!("answered with {status}; redirects are not followed"),
            _ => format!("answered with {status}"),
        };
        Err((outcome, Failure { why, is_final, retry_after }))
    }
}

fn failure(outcome: Outcome, why: &str) -> (Outcome, Failure) {
    let why = why.chars().take(WHY_CHARACTERS_MAX).collect();
    (outcome, Failure { why, is_final: false, retry_after: Duration::ZERO })
}

/// Signed with the secret, and with the one before for as long as that is valid.
fn signature(to: &Endpoint, id: &str, timestamp: i64, body: &str) -> Option<String> {
    let sign = |secret: &String| {
        standardwebhooks::Webhook::new(secret).ok()?.sign(id, timestamp, body.as_bytes()).ok()
    };
    let signatures: Option<Vec<String>> =
        [Some(&to.secret), to.old_secret.as_ref()].into_iter().flatten().map(sign).collect();
    Some(signatures?.join(" "))
}

/// A request that was not answered, or not in time. The URL may have a secret in it, and is not told.
fn unanswered(error: &reqwest::Error) -> (Outcome, Failure) {
    if error.is_timeout() {
        return failure(Outcome::TimedOut, "did not answer in time");
    }
    let mut deepest = error.source();
    while let Some(source) = deepest {
        if source.is::<NotPublic>() {
            return failure(Outcome::NotPublic, &NotPublic.to_string());
        }
        match source.source() {
            Some(deeper) => deepest = Some(deeper),
            None => return failure(Outcome::Unreachable, &format!("cannot be reached: {source}")),
        }
    }
    failure(Outcome::Unreachable, "cannot be reached")
}

async fn read(mut response: Response) {
    let mut left = ANSWER_BYTES_MAX;
    while let Ok(Some(chunk)) = response.chunk().await
        && left > chunk.len()
    {
        left = left.saturating_sub(chunk.len());
    }
}

/// Seconds, or a moment (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = asked.and_then(|text| {
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let moment = SystemTime::from(OffsetDateTime::parse(text, &Rfc2822).ok()?);
        moment.duration_since(SystemTime::now()).ok()
    });
    asked.unwrap_or_default().min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests;
