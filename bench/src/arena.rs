//! The contenders of `make bench`, and the ledgers that they work on.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::callers::Callers;
use crate::ceiling;
use crate::meter::Serving;
use crate::pgbench::Pgbench;
use crate::report::{Load, Run};
use crate::stand::{Database, SCRIPTS, Service, Setting, Stand};
use crate::wrk::{self, Crowd, IN_ONE_BULK, Requests};

pub const ACCOUNTS: u32 = 50_000;
/// In each, every account pays once and is paid once: six fill a page of history and more.
const SEEDED_ROUNDS: u32 = 6;
/// Enough readers to keep both cores busy; more of them only wait.
const READER_CONNECTIONS: u32 = 64;
/// Enough payments at a time to fill the batches of both writers.
const BULK_CONNECTIONS: u32 = 16;

#[derive(Debug, Clone, Copy)]
pub enum Contender {
    Pgbench {
        clients: u32,
    },
    PgbenchOnePayee,
    Ceiling {
        sessions: u32,
    },
    /// With all connections.
    Uniform,
    /// With fewer.
    Few {
        connections: u32,
    },
    /// Many payments in each request, on a few connections.
    Bulk,
    Guarded,
    OnePayee,
    TwoProcesses,
    HttpAlone,
    PgbenchReads {
        clients: u32,
    },
    Reads,
}

impl Contender {
    pub fn name(self) -> String {
        match self {
            Self::Pgbench { clients: 1 } => "pgbench, 1 client, uniform".to_owned(),
            Self::Pgbench { clients } => format!("pgbench, {clients} clients, uniform"),
            Self::PgbenchOnePayee => "pgbench, 8 clients, one payee".to_owned(),
            Self::Ceiling { sessions: 1 } => "ceiling, 1 session".to_owned(),
            Self::Ceiling { sessions } => format!("ceiling, {sessions} sessions"),
            Self::Uniform => "payonce, uniform".to_owned(),
            Self::Few { connections: 1 } => "payonce, 1 connection, uniform".to_owned(),
            Self::Few { connections } => format!("payonce, {connections} connections, uniform"),
            Self::Bulk => format!("payonce, uniform, bulks of {IN_ONE_BULK}"),
            Self::Guarded => "payonce, uniform, tokens and limits".to_owned(),
            Self::OnePayee => "payonce, one payee".to_owned(),
            Self::TwoProcesses => "payonce, 2 processes, uniform".to_owned(),
            Self::HttpAlone => "HTTP alone".to_owned(),
            Self::PgbenchReads { clients } => format!("pgbench, {clients} clients, histories"),
            Self::Reads => "payonce, histories".to_owned(),
        }
    }
}

/// The server, and the ledger that each round begins with.
pub struct Arena {
    stand: Stand,
    seeded: Database,
    callers: Callers,
    payments: PathBuf,
    histories: PathBuf,
    connections: u32,
}

impl Arena {
    pub async fn prepare(connections: u32) -> Result<(Self, Setting)> {
        let (stand, setting) = Stand::new().await?;
        let seeded = stand.database("payonce");
        seed(&seeded).await?;
        seeded.audit().await.context("the seeded ledger")?;
        let callers = Callers::new(stand.work())?;
        let payments = PathBuf::from(SCRIPTS).join("pgbench.sql");
        let histories = PathBuf::from(SCRIPTS).join("history.sql");
        Ok((Self { stand, seeded, callers, payments, histories, connections }, setting))
    }

    pub fn close(self) -> Result<()> {
        self.stand.stop()
    }
}

/// Accounts with money, and a history of more than a page each.
pub async fn seed(database: &Database) -> Result<()> {
    database.migrate().await?;
    database.script("seed.sql", &[("accounts", ACCOUNTS)]).await?;
    let rounds = [("accounts", ACCOUNTS), ("first", 1), ("last", SEEDED_ROUNDS)];
    database.script("rounds.sql", &rounds).await?;
    database.script("feed.sql", &[]).await?;
    database.value("VACUUM ANALYZE").await?;
    Ok(())
}

/// A round: new copies of the seeded ledger, one for each side. The rows of one round would slow
/// down the next one, and more so the side that has written more.
pub struct Round<'a> {
    arena: &'a Arena,
    payonce: Database,
    ceiling: Database,
    baseline: Database,
    services: [Service; 2],
    guarded: Service,
    http_alone: Service,
    tally: Tally,
}

/// The answers that clients got, to be compared with the payments in the ledger.
#[derive(Debug, Default)]
struct Tally {
    answered: f64,
    /// Requests under way when a run ended: wrk drops them, and their payments may be made.
    dropped_max: f64,
}

impl<'a> Round<'a> {
    pub async fn begin(arena: &'a Arena) -> Result<Self> {
        let payonce = arena.stand.database("ledger");
        payonce.create_as_copy_of(&arena.seeded).await?;
        let ceiling = arena.stand.database("ceiling");
        ceiling.create_as_copy_of(&arena.seeded).await?;
        let baseline = arena.stand.database("baseline");
        baseline.create_as_copy_of(&arena.seeded).await?;
        // The brief's payment has no feed.
        baseline.value("ALTER TABLE payments DISABLE TRIGGER payments_batch").await?;
        payonce.value("CHECKPOINT").await?;
        let services = [arena.stand.serve(&payonce).await?, arena.stand.serve(&payonce).await?];
        let guarded = arena.stand.serve_guarded(&payonce, &arena.callers).await?;
        let http_alone = arena.stand.serve_http_alone().await?;
        let tally = Tally::default();
        Ok(Self { arena, payonce, ceiling, baseline, services, guarded, http_alone, tally })
    }

    pub async fn measure(&mut self, contender: Contender, seconds: u32) -> Result<Run> {
        let [first, second] = &self.services;
        let serving = match contender {
            Contender::Ceiling { .. } => Serving::Ourselves,
            Contender::TwoProcesses => Serving::Processes(vec![first.pid, second.pid]),
            Contender::Guarded => Serving::Processes(vec![self.guarded.pid]),
            Contender::HttpAlone => Serving::Processes(vec![self.http_alone.pid]),
            _ => Serving::Processes(vec![first.pid]),
        };
        let meter = self.arena.stand.meter(serving)?;
        let load = self.load(contender, seconds).await?;
        let used = meter.stop()?;
        let (answered, dropped_max) = match contender {
            Contender::Uniform
            | Contender::Guarded
            | Contender::OnePayee
            | Contender::TwoProcesses => (load.done, f64::from(self.arena.connections)),
            Contender::Few { connections } => (load.done, f64::from(connections)),
            Contender::Bulk => (load.done, f64::from(BULK_CONNECTIONS.saturating_mul(IN_ONE_BULK))),
            Contender::Pgbench { .. }
            | Contender::PgbenchOnePayee
            | Contender::Ceiling { .. }
            | Contender::HttpAlone
            | Contender::PgbenchReads { .. }
            | Contender::Reads => (0.0, 0.0),
        };
        self.tally.answered += answered;
        self.tally.dropped_max += dropped_max;
        Ok(Run { load, used })
    }

    async fn load(&self, contender: Contender, seconds: u32) -> Result<Load> {
        let [service, second] = &self.services;
        let (uniform, one_payee) =
            (Requests::Uniform { accounts: ACCOUNTS }, Requests::OnePayee { accounts: ACCOUNTS });
        let crowd = Crowd { threads: 2, connections: self.arena.connections, seconds };
        match contender {
            Contender::Pgbench { clients } => self.pay(clients, 0, seconds).await,
            Contender::PgbenchOnePayee => self.pay(8, 1, seconds).await,
            Contender::PgbenchReads { clients } => {
                let variables = &[("accounts", ACCOUNTS)];
                let pgbench =
                    Pgbench { script: &self.arena.histories, variables, clients, seconds };
                // The database of the service: the same pages are read.
                pgbench.run(&self.arena.stand, &self.payonce).await
            }
            Contender::Ceiling { sessions } => {
                ceiling::run(&self.ceiling, sessions, ACCOUNTS, seconds).await
            }
            Contender::Uniform => wrk::run(service, &uniform, crowd).await,
            Contender::HttpAlone => wrk::run(&self.http_alone, &uniform, crowd).await,
            Contender::Few { connections } => {
                let few = Crowd { threads: connections.min(2), connections, seconds };
                wrk::run(service, &uniform, few).await
            }
            Contender::Bulk => {
                let few = Crowd { connections: BULK_CONNECTIONS, ..crowd };
                wrk::run(service, &Requests::Bulk { accounts: ACCOUNTS }, few).await
            }
            Contender::Guarded => wrk::run(&self.guarded, &uniform, crowd).await,
            Contender::OnePayee => wrk::run(service, &one_payee, crowd).await,
            Contender::TwoProcesses => {
                let half =
                    Crowd { threads: 1, connections: crowd.connections.div_euclid(2), seconds };
                let (a, b) = tokio::try_join!(
                    wrk::run(service, &uniform, half),
                    wrk::run(second, &uniform, half)
                )?;
                Ok(a.and(b))
            }
            Contender::Reads => {
                let crowd = Crowd { connections: READER_CONNECTIONS, ..crowd };
                wrk::run(service, &Requests::Histories { accounts: ACCOUNTS }, crowd).await
            }
        }
    }

    async fn pay(&self, clients: u32, one_payee: u32, seconds: u32) -> Result<Load> {
        let variables = &[("accounts", ACCOUNTS), ("one_payee", one_payee)];
        let pgbench = Pgbench { script: &self.arena.payments, variables, clients, seconds };
        pgbench.run(&self.arena.stand, &self.baseline).await
    }

    /// Ends it, if every answer has its payment and the ledger is sound.
    pub async fn end(self) -> Result<()> {
        for service in self.services.into_iter().chain([self.guarded, self.http_alone]) {
            service.stop().await?;
        }
        let count = "SELECT count(*) FROM payments";
        let seeded = self.arena.seeded.number(count).await?;
        let posted = self.payonce.number(count).await? - seeded;
        let Tally { answered, dropped_max } = self.tally;
        println!("  Answered with success: {answered}. Payments made: {posted}.");
        if posted < answered || posted > answered + dropped_max {
            bail!("answers and payments do not match");
        }
        // Side by side, because each audit keeps one core busy.
        tokio::try_join!(self.payonce.audit(), self.ceiling.audit())
            .context("after all payments")?;
        println!("  The audit is clean.");
        for database in [self.payonce, self.ceiling, self.baseline] {
            database.drop_from(&self.arena.seeded).await?;
        }
        Ok(())
    }
}
