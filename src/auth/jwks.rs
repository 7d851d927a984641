//! Public keys that somebody else publishes (RFC 7517): fetched at the start, again from time to
//! time, and when a token names one that is not known, but not often.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::keys::{Key, KeySet};
use super::this_machine::is_this_machine;
use crate::config::{self, SignatureAlgorithm};
use crate::telemetry::metrics::METRICS;

const BYTES_MAX: usize = 1 << 20;

/// How long fetching the keys may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests that may wait for keys to be fetched; one more is told that its key is not known.
const WAITING_MAX: usize = 1_024;

/// The keys that are known now.
pub(super) struct Jwks {
    keys: watch::Receiver<Arc<KeySet>>,
    wanted: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Jwks {
    /// Fetches the keys, and starts to keep them current. An issuer that does not answer keeps nobody
    /// from starting: its keys are asked for again, and until they are there nobody is recognized.
    ///
    /// # Errors
    /// The URL is none that keys may come from, or a file's keys cannot be used.
    pub async fn start(url: &str, settings: &config::Auth) -> Result<Self> {
        let source = Source::new(url, settings)?;
        METRICS.keys_are_fetched_from_now_on();
        let first = match (source.fetch().await, &source.place) {
            (Ok(keys), _) => {
                METRICS.keys_fetched();
                keys
            }
            (Err(error), Place::File(_)) => return Err(error),
            (Err(error), Place::Url(..)) => {
                tracing::warn!("auth.jwks_url: {error:#}; nobody is recognized until it has keys");
                Arc::default()
            }
        };
        let (publish, keys) = watch::channel(first);
        let (wanted, wants) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(keep_current(source, publish, wants));
        Ok(Self { keys, wanted, task })
    }

    /// Those that are known now.
    pub fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.borrow())
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        !self.keys.borrow().is_empty()
    }

    /// The keys, fetched anew where none of them has this id.
    pub async fn keys_with(&self, id: Option<&str>) -> Arc<KeySet> {
        let keys = self.keys();
        if id.is_none() || keys.key(id).is_some() {
            return keys;
        }
        let (fetched, when_fetched) = oneshot::channel();
        if self.wanted.try_send(fetched).is_ok() {
            // Where it failed, the keys are those from before.
            let _ = when_fetched.await;
        }
        self.keys()
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_current(
    source: Source,
    publish: watch::Sender<Arc<KeySet>>,
    mut wants: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut fetched_at = Instant::now();
    let refresh = seconds(source.settings.jwks_refresh_seconds.get());
    let pause = seconds(source.settings.jwks_pause_seconds.get());
    let mut refreshed_at = fetched_at;
    loop {
        // A process without keys asks as often as for one that is missing.
        let wait = if publish.borrow().is_empty() { refresh.min(pause) } else { refresh };
        let asked = tokio::select! {
            () = tokio::time::sleep(wait.saturating_sub(refreshed_at.elapsed())) => None,
            Some(asked) = wants.recv() => Some(asked),
            else => return,
        };
        if asked.is_none() || fetched_at.elapsed() >= pause {
            match source.fetch().await {
                Ok(keys) => {
                    METRICS.keys_fetched();
                    publish.send_if_modified(|current| {
                        let is_new = !keys.is_same_as(current);
                        if is_new {
                            *current = keys;
                        }
                        is_new
                    });
                }
                Err(error) => {
                    tracing::warn!("auth.jwks_url: {error:#}; the keys from before stay in use");
                }
            }
            fetched_at = Instant::now();
        }
        if asked.is_none() {
            refreshed_at = Instant::now();
        }
        if let Some(asked) = asked {
            // It may have gone away meanwhile.
            let _ = asked.send(());
        }
    }
}

fn seconds(setting: u32) -> Duration {
    Duration::from_secs(setting.into())
}

struct Source {
    place: Place,
    settings: config::Auth,
}

enum Place {
    File(PathBuf),
    Url(Client, Url),
}

/// Members are read one by one: a key of a type that is not known is ignored (RFC 7517, section 5).
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl Source {
    fn new(url: &str, settings: &config::Auth) -> Result<Self> {
        let url = if url.starts_with('/') { format!("file://{url}") } else { url.to_owned() };
        let url = Url::parse(&url).context("it is no URL and no absolute path")?;
        let place = match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(path) => Place::File(path),
                Err(()) => bail!("a file's URL has three slashes and an absolute path"),
            },
            "https" => Place::Url(client().build()?, url),
            // Without TLS nobody else must be between: no proxy of the environment's either.
            "http" if is_this_machine(url.host_str().unwrap_or_default()) => {
                Place::Url(client().no_proxy().build()?, url)
            }
            _ => bail!(
                "keys come from a file:, an https:, or (on this machine alone) an http: URL, so \
                 that nobody on the way can replace them"
            ),
        };
        Ok(Self { place, settings: settings.clone() })
    }

    async fn fetch(&self) -> Result<Arc<KeySet>> {
        let bytes = match &self.place {
            Place::File(path) => {
                let read = tokio::time::timeout(TIMEOUT, read_file(path)).await;
                read.unwrap_or_else(|_| bail!("it took too long"))
                    .with_context(|| format!("{} cannot be read", path.display()))?
            }
            Place::Url(client, url) => download(client, url.clone()).await?,
        };
        let document: Document = serde_json::from_slice(&bytes).context("it is no key set")?;
        let jwks = document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Key> = jwks.filter_map(|jwk| self.usable(&jwk)).collect();
        if keys.is_empty() {
            bail!("it has no key for auth.algorithms");
        }
        Ok(Arc::new(KeySet::new(keys, bytes)))
    }

    /// A key for one of the algorithms that are accepted. Its own type says which: a key is used for
    /// one algorithm only (RFC 8725, section 3.1).
    fn usable(&self, jwk: &Jwk) -> Option<Key> {
        if jwk.common.public_key_use.as_ref().is_some_and(|it| *it != PublicKeyUse::Signature) {
            return None;
        }
        let accepted = &self.settings.algorithms;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => SignatureAlgorithm::Rs256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                SignatureAlgorithm::Es256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                SignatureAlgorithm::EdDsa
            }
            _ => return None,
        };
        if !accepted.is_empty() && !accepted.contains(&algorithm) {
            return None;
        }
        let algorithm = Algorithm::from(algorithm);
        let says = jwk.common.key_algorithm;
        if says.is_some_and(|says| says.to_string() != format!("{algorithm:?}")) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Key::new(jwk.common.key_id.clone(), key, algorithm, &self.settings))
    }
}

fn client() -> reqwest::ClientBuilder {
    Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none())
}

/// A file, but not one that is written to while it is read, as a pipe is.
async fn read_file(path: &Path) -> Result<Vec<u8>> {
    let about = tokio::fs::metadata(path).await?;
    if !about.is_file() {
        bail!("it is no file");
    }
    if usize::try_from(about.len()).map_or(true, |bytes| bytes > BYTES_MAX) {
        bail!("it has more than {BYTES_MAX} bytes");
    }
    Ok(tokio::fs::read(path).await?)
}

async fn download(client: &Client, url: Url) -> Result<Vec<u8>> {
    // The URL may have a secret in it.
    let secretly = reqwest::Error::without_url;
    let answer = client.get(url).send().await.and_then(Response::error_for_status);
    let mut answer = answer.map_err(secretly)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(secretly)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BYTES_MAX {
            bail!("it has more than {BYTES_MAX} bytes");
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
