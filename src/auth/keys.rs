//! Keys that verify tokens, and what a token must say.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::identity::Identity;
use super::verified::{Known, Verified};
use crate::config;
use crate::domain::{AccountId, Caller};

/// The scope of operators.
pub(super) const OPERATOR: &str = "operator";

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    NoToken,
    /// Why the token is refused, for its owner.
    Refused(&'static str),
    /// There are no public keys yet: whether the token is good is not known.
    NoKeys,
}

/// Keys that are current, and the tokens that they have verified.
#[derive(Default)]
pub(super) struct KeySet {
    pub keys: Vec<Key>,
    /// The bytes that they were read from.
    document: Vec<u8>,
    verified: Verified,
}

impl KeySet {
    pub fn new(keys: Vec<Key>, document: Vec<u8>) -> Self {
        Self { keys, document, verified: Verified::default() }
    }

    /// Whether its keys were read from the same bytes: then the tokens that the other has verified are verified.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.document == other.document
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of this id, or the only one where a token names none.
    pub fn key(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(_) => self.keys.iter().find(|key| key.id.as_deref() == id),
            None if self.keys.len() == 1 => self.keys.first(),
            None => None,
        }
    }

    /// Whose the token is, if it was verified before.
    pub fn known_identity(&self, token: &str) -> Option<Identity> {
        self.verified.identity(token, unix_seconds()?)
    }

    /// Whose the token is, by the key that it names.
    ///
    /// # Errors
    /// It is refused.
    pub fn identity(&self, key_id: Option<&str>, token: &str) -> Result<Identity, Unauthenticated> {
        let key = self.key(key_id);
        let key = key.ok_or(Unauthenticated::Refused("It names a key that is not known."))?;
        let claims = key.verify(token)?;
        let leeway = key.validation.leeway;
        let (times, valid_until) = (claims.times(leeway), claims.valid_until(leeway));
        let identity = Identity { valid_until, ..claims.identity()? };
        if let Some((valid_from, valid_until)) = times {
            let identity = identity.clone();
            self.verified.remember(token, Known { identity, valid_from, valid_until });
        }
        Ok(identity)
    }
}

fn unix_seconds() -> Option<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().map(|since| since.as_secs())
}

/// A key, and what a token that it verifies must say.
pub(super) struct Key {
    pub id: Option<String>,
    decoding: DecodingKey,
    validation: Validation,
}

impl Key {
    pub fn new(
        id: Option<String>,
        decoding: DecodingKey,
        algorithm: Algorithm,
        settings: &config::Auth,
    ) -> Self {
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
        Self { id, decoding, validation }
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

pub(super) fn refused(error: &Error) -> Unauthenticated {
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

/// The claims of a token that matter here.
#[derive(Deserialize)]
struct Claims {
    /// The account's id: a string (RFC 7519, section 4.1.2); some issuers write a number.
    sub: Option<TextOrNumber>,
    scope: Option<Scope>,
    exp: Option<Value>,
    nbf: Option<Value>,
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
    /// From when until when the token is valid, in seconds of Unix time; `None` where it says so in
    /// another way than as whole seconds.
    fn times(&self, leeway: u64) -> Option<(u64, u64)> {
        let from = self.nbf.as_ref().map_or(Some(0), Value::as_u64)?;
        Some((from.saturating_sub(leeway), self.exp.as_ref()?.as_u64()?.saturating_add(leeway)))
    }

    /// When it is not valid any more. Some issuers write fractions of seconds.
    fn valid_until(&self, leeway: u64) -> Option<SystemTime> {
        let exp = self.exp.as_ref()?;
        let whole = exp.as_u64().map(Duration::from_secs);
        let since = whole.or_else(|| Duration::try_from_secs_f64(exp.as_f64()?).ok())?;
        let since = since.checked_add(Duration::from_secs(leeway))?;
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    fn identity(self) -> Result<Identity, Unauthenticated> {
        let is_operator = match &self.scope {
            Some(Scope::Text(text)) => text.split(' ').any(|word| word == OPERATOR),
            Some(Scope::List(words)) => words.iter().any(|word| word == OPERATOR),
            None => false,
        };
        if is_operator {
            let name = match self.sub {
                Some(TextOrNumber::Text(text)) => name_of_operator(&text),
                Some(TextOrNumber::Number(id)) => Some(id.to_string().into()),
                None => None,
            };
            return Ok(Identity { name, ..Caller::Operator.into() });
        }
        let account = match self.sub {
            Some(TextOrNumber::Text(text)) => AccountId::from_str(&text).ok(),
            Some(TextOrNumber::Number(id)) => AccountId::new(id).ok(),
            None => None,
        };
        // The bank is nobody's own.
        let account = account.filter(|id| !id.is_bank());
        let caller = account.map(Caller::Holder);
        let caller = caller.ok_or(Unauthenticated::Refused("Its sub is no account's id."))?;
        Ok(caller.into())
    }
}

/// What a payment keeps of an operator's `sub`, which may be any text: a line of it.
fn name_of_operator(sub: &str) -> Option<Arc<str>> {
    const CHARACTERS_MAX: usize = 255;
    let line: String = sub.chars().filter(|it| !it.is_control()).take(CHARACTERS_MAX).collect();
    (!line.is_empty()).then(|| line.into())
}
