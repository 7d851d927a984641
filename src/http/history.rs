//! `GET /payment_history/{user}`, `GET /payments/{id}`, and `GET /payments` by key.

#![expect(unused_qualifications, reason = "utoipa writes its paths in full")]

use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::{Authenticated, require};
use super::body::Moment;
use super::error::ApiError;
use super::problem;
use super::query::{PAGE_SIZE, account_id, bound, limit, link_next, query, uuid};
use super::shapes::{Payment, problems};
use super::state::HttpLimits;
use crate::auth::Identity;
use crate::domain::{
    AccountId, Cursor, HistoryFilter, IdempotencyKey, PaymentDirection, PaymentId, PaymentView,
};
use crate::service::{Refusal, Service};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// `created_at` of the last payment seen, as it came; without it the newest page.
    #[param(format = "date-time")]
    last_seen_timestamp: Option<String>,
    /// Its `id`.
    #[param(format = "uuid")]
    last_seen_id: Option<String>,
    /// 1 to 10, or what the service's settings allow; 10 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 10)]
    limit: Option<String>,
    /// `sent` or `received`; both by default.
    direction: Option<String>,
    /// The payments of this moment and later ones: RFC 3339, or a Unix time in milliseconds.
    #[param(value_type = Option<Moment>, inline)]
    since: Option<String>,
}

problems!(HistoryProblems:
    WITH_CALLER, [INVALID_REQUEST, ACCOUNT_NOT_FOUND],
);

/// An account's payments, newest first: sent and received, or a part of them.
#[utoipa::path(
    get,
    path = "/payment_history/{user}",
    tag = "payments",
    params(
        ("user" = i64, Path, description = "The account's id.", minimum = 0,
         maximum = 9_007_199_254_740_991_i64, example = 1),
        HistoryQuery,
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = [Payment],
         headers(("Link" = String, description = "`rel=\"next\"`, while there is more."))),
        HistoryProblems,
    )
)]
pub(super) async fn page(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    limits: web::ThinData<HttpLimits>,
    request: HttpRequest,
    user: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let account = account_id("user", &user)?;
    require(caller.may_read(account))?;
    let query: HistoryQuery = query(&request)?;
    let limit = limit(query.limit.as_deref(), PAGE_SIZE, limits.page_size_max)?;
    let cursor =
        Cursor::parse(query.last_seen_timestamp.as_deref(), query.last_seen_id.as_deref())?;
    let direction = query.direction.as_deref().map(PaymentDirection::from_str).transpose();
    let direction = direction.map_err(|invalid| invalid.of("direction"))?;
    let filter = HistoryFilter { direction, since: bound("since", query.since.as_deref())? };
    let page = service.histories.page(account, filter, cursor, limit).await?;

    let mut response = HttpResponse::Ok();
    if let Some(next) = page.next() {
        link_next(&mut response, &next_page(account, filter, next, limit));
    }
    Ok(response.content_type("application/json").body(page.into_json()))
}

fn next_page(account: AccountId, filter: HistoryFilter, cursor: Cursor, limit: u16) -> String {
    let time = cursor.last_seen_timestamp;
    let id = cursor.last_seen_id.map(|id| format!("&last_seen_id={id}")).unwrap_or_default();
    let direction =
        filter.direction.map(|it| format!("&direction={}", it.name())).unwrap_or_default();
    let since = filter.since.map(|since| format!("&since={since}")).unwrap_or_default();
    format!(
        "/payment_history/{account}?last_seen_timestamp={time}{id}&limit={limit}{direction}{since}"
    )
}

problems!(PaymentProblems: WITH_CALLER, [INVALID_REQUEST, PAYMENT_NOT_FOUND]);

/// One payment, to its payer and its payee.
#[utoipa::path(
    get,
    path = "/payments/{id}",
    tag = "payments",
    params(("id" = String, Path, format = "uuid", description = "The payment's id.",
            example = "0fc38bf5-9597-86f0-b04b-6ef81d0f62fc")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The payment, with the balance of the reader's own account.", body = Payment),
        PaymentProblems,
    )
)]
pub(super) async fn payment(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = PaymentId::from_uuid(uuid("id", &id)?);
    let (payment, refunded) = service.histories.payment(id).await?;
    if !caller.may_see(&payment) {
        return Err(Refusal::PaymentNotFound.into());
    }
    Ok(HttpResponse::Ok().json(PaymentView { refunded, ..payment.seen_by(caller.account()) }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyQuery {
    /// The payer.
    #[param(value_type = i64, minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 1)]
    from: String,
    /// The key under which the payment was asked for.
    #[param(min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "abc123")]
    idempotency_key: String,
}

/// The outcome of a key: the payment that was made under it. 404: none so far; a request that is under way may still
/// pay (`PUT /voided_keys` settles it).
#[utoipa::path(
    get,
    path = "/payments",
    tag = "payments",
    params(KeyQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The payment, with the balance of the reader's own account.", body = Payment),
        PaymentProblems,
    )
)]
pub(super) async fn payment_by_key(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query: KeyQuery = query(&request)?;
    let from = account_id("from", &query.from)?;
    require(caller.may_read(from))?;
    let key = IdempotencyKey::new(query.idempotency_key)?;
    let found = service.histories.payment_by_key(from, &key).await;
    let (payment, refunded) = found.map_err(|refusal| match refusal {
        Refusal::PaymentNotFound => ApiError::new(
            problem::PAYMENT_NOT_FOUND,
            "No payment was made under this key so far. A request that is under way may still pay: \
             PUT /voided_keys settles it.",
        ),
        other => other.into(),
    })?;
    Ok(HttpResponse::Ok().json(PaymentView { refunded, ..payment.seen_by(caller.account()) }))
}

#[cfg(test)]
mod tests;
