//! `make bench`: the service against pgbench and against its own statements, on one Postgres.

use anyhow::{Result, bail};

use crate::arena::{ACCOUNTS, Arena, Contender, Round};
use crate::knobs::Knobs;
use crate::plot::{self, Bar, Group, Kind};
use crate::report::{self, Bound, Cost, Row, Run, Spread, Target};
use crate::stand::Setting;
use crate::{Verdict, results};

const COMMAND: &str = "make bench";

/// The rows of the comparison, as `ONLY` names them. Where a row has several contenders, the one
/// with the best median counts.
const ROWS: [(&str, &[Contender]); 15] = [
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
    ("ceiling", &[Contender::Ceiling { sessions: 2 }, Contender::Ceiling { sessions: 4 }]),
    ("http-alone", &[Contender::HttpAlone]),
    ("uniform", &[Contender::Uniform]),
    ("uniform-64", &[Contender::Few { connections: 64 }]),
    ("uniform-8", &[Contender::Few { connections: 8 }]),
    ("bulk", &[Contender::Bulk]),
    ("guarded", &[Contender::Guarded]),
    ("one-payee", &[Contender::OnePayee]),
    ("two", &[Contender::TwoProcesses]),
    (
        "baseline-reads",
        &[Contender::PgbenchReads { clients: 8 }, Contender::PgbenchReads { clients: 32 }],
    ),
    ("reads", &[Contender::Reads]),
    ("baseline-idle", &[Contender::Pgbench { clients: 1 }]),
    ("idle", &[Contender::Few { connections: 1 }]),
];

/// Before each round, so that nobody is the first to read a table or to prepare a statement.
const WARM_UP: [Contender; 6] = [
    Contender::Pgbench { clients: 8 },
    Contender::HttpAlone,
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
    let pgbench = |clients: u32| {
        let name = Contender::Pgbench { clients }.name();
        rows.iter().flat_map(|(_, rows)| rows).find(|row| row.name == name)
    };
    let rate = |run: &Run| run.load.per_second;
    let p50 = |run: &Run| run.load.latency.p50;
    let p99 = |run: &Run| run.load.latency.p99;
    let ratio = |what, of: Option<&Row>, to: Option<&Row>, figure: fn(&Run) -> f64, bound| {
        Some(Target { what, figure: of?.ratio(to?, figure), bound })
    };
    let at_least = |least, aim| Bound::AtLeast { least, aim };
    let at_most = |most, aim| Bound::AtMost { most, aim };
    let (uniform, alone) = (best("uniform"), best("http-alone"));
    let (baseline, ceiling) = (best("baseline"), best("ceiling"));
    let least = baseline.map_or(0.0, |row| least_to_pgbench(row.rate().median));
    let limit = || {
        let figure = share_of_limit(ceiling?, alone?, uniform?);
        Some(Target {
            what: "the limit's processor time to uniform's",
            figure,
            bound: at_least(0.8, 0.9),
        })
    };
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
            bound: at_most(48.0, 32.0),
        })
    };
    [
        ratio(
            "service's time per payment to HTTP alone",
            uniform,
            alone,
            |run| run.cost().service,
            at_most(2.0, 1.6),
        ),
        limit(),
        ratio("uniform to the ceiling", uniform, ceiling, rate, Bound::Told),
        ratio("uniform to pgbench's best", uniform, baseline, rate, at_least(least, 8.0)),
        ratio(
            "64 connections to pgbench's 64 clients",
            best("uniform-64"),
            pgbench(64),
            rate,
            at_least(4.5, 7.0),
        ),
        ratio(
            "8 connections to pgbench's 8 clients",
            best("uniform-8"),
            pgbench(8),
            rate,
            at_least(1.5, 2.0),
        ),
        ratio("idle p50 to pgbench's", best("idle"), best("baseline-idle"), p50, at_most(1.0, 0.8)),
        ratio(
            "one payee to pgbench's one payee",
            best("one-payee"),
            best("baseline-one-payee"),
            rate,
            at_least(12.0, 18.0),
        ),
        ratio("one payee to uniform", best("one-payee"), uniform, rate, Bound::Told),
        ratio(
            "histories to pgbench's best",
            best("reads"),
            best("baseline-reads"),
            rate,
            at_least(0.8, 1.0),
        ),
        ratio(
            "uniform with tokens and limits to without",
            best("guarded"),
            uniform,
            rate,
            at_least(0.85, 0.95),
        ),
        ratio("bulks of 50 to uniform", best("bulk"), uniform, rate, at_least(1.4, 2.0)),
        ratio("p99, two processes to one", best("two"), uniform, p99, at_most(2.0, 1.3)),
        memory(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How many times pgbench's best rate is required of uniform payments. A lone transaction's wait for
/// the disk is the part that payonce shares: the faster the machine makes one, the less there is to gain. So 6.5
/// times up to 4,500 per second, 5 times from 5,000 on, and a straight line between.
fn least_to_pgbench(per_second: f64) -> f64 {
    let to_go = ((5_000.0 - per_second) / 500.0).clamp(0.0, 1.0);
    ((5.0 + 1.5 * to_go) * 100.0).round() / 100.0
}

/// The processor time of the limit, which is the ceiling's, HTTP alone and the client, for each payment,
/// to what a payment takes: of the medians, with the least and the most that a single round gave.
fn share_of_limit(ceiling: &Row, alone: &Row, uniform: &Row) -> Spread {
    let share = |ceiling: Cost, alone: Cost, uniform: Cost| {
        let Cost { service, postgres, client } = uniform;
        (ceiling.service + ceiling.postgres + alone.service + client)
            / (service + postgres + client)
    };
    let rounds = ceiling.runs.iter().zip(&alone.runs).zip(&uniform.runs);
    let rounds = rounds.map(|((a, b), c)| share(a.cost(), b.cost(), c.cost()));
    let median = share(ceiling.cost(), alone.cost(), uniform.cost());
    Spread { median, ..Spread::of(rounds.collect()) }
}

/// The text about a run in `RESULTS.md`.
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
    let median = |figure: fn(&Run) -> f64| report::decimals(row.spread(figure).median);
    let is_served = !name.starts_with("baseline");
    let cost = row.cost();
    let has_database = name != "http-alone";
    let blank = |shown: bool, text: String| if shown { text } else { String::new() };
    let is_driver = name == "ceiling";
    vec![
        row.name.clone(),
        report::thousands(rate.median),
        format!("{} to {}", report::thousands(rate.min), report::thousands(rate.max)),
        median(|run| run.load.latency.p50),
        median(|run| run.load.latency.p95),
        median(|run| run.load.latency.p99),
        blank(is_served, report::decimals(cost.service)),
        blank(has_database, report::decimals(cost.postgres)),
        blank(!is_driver, report::decimals(cost.client)),
        blank(
            is_served && !is_driver,
            report::decimals(row.spread(|run| run.used.service_mib).max),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Used;
    use crate::report::Load;

    #[test]
    fn more_is_required_where_a_lone_transaction_is_slower() {
        let required = [3_000.0, 4_500.0, 4_750.0, 5_000.0, 6_000.0].map(least_to_pgbench);
        assert_eq!(required.map(report::decimals), ["6.50", "6.50", "5.75", "5.00", "5.00"]);
    }

    #[test]
    fn the_limit_is_the_ceiling_with_http_and_the_client() {
        let row = |service_s, postgres_s, client_s| {
            let used = Used { service_s, postgres_s, client_s, service_mib: 0.0 };
            let load = Load { done: 1_000_000.0, ..Load::default() };
            Row { name: String::new(), runs: vec![Run { load, used }] }
        };
        let (ceiling, alone, uniform) =
            (row(3.0, 32.0, 0.0), row(7.0, 0.0, 9.0), row(27.0, 39.0, 10.0));
        let share = share_of_limit(&ceiling, &alone, &uniform);
        assert_eq!(report::decimals(share.median), report::decimals(52.0 / 76.0));
    }
}
