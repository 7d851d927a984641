//! `GET /payment_history/{user}` and `GET /payments/{id}`.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use uuid::Uuid;

use super::HttpLimits;
use super::error::ApiError;
use super::query::{account_id, limit, link_next, query};
use crate::domain::{AccountId, Cursor, PaymentId, PaymentView};
use crate::service::Service;

/// The brief's page: ten payments.
const PAGE_SIZE: u16 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    last_seen_timestamp: Option<String>,
    last_seen_id: Option<String>,
    limit: Option<String>,
}

pub(super) async fn page(
    service: web::Data<Service>,
    limits: web::ThinData<HttpLimits>,
    request: HttpRequest,
    user: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let account = account_id(&user)?;
    let query: PageQuery = query(&request)?;
    let limit = limit(query.limit.as_deref(), PAGE_SIZE, limits.page_size_max)?;
    let cursor =
        Cursor::parse(query.last_seen_timestamp.as_deref(), query.last_seen_id.as_deref())?;
    let page = service.histories.page(account, cursor, limit).await?;

    let payments: Vec<PaymentView> =
        page.payments.iter().map(|it| it.seen_by(Some(account))).collect();
    let mut response = HttpResponse::Ok();
    if let Some(last) = payments.last().filter(|_| page.has_more) {
        link_next(&mut response, &next_page(account, Cursor::after(last), limit));
    }
    Ok(response.json(payments))
}

fn next_page(account: AccountId, cursor: Cursor, limit: u16) -> String {
    let time = cursor.last_seen_timestamp;
    let id =
        cursor.last_seen_id.map(|id| format!("&last_seen_id={}", id.uuid())).unwrap_or_default();
    format!("/payment_history/{account}?last_seen_timestamp={time}{id}&limit={limit}")
}

pub(super) async fn payment(
    service: web::Data<Service>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = Uuid::parse_str(&id)
        .map_err(|_| ApiError::InvalidRequest("The id of a payment is a UUID.".to_owned()))?;
    let payment = service.histories.payment(PaymentId::from_uuid(id)).await?;
    Ok(HttpResponse::Ok().json(payment.seen_by(None)))
}
