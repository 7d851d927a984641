//! `PUT /send_payments`: many payments in one request, each as if it were sent alone.

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::auth::Authenticated;
use super::body::{Json, is_object};
use super::error::ApiError;
use super::headers::IDEMPOTENCY_KEY;
use super::instructions::PayerLimit;
use super::payments::{SendPayment, allowed_intent, pay};
use super::problem::Problem;
use super::shapes::{Payment, problems};
use crate::auth::Identity;
use crate::domain::IdempotencyKey;
use crate::service::{Refusal, Service};

/// Payments in one request.
const PAYMENTS_MAX: usize = 100;

/// Many payments.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendPayments {
    /// Each as the body of `PUT /send_payment`, with a key of its own. One that is malformed is answered with a problem of
    /// its own, so anything may stand here.
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, max_items = 100)]
    payments: Vec<Box<RawValue>>,
}

/// What came of one of them: the status that it would have had alone, and the payment or the problem.
#[derive(Serialize, ToSchema)]
pub(super) struct PaymentResult<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Payment>)]
    payment: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem<'a>>,
}

problems!(BulkProblems: WITH_CALLER, WITH_BODY);

/// Sends up to 100 payments, each as if it were sent alone: one that is refused, or has to wait, changes nothing for
/// the others.
#[utoipa::path(
    put,
    path = "/send_payments",
    tag = "payments",
    request_body(content = SendPayments, example = json!({"payments": [
        {"from": 1, "to": 2, "amount": 500, "idempotency_key": "bulk-1"},
        {"from": 1, "to": 3, "amount": 250, "idempotency_key": "bulk-2", "note": "lunch"}
    ]})),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The results, in the same order.", body = [PaymentResult]),
        BulkProblems,
    )
)]
pub(super) async fn send_many(
    Authenticated(identity): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    request: HttpRequest,
    Json(body): Json<SendPayments>,
) -> Result<HttpResponse, ApiError> {
    if request.headers().contains_key(IDEMPOTENCY_KEY) {
        return Err(ApiError::invalid_request(
            "Each of the payments has an idempotency_key of its own; the header Idempotency-Key cannot be theirs.",
        ));
    }
    if !(1..=PAYMENTS_MAX).contains(&body.payments.len()) {
        return Err(ApiError::invalid_request(format!(
            "payments has 1 to {PAYMENTS_MAX} elements."
        )));
    }
    // They are queued in their order, and waited for together.
    let payments = body.payments.iter();
    let results = join_all(payments.map(|raw| send_one(&identity, &service, &payer_limit, raw)));
    let results = results.await;
    let results: Vec<PaymentResult<'_>> = results.iter().map(PaymentResult::of).collect();
    Ok(HttpResponse::Ok().json(results))
}

/// The receipt of one payment, which is JSON.
async fn send_one(
    identity: &Identity,
    service: &Service,
    payer_limit: &PayerLimit,
    raw: &RawValue,
) -> Result<Box<RawValue>, ApiError> {
    if !is_object(raw.get().as_bytes()) {
        return Err(ApiError::invalid_request("The payment is not a JSON object."));
    }
    let body: SendPayment = serde_json::from_str(raw.get())
        .map_err(|error| ApiError::invalid_request(format!("The payment: {error}.")))?;
    let intent =
        allowed_intent(identity, body, |key| Ok(key.map(IdempotencyKey::new).transpose()?))?;
    payer_limit.check(intent.from())?;
    let receipt = pay(service, intent).await.result?;
    RawValue::from_string(receipt.body).map_err(|_| ApiError::from(Refusal::Internal))
}

impl<'a> PaymentResult<'a> {
    fn of(result: &'a Result<Box<RawValue>, ApiError>) -> Self {
        match result {
            Ok(payment) => Self { status: 200, payment: Some(&**payment), problem: None },
            Err(error) => {
                let status = error.status_code().as_u16();
                Self { status, payment: None, problem: Some(error.problem()) }
            }
        }
    }
}
