//! What a batch writes, column by column, as the statements take it.

use std::collections::BTreeMap;

use sqlx::types::Uuid;

use crate::db::Error;
use crate::domain::ledger::{AccountState, Claim, KeyEnd};
use crate::domain::{AccountId, Fingerprint, Payment, Timestamp};

/// # Errors
/// [`Error::Swallowed`] where fewer rows were written than given.
pub(super) fn all_written(table: &'static str, written: u64, given: usize) -> Result<(), Error> {
    if usize::try_from(written) == Ok(given) {
        Ok(())
    } else {
        Err(Error::Swallowed { table, given, written })
    }
}

/// A payment's id is derived from payer and key, so a second one is refused by the primary key; and a request is
/// paid once, and a refund has its place among those of its payment.
/// (`ON CONFLICT DO NOTHING` would say the same without an error, but it looks each id up once more
/// and logs each row twice: measured, that is 5 to 8 % of a batch, for what hardly ever happens.)
pub(super) fn known_already(error: sqlx::Error) -> Error {
    let constraint = error.as_database_error().and_then(|refusal| refusal.constraint());
    match constraint {
        Some("payments_pkey" | "payments_of_requests" | "payments_refunds") => Error::KnownAlready,
        _ => error.into(),
    }
}

#[derive(Default)]
pub(super) struct AccountColumns {
    pub ids: Vec<i64>,
    pub balances: Vec<i64>,
    pub last_payment_at: Vec<Option<Timestamp>>,
}

impl AccountColumns {
    pub fn of(changed: &BTreeMap<AccountId, AccountState>) -> Self {
        let mut columns = Self::default();
        for (id, state) in changed {
            columns.ids.push(id.get());
            columns.balances.push(state.balance.cents());
            columns.last_payment_at.push(state.last_payment_at);
        }
        columns
    }
}

#[derive(Default)]
pub(super) struct PaymentColumns<'a> {
    pub ids: Vec<Uuid>,
    pub from: Vec<i64>,
    pub to: Vec<i64>,
    pub amounts: Vec<i64>,
    pub created_at: Vec<Timestamp>,
    pub from_balances: Vec<i64>,
    pub to_balances: Vec<i64>,
    pub requested_at: Vec<Option<Timestamp>>,
    pub keys: Vec<&'a str>,
    pub notes: Vec<Option<&'a str>>,
}

impl<'a> PaymentColumns<'a> {
    pub fn of(payments: &[&'a Payment]) -> Self {
        let mut columns = Self::default();
        for payment in payments {
            columns.ids.push(payment.id.uuid());
            columns.from.push(payment.from.get());
            columns.to.push(payment.to.get());
            columns.amounts.push(payment.amount.cents());
            columns.created_at.push(payment.created_at);
            columns.from_balances.push(payment.from_balance_after.cents());
            columns.to_balances.push(payment.to_balance_after.cents());
            columns.requested_at.push(payment.requested_at);
            columns.keys.push(payment.key.as_str());
            columns.notes.push(payment.note.as_deref());
        }
        columns
    }
}

/// The brief stores the response of a failure as well; it is information, never replayed.
const FAILED_RESPONSE: &str = r#"{"code":"insufficient_funds"}"#;

#[derive(Default)]
pub(super) struct ClaimColumns<'a> {
    pub payers: Vec<i64>,
    pub keys: Vec<&'a str>,
    pub statuses: Vec<&'static str>,
    pub fingerprints: Vec<Option<&'a [u8]>>,
    pub responses: Vec<Option<&'a str>>,
    pub payments: Vec<Option<Uuid>>,
}

impl<'a> ClaimColumns<'a> {
    pub fn of(claims: &[&'a Claim]) -> Self {
        let mut columns = Self::default();
        for claim in claims {
            let (status, fingerprint, response, payment) = match &claim.end {
                KeyEnd::Paid { fingerprint, response } => {
                    ("success", Some(fingerprint), Some(response.as_str()), None)
                }
                KeyEnd::PaidRequest { fingerprint, response, payment } => {
                    ("success", Some(fingerprint), Some(response.as_str()), Some(payment.uuid()))
                }
                KeyEnd::Failed { fingerprint } => {
                    ("failed", Some(fingerprint), Some(FAILED_RESPONSE), None)
                }
                KeyEnd::Voided => ("voided", None, None, None),
            };
            columns.payers.push(claim.payer.get());
            columns.keys.push(claim.key.as_str());
            columns.statuses.push(status);
            columns.fingerprints.push(fingerprint.map(Fingerprint::bytes));
            columns.responses.push(response);
            columns.payments.push(payment);
        }
        columns
    }
}
