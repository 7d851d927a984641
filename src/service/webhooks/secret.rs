//! Secrets: what deliveries are signed with, so that receivers know who sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use crate::service::refusal::Refusal;

/// As many as the signature has.
const BYTES: usize = 32;

/// A new secret, as Standard Webhooks write it.
///
/// # Errors
/// The system has no random numbers.
pub(super) fn generate() -> Result<SecretString, Refusal> {
    let mut bytes = [0; BYTES];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!("the system has no random numbers for a secret");
        return Err(Refusal::Internal);
    }
    Ok(format!("whsec_{}", STANDARD.encode(bytes)).into())
}
