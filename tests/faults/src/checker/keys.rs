//! What became of each payer's keys.

use std::collections::{BTreeMap, BTreeSet};

use super::receipt::lie_about;
use super::{Found, Rule};
use crate::ledger::{Key, Ledger, Payment};
use crate::record::{Attempt, Intent, Outcome, Records};

/// All keys, by payer and key: in an order of their own, so that a run is always described alike.
pub(super) struct Keys<'a>(BTreeMap<(i64, &'a str), Story<'a>>);

/// Everything that is known of one key.
#[derive(Default)]
struct Story<'a> {
    attempts: Vec<&'a Attempt>,
    payments: Vec<&'a Payment>,
    rows: Vec<&'a Key>,
}

/// Between which moments a payment was made, in microseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    /// Not before it was asked for; 0: nobody knows.
    pub asked_us: u64,
    /// Not after it was acknowledged; `u64::MAX`: it never was.
    pub acknowledged_us: u64,
}

impl<'a> Keys<'a> {
    pub fn of(records: &'a Records, ledger: &'a Ledger) -> Self {
        let mut stories: BTreeMap<_, Story> = BTreeMap::new();
        for attempt in &records.attempts {
            let name = (attempt.intent.from, attempt.intent.key.as_str());
            stories.entry(name).or_default().attempts.push(attempt);
        }
        for payment in &ledger.payments {
            let name = (payment.from_id, payment.key.as_str());
            stories.entry(name).or_default().payments.push(payment);
        }
        for row in &ledger.keys {
            stories.entry((row.payer, row.key.as_str())).or_default().rows.push(row);
        }
        Self(stories)
    }

    /// All payments, and when they were made.
    pub fn payments(&self) -> impl Iterator<Item = (&'a Payment, Interval)> {
        self.0.values().flat_map(|story| {
            story.payments.iter().map(|payment| (*payment, story.interval(payment)))
        })
    }

    pub fn check(&self, found: &mut Found) {
        for ((payer, key), story) in &self.0 {
            let name = || format!("payer {payer}, key {key:?}");
            story.check(&name, found);
        }
    }

    /// Checks the outcome of each draft, under all the keys that its windows used.
    pub fn check_drafts(&self, records: &Records, found: &mut Found) {
        for draft in &records.drafts {
            let names: BTreeSet<(i64, &str)> =
                draft.intents.iter().map(|intent| (intent.from, intent.key.as_str())).collect();
            let stories: Vec<&Story> = names.iter().filter_map(|name| self.0.get(name)).collect();
            let payments: Vec<&Payment> =
                stories.iter().flat_map(|story| story.payments.iter().copied()).collect();
            let mut attempts = stories.iter().flat_map(|story| &story.attempts);
            let is_refused = attempts.all(|it| is_refused(&it.outcome));
            if payments.len() > 1 || (payments.is_empty() && !is_refused) {
                found.add(Rule::OncePerDraft, || format!("{names:?}: {payments:?}"));
            }
        }
    }
}

/// A 200.
#[derive(Clone, Copy)]
struct Paid<'a> {
    attempt: &'a Attempt,
    body: &'a str,
    replayed: bool,
}

impl<'a> Story<'a> {
    fn paid(&self) -> impl Iterator<Item = Paid<'a>> {
        self.attempts.iter().filter_map(|attempt| match &attempt.outcome {
            Outcome::Paid { body, replayed } => Some(Paid { attempt, body, replayed: *replayed }),
            Outcome::Refused { .. } | Outcome::Lost => None,
        })
    }

    fn interval(&self, payment: &Payment) -> Interval {
        let asked = |may_be_it: fn(&Attempt) -> bool| {
            let copies = self.attempts.iter().filter(|it| is_for(&it.intent, payment));
            copies.filter(|it| may_be_it(it)).map(|it| it.asked_us).min()
        };
        // A copy that was refused has made no payment, and was not to make one later.
        let asked_us = asked(|it| !is_refused(&it.outcome)).or_else(|| asked(|_| true));
        let acknowledged_us = self.paid().map(|paid| paid.attempt.ended_us).min();
        Interval {
            asked_us: asked_us.unwrap_or(0),
            acknowledged_us: acknowledged_us.unwrap_or(u64::MAX),
        }
    }

    fn check(&self, name: &impl Fn() -> String, found: &mut Found) {
        if self.payments.len() > 1 {
            found.add(Rule::OncePerKey, || format!("{}: {:?}", name(), self.payments));
        }
        for payment in &self.payments {
            let was_asked_for = self.attempts.iter().any(|it| is_for(&it.intent, payment));
            // Openings pay from the bank, and so may whoever sets a run up.
            let is_the_banks = payment.from_id == 0 && self.attempts.is_empty();
            if !was_asked_for && !is_the_banks {
                found.add(Rule::AskedFor, || format!("{}: {payment:?}", name()));
            }
        }
        self.check_answers(name, found);
        self.check_refusals(name, found);
        self.check_rows(name, found);
    }

    fn check_answers(&self, name: &impl Fn() -> String, found: &mut Found) {
        let Some(first) = self.paid().next() else { return };
        match self.payments.first() {
            None => found.add(Rule::AcknowledgedIsThere, || format!("{}: {}", name(), first.body)),
            Some(payment) => {
                if let Some(lie) = lie_about(payment, first.body) {
                    found.add(Rule::AcknowledgedIsTrue, || {
                        format!("{}: {lie}: {} for {payment:?}", name(), first.body)
                    });
                }
                for other in self.paid().filter(|paid| !is_for(&paid.attempt.intent, payment)) {
                    found.add(Rule::AcknowledgedIsTrue, || {
                        format!("{}: {:?} was answered with {payment:?}", name(), other.attempt)
                    });
                }
            }
        }
        for other in self.paid().filter(|paid| paid.body != first.body) {
            found.add(Rule::AnswersAgree, || {
                format!("{}: {} and {}", name(), first.body, other.body)
            });
        }
        let fresh: Vec<Paid> = self.paid().filter(|paid| !paid.replayed).collect();
        let known_us = self.paid().map(|paid| paid.attempt.ended_us).min();
        if fresh.len() > 1 {
            found.add(Rule::FreshOnce, || format!("{}: {} times", name(), fresh.len()));
        } else if fresh.iter().any(|it| known_us.is_some_and(|known| known < it.attempt.asked_us)) {
            found.add(Rule::FreshOnce, || format!("{}: after another 200", name()));
        }
    }

    fn check_refusals(&self, name: &impl Fn() -> String, found: &mut Found) {
        let all_refused = self.attempts.iter().all(|it| is_refused(&it.outcome));
        if let Some(payment) = self.payments.first().filter(|_| all_refused)
            && let Some(last) = self.attempts.last()
        {
            found.add(Rule::RefusedIsNotPaid, || {
                format!("{}: {payment:?} after {:?}", name(), last.outcome)
            });
        }
        let Some(paid) = self.paid().min_by_key(|paid| paid.attempt.ended_us) else { return };
        let later = self
            .attempts
            .iter()
            .filter(|it| it.asked_us > paid.attempt.ended_us && it.intent == paid.attempt.intent);
        for attempt in later.filter(|it| denies_payment(&it.outcome)) {
            found.add(Rule::PaidIsRemembered, || format!("{}: {:?}", name(), attempt.outcome));
        }
    }

    fn check_rows(&self, name: &impl Fn() -> String, found: &mut Found) {
        for row in &self.rows {
            let response = row.response.as_deref().unwrap_or_default();
            let wrong = match (row.status.as_str(), self.payments.first(), self.paid().next()) {
                ("in_progress", ..) => {
                    found.add(Rule::NothingInProgress, name);
                    continue;
                }
                ("success", None, _) => Some("a success without a payment".to_owned()),
                ("success", Some(_), Some(paid)) => (paid.body != response)
                    .then(|| format!("{response} is stored, {} was acknowledged", paid.body)),
                ("success", Some(payment), None) => {
                    lie_about(payment, response).map(|lie| format!("stored: {lie}: {response}"))
                }
                ("failed", Some(payment), _) => Some(format!("a failure with {payment:?}")),
                ("failed", None, _) => None,
                (other, ..) => Some(format!("the status {other:?}")),
            };
            if let Some(wrong) = wrong {
                found.add(Rule::KeysAgree, || format!("{}: {wrong}", name()));
            }
        }
    }
}

/// An empty note says as much as none.
fn is_for(intent: &Intent, payment: &Payment) -> bool {
    let note = intent.note.as_deref().filter(|note| !note.is_empty());
    (intent.from, intent.to, intent.amount, intent.key.as_str(), note)
        == (
            payment.from_id,
            payment.to_id,
            payment.amount,
            payment.key.as_str(),
            payment.note.as_deref(),
        )
}

/// Whether a copy is known to have made no payment, and to make none later. `database_unavailable`
/// says that this is not known, and so does `internal` where it asks for another try.
fn is_refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { code, retryable, .. } => {
            code != "database_unavailable" && !(code == "internal" && *retryable)
        }
        Outcome::Paid { .. } | Outcome::Lost => false,
    }
}

/// Whether an answer says that there is no such payment, rather than to ask again: the account does
/// not exist, insufficient funds, a fault of the service and the like.
fn denies_payment(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { retryable: false, .. })
}
