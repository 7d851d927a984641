//! Pages of histories.

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Error;
use crate::domain::{
    AccountId, Amount, Balance, Cursor, HistoryFilter, HistoryPage, PaymentDirection, PaymentId,
    PaymentRequestId, PaymentView, Timestamp,
};

/// A part of an account's history: up to `limit` payments before the cursor.
#[derive(Debug, Clone, Copy)]
pub struct PageOf {
    pub account: AccountId,
    pub cursor: Option<Cursor>,
    pub limit: u16,
}

/// A payment of a page; without one it tells that there is the account.
struct Row {
    /// The place of the page among those that are asked for, from 1 on.
    n: i64,
    id: Option<Uuid>,
    from_id: Option<i64>,
    to_id: Option<i64>,
    amount: Option<i64>,
    note: Option<String>,
    created_at: Option<Timestamp>,
    requested_at: Option<Timestamp>,
    balance_after: Option<i64>,
    particulars: Option<Vec<Option<String>>>,
}

impl Row {
    fn add_to(self, page: &mut HistoryPage) {
        let (Some(id), Some(from), Some(to)) = (self.id, self.from_id, self.to_id) else { return };
        let (Some(amount), Some(created_at)) = (self.amount, self.created_at) else { return };
        let Ok(amount) = Amount::from_cents(amount) else { return };
        let [refund_of, request, by] = particulars(self.particulars);
        let uuid = |text: Option<String>| Uuid::parse_str(&text?).ok();
        page.push(&PaymentView {
            id: PaymentId::from_uuid(id),
            from_id: AccountId::trusted(from),
            to_id: AccountId::trusted(to),
            amount,
            note: self.note.as_deref(),
            created_at,
            requested_at: self.requested_at,
            balance_after: self.balance_after.map(Balance::from_cents),
            refund_of: uuid(refund_of).map(PaymentId::from_uuid),
            payment_request_id: uuid(request).map(PaymentRequestId::from_uuid),
            refunded: None,
            by: by.as_deref(),
        });
    }
}

/// The pages that are asked for; `None` where the account does not exist.
///
/// Two index scans for each, which stop at their number of rows: `from_id = ... OR to_id = ...`
/// could use neither index for the order. One statement, so that "no account" and "no payments" are
/// told apart at one moment; and one for all that ask at a time, because starting a statement
/// costs Postgres as much as finding ten payments. Only what the account's owner sees is read; what
/// most payments go without is one column, because each column of each row takes time. A join with
/// `LATERAL` is a nested loop, which keeps the order of its parts: sorting them again took a tenth of the time.
///
/// # Errors
/// The database's.
pub async fn pages(
    conn: &mut PgConnection,
    asked: &[PageOf],
) -> Result<Vec<Option<HistoryPage>>, Error> {
    let accounts: Vec<i64> = asked.iter().map(|page| page.account.get()).collect();
    let before: Vec<Option<Timestamp>> =
        asked.iter().map(|page| page.cursor.map(|cursor| cursor.last_seen_timestamp)).collect();
    let before_ids: Vec<Option<Uuid>> =
        asked.iter().map(|page| page.cursor.and_then(|cursor| cursor.last_seen_id)).collect();
    // One row more than asked for tells whether there is another page.
    let rows: Vec<i64> = asked.iter().map(|page| i64::from(page.limit).saturating_add(1)).collect();
    let mut pages: Vec<Option<HistoryPage>> = asked.iter().map(|_| None).collect();
    sqlx::query_as!(
        Row,
        r#"
        SELECT asked.n AS "n!",
               p.id AS "id?", p.from_id AS "from_id?", p.to_id AS "to_id?", p.amount AS "amount?",
               p.note AS "note?", p.created_at AS "created_at?: Timestamp",
               p.requested_at AS "requested_at?: Timestamp", p.balance_after AS "balance_after?",
               CASE WHEN num_nonnulls(p.refund_of, p.payment_request_id, p.asked_by) > 0
                    THEN ARRAY[p.refund_of::text, p.payment_request_id::text, p.asked_by]
               END AS "particulars: Vec<Option<String>>"
        FROM unnest($1::bigint[], $2::timestamptz[], $3::uuid[], $4::bigint[]) WITH ORDINALITY
             AS asked (account, before, before_id, rows, n)
        JOIN LATERAL (SELECT FROM accounts WHERE id = asked.account LIMIT 1) AS account ON true
        LEFT JOIN LATERAL (
            (SELECT id, from_id, to_id, amount, note, created_at, requested_at,
                    from_balance_after AS balance_after, refund_of, payment_request_id, asked_by
             FROM payments
             WHERE from_id = asked.account
               AND (created_at, id) < (coalesce(asked.before, 'infinity'),
                       coalesce(asked.before_id, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT asked.rows)
            UNION ALL
            (SELECT id, from_id, to_id, amount, note, created_at, requested_at, to_balance_after,
                    refund_of, payment_request_id, asked_by
             FROM payments
             WHERE to_id = asked.account
               AND (created_at, id) < (coalesce(asked.before, 'infinity'),
                       coalesce(asked.before_id, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT asked.rows)
            ORDER BY created_at DESC, id DESC LIMIT asked.rows
        ) AS p ON true
        ORDER BY asked.n
        "#,
        &accounts,
        &before as _,
        &before_ids as _,
        &rows
    )
    .map(|row| {
        let position = usize::try_from(row.n).ok().and_then(|n| n.checked_sub(1));
        let place =
            position.and_then(|position| Some((pages.get_mut(position)?, asked.get(position)?)));
        if let Some((page, asked)) = place {
            row.add_to(page.get_or_insert_with(|| HistoryPage::new(asked.limit)));
        }
    })
    // Each row is written into its page as it comes: nothing is left to be collected.
    .fetch_all(conn)
    .await?;
    Ok(pages)
}

/// A page of a part of a history; `None` where the account does not exist.
///
/// It is a statement of its own, so that the pages of whole histories carry no filters. One of its two halves is not
/// begun where the direction is given.
///
/// # Errors
/// The database's.
pub async fn filtered_page(
    conn: &mut PgConnection,
    asked: PageOf,
    filter: HistoryFilter,
) -> Result<Option<HistoryPage>, Error> {
    let mut page = None;
    sqlx::query_as!(
        Row,
        r#"
        SELECT 1::bigint AS "n!",
               p.id AS "id?", p.from_id AS "from_id?", p.to_id AS "to_id?", p.amount AS "amount?",
               p.note AS "note?", p.created_at AS "created_at?: Timestamp",
               p.requested_at AS "requested_at?: Timestamp", p.balance_after AS "balance_after?",
               CASE WHEN num_nonnulls(p.refund_of, p.payment_request_id, p.asked_by) > 0
                    THEN ARRAY[p.refund_of::text, p.payment_request_id::text, p.asked_by]
               END AS "particulars: Vec<Option<String>>"
        FROM (SELECT FROM accounts WHERE id = $1) AS account
        LEFT JOIN LATERAL (
            (SELECT id, from_id, to_id, amount, note, created_at, requested_at,
                    from_balance_after AS balance_after, refund_of, payment_request_id, asked_by
             FROM payments
             WHERE $2 AND from_id = $1 AND created_at >= coalesce($4::timestamptz, '-infinity')
               AND (created_at, id) < (coalesce($5::timestamptz, 'infinity'),
                       coalesce($6::uuid, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT $7)
            UNION ALL
            (SELECT id, from_id, to_id, amount, note, created_at, requested_at, to_balance_after,
                    refund_of, payment_request_id, asked_by
             FROM payments
             WHERE $3 AND to_id = $1 AND created_at >= coalesce($4::timestamptz, '-infinity')
               AND (created_at, id) < (coalesce($5::timestamptz, 'infinity'),
                       coalesce($6::uuid, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT $7)
        ) AS p ON true
        ORDER BY p.created_at DESC, p.id DESC LIMIT $7
        "#,
        asked.account.get(),
        filter.direction != Some(PaymentDirection::Received),
        filter.direction != Some(PaymentDirection::Sent),
        filter.since as _,
        asked.cursor.map(|cursor| cursor.last_seen_timestamp) as _,
        asked.cursor.and_then(|cursor| cursor.last_seen_id),
        // One row more than asked for tells whether there is another page.
        i64::from(asked.limit).saturating_add(1)
    )
    .map(|row| row.add_to(page.get_or_insert_with(|| HistoryPage::new(asked.limit))))
    .fetch_all(conn)
    .await?;
    Ok(page)
}

/// The payment that it refunds, the request that it pays, and who asked for it.
fn particulars(column: Option<Vec<Option<String>>>) -> [Option<String>; 3] {
    column.and_then(|found| found.try_into().ok()).unwrap_or_default()
}
