//! Settings: all that can be set. Each says who would change it, and why; a value that nobody would change is a
//! constant where it is used.

use std::num::NonZeroU32;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use smart_default::SmartDefault;

use super::list::{list, numbers};
use super::range::{Count, Millis, Seconds, Within};

/// Every setting. In the environment `writer.batch_max` is `PAYONCE_WRITER__BATCH_MAX`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub server: Server,
    pub auth: Auth,
    pub rate_limit: RateLimit,
    pub database: Database,
    pub writer: Writer,
    pub history: History,
    pub live: Live,
    pub prune: Prune,
    pub webhooks: Webhooks,
    pub page: Page,
    pub telemetry: Telemetry,
}

/// How HTTP is served.
#[derive(Debug, Clone, SmartDefault, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// An address, or `localhost` for 127.0.0.1 and `[::1]` (also `HOST`). For a container or a network.
    #[default("localhost".to_owned())]
    pub host: String,
    /// 0 takes any free port (also `PORT`). For a machine where 4000 is taken.
    #[default = 4000]
    pub port: u16,
    /// Where metrics and health are served, and nowhere else; absent: beside everything else. 0 takes any
    /// free port. For a service that strangers reach.
    pub admin_port: Option<u16>,
    /// Threads that serve HTTP; 0: one for each core. Fewer leave cores to a database on the same machine.
    pub workers: Count<0, 0, 1_024>,
    /// Of the process, spread evenly over its workers; more clients wait until one leaves. For a process that may
    /// open fewer files or has less memory, or for one with more clients.
    pub connections_max: Count<10_000, 1, { u32::MAX }>,
    /// How long a client may take to send a request's head, and then its body. For clients on slow lines. The web
    /// framework's clock moves twice a second: with less than a second, a good request can be late.
    pub read_timeout_ms: Millis<5_000, 1_000>,
    /// How long a request may wait before its payment is taken up. For callers with a shorter time limit.
    pub request_timeout_ms: Millis<5_000>,
    /// How long an idle connection is kept: longer than a balancer in front keeps its own. One second at
    /// least, as above.
    pub keep_alive_ms: Millis<75_000, 1_000>,
    /// How long a client may leave an answer unread. For clients on slow lines.
    pub write_timeout_ms: Millis<30_000, 1, 3_600_000>,
    /// How long the service goes on after SIGTERM, not ready any more, before it accepts no more
    /// connections. For a balancer, which needs that long to notice.
    pub stop_delay_ms: Within<0, 0, 600_000>,
    /// How long requests under way may take to end when the service stops. For a supervisor that waits less.
    pub shutdown_timeout_ms: Millis<10_000>,
    /// The origins whose pages may call the service. For a page on a host of its own.
    #[default(["http://localhost:3000", "http://127.0.0.1:3000"].map(str::to_owned).into())]
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<String>,
    /// Proxies in front of the service, each of which adds the address of its client to
    /// `X-Forwarded-For`. For limits of addresses behind them.
    pub trusted_proxies: Count<0, 0, 10>,
}

/// Who is believed to be whom.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// For every service that others than its developer reach.
    pub mode: AuthMode,
    /// The secret that tokens are signed with (HS256): 32 bytes or more. For a back end that makes its own tokens.
    pub jwt_secret: Option<SecretString>,
    /// A file that holds it, in its place. For containers and systemd.
    pub jwt_secret_file: Option<PathBuf>,
    /// Where the public keys are (RFC 7517): a file's absolute path, or a URL: `https:`, `file:`, on
    /// loopback also `http:`. For tokens of an issuer.
    pub jwks_url: Option<String>,
    /// Which signatures are accepted; empty: HS256 with a secret, the others with public keys. For an issuer
    /// with keys that are for something else.
    #[serde(deserialize_with = "list")]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// `iss` must be this. For an issuer with more than one name.
    pub issuer: Option<String>,
    /// The value that `aud` must be, or contain. With `jwks_url` it must be set: the issuer signs for others, too.
    pub audience: Option<String>,
    /// How far apart the clocks of the issuer and the service may be. For clocks that nobody keeps.
    pub clock_skew_seconds: Within<0, 0, 3_600>,
    /// How often public keys are fetched again. For an issuer that withdraws keys at short notice.
    pub jwks_refresh_seconds: Seconds<300>,
    /// How long after that a token with an unknown key makes them be fetched once more. For an issuer that limits
    /// its callers.
    pub jwks_pause_seconds: Seconds<10>,
    /// Whether everybody who reaches the service may be an operator. For containers on a developer's machine.
    pub allow_off_on_public: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody is an operator.
    #[default]
    Off,
    /// A JSON Web Token says who asks.
    Jwt,
}

/// RFC 7518, section 3.1, and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SignatureAlgorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// How often one may ask; absent limits are none. For a service that strangers reach.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Payments that one account may ask for, each of a bulk by itself; requests for money and voided keys, too.
    pub payer_per_minute: Option<NonZeroU32>,
    /// How many of these at once; absent: as many as in a minute. For payers who pay in bursts, or must not.
    pub payer_burst: Option<NonZeroU32>,
    /// Requests that one address (of IPv6, one network of 64 bits) may make.
    pub address_per_minute: Option<NonZeroU32>,
    /// How many of these at once; absent: as many as in a minute. For many people behind one address.
    pub address_burst: Option<NonZeroU32>,
}

/// Which database holds the ledger, and how long it may take.
#[derive(Debug, Clone, SmartDefault, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// The database, as the service's role (also `DATABASE_URL`). Everybody sets it, or its file. It may name several
    /// servers of one cluster, as libpq's may (`postgres://payonce@a:5432,b:5432/ledger`): the one that takes writes is
    /// found. For a ledger with standbys.
    pub url: Option<SecretString>,
    /// A file that holds it, in its place. For containers and systemd.
    pub url_file: Option<PathBuf>,
    /// For migrations only, where the service's own role may not change the schema.
    pub migrate_url: Option<SecretString>,
    /// A file that holds it, in its place. For containers and systemd.
    pub migrate_url_file: Option<PathBuf>,
    /// The schema that the ledger is in; absent: `public`, and no other schema of the database may have
    /// one. For a database that others use, too.
    pub schema: Option<String>,
    /// Whether a server will do whose crash can lose payments that were answered (`fsync` or
    /// `full_page_writes` off). For tests.
    pub allow_lost_commits: bool,
    /// Whether `serve` brings the schema up to date first. Not where somebody else migrates.
    #[default = true]
    pub migrate_on_start: bool,
    /// How long Postgres lets a statement run. For a slow disk.
    pub statement_timeout_ms: Millis<3_000>,
    /// How long a transaction may take before its connection is given up. For a slow disk.
    pub transaction_timeout_ms: Millis<5_000>,
    /// Connections that read. For a server with few, or with more cores.
    pub readers_max: Within<8, 1, 65_535, u16>,
    /// How long a read may take, the wait for a connection included. For callers with a shorter time limit.
    pub read_timeout_ms: Millis<5_000>,
    /// Which of the servers in `url` answer reads. All answers are as fresh: for a ledger with more reads than its primary
    /// has processors for.
    pub read_from: ReadFrom,
    /// How long a read waits for replicas to show what it must, before the primary answers it. For replicas far away.
    pub replica_wait_ms_max: Millis<100>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// The server that takes writes.
    #[default]
    Primary,
    /// The others, while they can answer.
    Replicas,
}

/// How payments are posted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Writer {
    /// Transactions that post payments side by side. For a machine with many more cores.
    pub count: Within<2, 1, 64>,
    /// Payments, and apart from them openings, that may wait. For callers who had rather be refused than wait.
    pub queue_max: Count<8_192, 1, 1_000_000>,
    /// Payments in one transaction. For a server that is slow with large ones. (Postgres counts the rows of an
    /// array in 32 bits; memory is the nearer limit.)
    pub batch_max: Count<256, 1, 10_000>,
    /// How long a batch waits for rows that somebody else has locked. For a database in which others lock accounts.
    pub lock_wait_ms_max: Millis<100>,
    /// How often a batch is posted again after a lost connection or a conflict. For callers who had rather be
    /// refused sooner.
    pub attempts_max: Within<8, 1, { u32::MAX }>,
}

/// How histories are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Payments on a page, at the most. For clients that show more than ten.
    pub page_size_max: Within<10, 1, 1_000, u16>,
    /// Statements that read pages side by side. One serves two cores best, more serve more.
    pub reader_count: Within<1, 1, 64>,
}

/// How many watch accounts (`GET /accounts/{id}/events`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Live {
    /// Streams of this process. For a process that may open fewer files, or has more memory.
    pub streams_max: Count<10_000, 1, 1_000_000>,
    /// Streams of one account. For people with many devices, or few.
    pub streams_per_account_max: Count<10, 1, 1_000_000>,
}

/// Removing the rows of old idempotency keys. The payments stay, and so does what the keys promise.
#[derive(Debug, Clone, Copy, SmartDefault, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prune {
    /// Whether the service does it by itself. Not where `payonce prune` is run at a quiet hour.
    #[default = true]
    pub in_background: bool,
    /// How long a key's row is kept. Longer to look up what failed, shorter to save disk.
    pub retention_days: Within<30, 1, 36_500, u16>,
    /// From the end of one sweep over the table to the next, of whichever process. For a large table.
    pub interval_seconds: Seconds<3_600>,
    /// Pages of the table, of 8 KiB, that one statement reads. For a disk that is busy.
    pub step_pages: Within<128, 1, 1_000>,
    /// How long it pauses between two statements. For a disk that is busy.
    pub pause_ms: Within<20, 0, 60_000>,
}

/// Addresses of others that are told of payments.
#[derive(Debug, Clone, SmartDefault, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// How many there may be; 0: none can be added. For many receivers.
    pub endpoints_max: Count<100, 0, 1_000>,
    /// How long a receiver may take to answer. For slow ones.
    pub timeout_ms: Millis<10_000, 1, 60_000>,
    /// Between a failed delivery and the next attempt, the first, the second...; each up to a fifth longer. After the
    /// last one the webhook is disabled. For receivers that are away for longer than three days, or not worth it.
    #[default([5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].into())]
    #[serde(deserialize_with = "numbers")]
    pub pauses_seconds: Vec<u32>,
    /// Whether receivers may be in the service's own network, and may be without TLS. For tests, and for receivers
    /// that nobody else reaches.
    pub allow_private_addresses: bool,
}

/// The page in the browser.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Where its files are; absent: no page is served. For everybody who wants it.
    pub dir: Option<PathBuf>,
}

/// The log and traces.
#[derive(Debug, Clone, SmartDefault, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The lines that are logged, as in `info,payonce=debug`. For finding out more, or keeping less. (A request that cannot
    /// be parsed is its sender's mistake, who is told: by default it is not logged.)
    #[default("info,actix_server=warn,actix_http::h1::dispatcher=off,sqlx=warn".to_owned())]
    pub filter: String,
    /// For text in a file, or JSON on a terminal.
    pub format: Format,
    /// Where traces are sent to (OTLP over HTTP, also `OTEL_EXPORTER_OTLP_ENDPOINT`); absent: nowhere. For
    /// everybody who has a collector.
    pub otlp_endpoint: Option<String>,
    /// How many of a hundred traces that begin here are kept. For a busy service.
    pub otlp_sample_percent: Within<100, 0, 100, u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}
