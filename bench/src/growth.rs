//! `make bench-growth`: whether the service is as fast on a large ledger as on a small one, and on
//! the thousandth page of a history as on the first.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::knobs::Knobs;
use crate::meter::Serving;
use crate::report::{self, Bound, Row, Run, Target, thousands};
use crate::stand::{Database, Service, Setting, Stand};
use crate::wrk::{self, Crowd, Requests};
use crate::{Verdict, results};

const COMMAND: &str = "make bench-growth";

/// Of both ledgers. Each is opened with a payment: these are the small ledger.
const ACCOUNTS: u32 = 10_000;
/// The large ledger has these more: 998 rounds of 10,000 payments, and a long history of accounts 1
/// and 2. With the openings that is ten million.
const ROUNDS: u32 = 998;
const LONG_HISTORY: u32 = 10_000;
const HALF: u32 = ROUNDS.div_euclid(2);
/// Loaded at once, by each of two sessions.
const ROUNDS_AT_ONCE: u32 = 50;
/// Until pages that were not touched since the last checkpoint, which are logged as a whole once,
/// have become few: a state in which a server is nearly always. The small ledger has few pages, and
/// would not stay small.
const SMALL_WARM_UP_SECONDS: u32 = 2;
const LARGE_WARM_UP_SECONDS: u32 = 20;
/// The payments before the thousandth page, ten on each.
const BEFORE_PAGE_1000: u32 = 9_990;

/// One of the two ledgers, served.
struct Ledger {
    database: Database,
    service: Service,
    at_start: f64,
    row: Row,
    wal_bytes: f64,
}

impl Ledger {
    async fn serve(stand: &Stand, database: Database, name: &str) -> Result<Self> {
        let service = stand.serve(&database).await?;
        let at_start = database.number("SELECT count(*) FROM payments").await?;
        let row = Row { name: name.to_owned(), runs: Vec::new() };
        Ok(Self { database, service, at_start, row, wal_bytes: 0.0 })
    }

    async fn measure(&mut self, stand: &Stand, crowd: Crowd) -> Result<Run> {
        let wal = "SELECT pg_current_wal_lsn() - '0/0'";
        let before = self.database.number(wal).await?;
        let meter = stand.meter(Serving::Processes(vec![self.service.pid]))?;
        let load =
            wrk::run(&self.service, &Requests::Uniform { accounts: ACCOUNTS }, crowd).await?;
        let used = meter.stop()?;
        self.wal_bytes += self.database.number(wal).await? - before;
        Ok(Run { load, used })
    }

    fn wal_bytes_per_payment(&self) -> f64 {
        self.wal_bytes / self.row.runs.iter().map(|run| run.load.done).sum::<f64>()
    }
}

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    let (stand, setting) = Stand::new().await?;
    println!("{}", results::circumstances(COMMAND, &setting));
    let small = stand.database("payonce");
    small.migrate().await?;
    small.script("seed.sql", &[("accounts", ACCOUNTS)]).await?;
    small.script("feed.sql", &[]).await?;
    let large = stand.database("large");
    large.create_as_copy_of(&small).await?;
    small.value("VACUUM ANALYZE").await?;
    load_large(&large).await?;
    let storage = Storage::of(&large).await?;
    let page_1000 = path_of_page_1000(&large).await?;

    let mut small = Ledger::serve(&stand, small, "ledger of 10 thousand").await?;
    let mut large = Ledger::serve(&stand, large, "ledger of 10 million").await?;
    let page = |name: &str| Row { name: name.to_owned(), runs: Vec::new() };
    let mut pages = [
        (page("page 1"), Requests::Path("/payment_history/1".to_owned())),
        (page("page 1,000"), Requests::Path(page_1000)),
    ];
    let crowd =
        |connections: u32, seconds| Crowd { threads: connections.min(2), connections, seconds };
    for (ledger, seconds) in
        [(&mut small, SMALL_WARM_UP_SECONDS), (&mut large, LARGE_WARM_UP_SECONDS)]
    {
        ledger.measure(&stand, crowd(knobs.connections, seconds)).await?;
        ledger.wal_bytes = 0.0;
    }
    for round in 1..=knobs.rounds {
        println!("Round {round} of {}, per second:", knobs.rounds);
        for ledger in [&mut small, &mut large] {
            let run = ledger.measure(&stand, crowd(knobs.connections, knobs.seconds)).await?;
            println!("  {:<24}{:>8}", ledger.row.name, thousands(run.load.per_second));
            ledger.row.runs.push(run);
        }
        for (row, requests) in &mut pages {
            let meter = stand.meter(Serving::Processes(vec![large.service.pid]))?;
            let load = wrk::run(&large.service, requests, crowd(1, knobs.seconds)).await?;
            println!("  {:<24}{:>8}", row.name, thousands(load.per_second));
            row.runs.push(Run { load, used: meter.stop()? });
        }
    }

    let section = Section { small: &small, large: &large, pages: &pages, storage };
    let text = section.text(&setting, knobs);
    let targets = section.targets();
    for ledger in [small, large] {
        ledger.service.stop().await?;
        ledger.database.audit().await.with_context(|| ledger.row.name)?;
    }
    println!("Both audits are clean.");
    stand.stop()?;
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
    }
    Ok(Verdict::of(&targets))
}

/// Ten million payments with their keys, each explained: without indexes, which are made afterwards.
async fn load_large(database: &Database) -> Result<()> {
    let started = Instant::now();
    let step = |what: &str| println!("{:>5.0} s  {what}", started.elapsed().as_secs_f64());
    step("loading ten million payments");
    database.script("indexes-off.sql", &[]).await?;
    // One session after the other would leave a core idle.
    tokio::try_join!(load_rounds(database, 1, HALF), load_rounds(database, HALF + 1, ROUNDS))?;
    let variables = [("accounts", ACCOUNTS), ("rounds", ROUNDS), ("payments", LONG_HISTORY)];
    database.script("long-history.sql", &variables).await?;
    step("making indexes and constraints");
    database.script("indexes-on.sql", &[]).await?;
    step("giving positions in the feed");
    database.script("feed.sql", &[]).await?;
    step("auditing");
    database.audit().await.context("the large ledger")?;
    step("done");
    Ok(())
}

async fn load_rounds(database: &Database, mut first: u32, end: u32) -> Result<()> {
    while first <= end {
        let last = first.saturating_add(ROUNDS_AT_ONCE).saturating_sub(1).min(end);
        let variables = [("accounts", ACCOUNTS), ("first", first), ("last", last)];
        database.script("rounds.sql", &variables).await?;
        first = last.saturating_add(1);
    }
    Ok(())
}

/// Where the `Link` of page 999 of account 1 would lead.
async fn path_of_page_1000(database: &Database) -> Result<String> {
    let last_seen = format!(
        "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                || '&last_seen_id=' || id
         FROM payments WHERE 1 IN (from_id, to_id)
         ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET {BEFORE_PAGE_1000} - 1"
    );
    let last_seen = database.value(&last_seen).await?;
    Ok(format!("/payment_history/1?last_seen_timestamp={last_seen}"))
}

/// Bytes on disk for each payment, with its key.
struct Storage {
    rows: f64,
    indexes: f64,
}

impl Storage {
    async fn of(database: &Database) -> Result<Self> {
        let each = async |size: &str| {
            let query = format!(
                "SELECT ({size}('payments') + {size}('idempotency_keys'))::float
                        / (SELECT count(*) FROM payments)"
            );
            database.number(&query).await
        };
        Ok(Self { rows: each("pg_table_size").await?, indexes: each("pg_indexes_size").await? })
    }
}

struct Section<'a> {
    small: &'a Ledger,
    large: &'a Ledger,
    pages: &'a [(Row, Requests); 2],
    storage: Storage,
}

impl Section<'_> {
    fn targets(&self) -> [Target; 2] {
        let [(first, _), (thousandth, _)] = self.pages;
        [
            Target {
                what: "payments/s, large ledger to small",
                figure: self.large.row.ratio(&self.small.row, |run| run.load.per_second),
                bound: Bound::AtLeast { least: 0.8, aim: 0.95 },
            },
            Target {
                what: "p50, page 1,000 to page 1",
                figure: thousandth.ratio(first, |run| run.load.latency.p50),
                bound: Bound::AtMost { most: 1.1, aim: 1.1 },
            },
        ]
    }

    fn text(&self, setting: &Setting, knobs: &Knobs) -> String {
        let mut cells: Vec<Vec<String>> = Vec::new();
        for ledger in [self.small, self.large] {
            let [name, figures @ ..] = run_cells(&ledger.row);
            let name = format!("payments, {name}");
            let wal = thousands(ledger.wal_bytes_per_payment());
            cells.push([vec![name], figures.to_vec(), vec![wal]].concat());
        }
        for (row, _) in self.pages {
            cells.push([run_cells(row).to_vec(), vec![String::new()]].concat());
        }
        let head = [
            "asked for",
            "per second",
            "rounds",
            "p50 ms",
            "p99 ms",
            "service us",
            "Postgres us",
            "WAL bytes",
        ];
        let targets = report::targets_table(&self.targets());
        let Storage { rows, indexes } = self.storage;
        format!(
            "{}\nMedians of {} rounds of {} s each. Before the rounds and their warm-up the small \
             ledger had {} payments and the large one {}, between the same {} accounts. Pages are \
             those of one account with more than 10,000 payments in the large ledger, asked for by \
             one client.\n\n{}\n\
             Freshly loaded, a payment and its key take {} bytes on disk: {} in rows, {} in \
             indexes.\n\n{targets}",
            results::circumstances(COMMAND, setting),
            knobs.rounds,
            knobs.seconds,
            thousands(self.small.at_start),
            thousands(self.large.at_start),
            thousands(f64::from(ACCOUNTS)),
            report::table(&head, &cells),
            thousands(rows + indexes),
            thousands(rows),
            thousands(indexes),
        )
    }
}

fn run_cells(row: &Row) -> [String; 7] {
    let rate = row.rate();
    let median = |figure: fn(&Run) -> f64| report::decimals(row.spread(figure).median);
    [
        row.name.clone(),
        thousands(rate.median),
        format!("{} to {}", thousands(rate.min), thousands(rate.max)),
        median(|run| run.load.latency.p50),
        median(|run| run.load.latency.p99),
        report::decimals(row.cost().service),
        report::decimals(row.cost().postgres),
    ]
}
