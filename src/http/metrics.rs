//! `GET /metrics`, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use tokio::sync::Mutex;

use super::error::ApiError;
use super::shapes::problems;
use crate::service::{Refusal, Service};
use crate::telemetry::metrics::METRICS;

/// From the begin of one rendering to the begin of the next, at least: however many ask, they take
/// little from payments.
const RENDER_EVERY: Duration = Duration::from_millis(50);

/// The text that all who ask at a time share. Each answer is of a rendering that began after its
/// request had arrived: those who come while one is under way share the next.
#[derive(Default)]
pub(super) struct Rendering {
    asked: AtomicU64,
    /// One renders, the others wait for what it makes.
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    /// How many had asked when it began.
    asked: u64,
    began_at: Option<Instant>,
    text: Bytes,
}

impl Rendering {
    async fn text(&self, service: web::Data<Service>) -> Result<Bytes, ApiError> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut newest = self.newest.lock().await;
        if newest.asked > mine {
            return Ok(newest.text.clone());
        }
        if let Some(began_at) = newest.began_at {
            tokio::time::sleep(RENDER_EVERY.saturating_sub(began_at.elapsed())).await;
        }
        let (asked, began_at) = (self.asked.load(Ordering::SeqCst), Instant::now());
        // It asks the operating system for some of it: not on a thread that serves payments.
        let rendered = web::block(move || METRICS.text(service.load())).await;
        let text = rendered.ok().and_then(Result::ok).ok_or(Refusal::Internal)?;
        *newest = Newest { asked, began_at: Some(began_at), text: text.into() };
        Ok(newest.text.clone())
    }
}

problems!(MetricsProblems: [INTERNAL]);

/// Counts and times, for Prometheus; where `server.admin_port` is set, at that port alone.
///
/// All who ask at a time get the same text, which is not older than their requests.
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
pub(super) async fn text(
    service: web::Data<Service>,
    rendering: web::Data<Rendering>,
) -> Result<HttpResponse, ApiError> {
    let text = rendering.text(service).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}
