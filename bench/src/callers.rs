//! Who calls a guarded service: operators, each with a token of their own that an issuer has signed
//! (RS256). The service gets the issuer's public key as a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// Enough that a request's token is not simply the one of the request before it.
const COUNT: u32 = 1_000;
const LIFETIME: Duration = Duration::from_hours(24);
const KEY_ID: &str = "bench";

/// `aud` of the tokens.
pub const AUDIENCE: &str = "payonce";

pub struct Callers {
    /// A set of public keys (RFC 7517).
    pub keys: PathBuf,
    /// A token on each line.
    pub tokens: PathBuf,
}

impl Callers {
    /// Makes a key and the tokens, and writes the files to a directory.
    pub fn new(dir: &Path) -> Result<Self> {
        let der: Pkcs8V1Der = KeyPair::generate(KeySize::Rsa2048)?.as_der()?;
        // PKCS #8 is PKCS #1 behind 26 bytes that say so.
        let der = der.as_ref().get(26..).context("the key is too short")?;
        let key = EncodingKey::from_rsa_der(der);
        let mut public = Jwk::from_encoding_key(&key, Algorithm::RS256)?;
        public.common.key_id = Some(KEY_ID.to_owned());
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::RS256) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let exp = now.saturating_add(LIFETIME).as_secs();
        let mut tokens = String::new();
        for number in 1..=COUNT {
            // Without a `sub`, which each payment would keep: a holder's payments keep none.
            let claims = json!({ "jti": number, "scope": "operator", "aud": AUDIENCE, "exp": exp });
            tokens.push_str(&jsonwebtoken::encode(&header, &claims, &key)?);
            tokens.push('\n');
        }
        let callers = Self { keys: dir.join("keys.json"), tokens: dir.join("tokens") };
        fs::write(&callers.keys, json!({ "keys": [public] }).to_string())?;
        fs::write(&callers.tokens, tokens)?;
        Ok(callers)
    }
}
