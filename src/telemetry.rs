//! What the service tells its operator: a line for each event, on standard error; what is counted
//! and timed; and traces, where there is somebody who takes them.

pub mod metrics;
pub mod traces;

use std::io::{BufWriter, IsTerminal, stderr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{Format, Telemetry};
use metrics::METRICS;
use traces::Exporter;

/// Lines that wait to be written. What does not fit is dropped and counted: whoever reads the log, or
/// does not, is nobody whom a payment waits for.
const LINES_MAX: usize = 16_384;

/// How long the last traces and lines may take at the end.
const END_TIMEOUT: Duration = Duration::from_secs(4);

/// Ends when it is dropped, with its last lines written and its last traces sent.
pub struct Running {
    /// In this order: the exporter may have something to tell at its end.
    parts: Option<(Option<Exporter>, WorkerGuard)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let parts = self.parts.take();
        let (ending, ended) = mpsc::channel::<()>();
        // On a thread of its own: where nobody takes the log, its guard says so on standard output,
        // and waits for whoever does not take that either.
        thread::spawn(move || {
            drop(parts);
            drop(ending);
        });
        let _ = ended.recv_timeout(END_TIMEOUT);
    }
}

/// Starts logging, and sending traces.
///
/// # Errors
/// The filter is malformed, or traces cannot be sent to where they should.
pub fn start(settings: &Telemetry) -> Result<Running> {
    let filter = EnvFilter::try_new(&settings.filter)
        .with_context(|| format!("telemetry.filter is wrong: {:?}", settings.filter))?
        // It quotes what it does not know of the database's URL, which may be a password.
        .add_directive("sqlx_postgres::options=off".parse()?);
    // The thread that writes flushes when nothing more waits: one write for many lines when it is busy.
    let (writer, lines) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(BufWriter::new(stderr()));
    METRICS.count_dropped_lines(writer.error_counter());
    let text = match settings.format {
        Format::Text => true,
        Format::Json => false,
        Format::Auto => stderr().is_terminal(),
    };
    let format = fmt::layer().with_writer(writer);
    let lines_layer = if text {
        format.with_target(false).with_ansi(stderr().is_terminal()).with_filter(filter).boxed()
    } else {
        let flat = format.json().flatten_event(true).with_span_list(false);
        flat.with_filter(filter).boxed()
    };
    let exporter = Exporter::start(settings)?;
    let own_spans = Targets::new()
        .with_target("payonce", tracing::Level::INFO)
        // The span of a request says the same.
        .with_target("payonce::requests", LevelFilter::OFF);
    let traces_layer = exporter.as_ref().map(|it| it.layer().with_filter(own_spans));
    tracing_subscriber::registry().with(lines_layer).with(traces_layer).init();
    Ok(Running { parts: Some((exporter, lines)) })
}
