//! `PUT /send_payment`.

use std::fmt;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Deserialize;

use super::body::{ClientTime, Integer, Json, idempotency_key};
use super::error::ApiError;
use super::headers::{IDEMPOTENCY_REPLAYED, SERVER_TIMING};
use crate::domain::{AccountId, Amount, Intent, Note};
use crate::service::Service;
use crate::service::payments::{Receipt, Timing};

/// The brief's request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendPayment {
    from: Integer,
    to: Integer,
    amount: Integer,
    created_at: Option<ClientTime>,
    idempotency_key: Option<String>,
    note: Option<String>,
}

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

fn intent(request: &HttpRequest, body: SendPayment) -> Result<Intent, ApiError> {
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
