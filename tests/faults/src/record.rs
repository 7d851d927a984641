//! What a run leaves behind for the checker. Times are microseconds of one monotonic clock since the
//! run began.

use std::collections::BTreeSet;

/// A payment that a client wants: it stays the same through all retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub from: i64,
    pub to: i64,
    /// Cents.
    pub amount: i64,
    pub key: String,
    pub note: Option<String>,
}

/// How one call ended for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200: the body, byte for byte, and whether it was marked as replayed.
    Paid { body: String, replayed: bool },
    /// A complete answer with another status.
    Refused { status: u16, code: String, retryable: bool },
    /// No complete answer: cut, refused connection, timed out.
    Lost,
}

/// One `PUT /send_payment`. What was under way when the run ended is [`Outcome::Lost`], and may have
/// `u64::MAX` as its end.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub client: u32,
    pub intent: Intent,
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
    pub balances: Vec<BalanceRead>,
    pub scrolls: Vec<Scroll>,
    pub drafts: Vec<Draft>,
    /// Payers whose payments the database itself refuses.
    pub refused_payers: BTreeSet<i64>,
}
