//! `/accounts`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::body::{Integer, Json, idempotency_key};
use super::error::ApiError;
use super::headers::IDEMPOTENCY_REPLAYED;
use super::query::{account_id, limit, link_next, query};
use crate::domain::{AccountId, Amount, Invalid, Name, Opening};
use crate::service::Service;

/// Accounts in a list, by default and at the most.
const LIST_SIZE: u16 = 50;
const LIST_SIZE_MAX: u16 = 100;

pub(super) async fn get(
    service: web::Data<Service>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let account = service.accounts.get(account_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(account))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    after: Option<String>,
    limit: Option<String>,
    ids: Option<String>,
}

/// What everybody may see of an account.
#[derive(Serialize)]
struct NamedView {
    id: i64,
    name: Option<String>,
}

pub(super) async fn list(
    service: web::Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query: ListQuery = query(&request)?;
    let mut response = HttpResponse::Ok();
    let found = match (query.ids, query.after, query.limit) {
        (Some(ids), None, None) => service.accounts.list_by_id(&parse_ids(&ids)?).await?,
        (None, after, asked) => {
            let after = after.as_deref().map(account_id).transpose()?;
            let limit = limit(asked.as_deref(), LIST_SIZE, LIST_SIZE_MAX)?;
            let mut found = service.accounts.list(after, limit.saturating_add(1)).await?;
            let has_more = found.len() > usize::from(limit);
            found.truncate(limit.into());
            if let Some(last) = found.last().filter(|_| has_more) {
                link_next(&mut response, &format!("/accounts?after={}&limit={limit}", last.id));
            }
            found
        }
        _ => return Err(ApiError::InvalidRequest("ids goes without after and limit.".to_owned())),
    };
    let views = found.into_iter().map(|it| NamedView { id: it.id, name: it.name });
    Ok(response.json(views.collect::<Vec<_>>()))
}

fn parse_ids(text: &str) -> Result<Vec<i64>, ApiError> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let ids: Vec<i64> =
        parts.map(|part| account_id(part).map(AccountId::get)).collect::<Result<_, Invalid>>()?;
    if ids.len() > usize::from(LIST_SIZE_MAX) {
        return Err(ApiError::InvalidRequest(format!(
            "ids names at most {LIST_SIZE_MAX} accounts."
        )));
    }
    Ok(ids)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAccount {
    id: Option<Integer>,
    name: Option<String>,
    opening_balance: Option<Integer>,
}

pub(super) async fn open(
    service: web::Data<Service>,
    request: HttpRequest,
    Json(body): Json<OpenAccount>,
) -> Result<HttpResponse, ApiError> {
    let key = idempotency_key(&request, None)?;
    let opened = service.accounts.open(opening(body)?, key).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/accounts/{}", opened.id)));
    if opened.replayed {
        response.insert_header((IDEMPOTENCY_REPLAYED, "true"));
    }
    Ok(response.content_type("application/json").body(opened.body))
}

fn opening(body: OpenAccount) -> Result<Opening, Invalid> {
    let balance = body.opening_balance.map(|cents| cents.0).filter(|cents| *cents != 0);
    Ok(Opening {
        id: body.id.map(|id| AccountId::new(id.0)).transpose()?,
        name: body.name.map(|name| Name::new("name", name)).transpose()?,
        balance: balance.map(Amount::from_cents).transpose()?,
    })
}
