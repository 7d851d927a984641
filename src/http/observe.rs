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
use tracing::field::{DisplayValue, Empty, display};
use tracing_actix_web::{RequestId, RootSpanBuilder};

use super::Stopping;
use super::error::Code;
use super::headers::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::service::payments::Timing;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces::{self, TraceId};

/// A longer id is not taken over: it would be repeated in every line.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What is told of a path. Lines and spans wait in queues whose places are counted, not their bytes.
const PATH_BYTES_MAX: usize = 256;

/// The names of a request in the log.
#[derive(Clone)]
struct Names {
    /// Also in the answer: the client's `X-Request-Id`, or a new one.
    request_id: HeaderValue,
    trace_id: Option<TraceId>,
}

/// The client's, or a new one.
fn request_id_of(request: &ServiceRequest) -> HeaderValue {
    let is_name = |value: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(given) = request.headers().get(X_REQUEST_ID).filter(is_name) {
        return given.clone();
    }
    let new = request.extensions().get::<RequestId>().map(ToString::to_string);
    let new = new.and_then(|id| HeaderValue::try_from(id).ok());
    new.unwrap_or(HeaderValue::from_static("none"))
}

/// A span for each request. Its level lets it pass every filter: whatever is logged has its names.
pub(super) struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let id = request_id_of(request);
        let request_id = id.to_str().unwrap_or_default();
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
        let trace_id = traces::join(&span, text(headers, &TRACEPARENT), text(headers, &TRACESTATE));
        if let Some(trace_id) = trace_id {
            span.record("trace_id", display(trace_id));
        }
        request.extensions_mut().insert(Names { request_id: id, trace_id });
        span
    }

    /// All is said in [`observed`], which knows how long it took.
    fn on_request_end<B: MessageBody>(_: Span, _: &Result<ServiceResponse<B>, Error>) {}
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A request that is not answered. Where it is dropped as that, its client has gone away, or the
/// service stops and could not wait any longer.
struct Unanswered {
    /// Methods and routes are those that the service knows, so that clients cannot choose how many
    /// labels there are.
    method: &'static str,
    route: Cow<'static, str>,
    path: String,
    names: Option<Names>,
    since: Instant,
    is_answered: bool,
}

impl Unanswered {
    fn of(request: &ServiceRequest) -> Self {
        let path = request.path();
        let path = path.get(..path.floor_char_boundary(PATH_BYTES_MAX)).unwrap_or_default();
        Self {
            method: method_of(request.method()),
            route: route_of(request.request()),
            path: path.to_owned(),
            names: request.extensions().get().cloned(),
            since: Instant::now(),
            is_answered: false,
        }
    }

    fn names(&self) -> (Option<&str>, Option<DisplayValue<TraceId>>) {
        let names = self.names.as_ref();
        let request_id = names.and_then(|names| names.request_id.to_str().ok());
        (request_id, names.and_then(|names| names.trace_id).map(display))
    }

    fn answered<B>(&mut self, response: &ServiceResponse<B>) {
        self.is_answered = true;
        let Self { method, route, path, since, .. } = &self;
        let took = since.elapsed();
        METRICS.request(method, route, response.status().as_str(), took);
        let (status, took_ms) = (response.status().as_u16(), milliseconds(took));
        let code = response.response().extensions().get::<Code>().map(|code| code.0);
        let (request_id, trace_id) = self.names();
        // Its names are fields of its own, where one looks for them; as text, a parent would repeat them.
        tracing::info!(target: "payonce::requests", parent: None, method, route = &**route, path,
                       status, code, took_ms, request_id, trace_id, "answered");
        if traces::are_exported() {
            let span = Span::current();
            traces::describe(&span, "http.request.method", *method);
            traces::describe(&span, "http.route", route.clone().into_owned());
            traces::describe(&span, "url.path", path.clone());
            traces::describe(&span, "http.response.status_code", i64::from(status));
            if let Some(code) = code {
                traces::describe(&span, "error.type", code);
            }
            if status >= 500 {
                traces::fail(&span, code.unwrap_or_default());
            }
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let Self { method, route, path, since, .. } = &*self;
        let took = since.elapsed();
        METRICS.request(method, route, "none", took);
        let took_ms = milliseconds(took);
        let (request_id, trace_id) = self.names();
        tracing::info!(target: "payonce::requests", parent: None, method, route = &**route, path,
                       took_ms, request_id, trace_id, "not answered");
    }
}

/// Tells of a request when its answer begins, or when there will be none.
pub(super) async fn observed<B: MessageBody>(
    stopping: web::Data<Stopping>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut unanswered = Unanswered::of(&request);
    let _under_way = METRICS.under_way();
    let mut response = next.call(request).await?;
    unanswered.answered(&response);
    if let Some(names) = unanswered.names.take() {
        response.headers_mut().insert(X_REQUEST_ID, names.request_id);
    }
    if stopping.is_announced() {
        // The client's next request is for another process.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
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
