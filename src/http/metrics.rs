//! `GET /metrics`, for Prometheus; and the times of all requests.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};

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

/// Times requests by method, route and status. What the table of routes does not know is one route,
/// and what HTTP does not know is one method: the number of either is not a client's to choose.
pub(super) async fn measured<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let started = Instant::now();
    let response = next.call(request).await?;
    let method = match *response.request().method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let pattern = response.request().match_pattern();
    let route = pattern.as_deref().filter(|route| !route.is_empty()).unwrap_or("none");
    METRICS.request(method, route, response.status().as_str(), started.elapsed());
    Ok(response)
}
