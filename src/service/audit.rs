//! `payonce audit`: checks the whole ledger in one snapshot, beside a running service or alone.

use std::fmt;

use serde::Serialize;
use sqlx::Connection;

use crate::db::{self, audit::Check};

/// The audit's findings.
#[derive(Debug, Serialize)]
pub struct Report {
    pub ok: bool,
    pub accounts: i64,
    pub payments: i64,
    pub payment_requests: i64,
    pub idempotency_keys: i64,
    pub checks: Vec<Checked>,
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

/// Runs every check, on a primary or on a hot standby. The transaction only reads and locks no row, so no
/// payment waits for it; but as long as its snapshot lives, dead rows stay (docs/operating.md).
///
/// # Errors
/// The database's.
pub async fn run(target: &db::Target) -> Result<Report, db::Error> {
    let mut conn = db::connect(target, db::Purpose::Audit).await?;
    let mut snapshot = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let extent = db::audit::extent(&mut snapshot).await?;
    let mut checks = Vec::new();
    for check in Check::ALL {
        let finding = db::audit::run(&mut snapshot, check).await?;
        let (invariant, rule) = check.rule();
        checks.push(Checked {
            invariant,
            rule,
            ok: finding.violations == 0,
            violations: finding.violations,
            examples: finding.examples,
        });
    }
    snapshot.rollback().await?;
    Ok(Report {
        ok: checks.iter().all(|check| check.ok),
        accounts: extent.accounts,
        payments: extent.payments,
        payment_requests: extent.payment_requests,
        idempotency_keys: extent.keys,
        checks,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, payments, payment_requests, idempotency_keys, .. } = self;
        writeln!(
            f,
            "Audited {accounts} accounts, {payments} payments, {payment_requests} requests for money and \
             {idempotency_keys} idempotency keys."
        )?;
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
        f.write_str(if self.ok { "The ledger is sound." } else { "The ledger is NOT sound." })
    }
}
