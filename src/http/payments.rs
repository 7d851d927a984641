//! `PUT /send_payment`.

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Deserialize;
use tracing::Span;
use utoipa::ToSchema;
use utoipa::openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};

use super::auth::{Authenticated, require};
use super::body::{ClientTime, Integer, Json, idempotency_key};
use super::error::ApiError;
use super::headers::{IDEMPOTENCY_REPLAYED, SERVER_TIMING};
use super::problem;
use super::quota::{Exceeded, Limit, QuotaState};
use super::shapes::{Payment, problems};
use crate::config::RateLimit;
use crate::domain::{AccountId, Amount, Caller, Intent, Note};
use crate::service::Service;
use crate::service::payments::{Receipt, Timing};
use crate::telemetry::metrics::METRICS;
use crate::telemetry::requests::Milliseconds;
use crate::telemetry::traces;

/// How often a payer may pay; `None`: there is no limit.
pub(super) struct PayerLimit(Option<Limit<AccountId>>);

impl PayerLimit {
    pub fn of(settings: &RateLimit) -> Self {
        Self(Limit::new("payer", settings.payer_per_minute, settings.payer_burst))
    }

    fn check(&self, payer: AccountId) -> Result<Option<QuotaState>, Exceeded> {
        self.0.as_ref().map(|limit| limit.check(&payer)).transpose()
    }
}

/// The brief's request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendPayment {
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    from: Integer,
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    to: Integer,
    /// Cents.
    #[schema(value_type = i64, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: Integer,
    #[schema(schema_with = client_time)]
    created_at: Option<ClientTime>,
    /// Visible ASCII; may be in the header `Idempotency-Key` instead. A retry uses the same one.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
    #[schema(max_length = 280, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    note: Option<String>,
}

/// The shape of [`ClientTime`], or null.
fn client_time() -> Schema {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    // The years 1 to 9999.
    let unix_ms = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(-62_135_596_800_000_i64))
        .maximum(Some(253_402_300_799_999_i64));
    OneOfBuilder::new()
        .item(text)
        .item(unix_ms)
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some(
            "The client's own time, as information: RFC 3339, or a Unix time in milliseconds.",
        ))
        .build()
        .into()
}

problems!(pub SendProblems:
    WITH_CALLER, WITH_BODY,
    [KEY_MISSING, ACCOUNT_NOT_FOUND, REQUEST_IN_PROGRESS, ACCOUNT_BUSY],
    [INSUFFICIENT_FUNDS, SAME_ACCOUNT, INVALID_AMOUNT, BALANCE_LIMIT, KEY_REUSED],
);

/// A payment that was made has these outcomes among the metrics; any other has its code.
const PAID: &str = "paid";
const REPLAYED: &str = "replayed";

/// Everything that may come of a payment that has reached the writers.
pub(super) fn outcomes() -> impl Iterator<Item = &'static str> {
    let refused = [
        problem::ACCOUNT_NOT_FOUND,
        problem::KEY_REUSED,
        problem::INSUFFICIENT_FUNDS,
        problem::BALANCE_LIMIT,
        problem::REQUEST_IN_PROGRESS,
        problem::OVERLOADED,
        problem::ACCOUNT_BUSY,
        problem::DATABASE_UNAVAILABLE,
        problem::INTERNAL,
    ];
    [PAID, REPLAYED].into_iter().chain(refused.into_iter().map(|kind| kind.code))
}

/// Sends money, once for each payer and key.
#[utoipa::path(
    put,
    path = "/send_payment",
    tag = "payments",
    params(("Idempotency-Key" = Option<String>, Header, description = "In place of the body's.",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = SendPayment, example = json!({
        "from": 1, "to": 2, "amount": 500, "created_at": "2026-11-22T12:00:00Z",
        "idempotency_key": "abc123", "note": "lunch"
    })),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The payment; the same bytes at every retry.", body = Payment,
         headers(
             ("Idempotency-Replayed" = String, description = "`true` on an answer given before."),
             ("Server-Timing" = String, description = "`queue`, `lock` and `commit` in ms, and the \
                                                       `batch` that it was in."),
         )),
        SendProblems,
    )
)]
pub(super) async fn send(
    Authenticated(caller): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    request: HttpRequest,
    Json(body): Json<SendPayment>,
) -> Result<HttpResponse, ApiError> {
    let intent = allowed_intent(caller, &request, body)?;
    let quota = payer_limit.check(intent.from())?;
    let answer = service.payments.send(intent).await;
    let mut response = match answer.result {
        Ok(receipt) => {
            METRICS.payment(if receipt.replayed { REPLAYED } else { PAID });
            paid(receipt)
        }
        Err(refusal) => {
            let error = ApiError::from(refusal);
            METRICS.payment(error.code());
            error.error_response()
        }
    };
    if let Some(quota) = quota {
        quota.tell(response.headers_mut());
    }
    if let Some(timing) = &answer.timing {
        if traces::are_exported() {
            describe_timing(timing);
        }
        if let Some(timing) = server_timing(timing) {
            response.headers_mut().insert(SERVER_TIMING, timing);
        }
    }
    Ok(response)
}

/// The payment that the body asks for, if its caller may.
pub(super) fn allowed_intent(
    caller: Caller,
    request: &HttpRequest,
    body: SendPayment,
) -> Result<Intent, ApiError> {
    let from = AccountId::new(body.from.0).map_err(|invalid| invalid.of("from"))?;
    let to = AccountId::new(body.to.0).map_err(|invalid| invalid.of("to"))?;
    require(caller.may_pay(from, to))?;
    // An empty note says as much as none.
    let note = body.note.filter(|note| !note.is_empty());
    let note = note.map(|note| Note::new("note", note)).transpose()?;
    let key = idempotency_key(request, body.idempotency_key)?.ok_or(problem::KEY_MISSING)?;
    let amount = Amount::from_cents(body.amount.0)?;
    let requested_at = body.created_at.map(|time| time.read("created_at")).transpose()?;
    Ok(Intent::new(from, to, amount, note, key, requested_at)?)
}

fn paid(receipt: Receipt) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if receipt.replayed {
        response.insert_header((IDEMPOTENCY_REPLAYED, "true"));
    }
    response.content_type("application/json").body(receipt.body)
}

/// Where the payment's time went, in milliseconds (W3C Server Timing).
fn server_timing(timing: &Timing) -> Option<HeaderValue> {
    let Timing { queue, lock, commit, batch } = timing;
    let [queue, lock, commit] = [queue, lock, commit].map(|time| Milliseconds(*time));
    let text =
        format!("queue;dur={queue}, lock;dur={lock}, commit;dur={commit}, batch;desc=\"{batch}\"");
    HeaderValue::try_from(text).ok()
}

/// Adds the same to the request's span.
fn describe_timing(timing: &Timing) {
    let Timing { queue, lock, commit, batch } = timing;
    let span = Span::current();
    traces::describe(&span, "payonce.batch", batch.to_string());
    for (name, time) in
        [("payonce.queue_ms", queue), ("payonce.lock_ms", lock), ("payonce.commit_ms", commit)]
    {
        traces::describe(&span, name, f64::from(Milliseconds(*time)));
    }
}
