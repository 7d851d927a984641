//! Everything that changes the ledger of accounts that exist. All of it goes through one queue, under the same
//! locks, and is decided by one rule.

use super::{
    AccountId, AccountStatus, AskForMoney, IdempotencyKey, Intent, PaymentId, PaymentRequestId,
};

/// Something that somebody wants done.
#[derive(Debug, Clone)]
pub enum Instruction {
    Pay(Intent),
    Void(VoidKey),
    Ask(AskForMoney),
    Close(CloseRequest),
    SetStatus(SetStatus),
}

/// Settles a key, so that it never pays, unless it has paid.
#[derive(Debug, Clone)]
pub struct VoidKey {
    id: PaymentId,
    from: AccountId,
    key: IdempotencyKey,
}

impl VoidKey {
    #[must_use]
    pub fn new(from: AccountId, key: IdempotencyKey) -> Self {
        Self { id: PaymentId::derive(from, &key), from, key }
    }

    /// The id of the payment that the key could make.
    #[must_use]
    pub fn id(&self) -> PaymentId {
        self.id
    }

    #[must_use]
    pub fn from(&self) -> AccountId {
        self.from
    }

    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }
}

/// Ends a request for money without a payment.
#[derive(Debug, Clone, Copy)]
pub struct CloseRequest {
    pub id: PaymentRequestId,
    /// Its two accounts, which it never changes.
    pub from: AccountId,
    pub to: AccountId,
    pub how: Closing,
}

/// How a request ends without a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// By the one who was asked.
    Decline,
    /// By the one who asked.
    Cancel,
}

/// Opens, freezes or closes an account.
#[derive(Debug, Clone, Copy)]
pub struct SetStatus {
    pub account: AccountId,
    pub status: AccountStatus,
}

impl Instruction {
    /// The accounts whose rows it needs; one twice where it needs one.
    #[must_use]
    pub fn accounts(&self) -> [AccountId; 2] {
        match self {
            Self::Pay(intent) => intent.accounts(),
            Self::Void(void) => [void.from; 2],
            Self::Ask(ask) => [ask.from(), ask.to()],
            Self::Close(close) => [close.from, close.to],
            Self::SetStatus(set) => [set.account; 2],
        }
    }

    /// The account for whose sake it is sent; that of a payment's payer.
    #[must_use]
    pub fn principal(&self) -> AccountId {
        match self {
            Self::Pay(intent) => intent.from(),
            Self::Void(void) => void.from,
            Self::Ask(ask) => ask.to(),
            Self::Close(close) => match close.how {
                Closing::Decline => close.from,
                Closing::Cancel => close.to,
            },
            Self::SetStatus(set) => set.account,
        }
    }

    /// The intent, where it is a payment.
    #[must_use]
    pub fn intent(&self) -> Option<&Intent> {
        match self {
            Self::Pay(intent) => Some(intent),
            _ => None,
        }
    }

    /// The request for money that it is about.
    #[must_use]
    pub fn request(&self) -> Option<PaymentRequestId> {
        match self {
            Self::Pay(intent) => intent.request(),
            Self::Ask(ask) => Some(ask.id),
            Self::Close(close) => Some(close.id),
            Self::Void(_) | Self::SetStatus(_) => None,
        }
    }
}
