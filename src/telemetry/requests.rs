//! A line in the log for each request, and the names of a request that everything said during it has.
//!
//! A span would carry the names as well, but is made, kept and formatted for each request, whether
//! anything is said during it or not: so there are spans only where somebody sees them.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::json;
use tracing::field::display;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::log::Log;
use super::traces::TraceId;
use crate::domain::Timestamp;

/// The target of the lines of requests, for filters.
pub(super) const TARGET: &str = "payonce::requests";

/// Where lines of JSON go, if they are wanted.
static LINES: OnceLock<Arc<Log>> = OnceLock::new();

/// The names of a request in the log.
#[derive(Debug)]
pub struct Names {
    /// Also in the answer.
    pub request_id: String,
    pub trace_id: Option<TraceId>,
}

thread_local! {
    /// The request that this thread works on.
    static CURRENT: RefCell<Option<Rc<Names>>> = const { RefCell::new(None) };
    /// A buffer for its next line.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Names {
    /// Does a part of the request's work: what is logged meanwhile has its names.
    pub fn during<T>(self: &Rc<Self>, work: impl FnOnce() -> T) -> T {
        /// Also where the work panics.
        struct Ended;
        impl Drop for Ended {
            fn drop(&mut self) {
                let _ = CURRENT.try_with(RefCell::take);
            }
        }
        let _ended = Ended;
        let _ = CURRENT.try_with(|current| current.replace(Some(Rc::clone(self))));
        work()
    }
}

/// A request, as it is told to the operator.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub method: &'static str,
    pub route: &'static str,
    pub path: &'a str,
    /// `None`: it was not answered.
    pub status: Option<u16>,
    pub code: Option<&'static str>,
    pub took: Duration,
    pub names: &'a Names,
}

/// Milliseconds with three decimals, which is all that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Milliseconds(pub Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros.div_euclid(1_000), micros.rem_euclid(1_000))
    }
}

impl From<Milliseconds> for f64 {
    fn from(milliseconds: Milliseconds) -> Self {
        (milliseconds.0.as_secs_f64() * 1e6).round() / 1e3
    }
}

/// Has the lines of requests written as JSON, past the subscriber: it would take most of a request's
/// time.
pub(super) fn write_to(log: Arc<Log>) {
    // There is one log in a process.
    let _ = LINES.set(log);
}

/// Writes the line of a request.
pub fn tell(told: &Told<'_>) {
    match LINES.get() {
        Some(log) => {
            let tell = |line: &mut Vec<u8>| {
                // JSON has room for all that a line says.
                if write(line, told).is_ok() {
                    log.line(line);
                }
            };
            // A thread drops requests at its end, when it has put away what it kept.
            if LINE.try_with(|line| tell(&mut line.borrow_mut())).is_err() {
                tell(&mut Vec::new());
            }
        }
        // The subscriber, too, keeps something on each thread.
        None if CURRENT.try_with(|_| ()).is_err() => {}
        None => say(told),
    }
}

fn message(told: &Told<'_>) -> &'static str {
    if told.status.is_some() { "answered" } else { "not answered" }
}

/// Has the subscriber write the line, or not.
fn say(told: &Told<'_>) {
    let Told { method, route, path, status, code, took, names } = *told;
    let took_ms = f64::from(Milliseconds(took));
    let (request_id, trace_id) = (&*names.request_id, names.trace_id.map(display));
    let message = message(told);
    // Its names are fields of its own, where one looks for them; as text, a parent would repeat them.
    tracing::info!(target: TARGET, parent: None, method, route, path, status, code, took_ms,
                   request_id, trace_id, "{message}");
}

/// A line as the subscriber writes it.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    level: &'static str,
    message: &'static str,
    method: &'static str,
    route: &'static str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    took_ms: f64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    target: &'static str,
    span: Span<'a>,
}

/// The span that the names would be those of.
#[derive(Serialize)]
struct Span<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    name: &'static str,
}

impl<'a> Span<'a> {
    fn of(request_id: &'a str, trace_id: Option<&'a str>) -> Self {
        Self { request_id, trace_id, name: "request" }
    }
}

/// Writes a line into a buffer, in the place of the one before.
fn write(line: &mut Vec<u8>, told: &Told<'_>) -> serde_json::Result<()> {
    let Told { method, route, path, status, code, took, names } = *told;
    let trace_id = names.trace_id.map(|id| id.to_string());
    let (request_id, trace_id) = (&*names.request_id, trace_id.as_deref());
    line.clear();
    let text = Line {
        timestamp: now(),
        level: "INFO",
        message: message(told),
        method,
        route,
        path,
        status,
        code,
        took_ms: Milliseconds(took).into(),
        request_id,
        trace_id,
        target: TARGET,
        span: Span::of(request_id, trace_id),
    };
    serde_json::to_writer(&mut *line, &text)?;
    line.push(b'\n');
    Ok(())
}

/// A line of the log, in JSON, that is about no request.
pub(super) fn plain_line(message: &str) -> String {
    json!({"timestamp": now(), "level": "INFO", "message": message, "target": "payonce"})
        .to_string()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).ok().and_then(Timestamp::from_unix_us).unwrap_or_default()
}

/// Events during a request, as the library writes them, with the request's names as their span.
pub(super) struct WithNames<F>(pub F);

impl<S, N, F> FormatEvent<S, N> for WithNames<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // At a thread's end there is none any more.
        let current = CURRENT.try_with(|current| current.borrow().clone());
        let Some(names) = current.ok().flatten() else {
            return self.0.format_event(context, out, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let trace_id = names.trace_id.map(|id| id.to_string());
        let span = Span::of(&names.request_id, trace_id.as_deref());
        let span = serde_json::to_string(&span).map_err(|_| fmt::Error)?;
        let members = line.strip_suffix("}\n").ok_or(fmt::Error)?;
        writeln!(out, "{members},\"span\":{span}}}")
    }
}
