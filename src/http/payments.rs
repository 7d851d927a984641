//! `PUT /send_payment`.

use std::fmt;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{ClientTime, Integer, Json, idempotency_key};
use super::error::{ApiError, Problem};
use super::headers::{IDEMPOTENCY_REPLAYED, SERVER_TIMING};
use super::openapi::Payment;
use crate::domain::{AccountId, Amount, Intent, Note};
use crate::service::Service;
use crate::service::payments::{Receipt, Timing};

/// The brief's request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendPayment {
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    from: Integer,
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    to: Integer,
    /// Cents.
    #[schema(value_type = i64, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: Integer,
    /// The client's own time, as information: RFC 3339, or a Unix time in milliseconds.
    #[schema(value_type = Option<String>)]
    created_at: Option<ClientTime>,
    /// Visible ASCII; may be in the header `Idempotency-Key` instead. A retry uses the same one.
    #[schema(min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
    #[schema(max_length = 280)]
    note: Option<String>,
}

/// Sends money, once for each payer and key.
#[utoipa::path(
    put,
    path = "/send_payment",
    tag = "payments",
    params(("Idempotency-Key" = Option<String>, Header, description = "In place of the body's.")),
    request_body = SendPayment,
    responses(
        (status = 200, description = "The payment; the same bytes at every retry.", body = Payment,
         headers(
             ("Idempotency-Replayed" = String, description = "`true` on an answer given before."),
             ("Server-Timing" = String, description = "`queue`, `lock` and `commit` in ms, and the \
                                                       `batch` that it was in."),
         )),
        (status = 400, description = "`invalid_request`, `idempotency_key_missing`", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "`account_not_found`", body = Problem,
         content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "`request_in_progress`", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "`insufficient_funds`, `same_account`, `invalid_amount`, \
                                      `balance_limit`, `idempotency_key_reused`", body = Problem,
         content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `account_busy`, `database_unavailable`", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn send(
    service: web::Data<Service>,
    request: HttpRequest,
    Json(body): Json<SendPayment>,
) -> Result<HttpResponse, ApiError> {
    let answer = service.payments.send(intent(&request, body)?).await;
    let mut response = match answer.result {
        Ok(receipt) => paid(receipt),
        Err(refusal) => ApiError::from(refusal).error_response(),
    };
    if let Some(timing) = answer.timing.as_ref().and_then(server_timing) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}

pub(super) fn intent(request: &HttpRequest, body: SendPayment) -> Result<Intent, ApiError> {
    let from = AccountId::new(body.from.0)?;
    let to = AccountId::new(body.to.0)?;
    // An empty note says as much as none.
    let note = body.note.filter(|note| !note.is_empty());
    let note = note.map(|note| Note::new("note", note)).transpose()?;
    let key = idempotency_key(request, body.idempotency_key)?.ok_or(ApiError::KeyMissing)?;
    let amount = Amount::from_cents(body.amount.0)?;
    Ok(Intent::new(from, to, amount, note, key, body.created_at.map(|time| time.0))?)
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
    let (queue, lock, commit) = (Millis(*queue), Millis(*lock), Millis(*commit));
    let text =
        format!("queue;dur={queue}, lock;dur={lock}, commit;dur={commit}, batch;desc=\"{batch}\"");
    HeaderValue::try_from(text).ok()
}

/// Three decimals, without a float's detours.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros.div_euclid(1_000), micros.rem_euclid(1_000))
    }
}
