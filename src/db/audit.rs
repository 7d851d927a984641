//! The audit: what must hold in the ledger, one statement for each check: of the whole database, and of what is new
//! since an earlier audit. They are meant to run in one snapshot.

mod finding;
mod receipts;
mod since;
mod whole;

use sqlx::PgConnection;

use super::Error;
use crate::domain::Position;
pub use finding::{EXAMPLES_MAX, Finding};
pub use since::New;

/// How much there is to check.
pub struct Extent {
    pub accounts: i64,
    pub payments: i64,
    pub payment_requests: i64,
    pub keys: i64,
}

/// Counts what there is.
pub async fn extent(conn: &mut PgConnection) -> Result<Extent, Error> {
    let extent = sqlx::query_as!(
        Extent,
        r#"/* audit */
        SELECT (SELECT count(*) FROM accounts) AS "accounts!",
               (SELECT count(*) FROM payments) AS "payments!",
               (SELECT count(*) FROM payment_requests) AS "payment_requests!",
               (SELECT count(*) FROM idempotency_keys) AS "keys!"
        "#
    );
    Ok(extent.fetch_one(conn).await?)
}

/// How far the feed is.
pub struct FeedEnd {
    pub last_position: Position,
    /// Payments that have no position yet.
    pub waiting: i64,
}

/// The end of the feed; `None` while the upgrade has not numbered what is older than it.
pub async fn feed_end(conn: &mut PgConnection) -> Result<Option<FeedEnd>, Error> {
    let end = sqlx::query!(
        r#"
        SELECT last_position,
               (SELECT coalesce(sum(cardinality(payment_ids)), 0)::bigint
                FROM payment_batches batch
                LEFT JOIN LATERAL (
                    SELECT batch_id FROM feed_entries WHERE batch_id = batch.id LIMIT 1
                ) AS entry ON true
                WHERE batch.id > settled_batch AND entry.batch_id IS NULL) AS "waiting!"
        FROM feed_state WHERE the_only_row
        "#
    );
    Ok(end.fetch_optional(conn).await?.map(|end| FeedEnd {
        last_position: Position::trusted(end.last_position),
        waiting: end.waiting,
    }))
}

/// Every check by name, with the invariant of `ARCHITECTURE.md` that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The balances of all accounts add up to 0.
    Conservation,
    /// No account but the bank is below zero.
    Floors,
    /// The payer and the payee of each payment and of each request for money, and each key's payer, have
    /// accounts.
    AccountsExist,
    /// No payer and idempotency key have two payments.
    KeysPayOnce,
    /// Each payment's id is the one derived from payer and key, so its primary key refuses a second.
    IdsAreDerived,
    /// No key is left in progress.
    NothingInProgress,
    /// Each key with status success has its payment, and its response says so.
    SuccessesArePayments,
    /// A stored receipt is what the payment alone would give to a retry whose key's row is gone.
    ReceiptsAreKept,
    /// No key with status failed has a payment.
    FailuresAreNone,
    /// No account has two payments at one time, or two requests for money, and each knows the time of its
    /// newest payment.
    TimesIncrease,
    /// Each balance after a payment is the one before it, plus or minus the amount.
    BalancesFollow,
    /// Replaying an account's history gives its balance.
    BalancesAreExplained,
    /// The positions are 1, 2, 3, ... up to the last one, and no batch was passed over.
    FeedHasNoGaps,
    /// Each payment is in one batch, once, and it is the one that it names; and a batch has no others.
    BatchesHoldAllPayments,
    /// Along each account's history positions increase; payments that have none yet come last.
    FeedFollowsHistories,
    /// Each refund goes from the payee to the payer of a payment that is neither a refund nor an opening
    /// balance, knows what its payment's refunds come to, and they never come to more than the payment.
    RefundsAreBounded,
    /// A paid request has exactly the payment that it names, another one none; and whatever says that it
    /// pays a request does.
    RequestsArePaidOnce,
    /// No voided key has a payment.
    VoidedKeysPaidNothing,
    /// A closed account is empty, and the bank is open.
    ClosedAccountsAreEmpty,
}

impl Check {
    pub const ALL: [Self; 19] = [
        Self::Conservation,
        Self::Floors,
        Self::AccountsExist,
        Self::KeysPayOnce,
        Self::IdsAreDerived,
        Self::NothingInProgress,
        Self::SuccessesArePayments,
        Self::ReceiptsAreKept,
        Self::FailuresAreNone,
        Self::TimesIncrease,
        Self::BalancesFollow,
        Self::BalancesAreExplained,
        Self::FeedHasNoGaps,
        Self::BatchesHoldAllPayments,
        Self::FeedFollowsHistories,
        Self::RefundsAreBounded,
        Self::RequestsArePaidOnce,
        Self::VoidedKeysPaidNothing,
        Self::ClosedAccountsAreEmpty,
    ];

    /// The invariant's number and the rule, in words.
    #[must_use]
    pub fn rule(self) -> (u8, &'static str) {
        match self {
            Self::Conservation => (1, "The balances of all accounts add up to 0."),
            Self::Floors => (1, "No account but the bank is below zero."),
            Self::AccountsExist => (
                1,
                "The payer and the payee of each payment and request, and each key's payer, have accounts.",
            ),
            Self::KeysPayOnce => (2, "No payer and idempotency key have two payments."),
            Self::IdsAreDerived => (
                2,
                "Each payment's id is the one derived from payer and key, so its primary key refuses a second.",
            ),
            Self::NothingInProgress => (3, "No key is left in progress."),
            Self::SuccessesArePayments => {
                (3, "Each key with status success has its payment, and its response says so.")
            }
            Self::ReceiptsAreKept => {
                (2, "Each stored receipt is, byte for byte, what its payment's would be today.")
            }
            Self::FailuresAreNone => (3, "No key with status failed has a payment."),
            Self::TimesIncrease => (
                5,
                "No account has two payments or two requests at one time, and each knows its newest payment's.",
            ),
            Self::BalancesFollow => {
                (6, "Each balance after a payment is the one before it, plus or minus the amount.")
            }
            Self::BalancesAreExplained => (6, "Replaying an account's history gives its balance."),
            Self::FeedHasNoGaps => (
                13,
                "The feed's positions are 1, 2, 3, ... up to the last one, and none was passed over.",
            ),
            Self::BatchesHoldAllPayments => (
                13,
                "Each payment is in one batch of the feed, once, and there are no others in it.",
            ),
            Self::FeedFollowsHistories => {
                (13, "Along each account's history the positions increase.")
            }
            Self::RefundsAreBounded => (
                15,
                "Each refund goes back from payee to payer, and the refunds of a payment never exceed it.",
            ),
            Self::RequestsArePaidOnce => {
                (15, "A paid request has exactly the payment that it names, another one has none.")
            }
            Self::VoidedKeysPaidNothing => (15, "No voided key has a payment."),
            Self::ClosedAccountsAreEmpty => {
                (15, "A closed account is empty, and the bank is open.")
            }
        }
    }
}

/// Runs one check of the whole ledger.
pub async fn run(conn: &mut PgConnection, check: Check) -> Result<Finding, Error> {
    match check {
        Check::Conservation => whole::conservation(conn).await,
        Check::Floors => whole::floors(conn).await,
        Check::AccountsExist => whole::accounts_exist(conn).await,
        Check::KeysPayOnce => whole::keys_pay_once(conn).await,
        Check::IdsAreDerived => whole::ids_are_derived(conn).await,
        Check::NothingInProgress => whole::nothing_in_progress(conn).await,
        Check::SuccessesArePayments => whole::successes_are_payments(conn).await,
        Check::ReceiptsAreKept => whole::receipts_are_kept(conn).await,
        Check::FailuresAreNone => whole::failures_are_none(conn).await,
        Check::TimesIncrease => whole::times_increase(conn).await,
        Check::BalancesFollow => whole::balances_follow(conn).await,
        Check::BalancesAreExplained => whole::balances_are_explained(conn).await,
        Check::FeedHasNoGaps => whole::feed_has_no_gaps(conn).await,
        Check::BatchesHoldAllPayments => whole::batches_hold_all_payments(conn).await,
        Check::FeedFollowsHistories => whole::the_feed_follows_histories(conn).await,
        Check::RefundsAreBounded => whole::refunds_are_bounded(conn).await,
        Check::RequestsArePaidOnce => whole::requests_are_paid_once(conn).await,
        Check::VoidedKeysPaidNothing => whole::voided_keys_paid_nothing(conn).await,
        Check::ClosedAccountsAreEmpty => whole::closed_accounts_are_empty(conn).await,
    }
}

/// Runs one check of what is new; `None` for those that are about all rows.
pub async fn run_on_new(
    conn: &mut PgConnection,
    check: Check,
    new: New,
) -> Result<Option<Finding>, Error> {
    let finding = match check {
        Check::Floors => since::floors(conn, new).await,
        Check::AccountsExist => since::accounts_exist(conn, new).await,
        Check::IdsAreDerived => since::ids_are_derived(conn, new).await,
        Check::ReceiptsAreKept => since::receipts_are_kept(conn, new).await,
        Check::FailuresAreNone => since::failures_are_none(conn, new).await,
        Check::TimesIncrease => since::times_increase(conn, new).await,
        Check::BalancesFollow => since::balances_follow(conn, new).await,
        Check::BalancesAreExplained => since::balances_are_explained(conn, new).await,
        Check::FeedHasNoGaps => since::feed_has_no_gaps(conn, new).await,
        Check::BatchesHoldAllPayments => since::batches_hold_all_payments(conn, new).await,
        Check::FeedFollowsHistories => since::the_feed_follows_histories(conn, new).await,
        Check::RefundsAreBounded => since::refunds_are_bounded(conn, new).await,
        Check::RequestsArePaidOnce => since::requests_are_paid_once(conn, new).await,
        Check::VoidedKeysPaidNothing => since::voided_keys_paid_nothing(conn, new).await,
        Check::ClosedAccountsAreEmpty => since::closed_accounts_are_empty(conn, new).await,
        Check::Conservation
        | Check::KeysPayOnce
        | Check::NothingInProgress
        | Check::SuccessesArePayments => return Ok(None),
    };
    finding.map(Some)
}
