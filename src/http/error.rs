//! Every error that a client can get, as one of the problems in [`super::problem`].

use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, ResponseError};

use super::problem::{self, Kind};
use super::quota::Exceeded;
use crate::auth::Unauthenticated;
use crate::domain::Invalid;
use crate::domain::ledger::Declined;
use crate::service::Refusal;

/// Seconds after which a retry is worth while, where nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An answer's code, for the log.
pub(super) struct Code(pub &'static str);

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
    #[error("{}", explained(.0))]
    Unauthenticated(Unauthenticated),
    #[error("The token does not allow this.")]
    Forbidden,
    #[error(
        "Without authorization the service answers to localhost and to loopback addresses alone, and \
         the request is for another host. See auth.mode and auth.allow_off_on_public."
    )]
    ForeignHost,
    #[error("There is nothing at this path.")]
    NotFound,
    #[error("This path takes {allow}.")]
    MethodNotAllowed { allow: &'static str },
    #[error("The request did not arrive in time.")]
    RequestTimeout,
    #[error("The body may have {bytes_max} bytes.")]
    BodyTooLarge { bytes_max: usize },
    #[error("Send JSON in UTF-8, with the header Content-Type: application/json.")]
    UnsupportedMediaType,
    #[error("Send the body as it is, without the header Content-Encoding.")]
    UnsupportedContentEncoding,
    #[error("{0} Nothing was done; send it again with the same key.")]
    RateLimited(Exceeded),
    #[error("The service is stopping. Ask another process of it, or this one when it is back.")]
    Stopping,
    #[error(
        "The public keys of auth.jwks_url could not be fetched yet, so nobody can be recognized. \
         Nothing was done; ask again."
    )]
    NoPublicKeys,
    /// Refused by the web framework or a part of it, in its words.
    #[error("{1}")]
    Framework(Kind, String),
    #[error("{0}")]
    NotReady(String),
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

impl From<Unauthenticated> for ApiError {
    fn from(why: Unauthenticated) -> Self {
        match why {
            Unauthenticated::NoKeys => Self::NoPublicKeys,
            why => Self::Unauthenticated(why),
        }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        Self::RateLimited(exceeded)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn explained(why: &Unauthenticated) -> String {
    match why {
        Unauthenticated::NoToken => {
            "Send a token, with the header Authorization: Bearer <token>.".to_owned()
        }
        Unauthenticated::Refused(why) => format!("The token is refused. {why}"),
        Unauthenticated::NoKeys => ApiError::NoPublicKeys.to_string(),
    }
}

/// The detail of a refusal. Whether a retry is safe is said where there is a doubt.
fn sentence(refusal: &Refusal) -> String {
    let fixed = match refusal {
        Refusal::AccountNotFound(id) | Refusal::Declined(Declined::AccountNotFound(id)) => {
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
            "More is waiting than can be done in time. This request was not done; send it again with \
             the same key, which also tells whether an earlier one was."
        }
        Refusal::AccountBusy => {
            "An account of this request, or a table of the ledger, is locked by somebody else. This \
             request was not done; send it again with the same key, which also tells whether an \
             earlier one was."
        }
        Refusal::DatabaseUnavailable => {
            "The database does not answer, or did not do it, and it may not be known whether the request \
             was done. Sending it again with the same key is safe: nothing is done twice. Without a key, look \
             first."
        }
        Refusal::Internal => {
            "The service failed, and its operator was told. Nothing was done for this request."
        }
    };
    fixed.to_owned()
}

impl ApiError {
    fn kind(&self) -> Kind {
        match self {
            Self::InvalidRequest(_) | Self::Invalid(Invalid::Value(_)) => problem::INVALID_REQUEST,
            Self::KeyMissing => problem::KEY_MISSING,
            Self::Unauthenticated(_) => problem::UNAUTHENTICATED,
            Self::Forbidden | Self::ForeignHost => problem::FORBIDDEN,
            Self::RateLimited(_) => problem::RATE_LIMITED,
            Self::NotFound => problem::NOT_FOUND,
            Self::MethodNotAllowed { .. } => problem::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => problem::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => problem::BODY_TOO_LARGE,
            Self::UnsupportedMediaType | Self::UnsupportedContentEncoding => {
                problem::UNSUPPORTED_MEDIA_TYPE
            }
            Self::Stopping | Self::NoPublicKeys => problem::OVERLOADED,
            Self::Framework(kind, _) => *kind,
            Self::NotReady(_) => problem::DATABASE_UNAVAILABLE,
            Self::Invalid(Invalid::Amount) => problem::INVALID_AMOUNT,
            Self::Invalid(Invalid::SameAccount) => problem::SAME_ACCOUNT,
            Self::Refused(refusal) => match refusal {
                Refusal::AccountNotFound(_) | Refusal::Declined(Declined::AccountNotFound(_)) => {
                    problem::ACCOUNT_NOT_FOUND
                }
                Refusal::Declined(Declined::KeyReused) => problem::KEY_REUSED,
                Refusal::Declined(Declined::InsufficientFunds) => problem::INSUFFICIENT_FUNDS,
                Refusal::Declined(Declined::BalanceLimit) => problem::BALANCE_LIMIT,
                Refusal::AccountExists(_) => problem::ACCOUNT_EXISTS,
                Refusal::PaymentNotFound => problem::PAYMENT_NOT_FOUND,
                Refusal::KeyInProgress => problem::REQUEST_IN_PROGRESS,
                Refusal::Overloaded => problem::OVERLOADED,
                Refusal::AccountBusy => problem::ACCOUNT_BUSY,
                Refusal::DatabaseUnavailable => problem::DATABASE_UNAVAILABLE,
                Refusal::Internal => problem::INTERNAL,
            },
        }
    }

    /// Stable: programs decide by it.
    pub fn code(&self) -> &'static str {
        self.kind().code
    }

    /// The seconds after which a retry is worth while.
    fn retry_after_seconds(&self) -> u64 {
        match self {
            Self::RateLimited(exceeded) => exceeded.retry_after_seconds,
            _ => RETRY_AFTER_SECONDS,
        }
    }

    /// The headers that belong to one kind of error.
    fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            Self::Unauthenticated(why) => {
                // RFC 6750, section 3.
                let challenge = match why {
                    Unauthenticated::NoToken | Unauthenticated::NoKeys => {
                        "Bearer realm=\"payonce\"".to_owned()
                    }
                    Unauthenticated::Refused(why) => format!(
                        "Bearer realm=\"payonce\", error=\"invalid_token\", \
                         error_description=\"{why}\""
                    ),
                };
                if let Ok(challenge) = HeaderValue::try_from(challenge) {
                    headers.insert(header::WWW_AUTHENTICATE, challenge);
                }
            }
            Self::RateLimited(exceeded) => exceeded.quota.tell(headers),
            // RFC 9110, section 15.5.16.
            Self::UnsupportedContentEncoding => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            _ => {}
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.kind().status
    }

    fn error_response(&self) -> HttpResponse {
        let kind = self.kind();
        let mut response = HttpResponse::build(kind.status);
        if kind.retryable {
            response.insert_header((header::RETRY_AFTER, self.retry_after_seconds()));
        }
        let mut response =
            response.content_type("application/problem+json").json(kind.problem(self.to_string()));
        self.add_headers(response.headers_mut());
        response.extensions_mut().insert(Code(kind.code));
        response
    }
}

/// Makes a problem of an error that nobody has told as one: CORS, a path that is no text, a file that cannot be
/// had. (Bytes that the web framework refuses before they are a request never come here: it answers 400, 408
/// and 431 without a body, and closes the connection.)
pub(super) fn as_problem(answer: ServiceResponse) -> ServiceResponse {
    let Some(kind) = problem::of_status(answer.status()) else {
        return answer;
    };
    if answer.response().extensions().contains::<Code>() {
        return answer;
    }
    let words = answer.response().error().map(ToString::to_string).unwrap_or_default();
    // A failure inside is nothing for the client.
    let is_theirs = answer.status().is_client_error() && !words.is_empty();
    let words = if is_theirs { words } else { kind.meaning.to_owned() };
    let (request, refused) = answer.into_parts();
    let mut problem = ApiError::Framework(kind, words).error_response();
    for (name, value) in refused.headers() {
        if !problem.headers().contains_key(name) {
            problem.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, problem)
}
