//! Reading payments: pages of a history, and one payment.
//!
//! A request for a page waits for a reader; a reader takes all requests that wait and reads
//! their pages with one statement, as the writers do with payments. When the service is idle that is one
//! page at once. Every page comes from a statement that began after it was asked for.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::queue::{Inbox, Queue, Ticket, halves};
use super::read_pool::ReadPool;
use super::refusal::{Obstacle, Refusal};
use crate::config::{Settings, milliseconds};
use crate::db::PgConnection;
use crate::db::history::{self, PageOf};
use crate::db::payments;
use crate::domain::{
    AccountId, Amount, Cursor, HistoryFilter, HistoryPage, IdempotencyKey, Payment, PaymentId,
};

/// Pages that one statement reads.
const PAGES_MAX: usize = 64;

/// A page; `None` where the account does not exist.
type FoundPage = Result<Option<HistoryPage>, Refusal>;

type PageTicket = Ticket<PageOf, FoundPage>;

/// Everything that reads payments.
pub struct Histories {
    pages: Queue<PageOf, FoundPage>,
    read_pool: ReadPool,
}

impl Histories {
    pub(super) fn start(read_pool: ReadPool, settings: &Settings, tasks: &mut JoinSet<()>) -> Self {
        let read_timeout = milliseconds(settings.database.read_timeout_ms);
        let (pages, inbox) = Queue::bounded(settings.writer.queue_max.get(), read_timeout);
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..settings.history.reader_count.get() {
            tasks.spawn(read_pages(Arc::clone(&inbox), read_pool.clone()));
        }
        Self { pages, read_pool }
    }

    /// How many pages wait to be read.
    pub(super) fn waiting(&self) -> usize {
        self.pages.waiting()
    }

    /// Up to `limit` payments before the cursor; where there is a filter, of those that pass it.
    ///
    /// # Errors
    /// The account does not exist, or the database does not answer.
    pub async fn page(
        &self,
        account: AccountId,
        filter: HistoryFilter,
        cursor: Option<Cursor>,
        limit: u16,
    ) -> Result<HistoryPage, Refusal> {
        let asked = PageOf { account, cursor, limit };
        let found = if filter == HistoryFilter::default() {
            self.pages.submit(asked).await??
        } else {
            let read =
                async |conn: &mut PgConnection| history::filtered_page(conn, asked, filter).await;
            self.read_pool.run(read).await?
        };
        found.ok_or(Refusal::AccountNotFound(account))
    }

    /// One payment, and what was given back of it so far.
    ///
    /// # Errors
    /// It does not exist, or the database does not answer.
    pub async fn payment(&self, id: PaymentId) -> Result<(Payment, Option<Amount>), Refusal> {
        let found = self.read_pool.run(async |conn| payments::find(conn, id, None).await).await?;
        found.ok_or(Refusal::PaymentNotFound)
    }

    /// The payment that was made under a key, if one was, and what was given back of it so far.
    ///
    /// # Errors
    /// None was made so far, or the database does not answer.
    pub async fn payment_by_key(
        &self,
        payer: AccountId,
        key: &IdempotencyKey,
    ) -> Result<(Payment, Option<Amount>), Refusal> {
        let id = PaymentId::derive(payer, key);
        let find =
            async |conn: &mut PgConnection| payments::find(conn, id, Some((payer, key))).await;
        self.read_pool.run(find).await?.ok_or(Refusal::PaymentNotFound)
    }
}

async fn read_pages(inbox: Arc<Mutex<Inbox<PageOf, FoundPage>>>, read_pool: ReadPool) {
    loop {
        let mut tickets = Vec::new();
        if inbox.lock().await.recv_many(&mut tickets, PAGES_MAX).await == 0 {
            return;
        }
        read_together(tickets, &read_pool).await;
    }
}

/// Reads pages with one statement; in parts where the server refuses it, until the page that cannot be
/// read is alone.
///
/// All of it takes no longer than a single read may, and one read more.
async fn read_together(tickets: Vec<PageTicket>, read_pool: &ReadPool) {
    let began = Instant::now();
    let mut groups = vec![tickets];
    while let Some(mut group) = groups.pop() {
        group.retain(Ticket::take);
        let asked: Vec<PageOf> = group.iter().map(|ticket| ticket.work).collect();
        if asked.is_empty() {
            continue;
        }
        match read_pool.try_run(async move |conn| history::pages(conn, &asked).await).await {
            Ok(pages) => {
                for (ticket, page) in group.into_iter().zip(pages) {
                    ticket.answer(Ok(page));
                }
            }
            Err(failed)
                if group.len() > 1
                    && failed.is_about_the_statement()
                    && began.elapsed() < read_pool.timeout() =>
            {
                groups.extend(halves(group, Obstacle::Database));
            }
            Err(failed) => {
                let refusal = failed.told_to_operator();
                group.into_iter().for_each(|ticket| ticket.answer(Err(refusal)));
            }
        }
    }
}
