//! Settings: defaults here, then `payonce.toml`, then the environment. A setting that is wrong, unknown, or
//! there but empty stops the start, and is named.

use std::fs::File;
use std::io::Read;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use config::{Config, ConfigError, Environment, Map, Source, Value, ValueKind};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};

/// The file, in the directory that the process is started in.
const FILE: &str = "payonce.toml";

/// What HS256 needs at least.
const SECRET_BYTES_MIN: usize = 32;

/// The bytes of a name that Postgres keeps.
const NAME_BYTES_MAX: usize = 63;

/// What is read of a file with a secret.
const SECRET_FILE_BYTES_MAX: u64 = 65_536;

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
    pub prune: Prune,
    pub page: Page,
    pub telemetry: Telemetry,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// An address, or `localhost` for 127.0.0.1 and `[::1]` (also `HOST`).
    pub host: String,
    /// 0 takes any free port (also `PORT`).
    pub port: u16,
    /// Where metrics and health are served, and nowhere else; absent: beside everything else. 0 takes any
    /// free port.
    pub admin_port: Option<u16>,
    /// Threads that serve HTTP; 0: one for each core.
    pub workers: usize,
    /// For each worker.
    pub connections_max: NonZeroUsize,
    /// A larger body is refused.
    pub body_bytes_max: NonZeroUsize,
    /// How long a client may take to send a request's head, and then its body.
    pub read_timeout_ms: NonZeroU32,
    /// How long a request may wait before its payment is taken up.
    pub request_timeout_ms: NonZeroU32,
    /// How long an idle connection is kept.
    pub keep_alive_ms: NonZeroU32,
    /// How long a client may leave an answer unread.
    pub write_timeout_ms: NonZeroU32,
    /// How long the service goes on after SIGTERM, not ready any more, before it accepts no more
    /// connections: whoever hands out its requests needs that long to notice.
    pub stop_delay_ms: u32,
    /// How long requests under way may take to end when the service stops.
    pub shutdown_timeout_ms: NonZeroU32,
    /// The origins whose pages may call the service.
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<String>,
    /// Proxies in front of the service, each of which adds the address of its client to
    /// `X-Forwarded-For`.
    pub trusted_proxies: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    /// What tokens are signed with (HS256): 32 bytes or more.
    pub jwt_secret: Option<SecretString>,
    /// A file that holds it, in its place.
    pub jwt_secret_file: Option<PathBuf>,
    /// Where the public keys are (RFC 7517): a file's absolute path, or a URL: `https:`, `file:`, on
    /// loopback also `http:`.
    pub jwks_url: Option<String>,
    /// Which signatures are accepted; empty: HS256 with a secret, the others with public keys.
    #[serde(deserialize_with = "list")]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// The value that `aud` must be, or contain. With `jwks_url` it must be set.
    pub audience: Option<String>,
    /// How far apart the clocks of the issuer and the service may be.
    pub clock_skew_seconds: u32,
    /// How often public keys are fetched again.
    pub jwks_refresh_seconds: NonZeroU32,
    /// How long after that a token with an unknown key makes them be fetched once more.
    pub jwks_pause_seconds: NonZeroU32,
    /// How long fetching them may take.
    pub jwks_timeout_ms: NonZeroU32,
    /// Whether everybody who reaches the service may be an operator.
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

/// Absent limits are none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Payments that one account may ask for.
    pub payer_per_minute: Option<NonZeroU32>,
    /// How many of these at once; absent: as many as in a minute.
    pub payer_burst: Option<NonZeroU32>,
    /// Requests that one address (of IPv6, one network of 64 bits) may make.
    pub address_per_minute: Option<NonZeroU32>,
    pub address_burst: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Which database holds the ledger (also `DATABASE_URL`).
    pub url: Option<SecretString>,
    /// A file that holds it, in its place.
    pub url_file: Option<PathBuf>,
    /// For migrations only, where the service's own role may not change the schema.
    pub migrate_url: Option<SecretString>,
    /// A file that holds it, in its place.
    pub migrate_url_file: Option<PathBuf>,
    /// The schema that the ledger is in; absent: `public`, and no other schema of the database may have
    /// one.
    pub schema: Option<String>,
    /// Whether a server will do whose crash can lose payments that were answered (`fsync` or
    /// `full_page_writes` off).
    pub allow_lost_commits: bool,
    /// Whether `serve` brings the schema up to date first.
    pub migrate_on_start: bool,
    /// How long opening a connection may take.
    pub connect_timeout_ms: NonZeroU32,
    /// How long Postgres lets a statement run.
    pub statement_timeout_ms: NonZeroU32,
    /// How long a transaction may take before its connection is given up.
    pub transaction_timeout_ms: NonZeroU32,
    /// Connections that read.
    pub readers_max: NonZeroU16,
    /// How long a read may take, the wait for a connection included.
    pub read_timeout_ms: NonZeroU32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Writer {
    /// Transactions that post payments side by side.
    pub count: NonZeroU32,
    /// Payments, and apart from them openings, that may wait.
    pub queue_max: NonZeroUsize,
    /// Payments in one transaction.
    pub batch_max: NonZeroUsize,
    /// How long a batch waits for rows that somebody else has locked.
    pub lock_wait_ms_max: NonZeroU32,
    /// How often a batch is posted again after a lost connection or a conflict.
    pub attempts_max: NonZeroU32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Payments on a page, at the most.
    pub page_size_max: NonZeroU16,
    /// Statements that read pages side by side: one serves two cores best, more serve more.
    pub reader_count: NonZeroU32,
    /// Pages that one statement reads.
    pub batch_max: NonZeroUsize,
}

/// Removing the rows of old idempotency keys. The payments stay, and so does what the keys promise.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prune {
    /// Whether the service does it by itself.
    pub in_background: bool,
    /// How long a key's row is kept.
    pub retention_days: NonZeroU16,
    /// From the end of one sweep over the table to the next, of whichever process.
    pub interval_seconds: NonZeroU32,
    /// Pages of the table, of 8 KiB, that one statement reads.
    pub step_pages: NonZeroU32,
    /// How long it pauses between two statements.
    pub pause_ms: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Where the files of the page are; absent: no page is served.
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// What is logged, as in `info,payonce=debug`.
    pub filter: String,
    pub format: Format,
    /// Where traces are sent to (OTLP over HTTP, also `OTEL_EXPORTER_OTLP_ENDPOINT`); absent: nowhere.
    pub otlp_endpoint: Option<String>,
    /// How many of a hundred traces that begin here are kept.
    pub otlp_sample_percent: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 4000,
            admin_port: None,
            workers: 0,
            connections_max: nonzero_usize(10_000),
            body_bytes_max: nonzero_usize(16_384),
            read_timeout_ms: nonzero_u32(5_000),
            request_timeout_ms: nonzero_u32(5_000),
            keep_alive_ms: nonzero_u32(75_000),
            write_timeout_ms: nonzero_u32(30_000),
            stop_delay_ms: 0,
            shutdown_timeout_ms: nonzero_u32(10_000),
            cors_origins: vec![
                "http://localhost:3000".to_owned(),
                "http://127.0.0.1:3000".to_owned(),
            ],
            trusted_proxies: 0,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Off,
            jwt_secret: None,
            jwt_secret_file: None,
            jwks_url: None,
            algorithms: Vec::new(),
            issuer: None,
            audience: None,
            clock_skew_seconds: 0,
            jwks_refresh_seconds: nonzero_u32(300),
            jwks_pause_seconds: nonzero_u32(10),
            jwks_timeout_ms: nonzero_u32(3_000),
            allow_off_on_public: false,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            migrate_url: None,
            migrate_url_file: None,
            schema: None,
            allow_lost_commits: false,
            migrate_on_start: true,
            connect_timeout_ms: nonzero_u32(3_000),
            statement_timeout_ms: nonzero_u32(3_000),
            transaction_timeout_ms: nonzero_u32(5_000),
            readers_max: NonZeroU16::MIN.saturating_add(7),
            read_timeout_ms: nonzero_u32(5_000),
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            count: nonzero_u32(2),
            queue_max: nonzero_usize(8_192),
            batch_max: nonzero_usize(256),
            lock_wait_ms_max: nonzero_u32(100),
            attempts_max: nonzero_u32(8),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            page_size_max: NonZeroU16::MIN.saturating_add(9),
            reader_count: nonzero_u32(1),
            batch_max: nonzero_usize(64),
        }
    }
}

impl Default for Prune {
    fn default() -> Self {
        Self {
            in_background: true,
            retention_days: NonZeroU16::MIN.saturating_add(29),
            interval_seconds: nonzero_u32(3_600),
            step_pages: nonzero_u32(128),
            pause_ms: 20,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        // A request that cannot be parsed is its sender's mistake, who is told.
        let filter = "info,actix_server=warn,actix_http::h1::dispatcher=off,sqlx=warn";
        Self {
            filter: filter.to_owned(),
            format: Format::Auto,
            otlp_endpoint: None,
            otlp_sample_percent: 100,
        }
    }
}

impl Settings {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// Names the setting that is wrong, empty or unknown.
    pub fn load() -> Result<Self> {
        let (settings, NoneOfItsOwn {}) = Self::load_beside(&[])?;
        Ok(settings)
    }

    /// The same for a program that has settings beside these, which are named.
    ///
    /// # Errors
    /// Names the setting that is wrong, empty or unknown.
    pub fn load_beside<Own: DeserializeOwned>(own: &[&str]) -> Result<(Self, Own)> {
        check_variables()?;
        // A file that is there and cannot be read is not taken for absent.
        let is_there = Path::new(FILE).symlink_metadata().is_ok();
        let file = config::File::with_name(FILE).required(is_there);
        let in_file = file.collect().map_err(|error| wrong(&error))?;
        check_values(&Value::new(None, in_file), "")?;
        let var = |name: &str| std::env::var(name).ok();
        let otlp_endpoint = var("OTEL_EXPORTER_OTLP_ENDPOINT").filter(|value| !value.is_empty());
        let usual = Config::builder()
            .set_override_option("server.host", var("HOST"))?
            .set_override_option("server.port", var("PORT"))?
            .set_override_option("database.url", var("DATABASE_URL"))?
            .set_override_option("telemetry.otlp_endpoint", otlp_endpoint)?
            .build()?;
        // Values stay the text that they are until their type is known: a secret may look like a
        // number.
        let environment = Environment::with_prefix("PAYONCE").prefix_separator("_").separator("__");
        let all = Config::builder()
            .add_source(file)
            .add_source(usual)
            .add_source(environment)
            .build()
            .and_then(|all| all.collect())
            .map_err(|error| wrong(&error))?;
        let (own, all) = all.into_iter().partition(|(name, _)| own.contains(&&**name));
        let mut settings: Self = deserialized(all)?;
        let own: Own = deserialized(own)?;
        let Self { auth, database, .. } = &mut settings;
        for (name, secret, file) in [
            ("auth.jwt_secret", &mut auth.jwt_secret, &auth.jwt_secret_file),
            ("database.url", &mut database.url, &database.url_file),
            ("database.migrate_url", &mut database.migrate_url, &database.migrate_url_file),
        ] {
            read_secret(name, secret, file.as_deref())?;
        }
        settings.check()?;
        Ok((settings, own))
    }

    /// Limits that would contradict each other or the wire.
    fn check(&self) -> Result<()> {
        let at_most = |name: &str, value: usize, max: usize| {
            if value > max {
                bail!("the settings are wrong: {name} is {value}, and at most {max}");
            }
            Ok(())
        };
        // Postgres counts the rows of an array in 32 bits; memory is the nearer limit.
        at_most("writer.batch_max", self.writer.batch_max.get(), 10_000)?;
        at_most("writer.queue_max", self.writer.queue_max.get(), 1_000_000)?;
        at_most("writer.count", usize::try_from(self.writer.count.get())?, 64)?;
        at_most("history.page_size_max", self.history.page_size_max.get().into(), 1_000)?;
        at_most("history.reader_count", usize::try_from(self.history.reader_count.get())?, 64)?;
        at_most("history.batch_max", self.history.batch_max.get(), 1_000)?;
        at_most("server.workers", self.server.workers, 1_024)?;
        at_most("server.body_bytes_max", self.server.body_bytes_max.get(), 1 << 20)?;
        let stop_delay_ms = usize::try_from(self.server.stop_delay_ms)?;
        at_most("server.stop_delay_ms", stop_delay_ms, 600_000)?;
        at_most("prune.retention_days", self.prune.retention_days.get().into(), 36_500)?;
        at_most("prune.step_pages", usize::try_from(self.prune.step_pages.get())?, 1_000)?;
        at_most("prune.pause_ms", usize::try_from(self.prune.pause_ms)?, 60_000)?;
        at_most("telemetry.otlp_sample_percent", self.telemetry.otlp_sample_percent.into(), 100)?;

        if self.server.admin_port == Some(self.server.port) && self.server.port != 0 {
            bail!("the settings are wrong: server.admin_port is server.port, and is to be another");
        }

        // The web framework's clock moves twice a second: with less, a good request can be late.
        for (name, value) in [
            ("server.read_timeout_ms", self.server.read_timeout_ms),
            ("server.keep_alive_ms", self.server.keep_alive_ms),
        ] {
            if value < nonzero_u32(1_000) {
                bail!("the settings are wrong: {name} is {value}, and at least 1000");
            }
        }

        let Database { statement_timeout_ms, transaction_timeout_ms, .. } = self.database;
        let shorter = |name: &str, value: NonZeroU32, than: &str, max: NonZeroU32| {
            if value >= max {
                bail!("the settings are wrong: {name} must be less than {than}");
            }
            Ok(())
        };
        let lock_wait = self.writer.lock_wait_ms_max;
        let (statement, transaction) =
            ("database.statement_timeout_ms", "database.transaction_timeout_ms");
        shorter("writer.lock_wait_ms_max", lock_wait, statement, statement_timeout_ms)?;
        shorter(statement, statement_timeout_ms, transaction, transaction_timeout_ms)?;
        shorter(transaction, transaction_timeout_ms, "an hour", nonzero_u32(3_600_000))?;

        if let Some(schema) = &self.database.schema
            && !is_schema(schema)
        {
            bail!(
                "the settings are wrong: database.schema has 1 to {NAME_BYTES_MAX} bytes without control \
                 characters, and is none of Postgres' own (pg_..., information_schema)"
            );
        }

        at_most("server.trusted_proxies", self.server.trusted_proxies, 10)?;
        let clock_skew_seconds = usize::try_from(self.auth.clock_skew_seconds)?;
        at_most("auth.clock_skew_seconds", clock_skew_seconds, 3_600)?;
        let write_timeout_ms = usize::try_from(self.server.write_timeout_ms.get())?;
        at_most("server.write_timeout_ms", write_timeout_ms, 3_600_000)?;
        self.auth.check()?;
        self.rate_limit.check()?;

        if let Some(endpoint) = &self.telemetry.otlp_endpoint
            && !Url::parse(endpoint).is_ok_and(|url| is_base(&url))
        {
            bail!(
                "the settings are wrong: telemetry.otlp_endpoint is not a URL such as \
                 http://127.0.0.1:4318, without a password, a query or a fragment"
            );
        }
        for origin in &self.server.cors_origins {
            // As browsers write it (RFC 6454, section 6.2), or it would match none.
            let written = Url::parse(origin).map(|url| url.origin().ascii_serialization());
            let is_web = origin.starts_with("http://") || origin.starts_with("https://");
            if !is_web || written.as_ref() != Ok(origin) {
                bail!(
                    "the settings are wrong: server.cors_origins names {origin:?}, which is not an \
                     origin such as https://pay.example"
                );
            }
        }
        Ok(())
    }
}

impl Auth {
    fn check(&self) -> Result<()> {
        if self.mode == AuthMode::Off {
            return Ok(());
        }
        let is_symmetric = |algorithm: &SignatureAlgorithm| *algorithm == SignatureAlgorithm::Hs256;
        match (&self.jwt_secret, &self.jwks_url) {
            (Some(secret), None) => {
                // RFC 7518, section 3.2.
                if secret.expose_secret().len() < SECRET_BYTES_MIN {
                    bail!(
                        "the settings are wrong: auth.jwt_secret has less than {SECRET_BYTES_MIN} \
                         bytes"
                    );
                }
                if !self.algorithms.iter().all(is_symmetric) {
                    bail!("the settings are wrong: auth.algorithms: auth.jwt_secret is for HS256");
                }
            }
            (None, Some(_)) => {
                if self.algorithms.iter().any(is_symmetric) {
                    bail!("the settings are wrong: auth.algorithms: HS256 needs auth.jwt_secret");
                }
                if self.audience.as_ref().is_none_or(String::is_empty) {
                    bail!(
                        "the settings are wrong: auth.audience is not set, and with auth.jwks_url it \
                         must be: the issuer signs tokens for others, too, and they would be taken"
                    );
                }
            }
            _ => bail!(
                "the settings are wrong: auth.mode is jwt, which needs auth.jwt_secret or \
                 auth.jwks_url, one of the two"
            ),
        }
        Ok(())
    }
}

impl RateLimit {
    fn check(&self) -> Result<()> {
        let Self { payer_per_minute, payer_burst, address_per_minute, address_burst } = self;
        for (name, per_minute, burst) in [
            ("payer", payer_per_minute, payer_burst),
            ("address", address_per_minute, address_burst),
        ] {
            let Some(burst) = burst else {
                continue;
            };
            // Without a limit a burst would limit nothing.
            let in_a_day = per_minute.map_or(0, |it| u64::from(it.get()).saturating_mul(24 * 60));
            if u64::from(burst.get()) > in_a_day {
                bail!(
                    "the settings are wrong: rate_limit.{name}_burst is more than \
                     rate_limit.{name}_per_minute allows in a day"
                );
            }
        }
        Ok(())
    }
}

/// Whether a ledger can be in a schema of this name.
fn is_schema(name: &str) -> bool {
    let is_own = name.starts_with("pg_") || name == "information_schema";
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control) && !is_own
}

/// Whether a path can be appended to it, and nothing in it is a secret.
fn is_base(url: &Url) -> bool {
    let has_more = url.query().or(url.fragment()).or(url.password()).is_some();
    ["http", "https"].contains(&url.scheme()) && !has_more && url.username().is_empty()
}

/// The settings that a program has beside these, where it has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoneOfItsOwn {}

/// The usual names of some settings.
const USUAL_VARIABLES: [&str; 3] = ["HOST", "PORT", "DATABASE_URL"];

/// Refuses variables that are there and say nothing: a deployment that was to fill them in has failed, and
/// a default in their place would be something else than was meant. (`OTEL_EXPORTER_OTLP_ENDPOINT` is not
/// ours: OpenTelemetry wants it taken for absent when it is empty.)
fn check_variables() -> Result<()> {
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str() else {
            continue;
        };
        if !USUAL_VARIABLES.contains(&name) && !name.to_uppercase().starts_with("PAYONCE_") {
            continue;
        }
        // As the file would name it, too.
        let setting = match name.to_lowercase().strip_prefix("payonce_") {
            Some(setting) => format!(" ({})", setting.replace("__", ".")),
            None => String::new(),
        };
        match value.to_str() {
            None => bail!("the settings are wrong: {name}{setting} is not text in UTF-8"),
            Some(value) if value.trim().is_empty() => {
                bail!("the settings are wrong: {name}{setting} is there, but empty");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The same for the file; the empty list says something.
fn check_values(value: &Value, path: &str) -> Result<()> {
    match &value.kind {
        ValueKind::Table(table) => table.iter().try_for_each(|(name, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            check_values(value, &format!("{path}{dot}{name}"))
        }),
        ValueKind::Array(items) => items.iter().try_for_each(|item| check_values(item, path)),
        ValueKind::String(text) if text.trim().is_empty() => {
            bail!("the settings are wrong: {path} is there, but empty, in {FILE}");
        }
        _ => Ok(()),
    }
}

fn deserialized<T: DeserializeOwned>(table: Map<String, Value>) -> Result<T> {
    Value::new(None, table).try_deserialize().map_err(|error| wrong(&error))
}

fn wrong(error: &ConfigError) -> anyhow::Error {
    anyhow!("the settings are wrong: {}", unquoted(error))
}

/// Reads a secret that is kept in a file: containers are given theirs so.
fn read_secret(name: &str, secret: &mut Option<SecretString>, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    if secret.is_some() {
        bail!("the settings are wrong: {name} and {name}_file: one of the two");
    }
    let wrong = || format!("the settings are wrong: {name}_file: {}", file.display());
    // A pipe might keep the start waiting for ever.
    if !std::fs::metadata(file).with_context(wrong)?.is_file() {
        bail!("{} is not a regular file", wrong());
    }
    let mut text = String::new();
    let opened = File::open(file).with_context(wrong)?;
    opened.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text).with_context(wrong)?;
    let value = text.trim();
    if value.is_empty() || value.contains(char::is_control) {
        bail!("{} does not hold one line of text", wrong());
    }
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes >= SECRET_FILE_BYTES_MAX) {
        bail!("{} has {SECRET_FILE_BYTES_MAX} bytes or more", wrong());
    }
    *secret = Some(value.into());
    Ok(())
}

/// A list of the file, or a text of the environment with commas.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrList {
        Text(String),
        List(Vec<String>),
    }
    let items = match TextOrList::deserialize(source)? {
        TextOrList::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        TextOrList::List(items) => items,
    };
    items.into_iter().map(|item| T::deserialize(item.into_deserializer())).collect()
}

/// What is wrong, without the lines of the file and the texts that a parser quotes: a secret may stand
/// there.
fn unquoted(error: &ConfigError) -> String {
    let text = error.to_string();
    let lines = text.lines().filter(|line| !line.contains('|'));
    let text = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    match text.split_once("string \"") {
        Some((before, quoted)) => {
            let after = quoted.rsplit_once('"').map_or("", |(_, after)| after);
            format!("{before}a text{after}")
        }
        None => text,
    }
}

/// A setting whose name ends in `_ms`.
#[must_use]
pub fn milliseconds(setting: NonZeroU32) -> Duration {
    Duration::from_millis(setting.get().into())
}

/// For defaults, none of which is zero.
fn nonzero_u32(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN)
}

fn nonzero_usize(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}
