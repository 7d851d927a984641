//! What all requests have in common that change the ledger.

use actix_web::{HttpResponse, HttpResponseBuilder};

use super::error::ApiError;
use super::headers::IDEMPOTENCY_REPLAYED;
use super::quota::{Exceeded, Limit, QuotaState};
use crate::config::RateLimit;
use crate::domain::{AccountId, Caller, Instruction, Invalid, Note};
use crate::service::Service;
use crate::service::payments::Receipt;

/// How often an account may send something; `None`: there is no limit.
pub(super) struct PayerLimit(Option<Limit<AccountId>>);

impl PayerLimit {
    pub fn of(settings: &RateLimit) -> Self {
        Self(Limit::new("payer", settings.payer_per_minute, settings.payer_burst))
    }

    pub fn check(&self, payer: AccountId) -> Result<Option<QuotaState>, Exceeded> {
        self.0.as_ref().map(|limit| limit.check(&payer)).transpose()
    }
}

/// An empty note says as much as none.
pub(super) fn read_note(note: Option<String>) -> Result<Option<Note>, Invalid> {
    note.filter(|note| !note.is_empty()).map(|note| Note::new("note", note)).transpose()
}

/// An answer with what the writers said, which is JSON.
pub(super) fn done(mut response: HttpResponseBuilder, receipt: Receipt) -> HttpResponse {
    if receipt.replayed {
        response.insert_header((IDEMPOTENCY_REPLAYED, "true"));
    }
    response.content_type("application/json").body(receipt.body)
}

/// Carries an instruction out that is no payment, within the limit of its principal. An operator has none: who stops
/// something is not kept from it by what its account has used up.
pub(super) async fn carry_out(
    caller: Caller,
    service: &Service,
    payer_limit: &PayerLimit,
    instruction: Instruction,
    response: HttpResponseBuilder,
) -> Result<HttpResponse, ApiError> {
    let quota = match caller {
        Caller::Operator => None,
        Caller::Holder(_) => payer_limit.check(instruction.principal())?,
    };
    let mut response = done(response, service.payments.send(instruction).await.result?);
    if let Some(quota) = quota {
        quota.tell(response.headers_mut());
    }
    Ok(response)
}
