//! An error as its client gets it: a type of problem from the catalogue, and what is to be said of this one.
//!
//! The type's meaning is said unless there is something else to say; so a new error is an entry in
//! [`super::problem`] and an arm of the match below that tells when it is met.

use std::borrow::Cow;
use std::fmt;

use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, ResponseError};

use super::problem::{self, Problem, ProblemType};
use super::quota::Exceeded;
use crate::auth::Unauthenticated;
use crate::domain::Invalid;
use crate::domain::ledger::{Declined, Similar};
use crate::service::Refusal;

/// Seconds after which a retry is worth while, where nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An answer's code, for the log.
pub(super) struct Code(pub &'static str);

/// The fault, for the client.
#[derive(Debug)]
pub(super) struct ApiError {
    r#type: &'static ProblemType,
    detail: Cow<'static, str>,
    retry_after_seconds: u64,
    headers: HeaderMap,
    /// Boxed, because nearly every error is without.
    similar: Option<Box<Similar>>,
}

impl From<&'static ProblemType> for ApiError {
    fn from(r#type: &'static ProblemType) -> Self {
        Self::new(r#type, r#type.meaning)
    }
}

impl ApiError {
    /// A problem of which there is more to say than what its type means.
    pub fn new(r#type: &'static ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            r#type,
            detail: detail.into(),
            retry_after_seconds: RETRY_AFTER_SECONDS,
            headers: HeaderMap::new(),
            similar: None,
        }
    }

    pub fn invalid_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(problem::INVALID_REQUEST, detail)
    }

    /// `allow` names the methods that the path takes.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let error = Self::new(problem::METHOD_NOT_ALLOWED, format!("This path takes {allow}."));
        error.with(header::ALLOW, HeaderValue::from_static(allow))
    }

    pub fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Its body.
    pub fn problem(&self) -> Problem<'_> {
        let mut problem = self.r#type.problem(&self.detail);
        (problem.id, problem.created_at) =
            self.similar.as_ref().map(|it| (it.id, it.created_at)).unzip();
        problem
    }

    /// Stable: programs decide by it.
    pub fn code(&self) -> &'static str {
        self.r#type.code
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Value(what) => Self::invalid_request(what),
            Invalid::Amount => problem::INVALID_AMOUNT.into(),
            Invalid::SameAccount => problem::SAME_ACCOUNT.into(),
        }
    }
}

impl From<Unauthenticated> for ApiError {
    fn from(why: Unauthenticated) -> Self {
        // The challenges of RFC 6750, section 3.
        let (detail, challenge) = match why {
            Unauthenticated::NoKeys => {
                return Self::new(
                    problem::OVERLOADED,
                    "The public keys of auth.jwks_url could not be fetched yet, so nobody can be \
                     recognized. Nothing was done; ask again.",
                );
            }
            Unauthenticated::NoToken => (
                "Send a token, with the header Authorization: Bearer <token>.".to_owned(),
                "Bearer realm=\"payonce\"".to_owned(),
            ),
            Unauthenticated::Refused(why) => (
                format!("The token is refused. {why}"),
                format!(
                    "Bearer realm=\"payonce\", error=\"invalid_token\", \
                     error_description=\"{why}\""
                ),
            ),
        };
        let error = Self::new(problem::UNAUTHENTICATED, detail);
        match HeaderValue::try_from(challenge) {
            Ok(challenge) => error.with(header::WWW_AUTHENTICATE, challenge),
            Err(_) => error,
        }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        let detail = format!("{exceeded} Nothing was done; send it again with the same key.");
        let mut error = Self::new(problem::RATE_LIMITED, detail);
        error.retry_after_seconds = exceeded.retry_after_seconds;
        exceeded.quota.tell(&mut error.headers);
        error
    }
}

impl From<Declined> for ApiError {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::AccountNotFound(id) => {
                Self::new(problem::ACCOUNT_NOT_FOUND, format!("There is no account {id}."))
            }
            Declined::AccountFrozen(id) => Self::new(
                problem::ACCOUNT_FROZEN,
                format!("Account {id} is frozen: it neither pays nor is paid. Nothing was done."),
            ),
            Declined::AccountClosed(id) => Self::new(
                problem::ACCOUNT_CLOSED,
                format!("Account {id} is closed for ever. Nothing was done."),
            ),
            Declined::AccountNotEmpty(_) => problem::ACCOUNT_NOT_EMPTY.into(),
            Declined::BankStaysOpen => Self::invalid_request("Account 0 is always open."),
            Declined::KeyReused => problem::KEY_REUSED.into(),
            Declined::KeyVoided => problem::KEY_VOIDED.into(),
            Declined::InsufficientFunds => problem::INSUFFICIENT_FUNDS.into(),
            Declined::BalanceLimit => problem::BALANCE_LIMIT.into(),
            Declined::PaymentNotFound => problem::PAYMENT_NOT_FOUND.into(),
            Declined::NotRefundable => problem::NOT_REFUNDABLE.into(),
            Declined::RefundExceeds { left_cents } => Self::new(
                problem::REFUND_EXCEEDS,
                format!(
                    "Of this payment {left_cents} cents are left to be refunded. Nothing was paid."
                ),
            ),
            Declined::RequestNotFound => problem::PAYMENT_REQUEST_NOT_FOUND.into(),
            Declined::RequestMismatch => problem::REQUEST_MISMATCH.into(),
            Declined::RequestNotOpen(status) => Self::new(
                problem::REQUEST_NOT_OPEN,
                format!("The request for money is {}.", status.name()),
            ),
            Declined::ExpiresInThePast => Self::invalid_request("expires_at is in the past."),
            Declined::Similar(similar) => {
                Self { similar: Some(similar.into()), ..problem::SIMILAR_PAYMENT.into() }
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Declined(declined) => declined.into(),
            Refusal::AccountNotFound(id) => Declined::AccountNotFound(id).into(),
            Refusal::AccountExists(id) => {
                Self::new(problem::ACCOUNT_EXISTS, format!("There is an account {id} already."))
            }
            Refusal::NotOver(end) => Self::invalid_request(format!(
                "That moment is not over for certain: a payment may still get an earlier time. What was \
                 before {end} is over."
            )),
            Refusal::PaymentNotFound => problem::PAYMENT_NOT_FOUND.into(),
            Refusal::PaymentRequestNotFound => problem::PAYMENT_REQUEST_NOT_FOUND.into(),
            Refusal::WebhookNotFound => problem::WEBHOOK_NOT_FOUND.into(),
            Refusal::TooManyWebhooks(max) => {
                let detail =
                    format!("There are {max} webhooks, as many as webhooks.endpoints_max allows.");
                Self::invalid_request(detail)
            }
            Refusal::KeyInProgress => problem::REQUEST_IN_PROGRESS.into(),
            Refusal::Overloaded => Self::new(
                problem::OVERLOADED,
                "More is waiting than can be done in time. This request was not done; send it again \
                 with the same key, which also tells whether an earlier one was.",
            ),
            Refusal::TooManyStreams => Self::new(
                problem::OVERLOADED,
                "This process has as many live streams as it may have. Try again, or ask instead.",
            ),
            Refusal::TooManyStreamsOfAccount(id) => Self::new(
                problem::RATE_LIMITED,
                format!("Account {id} has as many live streams as it may have: end one of them."),
            ),
            Refusal::AccountBusy => problem::ACCOUNT_BUSY.into(),
            Refusal::DatabaseUnavailable => problem::DATABASE_UNAVAILABLE.into(),
            Refusal::Internal => Self::new(
                problem::INTERNAL,
                "The service failed, and its operator was told. Nothing was done for this request.",
            ),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.r#type.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.r#type.status);
        if self.r#type.retryable {
            response.insert_header((header::RETRY_AFTER, self.retry_after_seconds));
        }
        let mut response = response.content_type("application/problem+json").json(self.problem());
        for (name, value) in &self.headers {
            response.headers_mut().append(name.clone(), value.clone());
        }
        response.extensions_mut().insert(Code(self.r#type.code));
        response
    }
}

/// Makes a problem of an error that nobody has told as one: CORS, a path that is no text, a file that
/// cannot be had. (Bytes that the web framework refuses before they are a request never come here: it
/// answers 400, 408 and 431 without a body, and closes the connection.)
pub(super) fn as_problem(answer: ServiceResponse) -> ServiceResponse {
    let Some(r#type) = problem::of_status(answer.status()) else {
        return answer;
    };
    if answer.response().extensions().contains::<Code>() {
        return answer;
    }
    let words = answer.response().error().map(ToString::to_string).unwrap_or_default();
    // A failure inside is nothing for the client.
    let is_theirs = answer.status().is_client_error() && !words.is_empty();
    let error = if is_theirs { ApiError::new(r#type, words) } else { r#type.into() };
    let (request, refused) = answer.into_parts();
    let mut problem = error.error_response();
    for (name, value) in refused.headers() {
        if !problem.headers().contains_key(name) {
            problem.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, problem)
}
