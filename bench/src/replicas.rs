//! `make bench-replicas`: what histories cost the primary where it answers them, and where two replicas do.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::arena::{ACCOUNTS, seed};
use crate::knobs::Knobs;
use crate::meter::Serving;
use crate::report::{self, Bound, Row, Run, Target, decimals};
use crate::stand::{Service, Stand};
use crate::standby::{Standby, Way, wait_for};
use crate::wrk::{self, Crowd, Requests};
use crate::{Verdict, results};

const COMMAND: &str = "make bench-replicas";

const NAMES: [&str; 2] = ["replica-1", "replica-2"];

/// Callers at a time.
const CONNECTIONS: [u32; 3] = [1, 64, 512];

/// The share of its time that the primary may keep: a caller alone has nobody to share a question with.
const AT_MOST: Bound = Bound::AtMost { most: 0.3, aim: 0.2 };

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    let (stand, setting) = Stand::new().await?;
    println!("{}", results::circumstances(COMMAND, &setting));
    let database = stand.database("payonce");
    seed(&database).await?;
    let way = Way::Socket(stand.server().socket_dir().to_owned());
    let start = |name| Standby::start(stand.server(), name, &way);
    let standbys: Vec<Standby> =
        block_in_place(|| NAMES.into_iter().map(start).collect::<Result<_>>())?;
    wait_for(&database, "", &standbys).await?;

    let of_primary = stand.serve(&database).await?;
    let of_all = stand.database_of_all("payonce", &standbys);
    let of_replicas = stand.serve_from_replicas(&of_all).await?;
    let sides = [("the primary", &of_primary), ("two replicas", &of_replicas)];

    let mut rows: Vec<[Row; 2]> = CONNECTIONS
        .map(|connections| {
            sides.map(|(who, _)| {
                let plural = if connections == 1 { "" } else { "s" };
                let name = format!("{connections} connection{plural}, {who}");
                Row { name, runs: Vec::new() }
            })
        })
        .into();
    // Nobody is the first to read a table or to prepare a statement.
    for (_, service) in sides {
        measure(&stand, service, 64, 1).await?;
    }
    for number in 1..=knobs.rounds {
        println!("Round {number} of {}, per second:", knobs.rounds);
        for (connections, pair) in CONNECTIONS.into_iter().zip(&mut rows) {
            for ((_, service), row) in sides.into_iter().zip(pair) {
                let run = measure(&stand, service, connections, knobs.seconds).await?;
                println!("  {:<32}{:>8}", row.name, report::thousands(run.load.per_second));
                row.runs.push(run);
            }
        }
    }
    let [by_replicas, by_primary] = answered(&of_replicas).await?;
    for service in [of_primary, of_replicas] {
        service.stop().await?;
    }
    database.audit().await?;
    println!("The audit is clean.");
    for standby in standbys {
        standby.stop().await?;
    }
    stand.stop()?;

    let targets = targets(&rows);
    let head = ["histories read by", "per second", "p50 ms", "p99 ms", "service us", "primary us"];
    let cells: Vec<Vec<String>> = rows.iter().flatten().map(cells).collect();
    let text = format!(
        "{}\nTwo replicas on the same two cores answer, or the primary does. Times of a processor are per read; those of \
         the replicas are not in them. Where replicas were to read, they answered {by_replicas} statements, and the \
         primary {by_primary}. Medians of {} rounds of {} s.\n\n{}\n{}",
        results::circumstances(COMMAND, &setting),
        knobs.rounds,
        knobs.seconds,
        report::table(&head, &cells),
        report::targets_table(&targets)
    );
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
    }
    Ok(Verdict::of(&targets))
}

async fn measure(stand: &Stand, service: &Service, connections: u32, seconds: u32) -> Result<Run> {
    let crowd = Crowd { threads: connections.min(2), connections, seconds };
    let meter = stand.meter(Serving::Processes(vec![service.pid]))?;
    let load = wrk::run(service, &Requests::Histories { accounts: ACCOUNTS }, crowd).await?;
    Ok(Run { load, used: meter.stop()? })
}

/// What the primary keeps, and what a read waits longer.
fn targets(rows: &[[Row; 2]]) -> Vec<Target> {
    let ratio = |place: usize, what, figure: fn(&Run) -> f64, bound| {
        let [primary, replicas] = rows.get(place)?;
        Some(Target { what, figure: replicas.ratio(primary, figure), bound })
    };
    let primary_us = |run: &Run| run.cost().postgres;
    let p50 = |run: &Run| run.load.latency.p50;
    [
        ratio(0, "primary's time with replicas to without, 1 connection", primary_us, Bound::Told),
        ratio(1, "the same, 64 connections", primary_us, AT_MOST),
        ratio(2, "the same, 512 connections", primary_us, AT_MOST),
        ratio(0, "p50 with replicas to without, 1 connection", p50, Bound::Told),
        ratio(1, "the same, 64 connections", p50, Bound::Told),
        ratio(2, "the same, 512 connections", p50, Bound::Told),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cells(row: &Row) -> Vec<String> {
    let median = |figure: fn(&Run) -> f64| decimals(row.spread(figure).median);
    let cost = row.cost();
    vec![
        row.name.clone(),
        report::thousands(row.rate().median),
        median(|run| run.load.latency.p50),
        median(|run| run.load.latency.p99),
        decimals(cost.service),
        decimals(cost.postgres),
    ]
}

/// How many statements replicas answered, and the primary in their stead.
async fn answered(service: &Service) -> Result<[f64; 2]> {
    let address = service.origin.strip_prefix("http://").context("its address")?;
    let mut wire = TcpStream::connect(address).await?;
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    wire.write_all(ask.as_bytes()).await?;
    let mut text = String::new();
    wire.read_to_string(&mut text).await?;
    let count = |server: &str| -> Result<f64> {
        let name = format!("payonce_reads_total{{server=\"{server}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        Ok(line.map_or(Ok(0.0), str::parse)?)
    };
    Ok([count("replica")?, count("primary")?])
}
