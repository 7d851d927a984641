//! Tokens whose signatures were verified: to verify one again takes longer than all else that is done
//! about a request, with RS256 and with HS256.
//!
//! A token says the same for ever: its bytes, and the key, decide who it is for and from when until when. So only
//! its times are looked at again, at each request. One that is refused is not remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::identity::Identity;

/// Tokens of a generation. Two are kept, which together take some 2 MB; 18 MB where all
/// are of operators with the longest names.
const TOKENS_MAX: usize = 8_192;

/// Tokens are not kept: whoever reads the memory of the service finds none to use.
type Fingerprint = [u8; 32];

/// Whose a token is, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub identity: Identity,
    /// Unix time in seconds, with the leeway for clocks that differ.
    pub valid_from: u64,
    /// The first second in which it is not valid any more.
    pub valid_until: u64,
}

/// The tokens that a set of keys has verified. It goes with the keys.
#[derive(Default)]
pub(super) struct Verified(Mutex<Generations>);

/// A token that is asked for moves to the young. Too many young become the old, and those who were old are
/// forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<Fingerprint, Known>,
    old: HashMap<Fingerprint, Known>,
}

impl Generations {
    fn insert(&mut self, token: Fingerprint, known: Known) {
        if self.young.len() >= TOKENS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, known);
    }
}

impl Verified {
    /// Whose the token is, if it was verified and is valid at `now`, in seconds of Unix time.
    pub fn identity(&self, token: &str, now: u64) -> Option<Identity> {
        let token = fingerprint(token);
        // No code can panic while it holds this lock, so a poisoned one is as good as any.
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tokens.old.remove(&token) {
            tokens.insert(token, known);
        }
        let known = tokens.young.get(&token)?;
        (known.valid_from..known.valid_until).contains(&now).then(|| known.identity.clone())
    }

    pub fn remember(&self, token: &str, known: Known) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(fingerprint(token), known);
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests;
