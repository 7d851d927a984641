//! `PUT /voided_keys`: the definite cancel.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{Authenticated, require};
use super::body::{Integer, Json, idempotency_key};
use super::error::ApiError;
use super::instructions::{PayerLimit, carry_out};
use super::problem;
use super::shapes::{Payment, problems};
use crate::auth::Identity;
use crate::domain::{AccountId, Instruction, VoidKey};
use crate::service::Service;

/// A key that is to pay nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidedKey {
    /// The payer.
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    from: Integer,
    /// May be in the header `Idempotency-Key` instead.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// What became of the key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by the rule")]
pub(super) struct Voided {
    /// Whether it will never pay. If not, it had paid.
    voided: bool,
    /// The payment that it had made; the bytes of its receipt.
    payment: Option<Payment>,
}

problems!(VoidProblems:
    WITH_CALLER, WITH_BODY,
    [KEY_MISSING, ACCOUNT_NOT_FOUND, REQUEST_IN_PROGRESS, ACCOUNT_BUSY],
);

/// Settles a key for ever: it will never pay, or it had paid. Asking again gives the same answer.
#[utoipa::path(
    put,
    path = "/voided_keys",
    tag = "payments",
    params(("Idempotency-Key" = Option<String>, Header, description = "In place of the body's.",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = VoidedKey, example = json!({"from": 1, "idempotency_key": "never-mind"})),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What became of it.", body = Voided),
        VoidProblems,
    )
)]
pub(super) async fn void(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    request: HttpRequest,
    Json(body): Json<VoidedKey>,
) -> Result<HttpResponse, ApiError> {
    let from = AccountId::new(body.from.0).map_err(|invalid| invalid.of("from"))?;
    require(caller.may_void_keys_of(from))?;
    let key = idempotency_key(&request, body.idempotency_key)?.ok_or(problem::KEY_MISSING)?;
    let void = Instruction::Void(VoidKey::new(from, key));
    carry_out(caller, &service, &payer_limit, void, HttpResponse::Ok()).await
}
