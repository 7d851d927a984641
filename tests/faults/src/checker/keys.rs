//! What became of each payer's keys.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::receipt::lie_about;
use super::{Found, Rule};
use crate::ledger::{Key, Ledger, Payment};
use crate::record::{Attempt, Intent, Outcome, Records, Reference};

/// All keys of payments, by payer and key: in an order of their own, so that a run is always described
/// alike. All that was asked for to pay one request is the story of one key, its payment's, whatever keys
/// were sent.
pub(super) struct Keys<'a>(BTreeMap<(i64, Cow<'a, str>), Story<'a>>);

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
            let name = (attempt.intent.from, attempt.intent.payment_key());
            stories.entry(name).or_default().attempts.push(attempt);
        }
        for payment in &ledger.payments {
            let name = (payment.from_id, Cow::Borrowed(payment.key.as_str()));
            stories.entry(name).or_default().payments.push(payment);
        }
        let by_id: HashMap<&str, &Payment> =
            ledger.payments.iter().map(|payment| (payment.id.as_str(), payment)).collect();
        for row in &ledger.keys {
            let paid = row.payment_id.as_deref().filter(|_| row.status == "success");
            let payment = paid.and_then(|id| by_id.get(id).copied());
            let key = payment.map_or(&row.key, |payment| &payment.key);
            let name = (row.payer, Cow::Borrowed(key.as_str()));
            stories.entry(name).or_default().rows.push(row);
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
            let names: BTreeSet<(i64, Cow<str>)> =
                draft.intents.iter().map(|intent| (intent.from, intent.payment_key())).collect();
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
            Outcome::Done { body, replayed } => Some(Paid { attempt, body, replayed: *replayed }),
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
        let is_fresh = |paid: &Paid| !paid.replayed && !paid.attempt.is_in_bulk;
        let fresh: Vec<Paid> = self.paid().filter(is_fresh).collect();
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
        let later = self.attempts.iter().filter(|it| it.asked_us > paid.attempt.ended_us);
        for attempt in later.filter(|it| denies(it, &paid.attempt.intent)) {
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
                ("voided", Some(payment), _) => Some(format!("voided with {payment:?}")),
                ("failed" | "voided", None, _) => None,
                (other, ..) => Some(format!("the status {other:?}")),
            };
            if let Some(wrong) = wrong {
                found.add(Rule::KeysAgree, || format!("{}: {wrong}", name()));
            }
        }
    }
}

/// An empty note says as much as none; the payment of a request has the request's then.
fn is_for(intent: &Intent, payment: &Payment) -> bool {
    let note = intent.note.as_deref().filter(|note| !note.is_empty());
    let (refund_of, request) = match &intent.refers_to {
        Reference::Nothing => (None, None),
        Reference::Payment(id) => (Some(id.as_str()), None),
        Reference::Request(id) => (None, Some(id.as_str())),
    };
    let has_note = note == payment.note.as_deref() || (note.is_none() && request.is_some());
    has_note
        && (intent.from, intent.to, intent.amount, refund_of, request)
            == (
                payment.from_id,
                payment.to_id,
                payment.amount,
                payment.refund_of.as_deref(),
                payment.payment_request_id.as_deref(),
            )
        && intent.payment_key() == payment.key
}

/// Whether a copy is known to have made no payment, and to make none later. `database_unavailable`
/// says that this is not known, and so does `internal` where it asks for another try.
pub(super) fn is_refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { code, retryable, .. } => {
            code != "database_unavailable" && !(code == "internal" && *retryable)
        }
        Outcome::Done { .. } | Outcome::Lost => false,
    }
}

/// Codes that are about the key itself.
const ABOUT_THE_KEY: [&str; 2] = ["idempotency_key_voided", "idempotency_key_reused"];

/// Whether an answer says that there is no such payment as was acknowledged for an intent, rather than to
/// ask again: the account does not exist, insufficient funds, a fault of the service and the like. Of a
/// request that is paid everybody is told so, but under a key that is voided, or was for something else.
fn denies(attempt: &Attempt, paid: &Intent) -> bool {
    let Outcome::Refused { retryable: false, code, .. } = &attempt.outcome else { return false };
    let pays_a_request = matches!(paid.refers_to, Reference::Request(_));
    let is_under_another_key = pays_a_request && attempt.intent.key != paid.key;
    if is_under_another_key && ABOUT_THE_KEY.contains(&code.as_str()) {
        return false;
    }
    let key = if pays_a_request { &paid.key } else { &attempt.intent.key };
    Intent { key: key.clone(), ..attempt.intent.clone() } == *paid
}
