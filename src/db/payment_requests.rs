//! Reading requests for money.

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Error;
use crate::domain::{
    AccountId, Amount, Cursor, PaymentId, PaymentRequest, PaymentRequestId, RequestDirection,
    RequestState, RequestStatus, Timestamp,
};

/// A row of `payment_requests`.
pub(super) struct Row {
    pub id: Uuid,
    pub from_id: i64,
    pub to_id: i64,
    pub amount: i64,
    pub note: Option<String>,
    pub status: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub payment_id: Option<Uuid>,
}

impl Row {
    pub fn request(self) -> Option<PaymentRequest> {
        let state = match (self.status.as_str(), self.payment_id) {
            ("paid", Some(id)) => RequestState::Paid(PaymentId::from_uuid(id)),
            ("declined", _) => RequestState::Declined,
            ("cancelled", _) => RequestState::Cancelled,
            _ => RequestState::Open,
        };
        Some(PaymentRequest {
            id: PaymentRequestId::from_uuid(self.id),
            from: AccountId::trusted(self.from_id),
            to: AccountId::trusted(self.to_id),
            amount: Amount::from_cents(self.amount).ok()?,
            note: self.note,
            created_at: self.created_at,
            expires_at: self.expires_at,
            state,
        })
    }
}

/// A state as it is kept.
pub(super) fn state_columns(state: RequestState) -> (&'static str, Option<Uuid>) {
    match state {
        RequestState::Open => ("open", None),
        RequestState::Paid(payment) => ("paid", Some(payment.uuid())),
        RequestState::Declined => ("declined", None),
        RequestState::Cancelled => ("cancelled", None),
    }
}

/// A part of an account's requests: up to `limit` before the cursor.
#[derive(Debug, Clone, Copy)]
pub struct PartOf {
    pub account: AccountId,
    pub direction: RequestDirection,
    /// As it is kept: an expired request is open.
    pub status: Option<RequestStatus>,
    pub cursor: Option<Cursor>,
    pub limit: u16,
}

/// The database's clock, where the account exists.
///
/// # Errors
/// The database's.
pub async fn now_for(
    conn: &mut PgConnection,
    account: AccountId,
) -> Result<Option<Timestamp>, Error> {
    let now = sqlx::query_scalar!(
        r#"SELECT clock_timestamp() AS "now!: Timestamp" FROM accounts WHERE id = $1"#,
        account.get()
    );
    Ok(now.fetch_optional(conn).await?)
}

/// The requests, newest first.
///
/// # Errors
/// The database's.
pub async fn part(conn: &mut PgConnection, part: PartOf) -> Result<Vec<PaymentRequest>, Error> {
    let before = part.cursor.map_or(Timestamp::LAST, |cursor| cursor.last_seen_timestamp);
    let before_id = part.cursor.and_then(|cursor| cursor.last_seen_id).unwrap_or_default();
    // One of its four parts is for what is asked; the others are not begun.
    let requests = sqlx::query_as!(
        Row,
        r#"
        SELECT id AS "id!", from_id AS "from_id!", to_id AS "to_id!", amount AS "amount!", note,
               status AS "status!", created_at AS "created_at!: Timestamp",
               expires_at AS "expires_at: Timestamp", payment_id
        FROM (
            (SELECT * FROM payment_requests
             WHERE $2 AND $3::text IS NULL AND from_id = $1 AND (created_at, id) < ($4, $5)
             ORDER BY created_at DESC, id DESC LIMIT $6)
            UNION ALL
            (SELECT * FROM payment_requests
             WHERE NOT $2 AND $3::text IS NULL AND to_id = $1 AND (created_at, id) < ($4, $5)
             ORDER BY created_at DESC, id DESC LIMIT $6)
            UNION ALL
            (SELECT * FROM payment_requests
             WHERE $2 AND from_id = $1 AND status = $3 AND (created_at, id) < ($4, $5)
             ORDER BY created_at DESC, id DESC LIMIT $6)
            UNION ALL
            (SELECT * FROM payment_requests
             WHERE NOT $2 AND to_id = $1 AND status = $3 AND (created_at, id) < ($4, $5)
             ORDER BY created_at DESC, id DESC LIMIT $6)
        ) AS request
        "#,
        part.account.get(),
        part.direction == RequestDirection::Incoming,
        part.status.map(RequestStatus::name),
        before as _,
        before_id,
        i64::from(part.limit)
    );
    Ok(requests.fetch_all(conn).await?.into_iter().filter_map(Row::request).collect())
}

/// One request, and the database's clock.
///
/// # Errors
/// The database's.
pub async fn find(
    conn: &mut PgConnection,
    id: PaymentRequestId,
) -> Result<Option<(Timestamp, PaymentRequest)>, Error> {
    let row = sqlx::query!(
        r#"SELECT clock_timestamp() AS "now!: Timestamp", id, from_id, to_id, amount, note, status,
                  created_at AS "created_at: Timestamp", expires_at AS "expires_at: Timestamp",
                  payment_id
           FROM payment_requests WHERE id = $1"#,
        id.uuid()
    );
    let Some(row) = row.fetch_optional(conn).await? else {
        return Ok(None);
    };
    let now = row.now;
    let row = Row {
        id: row.id,
        from_id: row.from_id,
        to_id: row.to_id,
        amount: row.amount,
        note: row.note,
        status: row.status,
        created_at: row.created_at,
        expires_at: row.expires_at,
        payment_id: row.payment_id,
    };
    Ok(row.request().map(|request| (now, request)))
}
