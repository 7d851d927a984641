//! The operator's view of each request: a line in the log, its time among the metrics, and, where somebody
//! sees it, a span that everything else said during the request belongs to.

use std::rc::Rc;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{Error, HttpMessage};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_actix_web::RootSpanBuilder;
use uuid::Uuid;

use super::error::Code;
use super::headers::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use super::route::Routes;
use crate::telemetry::metrics::{METRICS, UnderWay};
use crate::telemetry::requests::{self, Names, Told};
use crate::telemetry::{spans_are_seen, traces};

/// A longer id is not taken over: it would be repeated in every line.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The length to which a path is told. Lines and spans wait in memory, and there are many.
const PATH_BYTES_MAX: usize = 256;

/// Paths that the table of routes does not know are one route.
const NO_ROUTE: &str = "none";

/// The client's `X-Request-Id`, or a new one.
fn request_id_of(request: &ServiceRequest) -> String {
    let given = text(request.headers(), &X_REQUEST_ID).filter(|id| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_graphic())
    });
    given.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

fn names_of(request: &ServiceRequest, span: &Span) -> Rc<Names> {
    let headers = request.headers();
    let trace_id = traces::join(span, text(headers, &TRACEPARENT), text(headers, &TRACESTATE));
    Rc::new(Names { request_id: request_id_of(request), trace_id })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A span for each request. Its level lets it pass every filter: whatever is logged has its names.
pub(super) struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let span = tracing::error_span!(
            "request",
            otel.kind = traces::are_exported().then_some("server"),
            request_id = Empty,
            trace_id = Empty
        );
        let names = names_of(request, &span);
        span.record("request_id", &*names.request_id);
        if let Some(trace_id) = names.trace_id {
            span.record("trace_id", display(trace_id));
        }
        request.extensions_mut().insert(names);
        span
    }

    /// All is said by [`Observed`], which knows how long it took.
    fn on_request_end<B: MessageBody>(_: Span, _: &Result<ServiceResponse<B>, Error>) {}
}

/// A request that is under way. Where it is dropped as that, its client has gone away, or the service
/// stops and could not wait any longer.
pub(super) struct Observed {
    /// Methods and routes are those that the service knows, so that clients cannot choose how many
    /// labels there are.
    method: &'static str,
    route: &'static str,
    path: String,
    names: Rc<Names>,
    since: Instant,
    is_answered: bool,
    _under_way: UnderWay<'static>,
}

impl Observed {
    pub fn new(request: &ServiceRequest, routes: &Routes) -> Self {
        let made = if spans_are_seen() { request.extensions_mut().remove() } else { None };
        let names = made.unwrap_or_else(|| names_of(request, &Span::none()));
        let method = method_of(request.method());
        let route = routes.of(request.request()).map_or(NO_ROUTE, |route| route.pattern);
        if traces::are_exported() {
            traces::name(&Span::current(), format!("{method} {route}"));
        }
        let path = request.path();
        let path = path.get(..path.floor_char_boundary(PATH_BYTES_MAX)).unwrap_or_default();
        Self {
            method,
            route,
            path: path.to_owned(),
            names,
            since: Instant::now(),
            is_answered: false,
            _under_way: METRICS.under_way(),
        }
    }

    pub fn names(&self) -> &Rc<Names> {
        &self.names
    }

    /// Tells of a request when its answer begins, and its client by which id.
    pub fn answered(mut self, answer: &mut ServiceResponse) {
        self.is_answered = true;
        let status = answer.status();
        let is_error = status.is_client_error() || status.is_server_error();
        let code = if is_error {
            answer.response().extensions().get::<Code>().map(|code| code.0)
        } else {
            None
        };
        self.tell(status.as_str(), Some(status.as_u16()), code);
        if traces::are_exported() {
            self.describe(status.as_u16(), code);
        }
        if let Ok(id) = HeaderValue::from_str(&self.names.request_id) {
            answer.headers_mut().insert(X_REQUEST_ID, id);
        }
    }

    fn tell(&self, label: &str, status: Option<u16>, code: Option<&'static str>) {
        let Self { method, route, path, names, since, .. } = self;
        let took = since.elapsed();
        METRICS.request(method, route, label, took);
        requests::tell(&Told { method, route, path, status, code, took, names });
    }

    fn describe(&self, status: u16, code: Option<&'static str>) {
        let span = Span::current();
        traces::describe(&span, "http.request.method", self.method);
        traces::describe(&span, "http.route", self.route);
        traces::describe(&span, "url.path", self.path.clone());
        traces::describe(&span, "http.response.status_code", i64::from(status));
        if let Some(code) = code {
            traces::describe(&span, "error.type", code);
        }
        if status >= 500 {
            traces::fail(&span, code.unwrap_or_default());
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.is_answered {
            self.tell("none", None, None);
        }
    }
}

/// What HTTP does not know is one method.
fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
