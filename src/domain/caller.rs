//! Callers, and their rights.

use super::{AccountId, CloseRequest, Closing, Payment, PaymentRequest};

/// The one who asks, with the rights that he has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Does everything, for anybody; alone opens accounts and moves money into and out of the
    /// ledger.
    Operator,
    /// Sends from, and reads, the one account that is his.
    Holder(AccountId),
}

impl Caller {
    #[must_use]
    pub fn may_open_accounts(self) -> bool {
        self == Self::Operator
    }

    /// Whether he may send money of `from`'s to `to`.
    #[must_use]
    pub fn may_pay(self, from: AccountId, to: AccountId) -> bool {
        match self {
            Self::Operator => true,
            Self::Holder(id) => id == from && !from.is_bank() && !to.is_bank(),
        }
    }

    /// Whether he may read the account's balance and history, should there be such an account.
    #[must_use]
    pub fn may_read(self, account: AccountId) -> bool {
        match self {
            Self::Operator => true,
            Self::Holder(id) => id == account,
        }
    }

    /// Whether he may ask `from` to pay `to`.
    #[must_use]
    pub fn may_ask(self, from: AccountId, to: AccountId) -> bool {
        self.may_pay(to, from)
    }

    /// Whether he may settle a key of the account's.
    #[must_use]
    pub fn may_void_keys_of(self, account: AccountId) -> bool {
        self.may_read(account)
    }

    /// Whether he may end a request so: it is declined by the one who is asked, and cancelled by the one who asks.
    #[must_use]
    pub fn may_close(self, close: &CloseRequest) -> bool {
        match close.how {
            Closing::Decline => self.may_read(close.from),
            Closing::Cancel => self.may_read(close.to),
        }
    }

    /// Whether he is to know that the request for money exists.
    #[must_use]
    pub fn may_see_request(self, request: &PaymentRequest) -> bool {
        self.may_read(request.from) || self.may_read(request.to)
    }

    /// Whether he may open, freeze and close accounts.
    #[must_use]
    pub fn may_set_status(self) -> bool {
        self == Self::Operator
    }

    /// Whether he may go through all accounts, or find more of them than one chooses from.
    #[must_use]
    pub fn may_list_accounts(self) -> bool {
        self == Self::Operator
    }

    /// Whether he may follow the payments of all accounts.
    #[must_use]
    pub fn may_follow_everybody(self) -> bool {
        self == Self::Operator
    }

    /// Whether he may say who is told of payments.
    #[must_use]
    pub fn may_manage_webhooks(self) -> bool {
        self == Self::Operator
    }

    /// Whether he is to know that the payment exists.
    #[must_use]
    pub fn may_see(self, payment: &Payment) -> bool {
        self.may_read(payment.from) || self.may_read(payment.to)
    }

    /// Whether he may do what a program adds to the service, be it with a payment between others.
    #[must_use]
    pub fn may_use_added_routes(self) -> bool {
        self == Self::Operator
    }

    /// The account whose balances he sees.
    #[must_use]
    pub fn account(self) -> Option<AccountId> {
        match self {
            Self::Operator => None,
            Self::Holder(id) => Some(id),
        }
    }
}
