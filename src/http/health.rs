//! `/health`: for those who start, watch and replace the service.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::error::ApiError;
use crate::service::Service;

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// The process serves HTTP.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "live" })
}

/// The database answers too.
pub(super) async fn ready(service: web::Data<Service>) -> Result<HttpResponse, ApiError> {
    service.ready().await?;
    Ok(HttpResponse::Ok().json(Health { status: "ready" }))
}
