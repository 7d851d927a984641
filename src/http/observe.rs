//! What the operator sees of each request: a line in the log, its time among the metrics, and a span
//! that everything else said during the request belongs to.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_actix_web::{RequestId, RootSpanBuilder};

use super::Stopping;
use super::error::Code;
use super::headers::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::service::payments::Timing;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces;

/// A longer id is not taken over: it would be repeated in every line.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The request's name in the log and in the answer: the client's `X-Request-Id`, or a new one.
#[derive(Clone)]
struct Name(HeaderValue);

impl Name {
    fn of(request: &ServiceRequest) -> Self {
        let is_name = |value: &&HeaderValue| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(given) = request.headers().get(X_REQUEST_ID).filter(is_name) {
            return Self(given.clone());
        }
        let new = request.extensions().get::<RequestId>().map(ToString::to_string);
        let new = new.and_then(|id| HeaderValue::try_from(id).ok());
        Self(new.unwrap_or(HeaderValue::from_static("none")))
    }
}

/// A span for each request. Its level lets it pass every filter: whatever is logged has its names.
pub(super) struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let name = Name::of(request);
        let request_id = name.0.to_str().unwrap_or_default();
        let span = if traces::are_exported() {
            let (method, route) = (method_of(request.method()), route_of(request.request()));
            tracing::error_span!(
                "request",
                otel.name = format!("{method} {route}"),
                otel.kind = "server",
                request_id,
                trace_id = Empty
            )
        } else {
            tracing::error_span!("request", request_id, trace_id = Empty)
        };
        let headers = request.headers();
        let trace = traces::join(&span, text(headers, &TRACEPARENT), text(headers, &TRACESTATE));
        if let Some(trace) = trace {
            span.record("trace_id", display(trace));
        }
        request.extensions_mut().insert(name);
        span
    }

    /// All is said in [`observed`], which knows how long it took.
    fn on_request_end<B: MessageBody>(_: Span, _: &Result<ServiceResponse<B>, Error>) {}
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Tells of a request when its answer begins.
pub(super) async fn observed<B: MessageBody>(
    stopping: web::Data<Stopping>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let started = Instant::now();
    let _under_way = METRICS.under_way();
    let mut response = next.call(request).await?;
    tell(&response, started.elapsed());
    let name = response.request().extensions().get::<Name>().cloned();
    if let Some(Name(name)) = name {
        response.headers_mut().insert(X_REQUEST_ID, name);
    }
    if stopping.is_announced() {
        // The client's next request is for another process.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Methods and routes are those that the service knows, so that clients cannot choose how many labels
/// there are.
fn tell<B>(response: &ServiceResponse<B>, took: Duration) {
    let (request, status) = (response.request(), response.status());
    let (method, route) = (method_of(request.method()), route_of(request));
    METRICS.request(method, &route, status.as_str(), took);

    let code = response.response().extensions().get::<Code>().map(|code| code.0);
    let took_ms = milliseconds(took);
    let (path, status) = (request.path(), status.as_u16());
    tracing::info!(target: "payonce::requests", method, route = &*route, path, status, code, took_ms,
                   "answered");
    if traces::are_exported() {
        let span = Span::current();
        traces::describe(&span, "http.request.method", method);
        traces::describe(&span, "http.route", route.into_owned());
        traces::describe(&span, "url.path", path.to_owned());
        traces::describe(&span, "http.response.status_code", i64::from(status));
        if let Some(code) = code {
            traces::describe(&span, "error.type", code);
        }
        if status >= 500 {
            traces::fail(&span, code.unwrap_or_default());
        }
    }
}

/// Adds to the request's span where a payment's time went.
pub(super) fn tell_timing(timing: &Timing) {
    if traces::are_exported() {
        let span = Span::current();
        traces::describe(&span, "payonce.batch", timing.batch.to_string());
        traces::describe(&span, "payonce.queue_ms", milliseconds(timing.queue));
        traces::describe(&span, "payonce.lock_ms", milliseconds(timing.lock));
        traces::describe(&span, "payonce.commit_ms", milliseconds(timing.commit));
    }
}

/// What HTTP does not know is one method.
fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// What the table of routes does not know is one route.
fn route_of(request: &HttpRequest) -> Cow<'static, str> {
    match request.match_pattern() {
        Some(route) if !route.is_empty() => route.into(),
        _ => "none".into(),
    }
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
