//! Reading payments: pages of a history, and one payment.

use super::Refusal;
use super::reading::Readers;
use crate::db;
use crate::domain::ledger::Declined;
use crate::domain::{AccountId, Cursor, Payment, PaymentId};

/// A page of a history, newest first.
pub struct Page {
    pub payments: Vec<Payment>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// Everything that reads payments.
pub struct Histories {
    readers: Readers,
}

impl Histories {
    pub(super) fn new(readers: Readers) -> Self {
        Self { readers }
    }

    /// Up to `limit` payments before the cursor.
    ///
    /// # Errors
    /// The account does not exist, or the database does not answer.
    pub async fn page(
        &self,
        account: AccountId,
        cursor: Option<Cursor>,
        limit: u16,
    ) -> Result<Page, Refusal> {
        // One row more than asked for tells whether there is another page.
        let rows = i64::from(limit).saturating_add(1);
        let found = self
            .readers
            .run(async |conn| db::history::page(conn, account, cursor, rows).await)
            .await?;
        let mut payments = found.ok_or(Refusal::Declined(Declined::AccountNotFound(account)))?;
        let has_more = payments.len() > usize::from(limit);
        payments.truncate(usize::from(limit));
        Ok(Page { payments, has_more })
    }

    /// One payment.
    ///
    /// # Errors
    /// It does not exist, or the database does not answer.
    pub async fn payment(&self, id: PaymentId) -> Result<Payment, Refusal> {
        let ids = [id.uuid()];
        let found = self.readers.run(async |conn| db::history::payments(conn, &ids).await).await?;
        found.into_iter().next().ok_or(Refusal::PaymentNotFound)
    }
}
