//! Every error that a client can get: the only place where status codes are chosen. Bodies are
//! problem details (RFC 9457).

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::Invalid;
use crate::domain::ledger::Declined;
use crate::service::Refusal;

/// Seconds after which a retry is worth while.
const RETRY_AFTER_SECONDS: &str = "1";

/// What went wrong, for the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{0}")]
    InvalidRequest(String),
    #[error(
        "Give each payment a key of its own, in `idempotency_key` or in the header \
         Idempotency-Key; a retry uses the same key."
    )]
    KeyMissing,
    #[error("There is nothing at this path.")]
    NotFound,
    #[error("This path takes {allow}.")]
    MethodNotAllowed { allow: &'static str },
    #[error("The request did not arrive in time.")]
    RequestTimeout,
    #[error("The body may have {bytes_max} bytes.")]
    BodyTooLarge { bytes_max: usize },
    #[error("Send JSON, with the header Content-Type: application/json.")]
    UnsupportedMediaType,
    #[error("{0}")]
    Invalid(Invalid),
    #[error("{}", sentence(.0))]
    Refused(Refusal),
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The detail of a refusal. Whether a retry is safe is said where there is a doubt.
fn sentence(refusal: &Refusal) -> String {
    let fixed = match refusal {
        Refusal::Declined(Declined::AccountNotFound(id)) => {
            return format!("There is no account {id}.");
        }
        Refusal::AccountExists(id) => return format!("There is an account {id} already."),
        Refusal::Declined(Declined::KeyReused) => {
            "This idempotency key belongs to a request that asked for something else. Use a new \
             key for a new request."
        }
        Refusal::Declined(Declined::InsufficientFunds) => {
            "The payer has less than the amount. Nothing was paid; the same request may be sent \
             again with the same key."
        }
        Refusal::Declined(Declined::BalanceLimit) => {
            "A balance would pass its limit of 2^53 - 1 cents. Nothing was paid."
        }
        Refusal::PaymentNotFound => "There is no such payment.",
        Refusal::KeyInProgress => {
            "Another request with this idempotency key is under way. Ask again with the same key \
             for its outcome."
        }
        Refusal::Overloaded => {
            "More is waiting than can be done in time. Nothing was done for this request; send it \
             again with the same key."
        }
        Refusal::AccountBusy => {
            "An account of this request is locked by somebody else. Nothing was done; send it \
             again with the same key."
        }
        Refusal::DatabaseUnavailable => {
            "The database does not answer, so it may not be known whether the request was done. \
             Sending it again with the same key is safe: nothing is done twice. Without a key, look \
             first."
        }
        Refusal::Internal => {
            "The service failed, and its operator was told. Nothing was done for this request."
        }
    };
    fixed.to_owned()
}

/// A kind of error: what is the same each time that it happens.
#[derive(Debug, Clone, Copy)]
struct Kind {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    /// Whether the same request can succeed when it is sent again, unchanged.
    retryable: bool,
}

const fn kind(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { status, code, title, retryable: false }
}

const fn retryable(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { status, code, title, retryable: true }
}

type S = StatusCode;

const INVALID_REQUEST: Kind = kind(S::BAD_REQUEST, "invalid_request", "The request is malformed");
const KEY_MISSING: Kind =
    kind(S::BAD_REQUEST, "idempotency_key_missing", "The idempotency key is missing");
const NOT_FOUND: Kind = kind(S::NOT_FOUND, "not_found", "Nothing is here");
const ACCOUNT_NOT_FOUND: Kind =
    kind(S::NOT_FOUND, "account_not_found", "The account does not exist");
const PAYMENT_NOT_FOUND: Kind =
    kind(S::NOT_FOUND, "payment_not_found", "The payment does not exist");
const METHOD_NOT_ALLOWED: Kind =
    kind(S::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed");
const REQUEST_TIMEOUT: Kind =
    retryable(S::REQUEST_TIMEOUT, "request_timeout", "The request was too slow");
const BODY_TOO_LARGE: Kind = kind(S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large");
const UNSUPPORTED_MEDIA_TYPE: Kind =
    kind(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is not JSON");
const REQUEST_IN_PROGRESS: Kind =
    retryable(S::CONFLICT, "request_in_progress", "The same request is under way");
const ACCOUNT_EXISTS: Kind = kind(S::CONFLICT, "account_exists", "The account exists already");
const INSUFFICIENT_FUNDS: Kind =
    kind(S::UNPROCESSABLE_ENTITY, "insufficient_funds", "Insufficient funds");
const SAME_ACCOUNT: Kind =
    kind(S::UNPROCESSABLE_ENTITY, "same_account", "Payer and payee are the same");
const INVALID_AMOUNT: Kind =
    kind(S::UNPROCESSABLE_ENTITY, "invalid_amount", "The amount is not possible");
const BALANCE_LIMIT: Kind =
    kind(S::UNPROCESSABLE_ENTITY, "balance_limit", "A balance would pass its limit");
const KEY_REUSED: Kind = kind(
    S::UNPROCESSABLE_ENTITY,
    "idempotency_key_reused",
    "The idempotency key belongs to another request",
);
const INTERNAL: Kind = kind(S::INTERNAL_SERVER_ERROR, "internal", "The service failed");
const OVERLOADED: Kind =
    retryable(S::SERVICE_UNAVAILABLE, "overloaded", "The service is overloaded");
const ACCOUNT_BUSY: Kind = retryable(S::SERVICE_UNAVAILABLE, "account_busy", "The account is busy");
const DATABASE_UNAVAILABLE: Kind =
    retryable(S::SERVICE_UNAVAILABLE, "database_unavailable", "The database is not available");

const ALL: [Kind; 20] = [
    INVALID_REQUEST,
    KEY_MISSING,
    NOT_FOUND,
    ACCOUNT_NOT_FOUND,
    PAYMENT_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    REQUEST_IN_PROGRESS,
    ACCOUNT_EXISTS,
    INSUFFICIENT_FUNDS,
    SAME_ACCOUNT,
    INVALID_AMOUNT,
    BALANCE_LIMIT,
    KEY_REUSED,
    INTERNAL,
    OVERLOADED,
    ACCOUNT_BUSY,
    DATABASE_UNAVAILABLE,
];

impl ApiError {
    fn kind(&self) -> Kind {
        match self {
            Self::InvalidRequest(_) | Self::Invalid(Invalid::Value(_)) => INVALID_REQUEST,
            Self::KeyMissing => KEY_MISSING,
            Self::NotFound => NOT_FOUND,
            Self::MethodNotAllowed { .. } => METHOD_NOT_ALLOWED,
            Self::RequestTimeout => REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => BODY_TOO_LARGE,
            Self::UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(Invalid::Amount) => INVALID_AMOUNT,
            Self::Invalid(Invalid::SameAccount) => SAME_ACCOUNT,
            Self::Refused(refusal) => match refusal {
                Refusal::Declined(Declined::AccountNotFound(_)) => ACCOUNT_NOT_FOUND,
                Refusal::Declined(Declined::KeyReused) => KEY_REUSED,
                Refusal::Declined(Declined::InsufficientFunds) => INSUFFICIENT_FUNDS,
                Refusal::Declined(Declined::BalanceLimit) => BALANCE_LIMIT,
                Refusal::AccountExists(_) => ACCOUNT_EXISTS,
                Refusal::PaymentNotFound => PAYMENT_NOT_FOUND,
                Refusal::KeyInProgress => REQUEST_IN_PROGRESS,
                Refusal::Overloaded => OVERLOADED,
                Refusal::AccountBusy => ACCOUNT_BUSY,
                Refusal::DatabaseUnavailable => DATABASE_UNAVAILABLE,
                Refusal::Internal => INTERNAL,
            },
        }
    }
}

/// RFC 9457, with two members of our own.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// A page that explains it.
    r#type: String,
    #[schema(value_type = String)]
    title: &'static str,
    status: u16,
    detail: String,
    /// Stable: programs decide by it.
    #[schema(value_type = String)]
    code: &'static str,
    /// Whether the same request can succeed when it is sent again, unchanged.
    retryable: bool,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.kind().status
    }

    fn error_response(&self) -> HttpResponse {
        let Kind { status, code, title, retryable } = self.kind();
        let mut response = HttpResponse::build(status);
        if retryable {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        if let Self::MethodNotAllowed { allow } = self {
            response.insert_header((header::ALLOW, *allow));
        }
        response.content_type("application/problem+json").json(Problem {
            r#type: format!("/problems/{code}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            code,
            retryable,
        })
    }
}

/// What the `type` of a problem points to.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "operation",
    params(("code" = String, Path)),
    responses(
        (status = 200, description = "An explanation.", body = String, content_type = "text/plain"),
        (status = 404, description = "`not_found`", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(code: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let kind = ALL.into_iter().find(|kind| kind.code == *code).ok_or(ApiError::NotFound)?;
    let retry = if kind.retryable {
        "The same request, with the same idempotency key, can succeed later."
    } else {
        "The same request will not succeed as long as nothing else changes."
    };
    let text =
        format!("{} ({}, status {})\n\n{retry}\n", kind.title, kind.code, kind.status.as_u16());
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}
