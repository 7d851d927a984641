//! Who asks: bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519). The key and the algorithm
//! that verify a token come from the settings, never from the token (RFC 8725, section 3.1).

mod jwks;

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::{self, AuthMode, SignatureAlgorithm};
use crate::domain::{AccountId, Caller};
use jwks::Jwks;

/// The scope of operators.
const OPERATOR: &str = "operator";

/// Tells callers by their tokens.
pub struct Auth(Keys);

enum Keys {
    /// Everybody is an operator.
    Off {
        on_public: bool,
    },
    Secret(Box<Key>),
    Public(Jwks),
}

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    NoToken,
    /// Why the token is refused, for its owner.
    Refused(&'static str),
    /// There are no public keys yet: whether the token is good is not known.
    NoKeys,
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
                Keys::Secret(Box::new(Key::new(key, Algorithm::HS256, settings)))
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
    pub async fn caller(&self, authorization: Option<&[u8]>) -> Result<Caller, Unauthenticated> {
        let token = || bearer_token(authorization.ok_or(Unauthenticated::NoToken)?);
        let claims = match &self.0 {
            Keys::Off { .. } => return Ok(Caller::Operator),
            Keys::Secret(key) => key.verify(token()?)?,
            Keys::Public(keys) => {
                let token = token()?;
                let header = jsonwebtoken::decode_header(token).map_err(|it| refused(&it))?;
                if !keys.are_there() {
                    return Err(Unauthenticated::NoKeys);
                }
                let key = keys.find(header.kid.as_deref()).await;
                key.ok_or(Unauthenticated::Refused("It names a key that is not known."))?
                    .verify(token)?
            }
        };
        claims.caller()
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

/// A key, and what a token that it verifies must say.
struct Key {
    decoding: DecodingKey,
    validation: Validation,
}

impl Key {
    fn new(decoding: DecodingKey, algorithm: Algorithm, settings: &config::Auth) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = settings.clock_skew_seconds.get().into();
        // "On or after" that second it is expired (RFC 7519, section 4.1.4); the library says "after".
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.validate_aud = settings.audience.is_some();
        if let Some(audience) = &settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self { decoding, validation }
    }

    fn verify(&self, token: &str) -> Result<Claims, Unauthenticated> {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let decoded = decoded.map_err(|error| refused(&error))?;
        // RFC 7515, section 4.1.11: whoever does not understand an extension refuses it.
        if decoded.header.crit.is_some() {
            return Err(Unauthenticated::Refused("It needs an extension that is not known."));
        }
        Ok(decoded.claims)
    }
}

fn refused(error: &Error) -> Unauthenticated {
    Unauthenticated::Refused(match error.kind() {
        ErrorKind::ExpiredSignature => "It has expired.",
        ErrorKind::ImmatureSignature => "It is not valid yet.",
        ErrorKind::InvalidSignature => "Its signature is wrong.",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "It is not signed as it has to be."
        }
        ErrorKind::InvalidIssuer => "It comes from another issuer.",
        ErrorKind::InvalidAudience => "It is for another audience.",
        ErrorKind::MissingRequiredClaim(_) => "It lacks exp, or a claim that is required here.",
        _ => "It is malformed.",
    })
}

/// What a token says.
#[derive(Deserialize)]
struct Claims {
    /// The account's id: a string (RFC 7519, section 4.1.2); some issuers write a number.
    sub: Option<TextOrNumber>,
    scope: Option<Scope>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Number(i64),
}

/// Words with spaces between them (RFC 8693, section 4.2); some issuers write a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scope {
    Text(String),
    List(Vec<String>),
}

impl Claims {
    fn caller(self) -> Result<Caller, Unauthenticated> {
        let is_operator = match &self.scope {
            Some(Scope::Text(text)) => text.split(' ').any(|word| word == OPERATOR),
            Some(Scope::List(words)) => words.iter().any(|word| word == OPERATOR),
            None => false,
        };
        if is_operator {
            return Ok(Caller::Operator);
        }
        let account = match self.sub {
            Some(TextOrNumber::Text(text)) => AccountId::from_str(&text).ok(),
            Some(TextOrNumber::Number(id)) => AccountId::new(id).ok(),
            None => None,
        };
        // The bank is nobody's own.
        let account = account.filter(|id| !id.is_bank());
        account.map(Caller::Holder).ok_or(Unauthenticated::Refused("Its sub is no account's id."))
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
