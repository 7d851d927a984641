//! Traces: a request's span continues the caller's (W3C Trace Context), and is sent to an
//! OpenTelemetry collector where one is configured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
pub use opentelemetry::trace::TraceId;
use opentelemetry::trace::{Status, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use reqwest::redirect::Policy;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Telemetry;

/// How long sending a batch of spans may take, and the last one at the end of the service.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

static EXPORTED: AtomicBool = AtomicBool::new(false);

/// Whether somebody takes the traces: if not, nobody needs to describe them.
#[must_use]
pub fn are_exported() -> bool {
    EXPORTED.load(Ordering::Relaxed)
}

/// Sends spans, in batches and on a thread of its own, until it is dropped.
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// `None` where no endpoint is configured.
    pub fn start(settings: &Telemetry) -> Result<Option<Self>> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(None);
        };
        // OTLP specification, "OTLP/HTTP Request": the path of traces below the endpoint.
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(EXPORT_TIMEOUT)
            .build()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(url)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .context("telemetry.otlp_endpoint: traces cannot be sent")?;
        let ratio = f64::from(settings.otlp_sample_percent.get()) / 100.0;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(env!("CARGO_PKG_NAME"));
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            // The beginner of a trace has decided whether it is kept.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(resource.with_attribute(version).build())
            .build();
        EXPORTED.store(true, Ordering::Relaxed);
        Ok(Some(Self(provider)))
    }

    /// Hands every span of ours to the exporter.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(
        &self,
    ) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// The headers of W3C Trace Context.
struct Headers<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Makes the span a part of the trace that the headers name. Returns the trace it is a part of: the
/// caller's, or a new one where traces are exported. What is not a trace is ignored, as the
/// recommendation asks.
pub fn join(span: &Span, traceparent: Option<&str>, tracestate: Option<&str>) -> Option<TraceId> {
    let parent = traceparent.map(|traceparent| {
        TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &Headers { traceparent, tracestate })
    });
    let trace = |context: &Context| {
        let context = context.span().span_context().clone();
        context.is_valid().then(|| context.trace_id())
    };
    let callers = parent.as_ref().and_then(trace);
    if !are_exported() {
        return callers;
    }
    if let (Some(parent), Some(_)) = (parent, callers)
        && let Err(error) = span.set_parent(parent)
    {
        tracing::debug!(%error, "a trace is not continued");
    }
    trace(&span.context())
}

/// Names the span, once it is known what it is about.
pub fn name(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// Adds something to the span, under a name of the semantic conventions or of ours.
pub fn describe(span: &Span, name: &'static str, value: impl Into<Value>) {
    span.set_attribute(name, value);
}

/// Marks the span as that of a failure of the service.
pub fn fail(span: &Span, why: &'static str) {
    span.set_status(Status::error(why));
}
