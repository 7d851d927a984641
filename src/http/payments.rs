//! `PUT /send_payment`.

use std::sync::Arc;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Deserialize;
use tracing::Span;
use utoipa::ToSchema;

use super::auth::{Authenticated, require};
use super::body::{ClientTime, Integer, Json, client_time, idempotency_key};
use super::error::ApiError;
use super::headers::SERVER_TIMING;
use super::instructions::{PayerLimit, done, read_note};
use super::problem;
use super::query::uuid;
use super::shapes::{Payment, problems};
use crate::auth::Identity;
use crate::domain::{
    AccountId, Amount, IdempotencyKey, Instruction, Intent, PaymentId, PaymentRequestId,
    SimilarWithin,
};
use crate::service::Service;
use crate::service::payments::{Answer, Timing};
use crate::telemetry::metrics::METRICS;
use crate::telemetry::requests::Milliseconds;
use crate::telemetry::traces;

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
    /// The client's own time, as information.
    #[schema(schema_with = client_time)]
    created_at: Option<ClientTime>,
    /// Visible ASCII; may be in the header `Idempotency-Key` instead. A retry uses the same one.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
    #[schema(max_length = 280, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    note: Option<String>,
    /// The payment that is given back, in full or in part, by its payee to its payer.
    #[schema(format = "uuid")]
    refund_of: Option<String>,
    /// The request for money that is paid; from, to and amount are its own, and the key may be left out.
    #[schema(format = "uuid")]
    payment_request_id: Option<String>,
    /// Do not pay where the payer paid the same payee the same amount within so many seconds.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 3_600)]
    unless_similar_within_seconds: Option<Integer>,
}

problems!(pub SendProblems:
    WITH_CALLER, WITH_BODY,
    [KEY_MISSING, ACCOUNT_NOT_FOUND, PAYMENT_NOT_FOUND, PAYMENT_REQUEST_NOT_FOUND],
    [REQUEST_IN_PROGRESS, SIMILAR_PAYMENT, REQUEST_NOT_OPEN, ACCOUNT_BUSY],
    [INSUFFICIENT_FUNDS, SAME_ACCOUNT, INVALID_AMOUNT, BALANCE_LIMIT, KEY_REUSED, KEY_VOIDED],
    [REFUND_EXCEEDS, NOT_REFUNDABLE, REQUEST_MISMATCH, ACCOUNT_FROZEN, ACCOUNT_CLOSED],
);

/// A payment that was made has these outcomes among the metrics; any other has its code.
const PAID: &str = "paid";
const REPLAYED: &str = "replayed";

/// Everything that may come of a payment that has reached the writers.
pub(super) fn outcomes() -> impl Iterator<Item = &'static str> {
    let refused = [
        problem::ACCOUNT_NOT_FOUND,
        problem::ACCOUNT_FROZEN,
        problem::ACCOUNT_CLOSED,
        problem::PAYMENT_NOT_FOUND,
        problem::PAYMENT_REQUEST_NOT_FOUND,
        problem::REQUEST_MISMATCH,
        problem::REQUEST_NOT_OPEN,
        problem::NOT_REFUNDABLE,
        problem::REFUND_EXCEEDS,
        problem::SIMILAR_PAYMENT,
        problem::KEY_REUSED,
        problem::KEY_VOIDED,
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
    Authenticated(identity): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    request: HttpRequest,
    Json(body): Json<SendPayment>,
) -> Result<HttpResponse, ApiError> {
    let intent = allowed_intent(&identity, body, |key| idempotency_key(&request, key))?;
    let quota = payer_limit.check(intent.from())?;
    let Answer { result, timing } = pay(&service, intent).await;
    let mut response = match result {
        Ok(receipt) => done(HttpResponse::Ok(), receipt),
        Err(refusal) => ApiError::from(refusal).error_response(),
    };
    if let Some(quota) = quota {
        quota.tell(response.headers_mut());
    }
    if let Some(timing) = &timing {
        if traces::are_exported() {
            describe_timing(timing);
        }
        if let Some(timing) = server_timing(timing) {
            response.headers_mut().insert(SERVER_TIMING, timing);
        }
    }
    Ok(response)
}

/// Sends a payment, and counts what comes of it.
pub(super) async fn pay(service: &Service, intent: Intent) -> Answer {
    let answer = service.payments.send(Instruction::Pay(intent)).await;
    METRICS.payment(match &answer.result {
        Ok(receipt) if receipt.replayed => REPLAYED,
        Ok(_) => PAID,
        Err(refusal) => ApiError::from(*refusal).code(),
    });
    answer
}

/// The payment that the body asks for, if its caller may. `key` reads the key, given the body's.
pub(super) fn allowed_intent(
    identity: &Identity,
    body: SendPayment,
    key: impl FnOnce(Option<String>) -> Result<Option<IdempotencyKey>, ApiError>,
) -> Result<Intent, ApiError> {
    let from = AccountId::new(body.from.0).map_err(|invalid| invalid.of("from"))?;
    let to = AccountId::new(body.to.0).map_err(|invalid| invalid.of("to"))?;
    require(identity.caller.may_pay(from, to))?;
    let note = read_note(body.note)?;
    let key = key(body.idempotency_key)?;
    let amount = Amount::from_cents(body.amount.0)?;
    let requested_at = body.created_at.map(|time| time.read("created_at")).transpose()?;
    let refund_of = body.refund_of.map(|id| uuid("refund_of", &id)).transpose()?;
    let request = body.payment_request_id.map(|id| uuid("payment_request_id", &id)).transpose()?;
    let mut intent = match (request, refund_of) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_request(
                "refund_of and payment_request_id do not go together.",
            ));
        }
        (Some(request), None) => {
            let request = PaymentRequestId::from_uuid(request);
            Intent::paying(request, from, to, amount, note, key, requested_at)?
        }
        (None, refund_of) => {
            let key = key.ok_or(problem::KEY_MISSING)?;
            let intent = Intent::new(from, to, amount, note, key, requested_at)?;
            match refund_of {
                Some(payment) => intent.refunding(PaymentId::from_uuid(payment)),
                None => intent,
            }
        }
    };
    if let Some(Integer(seconds)) = body.unless_similar_within_seconds {
        let within = SimilarWithin::from_seconds(seconds);
        let within = within.map_err(|invalid| invalid.of("unless_similar_within_seconds"))?;
        intent = intent.unless_similar(within);
    }
    match &identity.name {
        Some(name) if **name != *from.to_string() => Ok(intent.asked_for_by(Arc::clone(name))),
        _ => Ok(intent),
    }
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
