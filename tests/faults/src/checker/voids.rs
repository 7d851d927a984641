//! What people were told who wanted a key to pay no more.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::receipt::lie_about;
use super::{Found, Rule};
use crate::ledger::{Key, Ledger, Payment};
use crate::record::{Attempt, Errand, ErrandRun, Outcome, Records};

/// Everything that is known of one key, as clients send it.
#[derive(Default)]
struct Story<'a> {
    attempts: Vec<&'a Attempt>,
    voids: Vec<&'a ErrandRun>,
    row: Option<&'a Key>,
    payment: Option<&'a Payment>,
}

/// An answer to `PUT /voided_keys`.
#[derive(Deserialize)]
struct Told<'a> {
    voided: bool,
    #[serde(borrow)]
    payment: Option<&'a RawValue>,
}

pub(super) fn check(records: &Records, ledger: &Ledger, found: &mut Found) {
    let mut stories: BTreeMap<(i64, &str), Story> = BTreeMap::new();
    for run in &records.errands {
        if let Errand::Void { payer, key } = &run.errand {
            stories.entry((*payer, key)).or_default().voids.push(run);
        }
    }
    let mut by_id: BTreeMap<&str, &Payment> = BTreeMap::new();
    for payment in &ledger.payments {
        by_id.insert(&payment.id, payment);
        if let Some(story) = stories.get_mut(&(payment.from_id, payment.key.as_str())) {
            story.payment = Some(payment);
        }
    }
    for row in &ledger.keys {
        let name = (row.payer, row.key.as_str());
        // Of a key that nobody voided, its being so is all that is of interest.
        if row.status == "voided" || stories.contains_key(&name) {
            let story = stories.entry(name).or_default();
            story.row = Some(row);
            let paid = row.payment_id.as_deref().filter(|_| row.status == "success");
            story.payment = story.payment.or(paid.and_then(|id| by_id.get(id).copied()));
        }
    }
    for attempt in &records.attempts {
        let name = (attempt.intent.from, attempt.intent.key.as_str());
        if is_told_voided(&attempt.outcome) || stories.contains_key(&name) {
            stories.entry(name).or_default().attempts.push(attempt);
        }
    }
    for ((payer, key), story) in &stories {
        story.check(&|| format!("payer {payer}, key {key:?}"), found);
    }
}

fn is_told_voided(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { code, .. } if code == "idempotency_key_voided")
}

impl Story<'_> {
    fn check(&self, name: &impl Fn() -> String, found: &mut Found) {
        let mut is_said = self.attempts.iter().any(|it| is_told_voided(&it.outcome));
        for run in &self.voids {
            let Outcome::Done { body, .. } = &run.outcome else { continue };
            match serde_json::from_str(body) {
                Ok(Told { voided: true, payment: None }) => is_said = true,
                Ok(Told { voided: false, payment: Some(payment) }) => {
                    if let Some(lie) = self.lie_in(payment.get()) {
                        found.add(Rule::VoidTellsThePayment, || {
                            format!("{}: {lie}: {body}", name())
                        });
                    }
                }
                _ => found.add(Rule::VoidTellsThePayment, || format!("{}: {body}", name())),
            }
        }
        let voided = self.row.filter(|row| row.status == "voided");
        let is_voided = voided.is_some();
        let names_a_payment = voided.is_some_and(|row| row.payment_id.is_some());
        let paid = self.attempts.iter().find(|it| matches!(it.outcome, Outcome::Done { .. }));
        let has_payment = self.payment.is_some() || names_a_payment;
        let is_forgotten = is_said && !is_voided;
        if is_forgotten || (is_voided && has_payment) {
            found.add(Rule::VoidedIsNotPaid, || {
                format!("{}: {:?}, {:?}", name(), self.row, self.payment)
            });
        }
        if let Some(paid) = paid.filter(|_| is_said || is_voided) {
            found.add(Rule::VoidedIsNotPaid, || format!("{}: {paid:?}", name()));
        }
        if is_voided && self.voids.is_empty() {
            found.add(Rule::VoidedIsNotPaid, || format!("{}: nobody wanted it", name()));
        }
    }

    /// Why a body is not what the payer was told, or would have been.
    fn lie_in(&self, body: &str) -> Option<String> {
        let Some(payment) = self.payment else { return Some("there is no payment".to_owned()) };
        let told = self.attempts.iter().find_map(|attempt| match &attempt.outcome {
            Outcome::Done { body, .. } => Some(body.as_str()),
            Outcome::Refused { .. } | Outcome::Lost => None,
        });
        let stored = self.row.and_then(|row| row.response.as_deref());
        match told.or(stored) {
            Some(same) => (same != body).then(|| format!("it was {same}")),
            None => lie_about(payment, body),
        }
    }
}
