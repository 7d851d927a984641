//! What became of each request for money.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::keys::is_refused;
use super::receipt::unix_us;
use super::{Found, Rule};
use crate::ledger::{Ledger, Payment, Request};
use crate::record::{Demand, End, Errand, ErrandRun, Outcome, Records, Reference};

/// The members of a request that the ledger has, too.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    from_id: i64,
    to_id: i64,
    amount: i64,
    note: Option<String>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
}

impl Shown<'_> {
    fn is(&self, request: &Request, status: &str) -> bool {
        (self.id.as_ref(), self.from_id, self.to_id, self.amount, &self.note)
            == (request.id.as_str(), request.from_id, request.to_id, request.amount, &request.note)
            && unix_us(&self.created_at) == Some(request.created_us)
            && self.status == status
    }
}

pub(super) fn check(records: &Records, ledger: &Ledger, found: &mut Found) {
    let requests: BTreeMap<&str, &Request> =
        ledger.requests.iter().map(|request| (request.id.as_str(), request)).collect();
    check_demands(records, &requests, found);
    check_payments(ledger, &requests, found);
    check_ends(records, &requests, found);
}

/// Whether a body shows a request as the ledger has it, but with this status.
fn shows(body: &str, requests: &BTreeMap<&str, &Request>, status: &str) -> bool {
    let shown: Result<Shown, _> = serde_json::from_str(body);
    shown.is_ok_and(|shown| {
        requests.get(shown.id.as_ref()).is_some_and(|request| shown.is(request, status))
    })
}

/// What a request says, whoever made it how often.
type Words<'a> = (i64, i64, i64, Option<&'a str>);

fn check_demands(records: &Records, requests: &BTreeMap<&str, &Request>, found: &mut Found) {
    let mut by_key: BTreeMap<(i64, &str), Vec<(&ErrandRun, &Demand)>> = BTreeMap::new();
    for run in &records.errands {
        if let Errand::Demand(demand) = &run.errand {
            by_key.entry((demand.to, demand.key.as_str())).or_default().push((run, demand));
        }
    }
    // How many keys may have become a request with these words.
    let mut expected: HashMap<Words, usize> = HashMap::new();
    for ((to, key), runs) in by_key {
        let mut fresh: usize = 0;
        let mut first: Option<&str> = None;
        for (run, _) in &runs {
            let Outcome::Done { body, replayed } = &run.outcome else { continue };
            fresh = fresh.saturating_add(usize::from(!replayed));
            let agrees = *first.get_or_insert(body) == body.as_str();
            if !agrees || !shows(body, requests, "open") {
                found.add(Rule::RequestsAreKept, || format!("account {to}, key {key:?}: {body}"));
            }
        }
        if fresh > 1 {
            found.add(Rule::RequestsAreKept, || {
                format!("account {to}, key {key:?}: made {fresh} times")
            });
        }
        let words: BTreeSet<Words> = runs
            .iter()
            .filter(|(run, _)| !is_refused(&run.outcome))
            .map(|(_, it)| (it.from, it.to, it.amount, it.note.as_deref()))
            .collect();
        for one in words {
            let count = expected.entry(one).or_default();
            *count = count.saturating_add(1);
        }
    }
    for request in requests.values() {
        let Request { from_id, to_id, amount, note, .. } = request;
        let words = (*from_id, *to_id, *amount, note.as_deref());
        match expected.get_mut(&words).filter(|count| **count > 0) {
            Some(count) => *count = count.saturating_sub(1),
            None => found.add(Rule::RequestsAreKept, || format!("nobody asked for {request:?}")),
        }
    }
}

fn check_payments(ledger: &Ledger, requests: &BTreeMap<&str, &Request>, found: &mut Found) {
    let mut payments: BTreeMap<&str, Vec<&Payment>> = BTreeMap::new();
    for payment in &ledger.payments {
        if let Some(id) = payment.payment_request_id.as_deref() {
            payments.entry(id).or_default().push(payment);
        }
    }
    for (id, request) in requests {
        let is_sound = match payments.remove(id).unwrap_or_default().as_slice() {
            [] => request.status != "paid" && request.payment_id.is_none(),
            [payment] => {
                request.status == "paid"
                    && request.payment_id.as_deref() == Some(payment.id.as_str())
                    && (request.from_id, request.to_id, request.amount, &request.note)
                        == (payment.from_id, payment.to_id, payment.amount, &payment.note)
                    && payment.key == format!("payment request {id}")
            }
            _ => false,
        };
        if !is_sound {
            found.add(Rule::RequestsArePaidOnce, || format!("{request:?}"));
        }
    }
    for (id, payments) in payments {
        found.add(Rule::RequestsArePaidOnce, || format!("no request {id}: {payments:?}"));
    }
}

/// Whether a call may have ended its request. Where its commit was in doubt and its client asks again, that is told
/// that the request has its end: its own.
fn may_have_ended(outcome: &Outcome) -> bool {
    !is_refused(outcome) || is_told_of_an_end(outcome)
}

fn is_told_of_an_end(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { code, .. } if code == "request_not_open")
}

fn check_ends(records: &Records, requests: &BTreeMap<&str, &Request>, found: &mut Found) {
    let mut by_request: BTreeMap<&str, Vec<(&ErrandRun, End)>> = BTreeMap::new();
    for run in &records.errands {
        if let Errand::Close { request, how, .. } = &run.errand {
            by_request.entry(request).or_default().push((run, *how));
        }
    }
    let none = Vec::new();
    for (id, request) in requests {
        let runs = by_request.get(id).unwrap_or(&none);
        let mut ended: usize = 0;
        for (run, how) in runs {
            let Outcome::Done { body, replayed } = &run.outcome else { continue };
            // One whose commit was in doubt finds the request ended, and says so with the answer.
            ended = ended.saturating_add(usize::from(!replayed));
            if request.status != how.status() || !shows(body, requests, how.status()) {
                found.add(Rule::RequestsEndOnce, || format!("{request:?} after {run:?}"));
            }
        }
        let may_be = |status: &str| {
            runs.iter().any(|(run, how)| how.status() == status && may_have_ended(&run.outcome))
        };
        let is_explained = match request.status.as_str() {
            "open" | "paid" => true,
            status => may_be(status),
        };
        if ended > 1 || !is_explained {
            found.add(Rule::RequestsEndOnce, || format!("{ended} times: {request:?}, {runs:?}"));
        }
    }
    let closings = records.errands.iter().filter_map(|run| match &run.errand {
        Errand::Close { request, .. } => Some((request, &run.outcome, &["open"][..])),
        _ => None,
    });
    // A payer is not told so of a request that is paid: he is told of its payment.
    let payments = records.attempts.iter().filter_map(|attempt| match &attempt.intent.refers_to {
        Reference::Request(request) => Some((request, &attempt.outcome, &["open", "paid"][..])),
        Reference::Nothing | Reference::Payment(_) => None,
    });
    for (id, outcome, not_with) in closings.chain(payments) {
        let status = requests.get(id.as_str()).map(|request| request.status.as_str());
        if is_told_of_an_end(outcome) && status.is_none_or(|status| not_with.contains(&status)) {
            found.add(Rule::RequestsEndOnce, || format!("told of {id}, which is {status:?}"));
        }
    }
}
