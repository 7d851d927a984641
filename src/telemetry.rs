//! The service's reports to its operator: a line for each event, on standard error; what is counted
//! and timed; and traces, where there is somebody who takes them.

mod log;
pub mod metrics;
pub mod requests;
pub mod traces;

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tracing::Level;
use tracing::subscriber::with_default;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{Format, Telemetry};
use log::Log;
use requests::WithNames;
use traces::Exporter;

/// Ends when it is dropped, with its last traces sent and its last lines written.
pub struct Running {
    exporter: Option<Exporter>,
    log: Arc<Log>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have something to tell at its end.
        drop(self.exporter.take());
        self.log.end();
    }
}

static SPANS_ARE_SEEN: AtomicBool = AtomicBool::new(false);

/// Whether the span of a request would be seen by somebody: who reads traces or text, or has named it in
/// the filter.
#[must_use]
pub fn spans_are_seen() -> bool {
    SPANS_ARE_SEEN.load(Ordering::Relaxed)
}

/// Whether lines are for people, and not for programs.
fn is_text(settings: &Telemetry) -> bool {
    match settings.format {
        Format::Text => true,
        Format::Json => false,
        Format::Auto => stderr().is_terminal(),
    }
}

/// What is told on standard output, as a line of the log would tell it: the two are often collected as one.
#[must_use]
pub fn told(settings: &Telemetry, message: &str) -> String {
    if is_text(settings) { message.to_owned() } else { requests::plain_line(message) }
}

/// Starts logging, and sending traces.
///
/// # Errors
/// The filter is malformed, or traces cannot be sent to where they should.
pub fn start(settings: &Telemetry) -> Result<Running> {
    let filter = filter(settings)?;
    let log = Log::start(stderr()).context("the log has no thread")?;
    let text = is_text(settings);
    // Such a directive is about what is said in a span.
    let names_spans = settings.filter.contains('[');
    let format = fmt::layer().with_writer(Arc::clone(&log));
    let lines_layer = if text {
        format.with_target(false).with_ansi(stderr().is_terminal()).with_filter(filter).boxed()
    } else {
        let flat = format.json().flatten_event(true).with_current_span(false).with_span_list(false);
        flat.map_event_format(WithNames).with_filter(filter).boxed()
    };
    // A filter answers only within a subscriber: one that has nothing else.
    let alone = tracing_subscriber::registry().with(self::filter(settings)?);
    let lets_requests_through =
        with_default(alone, || tracing::enabled!(target: requests::TARGET, Level::INFO));
    let exporter = Exporter::start(settings)?;
    let own_spans = Targets::new()
        .with_target("payonce", Level::INFO)
        // The span of a request says the same.
        .with_target(requests::TARGET, LevelFilter::OFF);
    let traces_layer = exporter.as_ref().map(|it| it.layer().with_filter(own_spans));
    tracing_subscriber::registry().with(lines_layer).with(traces_layer).init();
    SPANS_ARE_SEEN.store(text || names_spans || exporter.is_some(), Ordering::Relaxed);
    if !text && !names_spans && lets_requests_through {
        requests::write_to(Arc::clone(&log));
    }
    Ok(Running { exporter, log })
}

fn filter(settings: &Telemetry) -> Result<EnvFilter> {
    let filter = EnvFilter::try_new(&settings.filter)
        .with_context(|| format!("telemetry.filter is wrong: {:?}", settings.filter))?;
    // It quotes what it does not know of the database's URL, which may be a password.
    Ok(filter.add_directive("sqlx_postgres::options=off".parse()?))
}
