//! Counts and times for Prometheus, whose conventions the names follow: the unit is in them, and a `_total` only
//! grows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};
use time::Duration as SignedDuration;

/// Answers at once and answers after a time limit can both be told apart.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

const PAYMENTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub struct Metrics {
    requests: HistogramVec,
    under_way: IntGauge,
    payments: IntCounterVec,
    batch_size: Histogram,
    queue_wait: Histogram,
    lock_wait: Histogram,
    commit: Histogram,
    reposts: IntCounterVec,
    waiting: IntGaugeVec,
    readers: IntGaugeVec,
    replicas: ReplicaMetrics,
    live_streams: IntGauge,
    live_streams_ended: IntCounterVec,
    live_reads: IntCounter,
    pruned_keys: IntCounter,
    feed_position: IntGauge,
    feed_lag: Histogram,
    webhooks: WebhookMetrics,
    clock_skew: Gauge,
    dropped_lines: IntCounter,
    ready: IntGauge,
    is_database_ready: AtomicBool,
    keys_age: Gauge,
    keys: Mutex<PublicKeys>,
    rendered: IntCounter,
    /// One reader at a time: some values are brought up to date for it.
    reading: Mutex<()>,
}

/// The public keys that tokens are verified with.
#[derive(Debug, Clone, Copy)]
enum PublicKeys {
    /// The settings name none.
    NotNeeded,
    MissingSince(Instant),
    FetchedAt(Instant),
}

/// How busy the service is at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub payments_waiting: usize,
    /// Payments for an account that somebody else has locked.
    pub payments_set_aside: usize,
    pub openings_waiting: usize,
    pub pages_waiting: usize,
    pub reads_waiting: usize,
    pub readers_busy: usize,
    pub readers_idle: usize,
    pub live_streams: usize,
}

impl Metrics {
    fn new() -> Self {
        let version = Opts::new("payonce_build_info", "The version that runs.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        registered(IntGauge::with_opts(version)).set(1);
        Self {
            requests: registered(HistogramVec::new(
                seconds("payonce_http_request_seconds", "Requests, until their answer begins."),
                &["method", "route", "status"],
            )),
            under_way: registered(IntGauge::new(
                "payonce_requests_under_way",
                "Requests that have arrived and are not answered.",
            )),
            payments: registered(IntCounterVec::new(
                Opts::new("payonce_payments_total", "Requests to pay, by what came of them."),
                &["outcome"],
            )),
            batch_size: registered(Histogram::with_opts(
                HistogramOpts::new("payonce_batch_payments", "Payments in one transaction.")
                    .buckets(PAYMENTS.to_vec()),
            )),
            queue_wait: registered(Histogram::with_opts(seconds(
                "payonce_payment_queue_seconds",
                "From a payment's arrival to the begin of its transaction.",
            ))),
            lock_wait: registered(Histogram::with_opts(seconds(
                "payonce_batch_lock_seconds",
                "A batch's wait for its row locks.",
            ))),
            commit: registered(Histogram::with_opts(seconds(
                "payonce_batch_commit_seconds",
                "A batch's wait for its commit.",
            ))),
            reposts: registered(IntCounterVec::new(
                Opts::new("payonce_reposts_total", "Batches that were posted again, by cause."),
                &["cause"],
            )),
            waiting: registered(IntGaugeVec::new(
                Opts::new("payonce_waiting_requests", "Requests that wait, by what they wait for."),
                &["queue"],
            )),
            readers: registered(IntGaugeVec::new(
                Opts::new("payonce_reader_sessions", "Sessions with the database that read."),
                &["state"],
            )),
            replicas: ReplicaMetrics::new(),
            live_streams: registered(IntGauge::new(
                "payonce_live_streams",
                "Streams of accounts' payments that are open.",
            )),
            live_streams_ended: registered(IntCounterVec::new(
                Opts::new(
                    "payonce_live_streams_ended_total",
                    "Streams that have ended, by reason.",
                ),
                &["reason"],
            )),
            live_reads: registered(IntCounter::new(
                "payonce_live_reads_total",
                "Parts of the feed that were read for live streams, each once for all of them.",
            )),
            pruned_keys: registered(IntCounter::new(
                "payonce_pruned_keys_total",
                "Idempotency keys whose rows were removed because they were past their retention.",
            )),
            feed_position: registered(IntGauge::new(
                "payonce_feed_position",
                "The last position in the feed, where this process gives them.",
            )),
            feed_lag: registered(Histogram::with_opts(seconds(
                "payonce_feed_lag_seconds",
                "From the time of a batch's last payment until it had its position.",
            ))),
            webhooks: WebhookMetrics::new(),
            clock_skew: registered(Gauge::new(
                "payonce_clock_skew_seconds",
                "How far the database's clock is ahead of the service's, when it was looked at last.",
            )),
            dropped_lines: registered(IntCounter::new(
                "payonce_log_lines_dropped_total",
                "Lines of the log that were dropped because nobody took them fast enough.",
            )),
            ready: registered(IntGauge::new(
                "payonce_ready",
                "Whether the database answered and took payments when it was looked at last, and there \
                 are keys to verify tokens with.",
            )),
            rendered: registered(IntCounter::new(
                "payonce_metrics_rendered_total",
                "Texts of these metrics; all who ask at a time share one.",
            )),
            is_database_ready: AtomicBool::new(false),
            keys_age: registered(Gauge::new(
                "payonce_jwks_age_seconds",
                "Since public keys were fetched last, or wanted first; 0 without auth.jwks_url.",
            )),
            keys: Mutex::new(PublicKeys::NotNeeded),
            reading: Mutex::new(()),
        }
    }

    /// `server`: `primary` or `replica`.
    pub fn read(&self, server: &str) {
        self.replicas.reads.with_label_values(&[server]).inc();
    }

    pub fn replica_wait(&self, waited: Duration) {
        self.replicas.wait.observe(waited.as_secs_f64());
    }

    /// Reasons that there may be, so that the first of a kind is seen as one more than none.
    pub fn reasons_to_pass_replicas_over(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            self.replicas.passed_over.with_label_values(&[reason]);
        }
    }

    pub fn replica_passed_over(&self, reason: &str) {
        self.replicas.passed_over.with_label_values(&[reason]).inc();
    }

    pub fn dropped_lines(&self, count: usize) {
        self.dropped_lines.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Outcomes that a payment may have, so that the first of a kind is seen as one more than none.
    pub fn payment_outcomes<'a>(&self, outcomes: impl IntoIterator<Item = &'a str>) {
        for outcome in outcomes {
            self.payments.with_label_values(&[outcome]);
        }
    }

    /// Reasons for which a stream may end, so that the first of a kind is seen as one more than none.
    pub fn live_stream_ends(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            self.live_streams_ended.with_label_values(&[reason]);
        }
    }

    pub fn live_stream_ended(&self, reason: &str) {
        self.live_streams_ended.with_label_values(&[reason]).inc();
    }

    pub fn live_read(&self) {
        self.live_reads.inc();
    }

    /// Whether the database is.
    pub fn ready(&self, is_ready: bool) {
        self.is_database_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Tokens are verified with public keys, which are not there yet.
    pub fn keys_are_fetched_from_now_on(&self) {
        *self.keys() = PublicKeys::MissingSince(Instant::now());
    }

    pub fn keys_fetched(&self) {
        *self.keys() = PublicKeys::FetchedAt(Instant::now());
    }

    /// No code can panic while it holds this lock, so a poisoned one is as good as any.
    fn keys(&self) -> MutexGuard<'_, PublicKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pruned_keys(&self, count: u64) {
        self.pruned_keys.inc_by(count);
    }

    pub fn feed_position(&self, last: i64) {
        self.feed_position.set(last);
    }

    /// A batch has its position, `took` after its last payment had waited for so many seconds.
    pub fn feed_lag(&self, waited_seconds: f64, took: Duration) {
        self.feed_lag.observe(waited_seconds.max(0.0) + took.as_secs_f64());
    }

    /// Outcomes that a delivery may have, so that the first of a kind is seen as one more than none.
    pub fn webhook_outcomes<'a>(&self, outcomes: impl IntoIterator<Item = &'a str>) {
        for outcome in outcomes {
            self.webhooks.deliveries.with_label_values(&[outcome]);
        }
    }

    pub fn webhook_delivery(&self, outcome: &str) {
        self.webhooks.deliveries.with_label_values(&[outcome]).inc();
    }

    /// The age of the oldest payment that is to be delivered, and how many webhooks failed for good.
    pub fn webhooks(&self, oldest: Duration, disabled: usize) {
        self.webhooks.oldest.set(oldest.as_secs_f64());
        self.webhooks.disabled.set(i64::try_from(disabled).unwrap_or(i64::MAX));
    }

    pub fn clock_skew(&self, skew: SignedDuration) {
        self.clock_skew.set(skew.as_seconds_f64());
    }

    /// A request is under way as long as what this returns exists.
    pub fn under_way(&self) -> UnderWay<'_> {
        self.under_way.inc();
        UnderWay(&self.under_way)
    }

    /// `route` is one of the table of routes, so that their number is bounded.
    pub fn request(&self, method: &str, route: &str, status: &str, took: Duration) {
        self.requests.with_label_values(&[method, route, status]).observe(took.as_secs_f64());
    }

    /// `outcome`: `paid`, `replayed`, or the reason why not.
    pub fn payment(&self, outcome: &str) {
        self.payments.with_label_values(&[outcome]).inc();
    }

    /// A batch that was committed, or had nothing to commit.
    pub fn batch(&self, queue_waits: &[Duration], lock_wait: Duration, commit: Duration) {
        for wait in queue_waits {
            self.queue_wait.observe(wait.as_secs_f64());
        }
        let payments = u32::try_from(queue_waits.len()).unwrap_or(u32::MAX);
        self.batch_size.observe(payments.into());
        self.lock_wait.observe(lock_wait.as_secs_f64());
        self.commit.observe(commit.as_secs_f64());
    }

    pub fn repost(&self, cause: &str) {
        self.reposts.with_label_values(&[cause]).inc();
    }

    /// Everything, and how busy the service is now, as Prometheus reads it.
    ///
    /// # Errors
    /// None that can happen: every metric has a name and a help text.
    pub fn text(&self, load: Load) -> prometheus::Result<String> {
        let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let set = |gauges: &IntGaugeVec, label: &str, value: usize| {
            gauges.with_label_values(&[label]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.waiting, "payments", load.payments_waiting);
        set(&self.waiting, "set_aside", load.payments_set_aside);
        set(&self.waiting, "openings", load.openings_waiting);
        set(&self.waiting, "pages", load.pages_waiting);
        set(&self.waiting, "reads", load.reads_waiting);
        set(&self.readers, "busy", load.readers_busy);
        set(&self.readers, "idle", load.readers_idle);
        self.live_streams.set(i64::try_from(load.live_streams).unwrap_or(i64::MAX));
        self.rendered.inc();
        let (has_keys, keys_age) = match *self.keys() {
            PublicKeys::NotNeeded => (true, Duration::ZERO),
            PublicKeys::MissingSince(since) => (false, since.elapsed()),
            PublicKeys::FetchedAt(at) => (true, at.elapsed()),
        };
        self.ready.set((has_keys && self.is_database_ready.load(Ordering::Relaxed)).into());
        self.keys_age.set(keys_age.as_secs_f64());
        TextEncoder::new().encode_to_string(&prometheus::gather())
    }
}

struct WebhookMetrics {
    deliveries: IntCounterVec,
    oldest: Gauge,
    disabled: IntGauge,
}

impl WebhookMetrics {
    fn new() -> Self {
        Self {
            deliveries: registered(IntCounterVec::new(
                Opts::new(
                    "payonce_webhook_deliveries_total",
                    "Attempts to deliver a payment to a webhook, by what came of them.",
                ),
                &["outcome"],
            )),
            oldest: registered(Gauge::new(
                "payonce_webhook_oldest_undelivered_seconds",
                "Since the oldest payment was made that an active webhook was not told of; 0 where this \
                 process does not send.",
            )),
            disabled: registered(IntGauge::new(
                "payonce_webhooks_disabled",
                "Webhooks that are disabled because deliveries failed; 0 where this process does not send.",
            )),
        }
    }
}

struct ReplicaMetrics {
    reads: IntCounterVec,
    wait: Histogram,
    passed_over: IntCounterVec,
}

impl ReplicaMetrics {
    fn new() -> Self {
        let metrics = Self {
            reads: registered(IntCounterVec::new(
                Opts::new(
                    "payonce_reads_total",
                    "Statements that read, by the kind of server that answered; none with database.read_from = primary.",
                ),
                &["server"],
            )),
            wait: registered(Histogram::with_opts(seconds(
                "payonce_replica_wait_seconds",
                "A read's wait until a replica showed all that it must.",
            ))),
            passed_over: registered(IntCounterVec::new(
                Opts::new(
                    "payonce_replicas_passed_over_total",
                    "Reads that a replica could not answer, by reason.",
                ),
                &["reason"],
            )),
        };
        for server in ["primary", "replica"] {
            metrics.reads.with_label_values(&[server]);
        }
        metrics
    }
}

/// A request that is under way, until this is dropped: also when its client has gone.
pub struct UnderWay<'a>(&'a IntGauge);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn seconds(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(SECONDS.to_vec())
}

/// A metric that is among those of the process from now on.
#[expect(clippy::expect_used, reason = "names are constants, and each is used once: tested")]
fn registered<C: Collector + Clone + 'static>(metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("it has a valid name");
    prometheus::register(Box::new(metric.clone())).expect("its name is not taken");
    metric
}
