//! What a run of one fault amounted to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::record::{Errand, Outcome, Records, Reference};

/// Of one fault.
#[derive(Debug, Default)]
pub struct Figures {
    pub fault: &'static str,
    pub seed: u64,
    pub postgres: String,
    /// How often it happened.
    pub times: u64,
    /// Intents that were acknowledged.
    pub paid: u64,
    /// Of these, refunds.
    pub refunds: u64,
    /// And of these, requests for money.
    pub requests_paid: u64,
    /// Keys that were voided before they paid.
    pub voided: u64,
    /// Payments that were acknowledged in bulks.
    pub in_bulks: u64,
    /// Requests to pay.
    pub asked: u64,
    /// Requests for an intent that had been asked for before.
    pub repeated: u64,
    /// Acknowledgements that were marked as replayed.
    pub replayed: u64,
    /// Requests without an answer.
    pub lost: u64,
    /// Refusals by code.
    pub refused: BTreeMap<String, u64>,
    pub reads: u64,
    /// Positions of the feed that followers were given.
    pub followed: u64,
    /// Payments that a webhook's receiver took.
    pub delivered: u64,
    /// Payments that listeners heard of.
    pub heard: u64,
    /// From the end of a fault, or the begin of a restart, to the next payment.
    pub recoveries: Vec<Duration>,
    /// COMMITs whose answer was cut.
    pub commits_unanswered: u64,
    pub violations: Vec<String>,
    pub claims: Vec<Claim>,
    pub took: Duration,
}

/// A promise about time or memory.
#[derive(Debug, Clone)]
pub struct Claim {
    pub what: String,
    pub figure: f64,
    pub most: f64,
}

impl Claim {
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.figure <= self.most
    }
}

impl Figures {
    #[must_use]
    pub fn new(fault: &'static str, seed: u64) -> Self {
        Self { fault, seed, ..Self::default() }
    }

    pub fn count(&mut self, records: &Records) {
        // Whether each intent was acknowledged.
        let mut intents: HashMap<(i64, Cow<str>), bool> = HashMap::new();
        for attempt in &records.attempts {
            let intent = &attempt.intent;
            let place = (intent.from, intent.payment_key());
            self.asked += 1;
            self.repeated += u64::from(intents.contains_key(&place));
            let is_paid = intents.entry(place).or_default();
            match &attempt.outcome {
                Outcome::Done { replayed, .. } => {
                    self.replayed += u64::from(*replayed);
                    self.in_bulks += u64::from(attempt.is_in_bulk);
                    if !std::mem::replace(is_paid, true) {
                        self.paid += 1;
                        self.refunds +=
                            u64::from(matches!(intent.refers_to, Reference::Payment(_)));
                        self.requests_paid +=
                            u64::from(matches!(intent.refers_to, Reference::Request(_)));
                    }
                }
                Outcome::Refused { code, .. } => {
                    *self.refused.entry(code.clone()).or_default() += 1;
                }
                Outcome::Lost => self.lost += 1,
            }
        }
        let mut voided = HashSet::new();
        for run in &records.errands {
            match (&run.errand, &run.outcome) {
                (Errand::Void { payer, key }, Outcome::Done { body, .. }) => {
                    if body == r#"{"voided":true}"# {
                        voided.insert((payer, key));
                    }
                }
                (_, Outcome::Done { .. }) => {}
                (_, Outcome::Refused { code, .. }) => {
                    *self.refused.entry(code.clone()).or_default() += 1;
                }
                (_, Outcome::Lost) => self.lost += 1,
            }
        }
        self.voided += voided.len() as u64;
        self.reads += records.balances.len() as u64;
        self.followed +=
            records.feed.iter().map(|read| read.next.saturating_sub(read.after)).sum::<u64>();
        self.delivered += records.deliveries.iter().filter(|it| it.is_taken).count() as u64;
        // The first event of each connection is its begin.
        let heard = records.heard.iter().map(|heard| heard.events.len().saturating_sub(1));
        self.heard += heard.sum::<usize>() as u64;
        self.reads += records.scrolls.iter().map(|scroll| scroll.pages.len() as u64).sum::<u64>();
    }

    /// Adds a claim that a figure is at most something.
    pub fn claim(&mut self, what: impl Into<String>, figure: f64, most: f64) {
        self.claims.push(Claim { what: what.into(), figure, most });
    }

    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.violations.is_empty() && self.claims.iter().all(Claim::is_kept)
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let refused: Vec<String> =
            self.refused.iter().map(|(code, count)| format!("{code} {count}")).collect();
        format!(
            "{}: {} times, {} paid ({} refunds, {} requests, {} in bulks), {} keys voided, {} asked, {} repeated, {} replayed, {} lost, {} reads, {} positions followed, {} heard, {} delivered, refused: \
             [{}], slowest recovery {:.2} s, {} COMMITs unanswered, {} violations, {:.0} s, SEED={}",
            self.fault,
            self.times,
            self.paid,
            self.refunds,
            self.requests_paid,
            self.in_bulks,
            self.voided,
            self.asked,
            self.repeated,
            self.replayed,
            self.lost,
            self.reads,
            self.followed,
            self.heard,
            self.delivered,
            refused.join(", "),
            self.recoveries.iter().max().map_or(0.0, Duration::as_secs_f64),
            self.commits_unanswered,
            self.violations.len(),
            self.took.as_secs_f64(),
            self.seed,
        )
    }
}

/// Of many times, that which this many percent do not exceed.
#[must_use]
pub fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    let place = times.len() * percent / 100;
    times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
