//! `GET /metrics`, for Prometheus.

use actix_web::{HttpResponse, web};

use super::error::ApiError;
use super::openapi::problems;
use crate::service::{Refusal, Service};
use crate::telemetry::metrics::METRICS;

problems!(MetricsProblems: [INTERNAL]);

/// What is counted and timed, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses(
        (status = 200, description = "Prometheus' text format.", body = String,
         content_type = "text/plain"),
        MetricsProblems,
    )
)]
pub(super) async fn text(service: web::Data<Service>) -> Result<HttpResponse, ApiError> {
    let text = METRICS.text(service.load()).map_err(|_| Refusal::Internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}
