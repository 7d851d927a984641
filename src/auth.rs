//! Who asks: bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519). The key and the algorithm
//! that verify a token come from the settings, never from the token (RFC 8725, section 3.1).

mod identity;
mod jwks;
mod keys;
mod this_machine;
mod verified;

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::config::{self, AuthMode, SignatureAlgorithm};
use crate::domain::{AccountId, Caller};
pub use identity::Identity;
use jwks::Jwks;
pub use keys::Unauthenticated;
use keys::{Key, KeySet, OPERATOR, refused};
pub use this_machine::is_this_machine;

/// Tells callers by their tokens.
pub struct Auth(Keys);

enum Keys {
    /// Everybody is an operator.
    Off {
        on_public: bool,
    },
    Secret(KeySet),
    Public(Jwks),
}

impl Auth {
    /// Reads the keys. Where somebody else publishes them and does not answer, they are fetched as soon
    /// as he does.
    ///
    /// # Errors
    /// The settings are wrong, or a file has no key that can be used.
    pub async fn start(settings: &config::Auth) -> Result<Self> {
        let keys = match (settings.mode, &settings.jwt_secret, &settings.jwks_url) {
            (AuthMode::Off, ..) => Keys::Off { on_public: settings.allow_off_on_public },
            (AuthMode::Jwt, Some(secret), _) => {
                let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
                Keys::Secret(KeySet::new(
                    vec![Key::new(None, key, Algorithm::HS256, settings)],
                    Vec::new(),
                ))
            }
            (AuthMode::Jwt, None, Some(url)) => {
                Keys::Public(Jwks::start(url, settings).await.context("auth.jwks_url")?)
            }
            (AuthMode::Jwt, None, None) => bail!("auth.jwt_secret or auth.jwks_url is missing"),
        };
        Ok(Self(keys))
    }

    /// Whether everybody on this machine is an operator, and nobody elsewhere.
    #[must_use]
    pub fn trusts_this_machine_alone(&self) -> bool {
        matches!(self.0, Keys::Off { on_public: false })
    }

    /// Whether there are keys to tell callers by.
    #[must_use]
    pub fn can_tell_callers(&self) -> bool {
        match &self.0 {
            Keys::Off { .. } | Keys::Secret(_) => true,
            Keys::Public(keys) => keys.are_there(),
        }
    }

    /// Who asks with this `Authorization` header.
    ///
    /// # Errors
    /// It has no token, or one that is refused.
    pub async fn identity(
        &self,
        authorization: Option<&[u8]>,
    ) -> Result<Identity, Unauthenticated> {
        let token = || bearer_token(authorization.ok_or(Unauthenticated::NoToken)?);
        match &self.0 {
            Keys::Off { .. } => Ok(Caller::Operator.into()),
            Keys::Secret(keys) => {
                let token = token()?;
                keys.known_identity(token).map_or_else(|| keys.identity(None, token), Ok)
            }
            Keys::Public(jwks) => {
                let token = token()?;
                if let Some(identity) = jwks.keys().known_identity(token) {
                    return Ok(identity);
                }
                let header = jsonwebtoken::decode_header(token).map_err(|it| refused(&it))?;
                if !jwks.are_there() {
                    return Err(Unauthenticated::NoKeys);
                }
                let kid = header.kid.as_deref();
                jwks.keys_with(kid).await.identity(kid, token)
            }
        }
    }
}

/// The token of `Bearer <token>` (RFC 6750, section 2.1).
fn bearer_token(authorization: &[u8]) -> Result<&str, Unauthenticated> {
    let text = std::str::from_utf8(authorization).ok();
    let (scheme, token) = text.and_then(|it| it.split_once(' ')).ok_or(Unauthenticated::NoToken)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Unauthenticated::NoToken)
    }
}

#[derive(Serialize)]
struct NewClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Makes a token for local use, signed with the secret of the settings.
///
/// # Errors
/// There is no secret.
pub fn mint(
    settings: &config::Auth,
    account: Option<AccountId>,
    is_operator: bool,
    lifetime: Duration,
) -> Result<String> {
    let secret = settings.jwt_secret.as_ref();
    let secret = secret.context("auth.jwt_secret is not set, and tokens are signed with it")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let claims = NewClaims {
        sub: account.map(|id| id.to_string()),
        scope: is_operator.then_some(OPERATOR),
        iat: now.as_secs(),
        exp: now.saturating_add(lifetime).as_secs(),
        iss: settings.issuer.as_deref(),
        aud: settings.audience.as_deref(),
    };
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

impl From<SignatureAlgorithm> for Algorithm {
    fn from(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::Hs256 => Self::HS256,
            SignatureAlgorithm::Rs256 => Self::RS256,
            SignatureAlgorithm::Es256 => Self::ES256,
            SignatureAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests;
