//! `POST /playground/crash`, where the service has a private database to play with.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Json;
use super::error::{ApiError, Problem};
use super::payments::{SendPayment, intent};
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

/// Makes a payment, and kills its database session before COMMIT.
///
/// Only where the service has a private database to play with. Nothing is paid; the same request can
/// be sent to `/send_payment` afterwards.
#[utoipa::path(
    post,
    path = "/playground/crash",
    tag = "playground",
    request_body = SendPayment,
    responses(
        (status = 200, description = "The balances before, inside and after.", body = Crash),
        (status = 400, description = "`invalid_request`, `idempotency_key_missing`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: this is no playground; `account_not_found`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`insufficient_funds`, `same_account`, `invalid_amount`, \
                                      `balance_limit`; `idempotency_key_reused`, also where the \
                                      payment was made before",
         body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`account_busy`, `database_unavailable`",
         body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn crash(
    service: web::Data<Service>,
    request: HttpRequest,
    Json(body): Json<SendPayment>,
) -> Result<HttpResponse, ApiError> {
    let playground = service.playground.as_ref().ok_or(ApiError::NotFound)?;
    let crash = playground.crash(&intent(&request, body)?).await?;
    Ok(HttpResponse::Ok().json(Crash {
        before: crash.before.into(),
        written: crash.written.into(),
        error: crash.error,
        after: crash.after.into(),
    }))
}
