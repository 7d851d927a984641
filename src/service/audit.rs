//! `payonce audit`: checks the whole ledger in one snapshot, or what is new in it step by step; beside a running
//! service or alone.

use std::fmt;

use serde::Serialize;
use sqlx::Connection;

use crate::db::audit::{Check, EXAMPLES_MAX, Finding, New};
use crate::db::{self, Purpose};
use crate::domain::Position;

/// Positions that are audited in one snapshot where only what is new is: some seconds' worth.
const STEP_POSITIONS: i64 = 10_000;

/// The snapshot of a whole audit, and of each step of another.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The audit's findings.
#[derive(Debug, Serialize)]
pub struct Report {
    pub ok: bool,
    #[serde(flatten)]
    pub extent: Extent,
    /// The last position of the feed that was audited: the next audit can be of what comes after it. `None` while
    /// payments that are older than the feed have no positions.
    pub position: Option<Position>,
    /// Payments that had no position yet.
    pub waiting: i64,
    pub checks: Vec<Checked>,
}

/// What was audited.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Extent {
    /// Everything: how much that is.
    Whole { accounts: i64, payments: i64, payment_requests: i64, idempotency_keys: i64 },
    /// The payments after a position.
    New { since: Position, payments: i64 },
}

/// One check's result.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The number of the invariant in `ARCHITECTURE.md`.
    pub invariant: u8,
    pub rule: &'static str,
    pub ok: bool,
    pub violations: i64,
    /// The first ten.
    pub examples: Vec<String>,
}

/// Why what is new cannot be audited alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] db::Error),
    #[error(
        "payments that are older than the feed do not all have positions yet: `payonce migrate` gives them"
    )]
    NoFeed,
    #[error(
        "position {since} is beyond the last one, {last}: it is of another ledger, or this one was restored to an \
         earlier state. Audit all of it, without --since"
    )]
    Beyond { since: Position, last: Position },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Runs every check, on a primary or on a hot standby. The transaction only reads and locks no row, so no
/// payment waits for it; but as long as its snapshot lives, dead rows stay (docs/operating.md).
///
/// # Errors
/// The database's.
pub async fn run(target: &db::Target) -> Result<Report, Error> {
    let mut conn = db::connect(target, Purpose::Audit).await?;
    let mut snapshot = conn.begin_with(SNAPSHOT).await?;
    let extent = db::audit::extent(&mut snapshot).await?;
    let end = db::audit::feed_end(&mut snapshot).await?;
    let mut checks = Vec::new();
    for check in Check::ALL {
        let finding = db::audit::run(&mut snapshot, check).await?;
        checks.push(Checked::of(check, finding));
    }
    snapshot.rollback().await?;
    let extent = Extent::Whole {
        accounts: extent.accounts,
        payments: extent.payments,
        payment_requests: extent.payment_requests,
        idempotency_keys: extent.keys,
    };
    let (position, waiting) = end.map_or((None, 0), |end| (Some(end.last_position), end.waiting));
    Ok(Report::of(extent, position, waiting, checks))
}

/// Runs the checks that can be made of what is new alone: of the payments from a position to the end that the feed has
/// now, and of their accounts. Each step has a snapshot of its own, so that none lives for long.
///
/// # Errors
/// The database's; or there is no such position.
pub async fn run_since(target: &db::Target, since: Position) -> Result<Report, Error> {
    let mut conn = db::connect(target, Purpose::AuditOfNew).await?;
    let end = db::audit::feed_end(&mut conn).await?.ok_or(Error::NoFeed)?;
    let last = end.last_position;
    if since > last {
        return Err(Error::Beyond { since, last });
    }
    let mut checks: Vec<Checked> = Vec::new();
    let mut after = since;
    while after < last || checks.is_empty() {
        let new = New { after, upto: after.plus(STEP_POSITIONS).min(last) };
        let mut snapshot = conn.begin_with(SNAPSHOT).await?;
        let mut found = Vec::new();
        for check in Check::ALL {
            let finding = db::audit::run_on_new(&mut snapshot, check, new).await?;
            found.extend(finding.map(|finding| Checked::of(check, finding)));
        }
        snapshot.rollback().await?;
        if checks.is_empty() {
            checks = found;
        } else {
            checks.iter_mut().zip(found).for_each(|(check, step)| check.add(step));
        }
        after = new.upto;
    }
    let extent = Extent::New { since, payments: last.get().saturating_sub(since.get()) };
    Ok(Report::of(extent, Some(last), end.waiting, checks))
}

impl Report {
    fn of(extent: Extent, position: Option<Position>, waiting: i64, checks: Vec<Checked>) -> Self {
        let ok = checks.iter().all(|check| check.ok);
        Self { ok, extent, position, waiting, checks }
    }
}

impl Checked {
    fn of(check: Check, finding: Finding) -> Self {
        let (invariant, rule) = check.rule();
        let Finding { violations, examples } = finding;
        Self { invariant, rule, ok: violations == 0, violations, examples }
    }

    /// Adds what the same check found in a later step.
    fn add(&mut self, later: Self) {
        self.ok &= later.ok;
        self.violations = self.violations.saturating_add(later.violations);
        self.examples.extend(later.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.extent {
            Extent::Whole { accounts, payments, payment_requests, idempotency_keys } => {
                writeln!(
                    f,
                    "Audited {accounts} accounts, {payments} payments, {payment_requests} requests for money and \
                     {idempotency_keys} idempotency keys."
                )?;
                "The ledger"
            }
            Extent::New { since, payments } => {
                writeln!(f, "Audited the {payments} payments after position {since}.")?;
                "What is new in the ledger"
            }
        };
        match self.position {
            None => writeln!(f, "Payments that are older than the feed have no positions yet.")?,
            Some(position) => {
                write!(f, "The feed ends at position {position}")?;
                if self.waiting > 0 {
                    write!(f, ", and {} payments wait for theirs", self.waiting)?;
                }
                // What is wrong is to be found again.
                if self.ok {
                    write!(f, ": go on with --since {position}")?;
                }
                f.write_str(".\n")?;
            }
        }
        for check in &self.checks {
            let mark = if check.ok { "ok      " } else { "VIOLATED" };
            writeln!(f, "{mark}  invariant {}: {}", check.invariant, check.rule)?;
            for example in &check.examples {
                writeln!(f, "            {example}")?;
            }
            let shown = i64::try_from(check.examples.len()).unwrap_or(i64::MAX);
            if check.violations > shown {
                writeln!(f, "            and {} more", check.violations.saturating_sub(shown))?;
            }
        }
        write!(f, "{what} is {}sound.", if self.ok { "" } else { "NOT " })
    }
}
