//! The API document (`OpenAPI` 3.1), generated from the handlers' annotations and the shapes below.

use actix_web::HttpResponse;
use utoipa::{OpenApi, ToSchema};

use super::error::ApiError;
use super::{accounts, error, health, history, payments, playground};
use crate::service::Refusal;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "payonce",
        description = "Moves money between accounts, and never twice. Amounts and balances are \
                       integers in cents; timestamps are RFC 3339 in UTC with six decimals, and are \
                       to be given back as they came: they are exact to the microsecond."
    ),
    paths(
        payments::send,
        history::page,
        history::payment,
        accounts::list,
        accounts::open,
        accounts::get,
        health::live,
        health::ready,
        error::explain,
        playground::crash,
        document
    )
)]
struct Document;

/// The document as JSON.
///
/// # Errors
/// None that can happen: it has nothing that JSON lacks.
pub fn openapi() -> serde_json::Result<String> {
    Document::openapi().to_pretty_json()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub(super) async fn document() -> Result<HttpResponse, ApiError> {
    let text = openapi().map_err(|_| Refusal::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

/// A payment as one reader sees it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::PaymentView`")]
pub(super) struct Payment {
    /// Derived from payer and key.
    #[schema(format = "uuid")]
    id: String,
    from_id: i64,
    to_id: i64,
    /// Cents.
    #[schema(minimum = 1)]
    amount: i64,
    #[schema(required)]
    note: Option<String>,
    /// The ledger's time: strictly increasing along each account's payments.
    #[schema(format = "date-time")]
    created_at: String,
    /// The client's own time, where it gave one.
    #[schema(required, format = "date-time")]
    requested_at: Option<String>,
    /// Cents after this payment, of the account whose history it is; of the payer in the answer to a
    /// payment; null where there is no such reader.
    #[schema(required)]
    balance_after: Option<i64>,
}

/// An account as its owner sees it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::Account`")]
pub(super) struct Account {
    id: i64,
    #[schema(required)]
    name: Option<String>,
    /// Cents.
    balance: i64,
    #[schema(format = "date-time")]
    created_at: String,
}
