//! `/webhooks`: who is told of payments; for operators.

use std::str::FromStr;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::auth::{Authenticated, require};
use super::body::{Integer, Json};
use super::error::ApiError;
use super::query::uuid;
use super::shapes::{self, problems};
use crate::auth::Identity;
use crate::domain::{AccountId, FollowedAccounts, Invalid, Webhook, WebhookId, WebhookStatus};
use crate::service::Service;
use crate::service::webhooks::WebhookChange;

/// A webhook with its secret, which is told once.
#[derive(Serialize)]
struct WithSecret<'a> {
    #[serde(flatten)]
    webhook: &'a Webhook,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> WithSecret<'a> {
    fn of(webhook: &'a Webhook, secret: Option<&'a SecretString>) -> Self {
        Self { webhook, secret: secret.map(ExposeSecret::expose_secret) }
    }
}

fn followed(ids: Option<Vec<Integer>>) -> Result<FollowedAccounts, Invalid> {
    let Some(ids) = ids else {
        return Ok(FollowedAccounts::ALL);
    };
    let accounts: Result<Vec<AccountId>, Invalid> =
        ids.into_iter().map(|id| AccountId::new(id.0)).collect();
    accounts.and_then(FollowedAccounts::new).map_err(|invalid| invalid.of("accounts"))
}

problems!(ListProblems: WITH_CALLER);

/// All webhooks, oldest first, without their secrets; for operators.
#[utoipa::path(
    get,
    path = "/webhooks",
    operation_id = "list_webhooks",
    tag = "webhooks",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The webhooks.", body = [shapes::Webhook]),
        ListProblems,
    )
)]
pub(super) async fn list(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
) -> Result<HttpResponse, ApiError> {
    require(caller.may_manage_webhooks())?;
    Ok(HttpResponse::Ok().json(service.webhooks.list().await?))
}

/// Who is to be told, and of what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// Begins with `https:`, and leads to a public address.
    #[schema(format = "uri", min_length = 1, max_length = 2_000)]
    url: String,
    /// Whose payments; without it, everybody's.
    #[schema(value_type = Option<Vec<i64>>, min_items = 1, max_items = 100)]
    accounts: Option<Vec<Integer>>,
}

problems!(AddProblems: WITH_CALLER, WITH_BODY);

/// Adds a webhook; for operators. It is told of payments that are made from now on, in the feed's order, each at
/// least once.
///
/// A delivery is a `POST` by [Standard Webhooks](https://www.standardwebhooks.com/): its body is `{"type":
/// "payment.made", "timestamp", "data"}`, where `data` is the payment with its `position`, and `webhook-id` is the
/// payment's id. Any answer of 2xx takes it. After others it is sent again, with growing pauses, for some three days;
/// then, and after 410 at once, the webhook is disabled.
#[utoipa::path(
    post,
    path = "/webhooks",
    tag = "webhooks",
    request_body(content = NewWebhook, example = json!({
        "url": "https://receiver.example/payments", "accounts": [1, 2]
    })),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The webhook, with the secret that its deliveries are signed with.",
         body = shapes::Webhook, headers(("Location" = String, description = "Where it is."))),
        AddProblems,
    )
)]
pub(super) async fn add(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    Json(body): Json<NewWebhook>,
) -> Result<HttpResponse, ApiError> {
    require(caller.may_manage_webhooks())?;
    let url = service.webhooks.url(&body.url)?;
    let accounts = followed(body.accounts)?;
    let (webhook, secret) = service.webhooks.add(&url, &accounts).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/webhooks/{}", webhook.id.uuid())));
    Ok(response.json(WithSecret::of(&webhook, Some(&secret))))
}

/// What is to be different.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedWebhook {
    #[schema(format = "uri", min_length = 1, max_length = 2_000)]
    url: Option<String>,
    /// Whose payments; null: everybody's. Of payments that were passed over nothing is told any more.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<i64>>, min_items = 1, max_items = 100)]
    accounts: Option<GivenAccounts>,
    /// `disabled`: nothing is delivered; `active` again: it goes on where it was, at once.
    #[schema(value_type = Option<shapes::WebhookStatus>)]
    status: Option<String>,
    /// For a new secret, which the answer tells. Deliveries are signed with the old one, too, for 24 hours.
    #[serde(default)]
    rotate_secret: bool,
}

/// Accounts that are there; `None` is null.
#[derive(Deserialize)]
#[serde(transparent)]
struct GivenAccounts(Option<Vec<Integer>>);

/// Null is a value of a field that is there.
fn given<'de, D: Deserializer<'de>>(source: D) -> Result<Option<GivenAccounts>, D::Error> {
    GivenAccounts::deserialize(source).map(Some)
}

problems!(ChangeProblems: WITH_CALLER, WITH_BODY, [WEBHOOK_NOT_FOUND]);

/// Changes a webhook; for operators. What is left out stays as it is.
#[utoipa::path(
    put,
    path = "/webhooks/{id}",
    tag = "webhooks",
    params(("id" = String, Path, format = "uuid", description = "The webhook's id.",
            example = "0c2b1f6e-54a6-4b8a-9d7f-3c1e5a7b9d10")),
    request_body(content = ChangedWebhook, example = json!({"rotate_secret": true})),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The webhook as it is now; with its secret, where that is new.",
         body = shapes::Webhook),
        ChangeProblems,
    )
)]
pub(super) async fn change(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    id: web::Path<String>,
    Json(body): Json<ChangedWebhook>,
) -> Result<HttpResponse, ApiError> {
    require(caller.may_manage_webhooks())?;
    let id = WebhookId::from_uuid(uuid("id", &id)?);
    let status = body.status.as_deref().map(WebhookStatus::from_str).transpose();
    let change = WebhookChange {
        url: body.url.as_deref().map(|url| service.webhooks.url(url)).transpose()?,
        accounts: body.accounts.map(|given| followed(given.0)).transpose()?,
        status: status.map_err(|invalid| invalid.of("status"))?,
        rotate_secret: body.rotate_secret,
    };
    let (webhook, secret) = service.webhooks.change(id, &change).await?;
    Ok(HttpResponse::Ok().json(WithSecret::of(&webhook, secret.as_ref())))
}

problems!(RemoveProblems: WITH_CALLER, [INVALID_REQUEST, WEBHOOK_NOT_FOUND]);

/// Removes a webhook; for operators. Where another process sends, a delivery may still follow within a second.
#[utoipa::path(
    delete,
    path = "/webhooks/{id}",
    tag = "webhooks",
    params(("id" = String, Path, format = "uuid", description = "The webhook's id.",
            example = "0c2b1f6e-54a6-4b8a-9d7f-3c1e5a7b9d10")),
    security(("bearer" = [])),
    responses((status = 204, description = "It is gone."), RemoveProblems)
)]
pub(super) async fn remove(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    require(caller.may_manage_webhooks())?;
    service.webhooks.remove(WebhookId::from_uuid(uuid("id", &id)?)).await?;
    Ok(HttpResponse::NoContent().finish())
}
