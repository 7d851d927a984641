//! What was given back of each payment.

use std::collections::BTreeMap;

use super::{Found, Rule};
use crate::ledger::{Ledger, Payment};
use crate::record::{Outcome, Records, Reference};

pub(super) fn check(records: &Records, ledger: &Ledger, found: &mut Found) {
    let payments: BTreeMap<&str, &Payment> =
        ledger.payments.iter().map(|payment| (payment.id.as_str(), payment)).collect();
    let mut refunds: BTreeMap<&str, Vec<&Payment>> = BTreeMap::new();
    for refund in &ledger.payments {
        match (refund.refund_of.as_deref(), refund.refunded_after) {
            (Some(of), _) => refunds.entry(of).or_default().push(refund),
            (None, Some(_)) => {
                found.add(Rule::RefundsAreBounded, || format!("a refund of nothing: {refund:?}"));
            }
            (None, None) => {}
        }
    }
    // The cents that were given back of each payment, in the end.
    let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
    for (of, mut all) in refunds {
        all.sort_unstable_by_key(|refund| refund.created_us);
        let paid = payments.get(of).copied().filter(|paid| paid.refund_of.is_none());
        let mut total: i64 = 0;
        for refund in all {
            total = total.saturating_add(refund.amount);
            let is_sound = paid.is_some_and(|paid| {
                (refund.from_id, refund.to_id) == (paid.to_id, paid.from_id)
                    && refund.created_us > paid.created_us
                    && refund.refunded_after == Some(total)
                    && total <= paid.amount
            });
            if !is_sound {
                found.add(Rule::RefundsAreBounded, || format!("{refund:?} of {paid:?}"));
            }
        }
        totals.insert(of, total);
    }
    for attempt in &records.attempts {
        let Reference::Payment(of) = &attempt.intent.refers_to else { continue };
        let is_too_much = matches!(&attempt.outcome, Outcome::Refused { code, .. }
            if code == "refund_exceeds_payment");
        // There were never more refunds than in the end.
        let total = totals.get(of.as_str()).copied().unwrap_or_default();
        let fits = payments
            .get(of.as_str())
            .is_some_and(|paid| total.saturating_add(attempt.intent.amount) <= paid.amount);
        if is_too_much && fits {
            found.add(Rule::RefundsThatFitAreMade, || {
                format!("{total} are given back: {attempt:?}")
            });
        }
    }
}
