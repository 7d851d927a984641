//! Reading requests for money. They are made, paid and ended as payments are, by instructions.

use super::read_pool::ReadPool;
use super::refusal::Refusal;
use crate::db::payment_requests::{self, PartOf};
use crate::db::{Error, PgConnection};
use crate::domain::{
    AccountId, Cursor, PaymentRequest, PaymentRequestId, RequestDirection, RequestStatus, Timestamp,
};

/// A page of an account's requests, newest first.
pub struct RequestPage {
    pub requests: Vec<PaymentRequest>,
    /// The moment at which they were read.
    pub now: Timestamp,
    /// The cursor of the next page; `None` where this is the last.
    pub next: Option<Cursor>,
}

/// How often a page looks further where it found requests that it does not want. After that it is short, and its
/// link goes on from there.
const PARTS_MAX: usize = 10;
const FURTHER_PART: u16 = 100;

/// Everything that reads requests for money.
pub struct PaymentRequests {
    read_pool: ReadPool,
}

impl PaymentRequests {
    pub(super) fn new(read_pool: ReadPool) -> Self {
        Self { read_pool }
    }

    /// Up to `limit` of an account's requests before the cursor.
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
    ) -> Result<RequestPage, Refusal> {
        // Nothing is written when a request expires: it is kept as open, and stays among those.
        let kept_status = status.map(|status| match status {
            RequestStatus::Expired => RequestStatus::Open,
            other => other,
        });
        let first = PartOf { account, direction, status: kept_status, cursor, limit };
        let read = async |conn: &mut PgConnection| {
            let Some(now) = payment_requests::now_for(conn, account).await? else {
                return Ok(None);
            };
            let wanted =
                |request: &PaymentRequest| status.is_none_or(|it| request.status(now) == it);
            read_page(conn, first, now, wanted).await.map(Some)
        };
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

async fn read_page(
    conn: &mut PgConnection,
    first: PartOf,
    now: Timestamp,
    wanted: impl Fn(&PaymentRequest) -> bool,
) -> Result<RequestPage, Error> {
    let size = usize::from(first.limit);
    let mut requests = Vec::new();
    let mut part = PartOf { limit: first.limit.saturating_add(1), ..first };
    let place = |last: &PaymentRequest| Cursor::after(last.created_at, last.id.uuid());
    for _ in 0..PARTS_MAX {
        let looked_at = payment_requests::part(conn, part).await?;
        let is_last = looked_at.len() < usize::from(part.limit);
        part.cursor = looked_at.last().map(place).or(part.cursor);
        part.limit = FURTHER_PART.max(part.limit);
        for request in looked_at {
            if requests.len() == size && wanted(&request) {
                let next = requests.last().map(place);
                return Ok(RequestPage { requests, now, next });
            }
            if wanted(&request) {
                requests.push(request);
            }
        }
        if is_last {
            return Ok(RequestPage { requests, now, next: None });
        }
    }
    Ok(RequestPage { requests, now, next: part.cursor })
}
