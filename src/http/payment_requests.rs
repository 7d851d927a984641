//! `/payment_requests`: asking for money, and what becomes of it.

#![expect(unused_qualifications, reason = "utoipa writes its paths in full")]

use std::str::FromStr;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::{Authenticated, require};
use super::body::{ClientTime, Integer, Json, NoBody, client_time, idempotency_key};
use super::error::ApiError;
use super::instructions::{PayerLimit, carry_out, read_note};
use super::problem;
use super::query::{PAGE_SIZE, account_id, limit, link_next, query, uuid};
use super::shapes::{PaymentRequest, problems};
use super::state::HttpLimits;
use crate::auth::Identity;
use crate::domain::{
    AccountId, Amount, AskForMoney, Caller, CloseRequest, Closing, Cursor, IdempotencyKey,
    Instruction, PaymentRequestId, PaymentRequestView, RequestDirection, RequestStatus,
};
use crate::service::Service;
use crate::service::payment_requests::RequestPage;

/// A request for money.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskForPayment {
    /// Who is asked to pay.
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    from: Integer,
    /// Who asks.
    #[schema(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    to: Integer,
    /// Cents.
    #[schema(value_type = i64, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: Integer,
    #[schema(max_length = 280, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    note: Option<String>,
    /// From then on it cannot be paid.
    #[schema(schema_with = client_time)]
    expires_at: Option<ClientTime>,
}

problems!(AskProblems:
    WITH_CALLER, WITH_BODY, [ACCOUNT_NOT_FOUND, ACCOUNT_BUSY],
    [SAME_ACCOUNT, INVALID_AMOUNT, KEY_REUSED, ACCOUNT_FROZEN, ACCOUNT_CLOSED],
);

/// Asks an account to pay another; the one who asks is the one to be paid.
#[utoipa::path(
    post,
    path = "/payment_requests",
    tag = "requests for money",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe.",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "cinema")),
    request_body(content = AskForPayment, example = json!({
        "from": 2, "to": 1, "amount": 1_250, "note": "cinema"
    })),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The request, as it was made.", body = PaymentRequest,
         headers(
             ("Location" = String, description = "Where it is."),
             ("Idempotency-Replayed" = String, description = "`true` on an answer given before."),
         )),
        AskProblems,
    )
)]
pub(super) async fn ask(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    request: HttpRequest,
    Json(body): Json<AskForPayment>,
) -> Result<HttpResponse, ApiError> {
    let from = AccountId::new(body.from.0).map_err(|invalid| invalid.of("from"))?;
    let to = AccountId::new(body.to.0).map_err(|invalid| invalid.of("to"))?;
    require(caller.may_ask(from, to))?;
    let note = read_note(body.note)?;
    let amount = Amount::from_cents(body.amount.0)?;
    let expires_at = body.expires_at.map(|time| time.read("expires_at")).transpose()?;
    // Also without a key of the client's, a commit whose answer was lost must not be repeated.
    let unnamed = || IdempotencyKey::internal(&format!("asking {}", Uuid::new_v4()));
    let key = idempotency_key(&request, None)?.unwrap_or_else(unnamed);
    let id = PaymentRequestId::derive(to, &key);
    let ask = AskForMoney::new(id, from, to, amount, note, expires_at)?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/payment_requests/{}", id.uuid())));
    carry_out(caller, &service, &payer_limit, Instruction::Ask(ask), response).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The account whose requests they are.
    #[param(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 2)]
    account: String,
    /// `incoming` (the account is asked, the default) or `outgoing` (it asks).
    direction: Option<String>,
    /// `open`, `paid`, `declined`, `cancelled` or `expired`; all by default.
    status: Option<String>,
    /// `created_at` of the last request seen, as it came; without it the newest page.
    #[param(format = "date-time")]
    last_seen_timestamp: Option<String>,
    /// Its `id`.
    #[param(format = "uuid")]
    last_seen_id: Option<String>,
    /// 1 to 10, or what the service's settings allow; 10 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 10)]
    limit: Option<String>,
}

problems!(ListProblems: WITH_CALLER, [INVALID_REQUEST, ACCOUNT_NOT_FOUND]);

/// An account's requests for money, newest first.
#[utoipa::path(
    get,
    path = "/payment_requests",
    operation_id = "list_payment_requests",
    tag = "requests for money",
    params(ListQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = [PaymentRequest],
         headers(("Link" = String, description = "`rel=\"next\"`, while there is more."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    limits: web::ThinData<HttpLimits>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query: ListQuery = query(&request)?;
    let account = account_id("account", &query.account)?;
    require(caller.may_read(account))?;
    let direction = query.direction.as_deref().map(RequestDirection::from_str).transpose();
    let direction = direction.map_err(|invalid| invalid.of("direction"))?;
    let direction = direction.unwrap_or(RequestDirection::Incoming);
    let status = query.status.as_deref().map(RequestStatus::from_str).transpose();
    let status = status.map_err(|invalid| invalid.of("status"))?;
    let limit = limit(query.limit.as_deref(), PAGE_SIZE, limits.page_size_max)?;
    let cursor =
        Cursor::parse(query.last_seen_timestamp.as_deref(), query.last_seen_id.as_deref())?;
    let page = service.payment_requests.page(account, direction, status, cursor, limit);
    let RequestPage { requests, now, next } = page.await?;

    let mut response = HttpResponse::Ok();
    if let Some(Cursor { last_seen_timestamp: time, last_seen_id }) = next {
        let status = status.map(|it| format!("&status={}", it.name())).unwrap_or_default();
        let id = last_seen_id.map(|id| format!("&last_seen_id={id}")).unwrap_or_default();
        let direction = direction.name();
        let next = format!(
            "/payment_requests?account={account}&direction={direction}{status}\
             &last_seen_timestamp={time}{id}&limit={limit}"
        );
        link_next(&mut response, &next);
    }
    let views: Vec<PaymentRequestView<'_>> = requests.iter().map(|it| it.view(now)).collect();
    Ok(response.json(views))
}

problems!(GetProblems: WITH_CALLER, [INVALID_REQUEST, PAYMENT_REQUEST_NOT_FOUND]);

/// One request for money, to its two parties.
#[utoipa::path(
    get,
    path = "/payment_requests/{id}",
    operation_id = "get_payment_request",
    tag = "requests for money",
    params(("id" = String, Path, format = "uuid", description = "The request's id.",
            example = "6a96d6ca-4af8-8618-813b-9ee5b3aefb25")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The request.", body = PaymentRequest),
        GetProblems,
    )
)]
pub(super) async fn get(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = PaymentRequestId::from_uuid(uuid("id", &id)?);
    let (now, request) = service.payment_requests.get(id).await?;
    if !caller.may_see_request(&request) {
        return Err(problem::PAYMENT_REQUEST_NOT_FOUND.into());
    }
    Ok(HttpResponse::Ok().json(request.view(now)))
}

problems!(CloseProblems:
    WITH_CALLER, WITH_BODY,
    [PAYMENT_REQUEST_NOT_FOUND, REQUEST_NOT_OPEN, ACCOUNT_BUSY],
);

/// Declines to pay, for ever; by the one who was asked.
#[utoipa::path(
    post,
    path = "/payment_requests/{id}/decline",
    tag = "requests for money",
    params(("id" = String, Path, format = "uuid", description = "The request's id.",
            example = "6a96d6ca-4af8-8618-813b-9ee5b3aefb25")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The request, as it is now.", body = PaymentRequest),
        CloseProblems,
    )
)]
pub(super) async fn decline(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    id: web::Path<String>,
    _: NoBody,
) -> Result<HttpResponse, ApiError> {
    close(caller, &service, &payer_limit, &id, Closing::Decline).await
}

/// Takes the request back, for ever; by the one who asked.
#[utoipa::path(
    post,
    path = "/payment_requests/{id}/cancel",
    tag = "requests for money",
    params(("id" = String, Path, format = "uuid", description = "The request's id.",
            example = "f86dc01c-5dff-8efd-abb5-69be8d67b593")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The request, as it is now.", body = PaymentRequest),
        CloseProblems,
    )
)]
pub(super) async fn cancel(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    id: web::Path<String>,
    _: NoBody,
) -> Result<HttpResponse, ApiError> {
    close(caller, &service, &payer_limit, &id, Closing::Cancel).await
}

async fn close(
    caller: Caller,
    service: &Service,
    payer_limit: &PayerLimit,
    id: &str,
    how: Closing,
) -> Result<HttpResponse, ApiError> {
    let id = PaymentRequestId::from_uuid(uuid("id", id)?);
    // Its accounts never change, so they can be read before they are locked.
    let (_, request) = service.payment_requests.get(id).await?;
    if !caller.may_see_request(&request) {
        return Err(problem::PAYMENT_REQUEST_NOT_FOUND.into());
    }
    let close = CloseRequest { id, from: request.from, to: request.to, how };
    require(caller.may_close(&close))?;
    carry_out(caller, service, payer_limit, Instruction::Close(close), HttpResponse::Ok()).await
}
