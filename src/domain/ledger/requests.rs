//! Requests for money: asked, paid once, or ended without a payment.
//!
//! Whoever changes a request holds the locks of both its accounts.

use super::{
    Declined, Intent, KeyEnd, Known, Ledger, Outcome, Payment, PaymentId, PaymentRequest,
    RequestState, RequestStatus, Timestamp, later_than_both, must_be_open,
};
use crate::domain::{AccountId, AskForMoney, CloseRequest, Closing, PaymentRequestId};

impl Ledger {
    pub(super) fn ask(&mut self, ask: &AskForMoney) -> Result<Outcome, Declined> {
        if let Some(before) = self.found.requests.get(&ask.id) {
            return if before.fingerprint() == ask.fingerprint() {
                Ok(Outcome::Replayed(before.first_answer()))
            } else {
                Err(Declined::KeyReused)
            };
        }
        for id in [ask.to(), ask.from()] {
            must_be_open(id, self.account(id)?)?;
        }
        let now = self.moment_of([ask.from(), ask.to()]);
        if ask.expires_at.is_some_and(|end| end <= now) {
            return Err(Declined::ExpiresInThePast);
        }
        let after_the_last = |id| {
            let last: Option<&Timestamp> = self.found.last_request_at.get(&id);
            last.map_or(now, |last| last.next())
        };
        let created_at = now.max(after_the_last(ask.from())).max(after_the_last(ask.to()));
        self.found.last_request_at.extend([(ask.from(), created_at), (ask.to(), created_at)]);
        let request = ask.opened_at(created_at);
        let body = request.first_answer();
        self.found.requests.insert(request.id, request.clone());
        self.decision.requests.push(request);
        Ok(Outcome::Done(body))
    }

    pub(super) fn close(&mut self, close: &CloseRequest) -> Result<Outcome, Declined> {
        let request = self.found.requests.get(&close.id).ok_or(Declined::RequestNotFound)?;
        let state = match close.how {
            Closing::Decline => RequestState::Declined,
            Closing::Cancel => RequestState::Cancelled,
        };
        // A COMMIT whose answer was lost may have done it.
        if self.found.is_repeated && request.state == state {
            return Ok(Outcome::Replayed(request.view(self.found.now).json()));
        }
        self.must_be_payable(request)?;
        let closed = PaymentRequest { state, ..request.clone() };
        let body = closed.view(self.found.now).json();
        self.set_request_state(close.id, state);
        Ok(Outcome::Done(body))
    }

    /// The request that the intent pays, if it pays one, and asks for what the intent pays.
    pub(super) fn request_to_pay(
        &self,
        intent: &Intent,
    ) -> Result<Option<PaymentRequest>, Declined> {
        let Some(id) = intent.request() else {
            return Ok(None);
        };
        let request = self.found.requests.get(&id).ok_or(Declined::RequestNotFound)?;
        if intent.from() != request.from && intent.from() != request.to {
            return Err(Declined::RequestNotFound);
        }
        if intent.accounts() != [request.from, request.to] || intent.amount != request.amount {
            return Err(Declined::RequestMismatch);
        }
        Ok(Some(request.clone()))
    }

    pub(super) fn must_be_payable(&self, request: &PaymentRequest) -> Result<(), Declined> {
        let now = self.moment_of([request.from, request.to]);
        match request.status(now) {
            RequestStatus::Open => Ok(()),
            status => Err(Declined::RequestNotOpen(status)),
        }
    }

    /// The time that a payment between them would have: a request that has expired is not open again after a clock
    /// went back.
    fn moment_of(&self, accounts: [AccountId; 2]) -> Timestamp {
        match accounts.map(|id| self.accounts.get(&id).copied()) {
            [Some(from), Some(to)] => later_than_both(self.found.now, from, to),
            _ => self.found.now,
        }
    }

    /// Notes that a payment has paid its request, if it has one.
    pub(super) fn settle_request_of(&mut self, payment: &Payment) {
        if let Some(id) = payment.request {
            self.set_request_state(id, RequestState::Paid(payment.id));
        }
    }

    fn set_request_state(&mut self, id: PaymentRequestId, state: RequestState) {
        if let Some(request) = self.found.requests.get_mut(&id) {
            request.state = state;
        }
        self.decision.request_states.insert(id, state);
    }

    /// What is known already of the key that the client gave beside the request's.
    pub(super) fn settled_by_client_key(
        &self,
        intent: &Intent,
    ) -> Result<Option<Outcome>, Declined> {
        match intent.client_key() {
            Some(key) => {
                let id = PaymentId::derive(intent.from(), key);
                self.settled(id, intent.client_fingerprint())
            }
            None => Ok(None),
        }
    }

    /// Notes under the client's key that the request is paid, so that its replay, and an attempt to void
    /// it, are told the truth.
    pub(super) fn share_with_client_key(&mut self, intent: &Intent, outcome: &Outcome) {
        let (Some(key), Outcome::Done(response) | Outcome::Replayed(response)) =
            (intent.client_key(), outcome)
        else {
            return;
        };
        let (fingerprint, response) = (intent.client_fingerprint(), response.clone());
        let known = Known::Success { fingerprint, response: response.clone() };
        self.found.known.insert(PaymentId::derive(intent.from(), key), known);
        let end = KeyEnd::PaidRequest { fingerprint, response, payment: intent.id() };
        self.claim(intent.from(), key.clone(), end);
    }
}
