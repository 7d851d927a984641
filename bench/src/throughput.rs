//! `make bench`: the service against pgbench and against its own statements, on one Postgres.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::knobs::Knobs;
use crate::meter::Serving;
use crate::pgbench::{self, Pgbench};
use crate::plot::{self, Bar, Group, Kind};
use crate::report::{self, Bound, Load, Row, Run, Spread, Target};
use crate::stand::{Database, SCRIPTS, Service, Setting, Stand};
use crate::wrk::{self, Crowd, Requests};
use crate::{Verdict, ceiling, results};

const COMMAND: &str = "make bench";

pub const ACCOUNTS: u32 = 50_000;
/// In each, every account pays once and is paid once: six fill a page of history and more.
const SEEDED_ROUNDS: u32 = 6;
/// Of two for each core that serves, beyond which the pages only wait.
const READER_CONNECTIONS: u32 = 64;

/// The rows of the comparison, as `ONLY` names them. Where a row has several contenders, the one
/// with the best median counts.
const ROWS: [(&str, &[Contender]); 10] = [
    // One payment per transaction gets faster with clients that share the wait for the disk, and
    // slower again when they crowd the cores or queue for one row.
    (
        "baseline",
        &[
            Contender::Pgbench { clients: 8 },
            Contender::Pgbench { clients: 32 },
            Contender::Pgbench { clients: 64 },
        ],
    ),
    ("baseline-one-payee", &[Contender::PgbenchOnePayee]),
    (
        "ceiling",
        &[
            Contender::Ceiling { sessions: 1 },
            Contender::Ceiling { sessions: 2 },
            Contender::Ceiling { sessions: 4 },
        ],
    ),
    ("uniform", &[Contender::Uniform]),
    ("one-payee", &[Contender::OnePayee]),
    ("two", &[Contender::TwoProcesses]),
    (
        "baseline-reads",
        &[Contender::PgbenchReads { clients: 8 }, Contender::PgbenchReads { clients: 32 }],
    ),
    ("reads", &[Contender::Reads]),
    ("baseline-idle", &[Contender::PgbenchIdle]),
    ("idle", &[Contender::Idle]),
];

#[derive(Debug, Clone, Copy)]
enum Contender {
    Pgbench { clients: u32 },
    PgbenchOnePayee,
    Ceiling { sessions: u32 },
    Uniform,
    OnePayee,
    TwoProcesses,
    PgbenchReads { clients: u32 },
    Reads,
    PgbenchIdle,
    Idle,
}

impl Contender {
    fn name(self) -> String {
        match self {
            Self::Pgbench { clients } => format!("pgbench, {clients} clients, uniform"),
            Self::PgbenchOnePayee => "pgbench, 8 clients, one payee".to_owned(),
            Self::Ceiling { sessions: 1 } => "ceiling, 1 session".to_owned(),
            Self::Ceiling { sessions } => format!("ceiling, {sessions} sessions"),
            Self::Uniform => "payonce, uniform".to_owned(),
            Self::OnePayee => "payonce, one payee".to_owned(),
            Self::TwoProcesses => "payonce, 2 processes, uniform".to_owned(),
            Self::PgbenchReads { clients } => format!("pgbench, {clients} clients, histories"),
            Self::Reads => "payonce, histories".to_owned(),
            Self::PgbenchIdle => "pgbench, 1 client, uniform".to_owned(),
            Self::Idle => "payonce, 1 connection, uniform".to_owned(),
        }
    }
}

/// Everything that contenders need.
struct Arena {
    stand: Stand,
    payonce: Database,
    baseline: Database,
    services: [Service; 2],
    payments: PathBuf,
    histories: PathBuf,
    connections: u32,
    tally: Tally,
}

/// What the clients were told, to be compared with what the ledger holds.
#[derive(Debug, Default)]
struct Tally {
    answered: f64,
    /// Requests under way when a run ended: wrk drops them, and their payments may be made.
    dropped_max: f64,
}

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    for wanted in &knobs.only {
        if !ROWS.iter().any(|(name, _)| name == wanted) {
            let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
            bail!("ONLY={wanted}: the rows are {}", names.join(", "));
        }
    }
    let (mut arena, setting) = Arena::prepare(knobs).await?;
    println!("{}", results::circumstances(COMMAND, &setting));

    let before = arena.count_payments().await?;
    let mut rows: Vec<(&str, Vec<Row>)> = Vec::new();
    for (name, contenders) in ROWS.into_iter().filter(|(name, _)| knobs.wants(name)) {
        if let Some(first) = contenders.first() {
            arena.measure(*first, 1).await?;
        }
        let empty = |contender: &Contender| Row { name: contender.name(), runs: Vec::new() };
        rows.push((name, contenders.iter().map(empty).collect()));
    }
    // In turn, so that a slow moment of the machine hits everybody.
    for round in 1..=knobs.rounds {
        println!("Round {round} of {}, per second:", knobs.rounds);
        for (name, rows) in &mut rows {
            let contenders = ROWS.iter().find(|(row, _)| row == name).map_or(&[][..], |row| row.1);
            for (contender, row) in contenders.iter().zip(rows) {
                let run = arena.measure(*contender, knobs.seconds).await?;
                println!("  {:<32}{:>8}", row.name, report::thousands(run.load.per_second));
                row.runs.push(run);
            }
        }
    }
    let after = arena.count_payments().await?;
    arena.finish(after - before).await?;

    let section = Section { rows: &rows, targets: targets(&rows) };
    let text = section.text(&setting, knobs);
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
        results::write_picture("throughput.svg", &section.picture(&setting, knobs)?)?;
    }
    Ok(Verdict::of(&section.targets))
}

impl Arena {
    async fn prepare(knobs: &Knobs) -> Result<(Self, Setting)> {
        let (stand, setting) = Stand::new().await?;
        let payonce = stand.database("payonce");
        seed(&payonce).await?;
        // The same schema and the same accounts for both.
        let baseline = stand.database("baseline");
        baseline.create_as_copy_of(&payonce).await?;
        // The brief's keys do not reference accounts. With the reference, claiming a key before
        // locking the accounts shares the payer's row, and two payments of one payer deadlock.
        let unreferenced = "ALTER TABLE idempotency_keys
                            DROP CONSTRAINT IF EXISTS idempotency_keys_user_id_fkey";
        baseline.value(unreferenced).await?;
        for database in [&payonce, &baseline] {
            database.value("VACUUM ANALYZE").await?;
        }
        payonce.value("CHECKPOINT").await?;
        payonce.audit().await.context("the seeded ledger")?;
        let services = [stand.serve(&payonce).await?, stand.serve(&payonce).await?];
        let payments = PathBuf::from(SCRIPTS).join("pgbench.sql");
        let histories = pgbench::history_script(stand.work())?;
        let connections = knobs.connections;
        let tally = Tally::default();
        let arena =
            Self { stand, payonce, baseline, services, payments, histories, connections, tally };
        Ok((arena, setting))
    }

    async fn measure(&mut self, contender: Contender, seconds: u32) -> Result<Run> {
        let [first, second] = &self.services;
        let serving = match contender {
            Contender::Ceiling { .. } => Serving::Ourselves,
            Contender::TwoProcesses => Serving::Processes(vec![first.pid, second.pid]),
            _ => Serving::Processes(vec![first.pid]),
        };
        let meter = self.stand.meter(serving)?;
        let load = self.load(contender, seconds).await?;
        let used = meter.stop()?;
        match contender {
            Contender::Ceiling { .. } => self.tally.answered += load.done,
            Contender::Uniform | Contender::OnePayee | Contender::TwoProcesses => {
                self.tally.answered += load.done;
                self.tally.dropped_max += f64::from(self.connections);
            }
            Contender::Idle => {
                self.tally.answered += load.done;
                self.tally.dropped_max += 1.0;
            }
            _ => {}
        }
        Ok(Run { load, used })
    }

    async fn load(&self, contender: Contender, seconds: u32) -> Result<Load> {
        let [service, second] = &self.services;
        let (uniform, one_payee) =
            (Requests::Uniform { accounts: ACCOUNTS }, Requests::OnePayee { accounts: ACCOUNTS });
        let crowd = Crowd { threads: 2, connections: self.connections, seconds };
        match contender {
            Contender::Pgbench { clients } => self.pay(clients, 0, seconds).await,
            Contender::PgbenchOnePayee => self.pay(8, 1, seconds).await,
            Contender::PgbenchIdle => self.pay(1, 0, seconds).await,
            Contender::PgbenchReads { clients } => {
                let variables = &[("accounts", ACCOUNTS)];
                let pgbench = Pgbench { script: &self.histories, variables, clients, seconds };
                // The database of the service: the same pages are read.
                pgbench.run(&self.stand, &self.payonce).await
            }
            Contender::Ceiling { sessions } => {
                ceiling::run(&self.payonce, sessions, ACCOUNTS, seconds).await
            }
            Contender::Uniform => wrk::run(service, &uniform, crowd).await,
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
            Contender::Idle => {
                wrk::run(service, &uniform, Crowd { threads: 1, connections: 1, seconds }).await
            }
        }
    }

    async fn pay(&self, clients: u32, one_payee: u32, seconds: u32) -> Result<Load> {
        let variables = &[("accounts", ACCOUNTS), ("one_payee", one_payee)];
        let pgbench = Pgbench { script: &self.payments, variables, clients, seconds };
        pgbench.run(&self.stand, &self.baseline).await
    }

    async fn count_payments(&self) -> Result<f64> {
        self.payonce.number("SELECT count(*) FROM payments").await
    }

    /// Ends everything, if every answer has its payment and the ledger is sound.
    async fn finish(self, posted: f64) -> Result<()> {
        let Tally { answered, dropped_max } = self.tally;
        println!("Answered with success: {answered}. Payments in the database: {posted}.");
        if posted < answered || posted > answered + dropped_max {
            bail!("answers and payments do not match");
        }
        for service in self.services {
            service.stop().await?;
        }
        self.payonce.audit().await.context("after all payments")?;
        println!("The audit after all payments is clean.");
        self.stand.stop()
    }
}

/// Accounts with money, and a history of more than a page each.
pub async fn seed(database: &Database) -> Result<()> {
    database.migrate().await?;
    database.script("seed.sql", &[("accounts", ACCOUNTS)]).await?;
    let rounds = [("accounts", ACCOUNTS), ("first", 1), ("last", SEEDED_ROUNDS)];
    database.script("rounds.sql", &rounds).await?;
    Ok(())
}

/// Of a row's contenders the one with the best median.
fn best<'a>(rows: &'a [(&str, Vec<Row>)], name: &str) -> Option<&'a Row> {
    let (_, rows) = rows.iter().find(|(row, _)| *row == name)?;
    rows.iter().max_by(|a, b| a.rate().median.total_cmp(&b.rate().median))
}

/// The promises that can be judged by the rows that were measured.
fn targets(rows: &[(&str, Vec<Row>)]) -> Vec<Target> {
    let best = |name: &str| best(rows, name);
    let rate = |run: &Run| run.load.per_second;
    let p50 = |run: &Run| run.load.latency.p50;
    let ratio = |what, of: &str, to: &str, figure: fn(&Run) -> f64, bound| {
        let figure = best(of)?.ratio(best(to)?, figure);
        Some(Target { what, figure, bound })
    };
    let at_least = |least, aim| Bound::AtLeast { least, aim };
    let at_most = |most, aim| Bound::AtMost { most, aim };
    let memory = || {
        let loaded = ["uniform", "one-payee"].map(best);
        let runs: Vec<f64> = loaded
            .into_iter()
            .flatten()
            .flat_map(|row| &row.runs)
            .map(|run| run.used.service_mib)
            .collect();
        let most = Spread::of(runs.clone()).max;
        (!runs.is_empty()).then(|| Target {
            what: "service's memory at full load, MiB",
            figure: Spread { median: most, ..Spread::of(runs) },
            bound: at_most(64.0, 32.0),
        })
    };
    [
        ratio("uniform to pgbench's best", "uniform", "baseline", rate, at_least(5.0, 8.0)),
        ratio("uniform to the ceiling", "uniform", "ceiling", rate, at_least(0.7, 0.8)),
        ratio("one payee to uniform", "one-payee", "uniform", rate, at_least(1.0, 1.2)),
        ratio("histories to pgbench's best", "reads", "baseline-reads", rate, at_least(0.6, 0.8)),
        ratio("idle p50 to pgbench's", "idle", "baseline-idle", p50, at_most(1.5, 1.0)),
        memory(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What `RESULTS.md` says about a run.
struct Section<'a> {
    rows: &'a [(&'a str, Vec<Row>)],
    targets: Vec<Target>,
}

impl Section<'_> {
    fn text(&self, setting: &Setting, knobs: &Knobs) -> String {
        let head = [
            "contender",
            "per second",
            "rounds",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "service us",
            "Postgres us",
            "client us",
            "service MiB",
        ];
        let cells: Vec<Vec<String>> = self
            .rows
            .iter()
            .flat_map(|(name, rows)| rows.iter().map(move |row| cells(name, row)))
            .collect();
        format!(
            "{}\nMedians of {} rounds of {} s each; times of a processor are per payment or read.\n\
             \n{}\n{}",
            results::circumstances(COMMAND, setting),
            knobs.rounds,
            knobs.seconds,
            report::table(&head, &cells),
            report::targets_table(&self.targets)
        )
    }
}

impl Section<'_> {
    fn picture(&self, setting: &Setting, knobs: &Knobs) -> Result<String> {
        let bar = |row: &str, name: &str, explanation: &str, kind| {
            let row = best(self.rows, row)?;
            let (name, explanation) = (name.to_owned(), explanation.to_owned());
            Some(Bar { name, explanation, rate: row.rate(), kind })
        };
        let any = [
            bar("baseline", "pgbench", "a payment per transaction, no HTTP", Kind::Database),
            bar("uniform", "payonce", "over HTTP", Kind::Service),
            bar("two", "payonce, two processes", "over HTTP, one database", Kind::Service),
            bar("ceiling", "payonce's statements", "batches of 256, no HTTP", Kind::Ceiling),
        ];
        let one = [
            bar(
                "baseline-one-payee",
                "pgbench",
                "a payment per transaction, no HTTP",
                Kind::Database,
            ),
            bar("one-payee", "payonce", "over HTTP", Kind::Service),
        ];
        let group = |title: &str, bars: Vec<Bar>| Group { title: title.to_owned(), bars };
        let accounts = report::thousands(f64::from(ACCOUNTS));
        let groups = [
            group(
                &format!("Between any of {accounts} accounts"),
                any.into_iter().flatten().collect(),
            ),
            group("All to one payee", one.into_iter().flatten().collect()),
        ];
        let subtitle = format!(
            "{}, durable commits, {} cores shared with the load generator. Medians of {} rounds; \
             the whiskers are the slowest and the fastest.",
            setting.postgres, setting.cores, knobs.rounds
        );
        plot::svg("Payments per second", &subtitle, &groups)
    }
}

fn cells(name: &str, row: &Row) -> Vec<String> {
    let rate = row.rate();
    let ms = |figure: fn(&Run) -> f64| report::decimals(row.spread(figure).median);
    let us = |figure: fn(&Run) -> f64| {
        let each = row.spread(|run| figure(run) * 1_000_000.0 / run.load.done).median;
        report::decimals(each)
    };
    let is_served = !name.starts_with("baseline");
    let blank = |shown: bool, text: String| if shown { text } else { String::new() };
    let is_driver = name == "ceiling";
    vec![
        row.name.clone(),
        report::thousands(rate.median),
        format!("{} to {}", report::thousands(rate.min), report::thousands(rate.max)),
        ms(|run| run.load.latency.p50),
        ms(|run| run.load.latency.p95),
        ms(|run| run.load.latency.p99),
        blank(is_served, us(|run| run.used.service_s)),
        us(|run| run.used.postgres_s),
        blank(!is_driver, us(|run| run.used.client_s)),
        blank(
            is_served && !is_driver,
            report::decimals(row.spread(|run| run.used.service_mib).max),
        ),
    ]
}
