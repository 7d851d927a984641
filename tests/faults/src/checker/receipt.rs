//! Payments as answers show them.

use std::borrow::Cow;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ledger::Payment;

/// The members of a payment that the ledger has, too.
#[derive(Debug, Deserialize)]
pub(super) struct Receipt<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    from_id: i64,
    to_id: i64,
    amount: i64,
    note: Option<String>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    balance_after: Option<i64>,
    #[serde(borrow, default)]
    refund_of: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    payment_request_id: Option<Cow<'a, str>>,
}

impl Receipt<'_> {
    /// Its time: see [`unix_us`].
    pub fn created_us(&self) -> Option<i64> {
        unix_us(&self.created_at)
    }

    /// The names of the members that are not as in the ledger, where `balance_after` is to be the
    /// reader's, if he has one.
    pub fn differs_from(&self, payment: &Payment, balance_after: Option<i64>) -> Vec<&'static str> {
        let members = [
            ("id", self.id == payment.id),
            ("from_id", self.from_id == payment.from_id),
            ("to_id", self.to_id == payment.to_id),
            ("amount", self.amount == payment.amount),
            ("note", self.note == payment.note),
            ("created_at", self.created_us() == Some(payment.created_us)),
            ("balance_after", self.balance_after == balance_after),
            ("refund_of", self.refund_of == payment.refund_of.as_deref().map(Cow::from)),
            (
                "payment_request_id",
                self.payment_request_id == payment.payment_request_id.as_deref().map(Cow::from),
            ),
        ];
        members.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
    }
}

/// A time as a Unix time in microseconds; `None`: it is none, or not whole.
pub(super) fn unix_us(time: &str) -> Option<i64> {
    let ns = OffsetDateTime::parse(time, &Rfc3339).ok()?.unix_timestamp_nanos();
    let is_whole = ns.rem_euclid(1_000) == 0;
    i64::try_from(ns.div_euclid(1_000)).ok().filter(|_| is_whole)
}

/// Why a body is not the payer's receipt of a payment; `None`: it is.
pub(super) fn lie_about(payment: &Payment, body: &str) -> Option<String> {
    match serde_json::from_str::<Receipt>(body) {
        Ok(receipt) => {
            let wrong = receipt.differs_from(payment, Some(payment.from_balance_after));
            (!wrong.is_empty()).then(|| format!("it has another {}", wrong.join(", ")))
        }
        Err(error) => Some(format!("it is no payment: {error}")),
    }
}
