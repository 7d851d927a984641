//! The receipts that are stored with keys, compared with what their payments' would be today.

use std::collections::BTreeSet;
use std::future::poll_fn;

use futures_core::stream::BoxStream;
use sqlx::types::Uuid;

use super::finding::Finding;
use crate::db::Error;
use crate::db::payments::row_of;
use crate::domain::Timestamp;

const EXAMPLES_MAX: usize = 10;

/// A key's response, and the payment that it is of.
pub(super) struct StoredReceipt {
    pub key: String,
    pub response: String,
    pub id: Uuid,
    pub from_id: i64,
    pub to_id: i64,
    pub amount: i64,
    pub created_at: Timestamp,
    pub from_balance_after: i64,
    pub to_balance_after: i64,
    pub requested_at: Option<Timestamp>,
    pub idempotency_key: String,
    pub note: Option<String>,
    pub refund_of: Option<Uuid>,
    pub refunded_after: Option<i64>,
    pub payment_request_id: Option<Uuid>,
    pub asked_by: Option<String>,
}

/// Compares one after the other, as they come: their number is that of the keys.
pub(super) async fn compare(
    mut stored: BoxStream<'_, Result<StoredReceipt, sqlx::Error>>,
) -> Result<Finding, Error> {
    let mut violations: i64 = 0;
    let mut examples = BTreeSet::new();
    while let Some(stored) = poll_fn(|cx| stored.as_mut().poll_next(cx)).await {
        let stored = stored?;
        let Some(payment) = row_of!(stored).payment() else {
            continue;
        };
        if payment.receipt() == stored.response {
            continue;
        }
        violations = violations.saturating_add(1);
        let (key, payer) = (stored.key, payment.from);
        examples.insert(format!(
            "key '{key}' of payer {payer} stores another receipt than its payment's"
        ));
        if examples.len() > EXAMPLES_MAX {
            examples.pop_last();
        }
    }
    Ok(Finding { violations, examples: examples.into_iter().collect() })
}
