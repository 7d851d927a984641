//! `/health`: for those who start, watch and replace the service.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::problem;
use super::shapes::problems;
use super::state::Stopping;
use crate::auth::{Auth, Unauthenticated};
use crate::service::health::{NotReady, is_too_far_apart};
use crate::service::{Refusal, Service};

#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct LiveResponse {
    #[schema(value_type = String)]
    status: &'static str,
}

/// The process serves HTTP; where `server.admin_port` is set, asked at that port alone.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operation",
    responses(
        (status = 200, description = "It does.", body = LiveResponse),
    )
)]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(LiveResponse { status: "live" })
}

#[derive(Serialize, ToSchema)]
#[schema(as = Ready)]
pub(super) struct ReadyResponse {
    #[schema(value_type = String)]
    status: &'static str,
    /// How far the database's clock is ahead of the service's. Payments take the database's.
    clock_skew_ms: i64,
    /// Not ready to be left alone: the clocks are too far apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    warning: Option<String>,
}

problems!(ReadyProblems: [DATABASE_UNAVAILABLE, OVERLOADED]);

/// The database answers and takes payments, the service has the keys to tell callers by, and it is
/// not about to stop; where `server.admin_port` is set, asked at that port alone.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operation",
    responses(
        (status = 200, description = "It does.", body = ReadyResponse),
        ReadyProblems,
    )
)]
pub(super) async fn ready(
    service: web::Data<Service>,
    auth: web::Data<Auth>,
    stopping: web::Data<Stopping>,
) -> Result<HttpResponse, ApiError> {
    if stopping.is_announced() {
        return Err(ApiError::new(
            problem::OVERLOADED,
            "The service is stopping. Ask another process of it, or this one when it is back.",
        ));
    }
    let skew = service.health.ready().await.map_err(|not_ready| match not_ready {
        NotReady::Overloaded => Refusal::Overloaded.into(),
        NotReady::Database(why) => ApiError::new(problem::DATABASE_UNAVAILABLE, why),
    })?;
    if !auth.can_tell_callers() {
        return Err(Unauthenticated::NoKeys.into());
    }
    let clock_skew_ms = i64::try_from(skew.whole_milliseconds()).unwrap_or(i64::MAX);
    let warning = is_too_far_apart(skew).then(|| {
        format!(
            "The clocks of the database and the service are {clock_skew_ms} ms apart. Payments are \
             safe; tokens expire by the service's clock."
        )
    });
    Ok(HttpResponse::Ok().json(ReadyResponse { status: "ready", clock_skew_ms, warning }))
}
