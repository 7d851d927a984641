//! `/accounts`.

#![expect(unused_qualifications, reason = "utoipa writes its paths in full")]

use std::str::FromStr;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{Authenticated, require};
use super::body::{Integer, Json, Moment, idempotency_key};
use super::error::ApiError;
use super::headers::IDEMPOTENCY_REPLAYED;
use super::instructions::{PayerLimit, carry_out};
use super::query::{account_id, limit, link_next, query, time};
use super::shapes::{self, problems};
use crate::auth::Identity;
use crate::domain::{
    AccountId, AccountStatus, Amount, Instruction, Invalid, Name, Opening, SetStatus, Timestamp,
};
use crate::service::Service;

/// Accounts in a list, by default and at the most.
const LIST_SIZE: u16 = 50;
const LIST_SIZE_MAX: u16 = 100;

/// Accounts that a search finds, by default; and at the most for those who may not list all.
const SEARCH_SIZE: u16 = 10;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetQuery {
    /// A moment that is over: RFC 3339, or a Unix time in milliseconds. The balance is that after the last payment until
    /// then, and the answer says `at` instead of `status`.
    #[param(value_type = Option<Moment>, inline)]
    at: Option<String>,
}

problems!(GetProblems: WITH_CALLER, [INVALID_REQUEST, ACCOUNT_NOT_FOUND]);

/// An account with its balance: now, or at a moment that is over.
#[utoipa::path(
    get,
    path = "/accounts/{id}",
    tag = "accounts",
    params(
        ("id" = i64, Path, description = "The account's id.", minimum = 0,
         maximum = 9_007_199_254_740_991_i64, example = 2),
        GetQuery,
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account.", body = shapes::Account),
        GetProblems,
    )
)]
pub(super) async fn get(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = account_id("id", &id)?;
    require(caller.may_read(id))?;
    let query: GetQuery = query(&request)?;
    let Some(at) = query.at else {
        let account = service.accounts.get(id).await?;
        return Ok(HttpResponse::Ok().json(account));
    };
    let at = time("at", &at, Timestamp::parse)?;
    Ok(HttpResponse::Ok().json(service.statements.account_at(id, at).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The last id seen.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<String>,
    /// 1 to 100; 50 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Up to 100 ids, separated by commas; goes without the others.
    #[param(pattern = "^([0-9]{1,15}(,[0-9]{1,15}){0,99})?$")]
    ids: Option<String>,
    /// The beginning of a name, of any case; goes without `after` and `ids`.
    #[param(min_length = 1, max_length = 100)]
    name: Option<String>,
}

/// What everybody may see of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = NamedAccount)]
struct NamedView {
    id: i64,
    #[schema(required)]
    name: Option<String>,
}

problems!(ListProblems: WITH_CALLER, [INVALID_REQUEST]);

/// Accounts without balances: to choose a payee, to show names. All of them, by id, for operators; those of `ids`;
/// or those whose names begin with `name`, by name.
#[utoipa::path(
    get,
    path = "/accounts",
    tag = "accounts",
    params(ListQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = [NamedView],
         headers(("Link" = String, description = "`rel=\"next\"`, while there is more."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query: ListQuery = query(&request)?;
    let mut response = HttpResponse::Ok();
    let ListQuery { after, limit: asked, ids, name } = query;
    let found = match (ids, name, after, asked) {
        (Some(ids), None, None, None) => service.accounts.list_by_id(&parse_ids(&ids)?).await?,
        (None, Some(name), None, asked) => {
            let max = if caller.may_list_accounts() { LIST_SIZE_MAX } else { SEARCH_SIZE };
            let limit = limit(asked.as_deref(), SEARCH_SIZE, max)?;
            let name = Name::new("name", name)?;
            service.accounts.list_by_name(name.as_str(), limit).await?
        }
        (None, None, after, asked) => {
            require(caller.may_list_accounts())?;
            let after = after.as_deref().map(|id| account_id("after", id)).transpose()?;
            let limit = limit(asked.as_deref(), LIST_SIZE, LIST_SIZE_MAX)?;
            let mut found = service.accounts.list(after, limit.saturating_add(1)).await?;
            let has_more = found.len() > usize::from(limit);
            found.truncate(limit.into());
            if let Some(last) = found.last().filter(|_| has_more) {
                link_next(&mut response, &format!("/accounts?after={}&limit={limit}", last.id));
            }
            found
        }
        _ => {
            return Err(ApiError::invalid_request(
                "ids goes without after, limit and name; name goes without after.",
            ));
        }
    };
    let views = found.into_iter().map(|it| NamedView { id: it.id, name: it.name });
    Ok(response.json(views.collect::<Vec<_>>()))
}

fn parse_ids(text: &str) -> Result<Vec<i64>, ApiError> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let ids: Vec<i64> = parts
        .map(|id| account_id("ids", id).map(AccountId::get))
        .collect::<Result<_, Invalid>>()?;
    if ids.len() > usize::from(LIST_SIZE_MAX) {
        return Err(ApiError::invalid_request(format!(
            "ids names at most {LIST_SIZE_MAX} accounts."
        )));
    }
    Ok(ids)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAccount {
    /// Without it, the next free one.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    id: Option<Integer>,
    /// Of its characters one can be seen, and none changes the direction of text or breaks the line.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]+$"
    )]
    name: Option<String>,
    /// Cents, paid by account 0.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    opening_balance: Option<Integer>,
}

problems!(OpenProblems:
    WITH_CALLER, WITH_BODY,
    [ACCOUNT_EXISTS, REQUEST_IN_PROGRESS, ACCOUNT_BUSY],
    [INVALID_AMOUNT, BALANCE_LIMIT, KEY_REUSED],
);

/// Opens an account; for operators.
#[utoipa::path(
    post,
    path = "/accounts",
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe.",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = OpenAccount, example = json!({
        "name": "Kim", "opening_balance": 100_000
    })),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The account.", body = shapes::Account,
         headers(
             ("Location" = String, description = "Where it is."),
             ("Idempotency-Replayed" = String, description = "`true` on an answer given before."),
         )),
        OpenProblems,
    )
)]
pub(super) async fn open(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    request: HttpRequest,
    Json(body): Json<OpenAccount>,
) -> Result<HttpResponse, ApiError> {
    require(caller.may_open_accounts())?;
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
        id: body.id.map(|id| AccountId::new(id.0).map_err(|it| it.of("id"))).transpose()?,
        name: body.name.map(|name| Name::new("name", name)).transpose()?,
        balance: balance.map(Amount::from_cents).transpose()?,
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewStatus {
    /// `open`; `frozen`: it neither pays nor is paid; `closed`: empty for ever.
    #[schema(value_type = shapes::AccountStatus)]
    status: String,
}

problems!(StatusProblems:
    WITH_CALLER, WITH_BODY,
    [ACCOUNT_NOT_FOUND, ACCOUNT_BUSY, ACCOUNT_NOT_EMPTY, ACCOUNT_CLOSED],
);

/// Opens, freezes or closes an account; for operators. No payment of the account's is made after the answer.
#[utoipa::path(
    put,
    path = "/accounts/{id}/status",
    tag = "accounts",
    params(("id" = i64, Path, description = "The account's id.", minimum = 0,
            maximum = 9_007_199_254_740_991_i64, example = 10)),
    request_body(content = NewStatus, example = json!({"status": "open"})),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The status that it has now.", body = shapes::StatusOfAccount),
        StatusProblems,
    )
)]
pub(super) async fn set_status(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    payer_limit: web::Data<PayerLimit>,
    id: web::Path<String>,
    Json(body): Json<NewStatus>,
) -> Result<HttpResponse, ApiError> {
    let account = account_id("id", &id)?;
    require(caller.may_set_status())?;
    let status = AccountStatus::from_str(&body.status).map_err(|invalid| invalid.of("status"))?;
    let set = Instruction::SetStatus(SetStatus { account, status });
    carry_out(caller, &service, &payer_limit, set, HttpResponse::Ok()).await
}

#[cfg(test)]
mod tests;
