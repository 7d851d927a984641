//! Where faults happen: a Postgres, a wire to it, processes of the service, wires to them, clients.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tempfile::TempDir;
use testbed::{SERVICE_ROLE, Service};
use tokio::task::block_in_place;

use crate::checker;
use crate::client::{self, EVERYBODYS, EndOfFeed, Load, World};
use crate::cluster::Cluster;
use crate::figures::Figures;
use crate::ledger::Ledger;
use crate::postgres::{Files, OWNER_ROLE, Postgres, Servers, url_of, url_through};
use crate::proxy::{Proxy, Upstream};
use crate::record::{Outcome, Records};
use crate::{receiver, service};

/// How long a process may be tried to be started: its database may be down.
const START_MAX: Duration = Duration::from_mins(1);

/// The name of the standby that the service is told of.
pub const STANDBY: &str = "standby";

/// How long payments that go on may be without positions.
const NUMBERED_MAX: Duration = Duration::from_mins(1);

/// Violations that are told.
const TOLD_MAX: usize = 20;

/// Lines of the service's logs that are shown where something is violated.
const LOGGED_MAX: usize = 40;

/// Codes that good clients may be told. Others would be their mistake, or the service's.
const EXPECTED: [&str; 8] = [
    "insufficient_funds",
    "refund_exceeds_payment",
    "request_not_open",
    "idempotency_key_voided",
    "account_busy",
    "database_unavailable",
    "overloaded",
    "request_in_progress",
];

/// True when no session of the service is in a transaction.
const IDLE: &str = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity
    WHERE application_name LIKE 'payonce%' AND state <> 'idle')";

/// True when every payment has its position in the feed.
const ALL_HAVE_POSITIONS: &str =
    "SELECT last_position = (SELECT count(*) FROM payments) FROM feed_state";

/// The last position of the feed.
const END_OF_FEED: &str = "SELECT last_position FROM feed_state";

/// The position of an account's last payment.
fn last_position_of(account: i64) -> String {
    format!(
        "SELECT max(first_position + array_position(payment_ids, payments.id) - 1)
         FROM payments
         JOIN payment_batches AS batch ON batch.id = payments.batch_id
         JOIN feed_entries ON feed_entries.batch_id = batch.id
         WHERE {account} IN (from_id, to_id)"
    )
}

/// The parts of a stand.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    pub seed: u64,
    pub processes: usize,
    pub accounts: i64,
    /// Of the service: name in the environment, value.
    pub settings: Vec<(&'static str, String)>,
    /// Lines for `postgresql.conf`.
    pub postgres_settings: String,
    /// The environment of Postgres.
    pub postgres_environment: Vec<(String, String)>,
    pub postgres_files: Files,
    /// Whether it has a standby, and the service is told of both: without wires, the standby first.
    pub has_standby: bool,
}

/// One process of the service and the wire to it, which stays when the process does not.
pub struct Place {
    pub door: Proxy,
    service: Option<Service>,
}

pub struct Stand<S = Postgres> {
    pub world: Arc<World>,
    pub places: Vec<Place>,
    /// Between the service and Postgres.
    pub wire: Proxy,
    pub postgres: S,
    pub standby: Option<Postgres>,
    pub rng: Rng,
    settings: Vec<(String, String)>,
    work: TempDir,
    began: Instant,
}

/// The other codes that clients were told; but for those whom the database refuses, who are to be told
/// that something is wrong.
fn unexpected(records: &Records) -> impl Iterator<Item = &str> {
    let attempts = records.attempts.iter().map(|it| (it.intent.from, &it.outcome));
    let errands = records.errands.iter().map(|it| (it.errand.account(), &it.outcome));
    let all = attempts.chain(errands);
    let others = all.filter(|(account, _)| !records.refused_payers.contains(account));
    let codes: BTreeSet<&str> = others
        .filter_map(|(_, outcome)| match outcome {
            Outcome::Refused { code, .. } => Some(code.as_str()),
            Outcome::Done { .. } | Outcome::Lost => None,
        })
        .collect();
    codes.into_iter().filter(|code| !EXPECTED.contains(code))
}

impl Stand {
    /// # Errors
    /// Something cannot be started.
    pub async fn start(layout: Layout) -> Result<Self> {
        let mut rng = Rng::with_seed(layout.seed);
        let Layout { postgres_files, postgres_settings, postgres_environment, .. } = &layout;
        let postgres =
            Postgres::new(postgres_files, postgres_settings, postgres_environment).await?;
        let standby =
            if layout.has_standby { Some(postgres.standby(STANDBY).await?) } else { None };
        let wire = Proxy::start(Upstream::Unix(postgres.socket()), rng.fork()).await?;
        let url = match &standby {
            Some(standby) => url_of(&[standby, &postgres], SERVICE_ROLE),
            None => url_through(wire.address),
        };
        let mut stand = Self::on(layout, rng, postgres, wire, url).await?;
        stand.standby = standby;
        Ok(stand)
    }
}

impl Stand<Cluster> {
    /// With a cluster in the place of one server. The service is told of all servers, and there is no wire between.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn of_cluster(layout: Layout) -> Result<Self> {
        let mut rng = Rng::with_seed(layout.seed);
        let cluster = Cluster::new(&layout.postgres_files).await?;
        let wire = Proxy::start(Upstream::Nowhere, rng.fork()).await?;
        let url = cluster.url(SERVICE_ROLE);
        Self::on(layout, rng, cluster, wire, url).await
    }
}

impl<S: Servers> Stand<S> {
    /// Everything else, around servers that the service finds by a URL.
    async fn on(
        layout: Layout,
        mut rng: Rng,
        postgres: S,
        wire: Proxy,
        url: String,
    ) -> Result<Self> {
        let work = local_postgres::directory("payonce-faults-work-")?;
        let mut settings = vec![
            ("DATABASE_URL".to_owned(), url),
            ("PAYONCE_DATABASE__MIGRATE_ON_START".to_owned(), "false".to_owned()),
        ];
        settings
            .extend(receiver::SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        settings.extend(
            layout.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())),
        );

        let mut doors = Vec::new();
        for _ in 0..layout.processes {
            doors.push(Proxy::start(Upstream::Nowhere, rng.fork()).await?);
        }
        let addresses = doors.iter().map(|door| door.address).collect();
        let places = doors.into_iter().map(|door| Place { door, service: None }).collect();
        let world = Arc::new(World::new(addresses, layout.accounts, layout.seed));
        let mut stand = Self {
            world,
            places,
            wire,
            postgres,
            standby: None,
            rng,
            settings,
            work,
            began: Instant::now(),
        };
        stand.migrate()?;
        for place in 0..layout.processes {
            stand.start_service(place).await?;
        }
        let first = stand.service(0)?.address()?;
        client::open_accounts(first, layout.accounts).await?;
        Ok(stand)
    }

    /// Clients of this stand.
    pub fn load(&mut self) -> Load {
        Load::new(&self.world, self.rng.fork())
    }

    /// # Errors
    /// There is no process at that place.
    pub fn service(&self, place: usize) -> Result<&Service> {
        self.places[place].service.as_ref().context("there is no process at this place")
    }

    /// Starts a process at a place, as often as it takes: a supervisor would. What ran there before is
    /// returned, and has no new clients any more.
    ///
    /// # Errors
    /// It does not start within a minute.
    pub async fn start_service(&mut self, place: usize) -> Result<Option<Service>> {
        let log = self.log(place);
        let began = Instant::now();
        let service = loop {
            match service::start(self.work.path(), &self.settings, &log) {
                Ok(service) => break service,
                Err(error) if began.elapsed() > START_MAX => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let place = &mut self.places[place];
        place.door.lead_to(Upstream::Tcp(service.address()?));
        Ok(place.service.replace(service))
    }

    /// `kill -9` of the process at a place.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_service(&mut self, place: usize) -> Result<()> {
        let service = self.places[place].service.take();
        let mut service = service.context("there is no process at this place")?;
        if let Some(status) = service.ended()? {
            bail!("a process of the service ended by itself: {status}");
        }
        service.kill()
    }

    /// A pause of up to `most`, drawn from the seed.
    pub async fn pause(&mut self, most: Duration) {
        let pause = most.mul_f64(0.3 + 0.7 * self.rng.f64());
        tokio::time::sleep(pause).await;
    }

    /// Waits until so many payments more have their positions in the feed.
    ///
    /// # Errors
    /// They have not within a minute.
    pub async fn wait_for_positions(&self, more: i64) -> Result<()> {
        let enough = self.postgres.count(END_OF_FEED).await?.saturating_add(more);
        let have_come = async || Ok(self.postgres.count(END_OF_FEED).await? >= enough);
        testbed::until("payments have positions", NUMBERED_MAX, have_come).await
    }

    /// Ends faults and load, and checks the ledger and what clients were told.
    ///
    /// # Errors
    /// Something does not come to rest. Violations are in the figures.
    pub async fn finish(mut self, mut load: Load, figures: &mut Figures) -> Result<()> {
        self.end_faults();
        load.stop().await?;
        self.postgres.until(ALL_HAVE_POSITIONS).await?;
        let last = self.postgres.count(END_OF_FEED).await?.try_into()?;
        let everybodys = self.postgres.count(&last_position_of(EVERYBODYS)).await?.try_into()?;
        load.finish(EndOfFeed { last, everybodys }).await?;
        for place in &mut self.places {
            if let Some(service) = &mut place.service
                && let Some(status) = service.ended()?
            {
                bail!("a process of the service ended by itself: {status}");
            }
        }
        self.postgres.until(IDLE).await?;
        let mut violations = Vec::new();
        for url in self.postgres.each_url(OWNER_ROLE) {
            let audit = self.payonce(&url, &url)?.arg("audit").output()?;
            if !audit.status.success() {
                let report = String::from_utf8_lossy(&audit.stdout).into_owned();
                let why = String::from_utf8_lossy(&audit.stderr).into_owned();
                violations.push(format!("audit: {} {}", report.trim(), why.trim()));
            }
        }
        let ledger = Ledger::read(&mut self.postgres.session().await?).await?;
        let records = self.world.recorder.take();
        let found = block_in_place(|| checker::check(&records, &ledger));
        violations.extend(found.iter().take(TOLD_MAX).map(ToString::to_string));
        if found.len() > TOLD_MAX {
            violations.push(format!("and {} more", found.len() - TOLD_MAX));
        }
        let given_up = self.world.recorder.given_up();
        if given_up > 0 {
            violations.push(format!("{given_up} clients never had a definite answer"));
        }
        if self.logs().contains("panicked") {
            violations.push(format!("the service panicked: {}", self.logs()));
        }
        figures.count(&records);
        violations.extend(unexpected(&records).map(|code| format!("a client was told {code:?}")));
        if !violations.is_empty() {
            let logs = self.logs();
            let lines: Vec<&str> = logs.lines().rev().take(LOGGED_MAX).collect();
            eprintln!("the service logged at last:");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        figures.commits_unanswered +=
            self.wire.counts().commits_unanswered.load(std::sync::atomic::Ordering::Relaxed);
        figures.violations.extend(violations);
        self.postgres.version().clone_into(&mut figures.postgres);
        figures.took += self.began.elapsed();
        Ok(())
    }

    /// Whatever the wires do.
    pub fn end_faults(&self) {
        self.wire.clear();
        for place in &self.places {
            place.door.clear();
        }
    }

    /// The log of all processes of the service.
    fn logs(&self) -> String {
        let logs = (0..self.places.len()).map(|place| fs::read_to_string(self.log(place)));
        logs.flatten().collect()
    }

    fn log(&self, place: usize) -> PathBuf {
        self.work.path().join(format!("service-{place}.log"))
    }

    /// The service's own program, on the database itself.
    fn payonce(&self, url: &str, owner_url: &str) -> Result<Command> {
        let settings = [
            ("DATABASE_URL".to_owned(), url.to_owned()),
            ("PAYONCE_DATABASE__MIGRATE_URL".to_owned(), owner_url.to_owned()),
        ];
        service::command(self.work.path(), &settings)
    }

    fn migrate(&self) -> Result<()> {
        let (url, owner_url) = (self.postgres.url(SERVICE_ROLE), self.postgres.url(OWNER_ROLE));
        let output = self.payonce(&url, &owner_url)?.arg("migrate").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "payonce migrate failed: {said}");
        Ok(())
    }
}
