//! `/health`: for those who start, watch and replace the service.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::problems;
use crate::service::Service;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(value_type = String)]
    status: &'static str,
}

/// The process serves HTTP.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operation",
    responses(
        (status = 200, description = "It does.", body = Health),
    )
)]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "live" })
}

problems!(ReadyProblems: [DATABASE_UNAVAILABLE]);

/// The database answers too.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operation",
    responses(
        (status = 200, description = "It does.", body = Health),
        ReadyProblems,
    )
)]
pub(super) async fn ready(service: web::Data<Service>) -> Result<HttpResponse, ApiError> {
    service.ready().await?;
    Ok(HttpResponse::Ok().json(Health { status: "ready" }))
}
