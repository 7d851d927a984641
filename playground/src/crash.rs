//! `POST /playground/crash`: makes a payment, and kills its database session before COMMIT, to see what
//! holds.

use std::sync::Arc;
use std::time::Duration;

use payonce::config::{Settings, milliseconds};
use payonce::db::{self, Error, ErrorKind, PgConnection, Purpose, Target};
use payonce::domain::ledger::{Declined, Outcome};
use payonce::domain::{Account, Intent};
use payonce::http::{AddedAnswer, AddedRoute, SendPayment, SendProblems};
use payonce::service::Refusal;
use payonce::service::posting::post_one;
use payonce::service::session::{End, Session};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::{OpenApi, ToSchema};

/// How long the end of the killed session is awaited.
const END_MS_MAX: i64 = 1_000;

/// The balances of a payment's two accounts, in cents.
#[derive(Clone, Copy, Serialize, ToSchema)]
struct Balances {
    from: i64,
    to: i64,
}

/// The balances around a transaction whose session was killed before COMMIT.
#[derive(Serialize, ToSchema)]
struct Crash {
    before: Balances,
    /// As the transaction saw them when it had written everything.
    written: Balances,
    /// How COMMIT ended.
    error: String,
    after: Balances,
}

#[derive(OpenApi)]
#[openapi(paths(operation))]
struct Document;

/// Makes a payment, and kills its database session before COMMIT.
///
/// For operators, and only on the private ledger of `make run` or `make cluster`: what is deployed has no such route.
/// Nothing is paid; the same request can be sent to `/send_payment` afterwards.
#[utoipa::path(
    post,
    path = "/playground/crash",
    tag = "playground",
    operation_id = "crash",
    params(("Idempotency-Key" = Option<String>, Header, description = "In place of the body's.",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = SendPayment, example = json!({
        "from": 1, "to": 2, "amount": 500, "idempotency_key": "crash-1"
    })),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The balances before, inside and after.", body = Crash),
        SendProblems,
    )
)]
#[expect(dead_code, reason = "for the document; `route` is what answers")]
fn operation() {}

/// The route's part of the API document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The route, which works on the database of `target`.
pub(crate) fn route(target: &Target, settings: &Settings) -> AddedRoute {
    let faults = Arc::new(Faults {
        target: target.clone(),
        transaction_timeout: milliseconds(settings.database.transaction_timeout_ms),
        turn: Semaphore::new(1),
    });
    AddedRoute {
        path: "/playground/crash",
        answer: AddedAnswer::PostPayment(Arc::new(move |intent| {
            let faults = Arc::clone(&faults);
            Box::pin(async move {
                let crash = faults.crash(&intent).await?;
                serde_json::to_string(&crash).map_err(|_| Refusal::Internal)
            })
        })),
    }
}

struct Faults {
    target: Target,
    transaction_timeout: Duration,
    /// One fault at a time: each takes two sessions of its own, and locks.
    turn: Semaphore,
}

impl Faults {
    /// Posts a payment as a batch of one is posted, and has its session killed before COMMIT.
    ///
    /// # Errors
    /// The payment would be declined, was made before, another fault is under way, or the database does
    /// not answer.
    async fn crash(&self, intent: &Intent) -> Result<Crash, Refusal> {
        let _turn = self.turn.try_acquire().map_err(|_| Refusal::Overloaded)?;
        let mut other =
            db::connect(&self.target, Purpose::Write).await.map_err(|error| refusal(&error))?;
        let before = balances(&mut other, intent).await.map_err(|error| refusal(&error))?;

        let mut session = Session::new(self.target.clone(), self.transaction_timeout);
        let mut refused = None;
        let mut written = None;
        let ended = session
            .transaction(async |conn| {
                let decision = post_one(conn, intent).await?;
                refused = match decision.outcomes.into_iter().next() {
                    Some(Outcome::Done(_)) => None,
                    Some(Outcome::Declined(why)) => Some(Refusal::Declined(why)),
                    Some(Outcome::InProgress) => Some(Refusal::KeyInProgress),
                    // It was made before: there is nothing left to lose.
                    Some(Outcome::Replayed(_)) | None => {
                        Some(Refusal::Declined(Declined::KeyReused))
                    }
                };
                if refused.is_some() {
                    return Ok(End::RollBack(()));
                }
                written = balances(conn, intent).await?;
                let pid = sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()");
                let pid = pid.fetch_one(&mut *conn).await?;
                let kill = sqlx::query("SELECT pg_terminate_backend($1, $2)");
                kill.bind(pid).bind(END_MS_MAX).execute(&mut other).await?;
                Ok(End::Commit(()))
            })
            .await;
        if let Some(refusal) = refused {
            return Err(refusal);
        }
        let Err(error) = ended else {
            tracing::error!("a session that was killed has committed");
            return Err(Refusal::DatabaseUnavailable);
        };
        let after = balances(&mut other, intent).await.map_err(|error| refusal(&error))?;
        // Without `written` it did not come as far as to be killed.
        let (Some(before), Some(written), Some(after)) = (before, written, after) else {
            return Err(refusal(&error));
        };
        Ok(Crash { before, written, error: error.to_string(), after })
    }
}

async fn balances(conn: &mut PgConnection, intent: &Intent) -> Result<Option<Balances>, Error> {
    let from = db::accounts::get(conn, intent.from()).await?;
    let to = db::accounts::get(conn, intent.to()).await?;
    let cents = |account: Account| account.balance.cents();
    Ok(from.map(cents).zip(to.map(cents)).map(|(from, to)| Balances { from, to }))
}

fn refusal(error: &Error) -> Refusal {
    tracing::error!(%error, "an experiment failed");
    match error.kind() {
        ErrorKind::LockNotAvailable => Refusal::AccountBusy,
        ErrorKind::KnownAlready
        | ErrorKind::Conflict
        | ErrorKind::Momentary
        | ErrorKind::Unavailable => Refusal::DatabaseUnavailable,
        ErrorKind::Refused | ErrorKind::Stale => Refusal::Internal,
    }
}
