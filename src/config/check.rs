//! How settings are checked against each other and the outside. The range of a single number stands in its type.

use anyhow::{Result, bail};
use reqwest::Url;
use secrecy::ExposeSecret;

use super::settings::{
    Auth, AuthMode, Database, RateLimit, Settings, SignatureAlgorithm, Webhooks,
};

/// HS256 needs so many bytes of a secret at least.
const SECRET_BYTES_MIN: usize = 32;

/// A receiver that is away for longer than this is not waited for.
const PAUSES_MAX: usize = 100;
const PAUSE_SECONDS_MAX: u32 = 604_800;

/// The bytes of a name that Postgres keeps.
const NAME_BYTES_MAX: usize = 63;

impl Settings {
    /// Settings that would contradict each other or the wire.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub(super) fn check(&self) -> Result<()> {
        if self.server.admin_port == Some(self.server.port) && self.server.port != 0 {
            bail!("the settings are wrong: server.admin_port is server.port, and is to be another");
        }

        let Database { statement_timeout_ms, transaction_timeout_ms, .. } = &self.database;
        let (statement, transaction) =
            ("database.statement_timeout_ms", "database.transaction_timeout_ms");
        let lock_wait_ms = self.writer.lock_wait_ms_max.get();
        let (statement_ms, transaction_ms) =
            (statement_timeout_ms.get(), transaction_timeout_ms.get());
        for (name, value, longer, max) in [
            ("writer.lock_wait_ms_max", lock_wait_ms, statement, statement_ms),
            (statement, statement_ms, transaction, transaction_ms),
            (transaction, transaction_ms, "an hour", 3_600_000),
        ] {
            if value >= max {
                bail!("the settings are wrong: {name} must be less than {longer}");
            }
        }

        if let Some(schema) = &self.database.schema
            && !is_schema(schema)
        {
            bail!(
                "the settings are wrong: database.schema has 1 to {NAME_BYTES_MAX} bytes without control \
                 characters, and is none of Postgres' own (pg_..., information_schema)"
            );
        }

        self.auth.check()?;
        self.rate_limit.check()?;
        self.webhooks.check()?;

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

impl Webhooks {
    fn check(&self) -> Result<()> {
        let pauses = &self.pauses_seconds;
        if pauses.len() > PAUSES_MAX || pauses.iter().any(|pause| *pause > PAUSE_SECONDS_MAX) {
            bail!(
                "the settings are wrong: webhooks.pauses_seconds has at most {PAUSES_MAX} pauses of at most \
                 {PAUSE_SECONDS_MAX} seconds each"
            );
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
