//! `make bench-standby`: payments whose commits wait for a standby, at several distances.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::block_in_place;

use crate::arena::{ACCOUNTS, seed};
use crate::distance::Distance;
use crate::knobs::Knobs;
use crate::meter::Serving;
use crate::report::{self, Row, Run, Spread, decimals};
use crate::stand::{Database, Service, Stand};
use crate::standby::{Standby, Way, wait_for};
use crate::wrk::{self, Crowd, Requests};
use crate::{Verdict, results};

const COMMAND: &str = "make bench-standby";

/// Microseconds there and back between the primary and its standby: the same rack, the same city, 1,000 km.
const ROUND_TRIPS_US: [u64; 4] = [0, 500, 2_000, 10_000];

/// Callers at a time.
const CONNECTIONS: [u32; 3] = [1, 64, 512];

const NAME: &str = "distant";

/// Where the standby is.
struct Place {
    name: String,
    round_trip_us: Option<u64>,
    rows: Vec<Row>,
    log_bytes: Vec<f64>,
    /// Microseconds of a processor.
    replay: Vec<f64>,
}

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    let (stand, setting) = Stand::new().await?;
    println!("{}", results::circumstances(COMMAND, &setting));
    let database = stand.database("payonce");
    seed(&database).await?;
    let distance = Distance::to(stand.server().socket_dir().join(".s.PGSQL.5432"))?;
    let way = Way::Address(distance.address);
    let standby = block_in_place(|| Standby::start(stand.server(), NAME, &way))?;
    let service = stand.serve(&database).await?;

    let mut places = vec![Place::new("none that is waited for".to_owned(), None)];
    for us in ROUND_TRIPS_US {
        distance.set(Duration::from_micros(us))?;
        let measured = block_in_place(|| distance.measure_ms())?;
        places.push(Place::new(format!("{measured:.2} ms there and back"), Some(us)));
    }
    for number in 1..=knobs.rounds {
        println!("Round {number} of {}, per second:", knobs.rounds);
        // In turn, so that a slow moment of the machine hits every place.
        for place in &mut places {
            distance.set(Duration::from_micros(place.round_trip_us.unwrap_or_default()))?;
            let name = if place.round_trip_us.is_some() { NAME } else { "" };
            wait_for(&database, name, std::slice::from_ref(&standby)).await?;
            for row in 0..CONNECTIONS.len() {
                place.measure(row, &stand, &service, &database, &standby, knobs.seconds).await?;
            }
        }
    }
    service.stop().await?;
    database.audit().await?;
    println!("The audit is clean.");
    wait_for(&database, "", std::slice::from_ref(&standby)).await?;
    standby.stop().await?;
    stand.stop()?;

    let mut head = vec!["standby".to_owned()];
    for connections in CONNECTIONS {
        let of = if connections == 1 { "1 connection" } else { &format!("{connections}") };
        head.extend([format!("{of}: payments/s"), "p50 ms".to_owned(), "p99 ms".to_owned()]);
    }
    head.extend(["log bytes a payment".to_owned(), "replay us".to_owned()]);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let cells: Vec<Vec<String>> = places.iter().map(Place::cells).collect();
    let text = format!(
        "{}\nThe standby runs on the same two cores. Its distance is that of a wire that holds each byte back for half of \
         the time in each direction; what there and back takes was measured. Commits wait until the standby \
         has written them to its disk (`synchronous_commit = on`). Medians of {} rounds of {} s; the log, and \
         the time of the one process that replays it there, are those of the last crowd.\n\n{}",
        results::circumstances(COMMAND, &setting),
        knobs.rounds,
        knobs.seconds,
        report::table(&head, &cells)
    );
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
    }
    Ok(Verdict::Kept)
}

impl Place {
    fn new(name: String, round_trip_us: Option<u64>) -> Self {
        let rows = CONNECTIONS.map(|_| Row::default()).into();
        Self { name, round_trip_us, rows, log_bytes: Vec::new(), replay: Vec::new() }
    }

    async fn measure(
        &mut self,
        row: usize,
        stand: &Stand,
        service: &Service,
        database: &Database,
        standby: &Standby,
        seconds: u32,
    ) -> Result<()> {
        let connections = CONNECTIONS.get(row).copied().context("no such row")?;
        let requests = Requests::Uniform { accounts: ACCOUNTS };
        let crowd = Crowd { threads: connections.min(2), connections, seconds };
        let position = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn";
        let before = database.number(position).await?;
        let replayed_s = standby.replay_s()?;
        let meter = stand.meter(Serving::Processes(vec![service.pid]))?;
        let load = wrk::run(service, &requests, crowd).await?;
        let used = meter.stop()?;
        let written = database.number(position).await? - before;
        println!("  {}, {connections}: {:.0}", self.name, load.per_second);
        if Some(&connections) == CONNECTIONS.last() {
            let replay_s = standby.replay_s()? - replayed_s;
            self.log_bytes.push(written / load.done);
            self.replay.push(replay_s * 1_000_000.0 / load.done);
        }
        let row = self.rows.get_mut(row).context("no such row")?;
        row.runs.push(Run { load, used });
        Ok(())
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.name.clone()];
        for row in &self.rows {
            cells.push(decimals(row.rate().median));
            cells.push(decimals(row.spread(|run| run.load.latency.p50).median));
            cells.push(decimals(row.spread(|run| run.load.latency.p99).median));
        }
        for figure in [&self.log_bytes, &self.replay] {
            cells.push(decimals(Spread::of(figure.clone()).median));
        }
        cells
    }
}
