//! `POST /playground/crash`, where the service has a private database to play with.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{By, require};
use super::body::Json;
use super::error::ApiError;
use super::openapi::problems;
use super::payments::{SendPayment, allowed_intent};
use crate::service::Service;
use crate::service::playground::Balances;

/// The balances of a payment's two accounts, in cents.
#[derive(Serialize, ToSchema)]
struct BalancesView {
    from: i64,
    to: i64,
}

/// What a transaction left behind whose session was killed before COMMIT.
#[derive(Serialize, ToSchema)]
pub(super) struct Crash {
    before: BalancesView,
    /// As the transaction saw them when it had written everything.
    written: BalancesView,
    /// How COMMIT ended.
    error: String,
    after: BalancesView,
}

impl From<Balances> for BalancesView {
    fn from(balances: Balances) -> Self {
        Self { from: balances.payer.cents(), to: balances.payee.cents() }
    }
}

problems!(CrashProblems:
    WITH_CALLER, WITH_BODY,
    [KEY_MISSING, NOT_FOUND, ACCOUNT_NOT_FOUND, ACCOUNT_BUSY],
    [INSUFFICIENT_FUNDS, SAME_ACCOUNT, INVALID_AMOUNT, BALANCE_LIMIT, KEY_REUSED],
);

/// Makes a payment, and kills its database session before COMMIT.
///
/// For operators, and only where the service has a private database to play with. Nothing is paid;
/// the same request can be sent to `/send_payment` afterwards.
#[utoipa::path(
    post,
    path = "/playground/crash",
    tag = "playground",
    params(("Idempotency-Key" = Option<String>, Header, description = "In place of the body's.",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = SendPayment, example = json!({
        "from": 1, "to": 2, "amount": 500, "idempotency_key": "crash-1"
    })),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The balances before, inside and after.", body = Crash),
        CrashProblems,
    )
)]
pub(super) async fn crash(
    By(caller): By,
    service: web::Data<Service>,
    request: HttpRequest,
    Json(body): Json<SendPayment>,
) -> Result<HttpResponse, ApiError> {
    let playground = service.playground.as_ref().ok_or(ApiError::NotFound)?;
    require(caller.may_crash_payments())?;
    let crash = playground.crash(&allowed_intent(caller, &request, body)?).await?;
    Ok(HttpResponse::Ok().json(Crash {
        before: crash.before.into(),
        written: crash.written.into(),
        error: crash.error,
        after: crash.after.into(),
    }))
}
