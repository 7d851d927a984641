//! Reading requests for money. They are made, paid and ended as payments are, by instructions.

use super::read_pool::ReadPool;
use super::refusal::Refusal;
use crate::db::PgConnection;
use crate::db::payment_requests::{self, PageOf};
use crate::domain::{
    AccountId, Cursor, PaymentRequest, PaymentRequestId, RequestDirection, RequestStatus, Timestamp,
};

/// Everything that reads requests for money.
pub struct PaymentRequests {
    read_pool: ReadPool,
}

impl PaymentRequests {
    pub(super) fn new(read_pool: ReadPool) -> Self {
        Self { read_pool }
    }

    /// A page of an account's requests, newest first, and the moment at which they were read: one request more
    /// than asked for where there is another page.
    ///
    /// # Errors
    /// The account does not exist, or the database does not answer.
    pub async fn page(
        &self,
        account: AccountId,
        direction: RequestDirection,
        status: Option<RequestStatus>,
        cursor: Option<Cursor>,
        limit: u16,
    ) -> Result<(Timestamp, Vec<PaymentRequest>), Refusal> {
        let page = PageOf { account, direction, status, cursor, limit };
        let read = async |conn: &mut PgConnection| payment_requests::page(conn, page).await;
        self.read_pool.run(read).await?.ok_or(Refusal::AccountNotFound(account))
    }

    /// One request, and the moment at which it was read.
    ///
    /// # Errors
    /// It does not exist, or the database does not answer.
    pub async fn get(&self, id: PaymentRequestId) -> Result<(Timestamp, PaymentRequest), Refusal> {
        let read = async |conn: &mut PgConnection| payment_requests::find(conn, id).await;
        self.read_pool.run(read).await?.ok_or(Refusal::PaymentRequestNotFound)
    }
}
