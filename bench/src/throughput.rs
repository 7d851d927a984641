//! `make bench`: the service against pgbench and against its own statements, on one Postgres.

use anyhow::{Result, bail};

use crate::arena::{ACCOUNTS, Arena, Contender, Round};
use crate::knobs::Knobs;
use crate::plot::{self, Bar, Group, Kind};
use crate::report::{self, Bound, Row, Run, Spread, Target};
use crate::stand::Setting;
use crate::{Verdict, results};

const COMMAND: &str = "make bench";

/// The rows of the comparison, as `ONLY` names them. Where a row has several contenders, the one
/// with the best median counts.
const ROWS: [(&str, &[Contender]); 11] = [
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
    ("guarded", &[Contender::Guarded]),
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

/// Before each round, so that nobody is the first to read a table or to prepare a statement.
const WARM_UP: [Contender; 5] = [
    Contender::Pgbench { clients: 8 },
    Contender::Uniform,
    Contender::Guarded,
    Contender::TwoProcesses,
    Contender::Reads,
];

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    for wanted in &knobs.only {
        if !ROWS.iter().any(|(name, _)| name == wanted) {
            let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
            bail!("ONLY={wanted}: the rows are {}", names.join(", "));
        }
    }
    let (arena, setting) = Arena::prepare(knobs.connections).await?;
    println!("{}", results::circumstances(COMMAND, &setting));

    let wanted = ROWS.into_iter().filter(|(name, _)| knobs.wants(name));
    let empty = |contender: &Contender| Row { name: contender.name(), runs: Vec::new() };
    let mut rows: Vec<(&str, Vec<Row>)> =
        wanted.map(|(name, contenders)| (name, contenders.iter().map(empty).collect())).collect();
    for number in 1..=knobs.rounds {
        let mut round = Round::begin(&arena).await?;
        for contender in WARM_UP {
            round.measure(contender, 1).await?;
        }
        println!("Round {number} of {}, per second:", knobs.rounds);
        // In turn, so that a slow moment of the machine hits everybody.
        for (name, rows) in &mut rows {
            let contenders = ROWS.iter().find(|(row, _)| row == name).map_or(&[][..], |row| row.1);
            for (contender, row) in contenders.iter().zip(rows) {
                let run = round.measure(*contender, knobs.seconds).await?;
                println!("  {:<32}{:>8}", row.name, report::thousands(run.load.per_second));
                row.runs.push(run);
            }
        }
        round.end().await?;
    }
    arena.close()?;

    let section = Section { rows: &rows, targets: targets(&rows) };
    let text = section.text(&setting, knobs);
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
        results::write_picture("throughput.svg", &section.picture(&setting, knobs)?)?;
    }
    Ok(Verdict::of(&section.targets))
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
    let p99 = |run: &Run| run.load.latency.p99;
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
        ratio(
            "uniform with tokens and limits to without",
            "guarded",
            "uniform",
            rate,
            at_least(0.9, 1.0),
        ),
        ratio("histories to pgbench's best", "reads", "baseline-reads", rate, at_least(0.6, 0.8)),
        ratio("p99, two processes to one", "two", "uniform", p99, at_most(2.0, 1.3)),
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
            bar(
                "ceiling",
                "payonce's statements",
                "batches of 256, no HTTP: the ceiling",
                Kind::Ceiling,
            ),
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
