//! What a run leaves behind for the checker. Times are microseconds of one monotonic clock since the
//! run began.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

/// A payment that a client wants: it stays the same through all retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub from: i64,
    pub to: i64,
    /// Cents.
    pub amount: i64,
    /// Empty where none is sent, as may be where it pays a request.
    pub key: String,
    pub note: Option<String>,
    pub refers_to: Reference,
}

/// What a payment refers to, by its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reference {
    #[default]
    Nothing,
    /// The payment that it gives back, in full or in part.
    Payment(String),
    /// The request for money that it pays.
    Request(String),
}

impl Intent {
    /// The key under which the ledger has its payment: for a request there is one, whatever keys are sent.
    #[must_use]
    pub fn payment_key(&self) -> Cow<'_, str> {
        match &self.refers_to {
            Reference::Request(id) => Cow::Owned(format!("payment request {id}")),
            Reference::Nothing | Reference::Payment(_) => Cow::Borrowed(&self.key),
        }
    }
}

/// A request for money that a client wants to make: `from` is asked to pay `to`. It stays the same through
/// all retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub from: i64,
    pub to: i64,
    /// Cents.
    pub amount: i64,
    pub key: String,
    pub note: Option<String>,
}

/// How a request ends without a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Declined,
    Cancelled,
}

impl End {
    /// As answers and the ledger have it.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Something that is done around a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// `PUT /voided_keys`.
    Void { payer: i64, key: String },
    /// `POST /payment_requests`.
    Demand(Demand),
    /// `POST /payment_requests/{id}/decline` or `/cancel`, for the account that may.
    Close { account: i64, request: String, how: End },
}

impl Errand {
    /// The account for whose sake it is done.
    #[must_use]
    pub fn account(&self) -> i64 {
        match self {
            Self::Void { payer, .. } => *payer,
            Self::Demand(demand) => demand.to,
            Self::Close { account, .. } => *account,
        }
    }
}

/// How one call ended for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200 or 201: the body, byte for byte, and whether it was marked as replayed.
    Done { body: String, replayed: bool },
    /// A complete answer with another status.
    Refused { status: u16, code: String, retryable: bool },
    /// No complete answer: cut, refused connection, timed out.
    Lost,
}

/// One `PUT /send_payment`, or one element of a `PUT /send_payments`. What was under way when the run ended
/// is [`Outcome::Lost`], and may have `u64::MAX` as its end.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub client: u32,
    pub intent: Intent,
    /// Its answer came with that of the last in the bulk, and has no mark.
    pub is_in_bulk: bool,
    pub asked_us: u64,
    pub ended_us: u64,
    pub outcome: Outcome,
}

/// One call that is no payment.
#[derive(Debug, Clone)]
pub struct ErrandRun {
    pub client: u32,
    pub errand: Errand,
    pub asked_us: u64,
    pub ended_us: u64,
    pub outcome: Outcome,
}

/// `GET /accounts/{id}` with 200.
#[derive(Debug, Clone)]
pub struct BalanceRead {
    pub client: u32,
    pub account: i64,
    pub asked_us: u64,
    pub answered_us: u64,
    /// Cents.
    pub balance: i64,
}

/// One reader's way through one account's history, page by page from the newest.
#[derive(Debug, Clone)]
pub struct Scroll {
    pub client: u32,
    pub account: i64,
    pub began_us: u64,
    pub ended_us: u64,
    /// Each page's body as it came.
    pub pages: Vec<String>,
    /// It reached the end of the history.
    pub complete: bool,
}

/// One answer to a follower of the feed, `GET /feed`: with 200, or a refusal for good.
#[derive(Debug, Clone)]
pub struct FeedRead {
    pub client: u32,
    /// What he had read up to.
    pub after: u64,
    /// What he has read up to now.
    pub next: u64,
    pub outcome: Outcome,
}

/// What one connection to the events of an account gave, `GET /accounts/{id}/events`.
#[derive(Debug, Clone)]
pub struct Heard {
    pub client: u32,
    pub account: i64,
    /// The position that the client had heard last (`Last-Event-ID`).
    pub after: Option<u64>,
    /// Each event as it came, but for those without a position.
    pub events: Vec<String>,
}

/// One delivery to the receiver of a webhook.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its `webhook-id`.
    pub webhook_id: String,
    pub body: String,
    /// Whether it was answered with a success, which may not have reached the service.
    pub is_taken: bool,
}

impl Delivery {
    /// The position of its payment.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body["data"]["position"].as_u64()
    }
}

/// The value of a field of an event.
#[must_use]
pub fn field_of<'a>(event: &'a str, name: &str) -> Option<&'a str> {
    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One payment that a person wants, whichever of his windows asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The intents of his windows: one, where they agree.
    pub intents: Vec<Intent>,
}

/// Everything that the clients of a run have seen.
#[derive(Debug, Clone, Default)]
pub struct Records {
    pub attempts: Vec<Attempt>,
    pub errands: Vec<ErrandRun>,
    pub balances: Vec<BalanceRead>,
    pub scrolls: Vec<Scroll>,
    /// Each follower's in their order.
    pub feed: Vec<FeedRead>,
    /// Each listener's in their order.
    pub heard: Vec<Heard>,
    /// The position after which deliveries begin, where there is a receiver.
    pub deliveries_after: Option<u64>,
    /// In the order in which they came.
    pub deliveries: Vec<Delivery>,
    pub drafts: Vec<Draft>,
    /// Whether a reader may be shown a payment before it can be seen on the primary, because replicas answer. A later read
    /// may then miss it, for as long as nobody was told of it.
    pub reads_run_ahead: bool,
    /// Payers whose payments the database itself refuses.
    pub refused_payers: BTreeSet<i64>,
}
