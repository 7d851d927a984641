//! The catalogue of problems (RFC 9457): the only place where status codes are chosen.

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{PaymentId, Timestamp};

/// A type of problem: what is the same each time that it happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProblemType {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
    /// Whether the same request can succeed when it is sent again, unchanged.
    pub retryable: bool,
    /// The meaning in words: what has happened, and what to do about it.
    pub meaning: &'static str,
}

const RETRYABLE: bool = true;
const FINAL: bool = false;

/// Declares a constant for each type, and `ALL`.
macro_rules! catalogue {
    ($($name:ident: $status:ident, $code:literal, $retryable:ident, $title:literal, $meaning:literal;)+) => {
        $(pub(super) const $name: &ProblemType = &ProblemType {
            status: StatusCode::$status,
            code: $code,
            title: $title,
            retryable: $retryable,
            meaning: $meaning,
        };)+
        pub(super) const ALL: &[&ProblemType] = &[$($name),+];
    };
}

catalogue! {
    INVALID_REQUEST: BAD_REQUEST, "invalid_request", FINAL, "The request is malformed",
        "A field, a parameter or the body is not what this path takes; the detail says which. \
         Nothing was done. Unknown fields and parameters are refused, too.";
    KEY_MISSING: BAD_REQUEST, "idempotency_key_missing", FINAL, "The idempotency key is missing",
        "A payment needs a key of its own, in idempotency_key or in the header Idempotency-Key, so \
         that a retry does not pay twice. Make it before the first try and keep it for retries.";
    UNAUTHENTICATED: UNAUTHORIZED, "unauthenticated", FINAL, "It is not known who asks",
        "The request has no token, or one that is refused: expired, not yet valid, not signed by the \
         issuer, or made for somebody else. Get a new one and send the request again; a payment \
         with the same idempotency key.";
    FORBIDDEN: FORBIDDEN, "forbidden", FINAL, "The token does not allow this",
        "Everybody may send from and read one's own account only; opening accounts, and payments from \
         or to account 0, are for operators. The answer is the same whether or not there is such an \
         account. With authorization off, only requests for localhost or a loopback address are allowed.";
    NOT_FOUND: NOT_FOUND, "not_found", FINAL, "Nothing is here",
        "There is nothing at this path. GET /openapi.json lists all of them.";
    ACCOUNT_NOT_FOUND: NOT_FOUND, "account_not_found", FINAL, "The account does not exist",
        "No account has this id. Nothing was done.";
    PAYMENT_NOT_FOUND: NOT_FOUND, "payment_not_found", FINAL, "The payment does not exist",
        "No payment has this id, or it is one between others.";
    PAYMENT_REQUEST_NOT_FOUND: NOT_FOUND, "payment_request_not_found", FINAL,
        "The request for money does not exist",
        "No request for money has this id, or it is one between others.";
    WEBHOOK_NOT_FOUND: NOT_FOUND, "webhook_not_found", FINAL, "The webhook does not exist",
        "No webhook has this id. Nothing was done.";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method_not_allowed", FINAL, "The method is not allowed",
        "The header Allow lists the methods that this path takes.";
    REQUEST_TIMEOUT: REQUEST_TIMEOUT, "request_timeout", RETRYABLE, "The request was too slow",
        "The body did not arrive in time. Nothing was done.";
    REQUEST_IN_PROGRESS: CONFLICT, "request_in_progress", RETRYABLE, "The same request is under way",
        "Another request with this idempotency key had no outcome yet when the time was over. Ask \
         again with the same key.";
    ACCOUNT_EXISTS: CONFLICT, "account_exists", FINAL, "The account exists already",
        "The id that was asked for is taken. Ask for another, or leave it out.";
    SIMILAR_PAYMENT: CONFLICT, "similar_payment", FINAL, "The payer has just paid the same",
        "Within the time of unless_similar_within_seconds the payer paid the same payee the same amount, \
         under another key; id and created_at are that payment's. Nothing was paid now. To pay once more, \
         send the request without unless_similar_within_seconds, with the same key.";
    REQUEST_NOT_OPEN: CONFLICT, "request_not_open", FINAL, "The request for money is not open",
        "It is paid, declined, cancelled or expired. Nothing was done.";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body_too_large", FINAL, "The body is too large",
        "The body has more bytes than the service takes. Nothing was done.";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", FINAL,
        "The body is not JSON",
        "Send JSON in UTF-8, with the header Content-Type: application/json and without a \
         Content-Encoding. Nothing was done.";
    INSUFFICIENT_FUNDS: UNPROCESSABLE_ENTITY, "insufficient_funds", FINAL, "Insufficient funds",
        "The payer has less than the amount. Nothing was paid. The same request, with the same key, \
         runs again when it is sent again, and can succeed once there is money.";
    SAME_ACCOUNT: UNPROCESSABLE_ENTITY, "same_account", FINAL, "Payer and payee are the same",
        "Nobody pays himself.";
    INVALID_AMOUNT: UNPROCESSABLE_ENTITY, "invalid_amount", FINAL, "The amount is not possible",
        "An amount is an integer of cents, from 1 to 9007199254740991.";
    BALANCE_LIMIT: UNPROCESSABLE_ENTITY, "balance_limit", FINAL, "A balance would pass its limit",
        "A balance has at most 9007199254740991 cents, so that every program reads it exactly. Nothing \
         was paid.";
    KEY_REUSED: UNPROCESSABLE_ENTITY, "idempotency_key_reused", FINAL,
        "The idempotency key belongs to another request",
        "The key was used for a request that asked for something else: another payee, amount, note or purpose. \
         A retry is sent unchanged; a new payment needs a new key.";
    KEY_VOIDED: UNPROCESSABLE_ENTITY, "idempotency_key_voided", FINAL, "The idempotency key was voided",
        "The key was settled without a payment, and will never make one. Nothing was paid. A new payment needs \
         a new key.";
    REFUND_EXCEEDS: UNPROCESSABLE_ENTITY, "refund_exceeds_payment", FINAL, "The refund is more than what is left",
        "All refunds of a payment together are never more than the payment. Nothing was paid.";
    NOT_REFUNDABLE: UNPROCESSABLE_ENTITY, "not_refundable", FINAL, "The payment cannot be refunded",
        "A refund goes from the payee of a payment to its payer. Refunds and opening balances are not \
         refunded. Nothing was paid.";
    REQUEST_MISMATCH: UNPROCESSABLE_ENTITY, "request_mismatch", FINAL,
        "The payment is not what was asked for",
        "from, to and amount must be those of the request for money. Nothing was paid.";
    ACCOUNT_FROZEN: UNPROCESSABLE_ENTITY, "account_frozen", FINAL, "The account is frozen",
        "A frozen account neither pays nor is paid. Nothing was done. The same request, with the same key, \
         runs again when it is sent again, and can succeed once the account is open.";
    ACCOUNT_CLOSED: UNPROCESSABLE_ENTITY, "account_closed", FINAL, "The account is closed",
        "A closed account is empty and takes part in nothing, for ever. Nothing was done.";
    ACCOUNT_NOT_EMPTY: UNPROCESSABLE_ENTITY, "account_not_empty", FINAL, "The account is not empty",
        "Only an account with a balance of 0 can be closed. Nothing was done.";
    RATE_LIMITED: TOO_MANY_REQUESTS, "rate_limited", RETRYABLE, "Too many requests",
        "The payer or the address has used up what it may ask for. Nothing was done. Retry-After says \
         in how many seconds the next request is due, RateLimit-Policy what is allowed.";
    INTERNAL: INTERNAL_SERVER_ERROR, "internal", FINAL, "The service failed",
        "A fault of the service, or a rule of its database's that it does not know; its operator was \
         told. Of a payment or an opening this is said only where nothing was done, by this request or an \
         earlier one with the same key: that was looked up under the locks.";
    OVERLOADED: SERVICE_UNAVAILABLE, "overloaded", RETRYABLE, "The service takes no more now",
        "More is waiting than can be done in time; or this process is about to stop (only /health/ready \
         says that), or has no public keys yet to verify tokens with. This request was not done; an \
         earlier one with the same key may have been.";
    ACCOUNT_BUSY: SERVICE_UNAVAILABLE, "account_busy", RETRYABLE, "The account is busy",
        "Somebody else has held an account, or a table, for as long as the request could wait. This \
         request was not done; an earlier one with the same key may have been.";
    DATABASE_UNAVAILABLE: SERVICE_UNAVAILABLE, "database_unavailable", RETRYABLE,
        "The database is not available",
        "The database does not answer, or did not do it, and it may not be known whether the request \
         was done. Sending it again with the same idempotency key is safe: nothing is done twice. Without a \
         key, look first.";
}

/// The problem for an answer of this status that nobody has told as one; `None` where it is no error.
pub(super) fn of_status(status: StatusCode) -> Option<&'static ProblemType> {
    let told = [
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        REQUEST_TIMEOUT,
        BODY_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        FORBIDDEN,
    ];
    match told.into_iter().find(|kind| kind.status == status) {
        Some(kind) => Some(kind),
        None if status.is_client_error() => Some(INVALID_REQUEST),
        None => status.is_server_error().then_some(INTERNAL),
    }
}

/// The problems that every request with a caller can meet.
pub(super) const WITH_CALLER: &[&ProblemType] =
    &[UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED, INTERNAL, OVERLOADED, DATABASE_UNAVAILABLE];

/// The problems that every request with a body can meet.
pub(super) const WITH_BODY: &[&ProblemType] =
    &[INVALID_REQUEST, REQUEST_TIMEOUT, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE];

/// RFC 9457, with two members of our own.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// A page that explains it.
    #[schema(format = "uri-reference")]
    r#type: String,
    #[schema(value_type = String)]
    title: &'static str,
    status: u16,
    #[schema(value_type = String)]
    detail: &'a str,
    /// Stable: programs decide by it.
    #[schema(value_type = String)]
    code: &'static str,
    /// Whether the same request can succeed when it is sent again, unchanged.
    retryable: bool,
    /// Of `similar_payment`: the other payment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub id: Option<PaymentId>,
    /// Of `similar_payment`: the other payment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub created_at: Option<Timestamp>,
}

impl ProblemType {
    /// The body of an answer.
    pub fn problem<'a>(&self, detail: &'a str) -> Problem<'a> {
        let Self { status, code, title, retryable, .. } = *self;
        let r#type = format!("/problems/{code}");
        let status = status.as_u16();
        Problem { r#type, title, status, detail, code, retryable, id: None, created_at: None }
    }
}
