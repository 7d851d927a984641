//! `make bench-standby`: payments whose commits wait for a standby, at several distances.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_postgres::LocalPostgres;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;

use crate::arena::{ACCOUNTS, seed};
use crate::distance::Distance;
use crate::knobs::Knobs;
use crate::meter::Serving;
use crate::report::{self, Row, Run, decimals};
use crate::stand::{Database, Service, Stand};
use crate::wrk::{self, Crowd, Requests};
use crate::{Verdict, results};

const COMMAND: &str = "make bench-standby";

/// Microseconds there and back between the primary and its standby: the same rack, the same city, 1,000 km.
const ROUND_TRIPS_US: [u64; 4] = [0, 500, 2_000, 10_000];

/// Callers at a time.
const CONNECTIONS: [u32; 3] = [1, 64, 512];

/// The name that `synchronous_standby_names` knows.
const NAME: &str = "distant";

const START_MAX: Duration = Duration::from_mins(1);
const END_MAX: Duration = Duration::from_secs(20);

/// Where the standby is.
struct Place {
    name: String,
    round_trip_us: Option<u64>,
    rows: Vec<Row>,
    log_bytes: Vec<f64>,
}

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    let (stand, setting) = Stand::new().await?;
    println!("{}", results::circumstances(COMMAND, &setting));
    let database = stand.database("payonce");
    seed(&database).await?;
    let distance = Distance::to(stand.server().socket_dir().join(".s.PGSQL.5432"))?;
    let standby = block_in_place(|| Standby::start(stand.server(), &distance))?;
    let service = stand.serve(&database).await?;

    let mut places = Place::all(&distance, &database).await?;
    for number in 1..=knobs.rounds {
        println!("Round {number} of {}, per second:", knobs.rounds);
        // In turn, so that a slow moment of the machine hits every place.
        for place in &mut places {
            place.settle(&distance, &database).await?;
            for row in 0..CONNECTIONS.len() {
                place.measure(row, &stand, &service, &database, knobs.seconds).await?;
            }
        }
    }
    service.stop().await?;
    database.audit().await?;
    println!("The audit is clean.");
    require(&database, "").await?;
    block_in_place(|| standby.stop())?;
    stand.stop()?;

    let mut head = vec!["standby".to_owned()];
    for connections in CONNECTIONS {
        let of = if connections == 1 { "1 connection" } else { &format!("{connections}") };
        head.extend([format!("{of}: payments/s"), "p50 ms".to_owned(), "p99 ms".to_owned()]);
    }
    head.push("log bytes a payment".to_owned());
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let cells: Vec<Vec<String>> = places.iter().map(Place::cells).collect();
    let text = format!(
        "{}\nThe standby runs on the same two cores. Its distance is that of a wire that holds each byte back for half of \
         the time in each direction; what there and back takes was measured. Commits wait until the standby \
         has written them to its disk (`synchronous_commit = on`). Medians of {} rounds of {} s.\n\n{}",
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
    async fn all(distance: &Distance, database: &Database) -> Result<Vec<Self>> {
        require(database, "").await?;
        let mut places = vec![Self::new("none that is waited for".to_owned(), None)];
        for us in ROUND_TRIPS_US {
            distance.set(Duration::from_micros(us))?;
            let measured = block_in_place(|| distance.measure_ms())?;
            places.push(Self::new(format!("{measured:.2} ms there and back"), Some(us)));
        }
        Ok(places)
    }

    fn new(name: String, round_trip_us: Option<u64>) -> Self {
        let rows = CONNECTIONS.map(|_| Row::default()).into();
        Self { name, round_trip_us, rows, log_bytes: Vec::new() }
    }

    /// Moves the standby there, and waits until commits wait for it, or do not.
    async fn settle(&self, distance: &Distance, database: &Database) -> Result<()> {
        distance.set(Duration::from_micros(self.round_trip_us.unwrap_or_default()))?;
        require(database, if self.round_trip_us.is_some() { NAME } else { "" }).await
    }

    async fn measure(
        &mut self,
        row: usize,
        stand: &Stand,
        service: &Service,
        database: &Database,
        seconds: u32,
    ) -> Result<()> {
        let connections = CONNECTIONS.get(row).copied().context("no such row")?;
        let requests = Requests::Uniform { accounts: ACCOUNTS };
        let crowd = Crowd { threads: connections.min(2), connections, seconds };
        let position = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn";
        let before = database.number(position).await?;
        let meter = stand.meter(Serving::Processes(vec![service.pid]))?;
        let load = wrk::run(service, &requests, crowd).await?;
        let used = meter.stop()?;
        let written = database.number(position).await? - before;
        println!("  {}, {connections}: {:.0}", self.name, load.per_second);
        if Some(&connections) == CONNECTIONS.last() {
            self.log_bytes.push(written / load.done);
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
        cells.push(decimals(report::Spread::of(self.log_bytes.clone()).median));
        cells
    }
}

/// Makes commits wait for the standbys of these names, and waits until they do.
async fn require(database: &Database, names: &str) -> Result<()> {
    database.value(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await?;
    database.value("SELECT pg_reload_conf()").await?;
    let state = if names.is_empty() { "async" } else { "sync" };
    let settled = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"
    );
    let began = Instant::now();
    while database.number(&settled).await? < 1.0 {
        ensure!(began.elapsed() < START_MAX, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A copy of the server that follows it over a distance.
struct Standby {
    process: Child,
}

impl Standby {
    fn start(primary: &LocalPostgres, distance: &Distance) -> Result<Self> {
        let cluster = primary.home().join("standby");
        let source = format!(
            "host={} port={} user=payonce application_name={NAME}",
            distance.address.ip(),
            distance.address.port()
        );
        let mut copy = primary.command("pg_basebackup");
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"]);
        let copied = copy.args(["--dbname", &source, "--pgdata"]).arg(&cluster).output()?;
        ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let log = File::create(primary.home().join("standby.log"))?;
        let mut server = primary.command("postgres");
        // Nobody but its primary knows it; without a socket it would not start.
        server.arg("-D").arg(&cluster).args(["-c", "listen_addresses="]);
        server.arg("-c").arg(format!("unix_socket_directories={}", cluster.display()));
        let process = server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { process })
    }

    fn stop(mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        let began = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(began.elapsed() < END_MAX, "the standby does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // It may have ended; a server ends its children at this signal.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::QUIT);
            let _ = self.process.wait();
        }
    }
}
