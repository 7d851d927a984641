//! Refunds: a payee gives back what was paid, and never more.
//!
//! A refund has the accounts of its payment, so whoever refunds holds both locks, and what was given back so far
//! cannot change meanwhile.

use super::{Amount, Declined, Intent, Ledger, Payment, PaymentId, Refund};
use crate::domain::AccountId;

/// A payment, as far as it matters for its refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refundable {
    pub from: AccountId,
    pub to: AccountId,
    pub amount: Amount,
    /// Whether nobody gives it back: it is a refund itself, or an opening balance.
    pub is_final: bool,
    /// Given back so far, in cents.
    pub refunded_cents: i64,
}

impl Refundable {
    #[must_use]
    pub fn new(payment: &Payment, refunded_cents: i64) -> Self {
        Self {
            from: payment.from,
            to: payment.to,
            amount: payment.amount,
            is_final: payment.refund.is_some() || payment.is_opening_balance(),
            refunded_cents,
        }
    }
}

impl Ledger {
    /// What the intent is a refund of, if it is one and may be made.
    pub(super) fn refund(&self, intent: &Intent) -> Result<Option<Refund>, Declined> {
        let Some(of) = intent.refund_of() else {
            return Ok(None);
        };
        let original = self.refundable(of).ok_or(Declined::PaymentNotFound)?;
        let Refundable { from, to, amount, is_final, refunded_cents } = original;
        if intent.from() != from && intent.from() != to {
            return Err(Declined::PaymentNotFound);
        }
        if is_final || intent.accounts() != [to, from] {
            return Err(Declined::NotRefundable);
        }
        let left_cents = amount.cents().saturating_sub(refunded_cents);
        if intent.amount.cents() > left_cents {
            return Err(Declined::RefundExceeds { left_cents });
        }
        let refunded = refunded_cents.saturating_add(intent.amount.cents());
        let refunded_after = Amount::from_cents(refunded).unwrap_or(amount);
        Ok(Some(Refund { of, refunded_after }))
    }

    /// The payment as it is now, after what this batch did before.
    fn refundable(&self, id: PaymentId) -> Option<Refundable> {
        let made_here = || self.decision.payments.iter().find(|payment| payment.id == id);
        let found = self.found.refundable.get(&id).copied();
        let found = found.or_else(|| made_here().map(|payment| Refundable::new(payment, 0)))?;
        let mut refunds = self.decision.payments.iter().rev().filter_map(|payment| payment.refund);
        let newest = refunds.find(|refund| refund.of == id);
        let refunded_cents =
            newest.map_or(found.refunded_cents, |refund| refund.refunded_after.cents());
        Some(Refundable { refunded_cents, ..found })
    }
}
