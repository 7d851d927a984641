//! The receipts that are stored with keys, compared with what their payments' would be today.

use std::collections::BTreeSet;
use std::future::poll_fn;

use futures_core::stream::BoxStream;

use super::finding::{EXAMPLES_MAX, Finding};
use crate::db::Error;
use crate::db::payments::Row;

/// A key's response, and the payment that it is of.
pub(super) struct StoredReceipt {
    pub key: String,
    pub response: String,
    pub payment: Row,
}

/// The [`StoredReceipt`] of a record.
macro_rules! stored_receipt {
    ($record:ident) => {
        $crate::db::audit::receipts::StoredReceipt {
            key: $record.key,
            response: $record.response,
            payment: $crate::db::payments::row_of!($record),
        }
    };
}
pub(super) use stored_receipt;

/// Compares one after the other, as they come: their number is that of the keys.
pub(super) async fn compare(
    mut stored: BoxStream<'_, Result<StoredReceipt, sqlx::Error>>,
) -> Result<Finding, Error> {
    let mut violations: i64 = 0;
    let mut examples = BTreeSet::new();
    while let Some(stored) = poll_fn(|cx| stored.as_mut().poll_next(cx)).await {
        let StoredReceipt { key, response, payment } = stored?;
        let Some(payment) = payment.payment() else {
            continue;
        };
        if payment.receipt() == response {
            continue;
        }
        violations = violations.saturating_add(1);
        let payer = payment.from;
        examples.insert(format!(
            "key '{key}' of payer {payer} stores another receipt than its payment's"
        ));
        if examples.len() > EXAMPLES_MAX {
            examples.pop_last();
        }
    }
    Ok(Finding { violations, examples: examples.into_iter().collect() })
}
