//! One process of the service: which ledger it was told to work on, and its life from the first
//! connection to the last answer. `main.rs` lives it as it is; the playground adds to it what is the
//! playground's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use secrecy::ExposeSecret;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::auth::Auth;
use crate::config::{Database, ReadFrom, Settings, milliseconds};
use crate::db::{self, DEFAULT_SCHEMA, Purpose, Target, Unfit};
use crate::http::{self, Added};
use crate::service::health::keep_looking;
use crate::service::pruning::keep_pruning;
use crate::service::webhooks::Sending;
use crate::service::{Service, Writers};

/// How often a migration gives way to payments before the start is given up, and for how long.
const MIGRATION_ATTEMPTS_MAX: u32 = 60;
const MIGRATION_PAUSE: Duration = Duration::from_millis(500);

/// How long opening a connection to the database may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long threads that cannot be interrupted may take when everything else has ended.
const SHUTDOWN_REST: Duration = Duration::from_millis(200);

/// The database that holds the ledger, as the settings name it.
pub struct Ledger {
    /// For the service.
    pub target: Target,
    /// For migrations and audits: of the role that owns the tables, where it is another one.
    pub owner: Target,
    /// Whether a setting says which schema it is in.
    is_schema_named: bool,
}

impl Ledger {
    /// # Errors
    /// The settings name no database, or the URL is malformed.
    pub fn of(settings: &Settings) -> Result<Self> {
        let Database { url, migrate_url, read_from, .. } = &settings.database;
        let Some(url) = url else {
            let hint = match migrate_url {
                Some(_) => " (database.migrate_url is for migrations, and alone names none)",
                None => "",
            };
            bail!(
                "no database was named: set DATABASE_URL, or database.url, or database.url_file{hint}"
            );
        };
        let owner_url = migrate_url.as_ref().unwrap_or(url);
        let target = target(settings, url.expose_secret())
            .context("DATABASE_URL (database.url) is wrong")?;
        if *read_from == ReadFrom::Replicas && target.server_count() == 1 {
            bail!(
                "the settings are wrong: database.read_from is replicas, and database.url names one server alone"
            );
        }
        let owner = self::target(settings, owner_url.expose_secret())
            .context("database.migrate_url is wrong")?;
        Ok(Self { target, owner, is_schema_named: settings.database.schema.is_some() })
    }

    /// Makes sure that there is one ledger only that can be meant.
    ///
    /// # Errors
    /// The database cannot be reached; or another schema of it has a ledger, and no setting says which is
    /// meant.
    pub async fn find(&self, target: &Target) -> Result<()> {
        if self.is_schema_named {
            return Ok(());
        }
        let mut conn = db::connect(target, Purpose::Find).await?;
        let others = db::schema::others_with_a_ledger(&mut conn).await?;
        if let Some(other) = others.first() {
            bail!(
                "this database has a ledger in the schema {other:?}, beside or in the place of one in \
                 {:?}: say which is meant with database.schema (PAYONCE_DATABASE__SCHEMA)",
                target.schema()
            );
        }
        Ok(())
    }
}

fn target(settings: &Settings, url: &str) -> Result<Target> {
    let statement_timeout_ms = settings.database.statement_timeout_ms.get().into();
    let lock_wait_ms = settings.writer.lock_wait_ms_max.get().into();
    let target = Target::new(url, CONNECT_TIMEOUT, statement_timeout_ms, lock_wait_ms)?;
    let schema = settings.database.schema.as_deref().unwrap_or(DEFAULT_SCHEMA);
    Ok(target.in_schema(schema).losing_commits(settings.database.allow_lost_commits))
}

/// Makes the runtime for the tasks of a process.
///
/// # Errors
/// Threads cannot be had.
pub fn runtime() -> Result<Runtime> {
    // Writers and readers wait for the database most of the time; the other half of the cores is
    // for HTTP, whose workers have threads of their own. With fewer threads a batch's answers wake
    // fewer sleepers: measured, up to an eighth more histories per second on two cores.
    let cores = std::thread::available_parallelism()?.get();
    Ok(runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .enable_all()
        .build()?)
}

/// Ends it. Threads that still read a file or resolve a name are not waited for.
pub fn shut_down(runtime: Runtime) {
    runtime.shutdown_timeout(SHUTDOWN_REST);
}

/// Signals that ask the process to stop. They are to be had before anything is started, so that a signal
/// from then on ends everything in order.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// # Errors
    /// The system refuses.
    pub fn new(runtime: &Runtime) -> Result<Self> {
        let _inside = runtime.enter();
        let (interrupt, terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    /// The next one.
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }

    /// Does `work`, which may take a while; `None` when the process is asked to stop meanwhile.
    pub async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            _ = self.next() => None,
        }
    }
}

/// The service before anybody can reach it: its ledger is migrated, and its writers run.
pub struct Prepared {
    pub service: Arc<Service>,
    auth: Auth,
    writers: Writers,
    sending: Sending,
    upkeep: JoinSet<()>,
}

impl Prepared {
    /// # Errors
    /// The database or the issuer's keys cannot be reached, or the schema cannot be migrated.
    pub async fn new(settings: &Settings, ledger: &Ledger) -> Result<Self> {
        let auth = Auth::start(&settings.auth).await?;
        if settings.database.migrate_on_start {
            migrate(ledger).await?;
        } else {
            ledger.find(&ledger.target).await?;
        }
        // As the writers will find it, and not only as the owner does.
        match db::connect(&ledger.target, Purpose::Write).await {
            Ok(_) => {}
            // Somebody else makes it, and until then readiness says that it is missing.
            Err(error)
                if matches!(error.unfit(), Some(Unfit::NoSchema(_)))
                    && !settings.database.migrate_on_start => {}
            Err(error) => return Err(error.into()),
        }
        if settings.database.allow_lost_commits {
            // For tests and benchmarks, and never by oversight.
            tracing::warn!(
                "database.allow_lost_commits is on: payments that were answered can be lost in a crash \
                 of the database's server"
            );
        }
        let (service, writers) = Service::start(&ledger.target, settings)?;
        let mut upkeep = JoinSet::new();
        if settings.prune.in_background {
            let step_timeout = milliseconds(settings.database.transaction_timeout_ms);
            upkeep.spawn(keep_pruning(ledger.target.clone(), settings.prune, step_timeout));
        }
        service.keep_feed(&ledger.target, settings, &mut upkeep);
        let sending = service.webhooks.start_sending()?;
        Ok(Self { service: Arc::new(service), auth, writers, sending, upkeep })
    }

    /// Lets it be reached, with the routes that the program adds to the service's own, if any.
    ///
    /// # Errors
    /// An address is not ours or is in use.
    pub fn listen(self, settings: &Settings, added: Option<&Added>) -> Result<Serving> {
        let Self { service, auth, writers, sending, mut upkeep } = self;
        let health = Arc::clone(&service.health);
        let listening = http::listen(service, auth, settings, added)?;
        upkeep.spawn(keep_looking(health));
        Ok(Serving {
            listening,
            writers,
            sending,
            upkeep,
            stop_delay: milliseconds(settings.server.stop_delay_ms),
            shutdown_timeout: milliseconds(settings.server.shutdown_timeout_ms),
        })
    }
}

/// The service at work.
pub struct Serving {
    listening: http::Listening,
    writers: Writers,
    sending: Sending,
    /// Ends with it.
    upkeep: JoinSet<()>,
    stop_delay: Duration,
    shutdown_timeout: Duration,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listening.addresses
    }

    /// Where `server.admin_port` is set: where it is watched.
    #[must_use]
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.listening.admin_addresses
    }

    /// Serves until a signal asks it to stop, and answers what was accepted.
    ///
    /// # Errors
    /// The server or a writer ended by itself.
    pub async fn until_asked_to_stop(self, mut signals: Signals) -> Result<()> {
        let Self {
            mut listening,
            mut writers,
            sending,
            upkeep: _upkeep,
            stop_delay,
            shutdown_timeout,
        } = self;
        let mut delay = None;
        loop {
            let delayed = async {
                match delay {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signal = signals.next() => {
                    if delay.is_some() || signal != SignalKind::terminate() {
                        break;
                    }
                    listening.stopping.announce();
                    delay = Some(stop_delay);
                }
                () = delayed => break,
                ended = listening.servers.any_ended() => {
                    ended?;
                    bail!("the server ended by itself");
                }
                () = writers.any_ended() => bail!("a writer ended by itself"),
            }
        }
        listening.stopping.announce();
        listening.stopping.end_waits();
        // Through the log: a terminal that takes nothing must not keep the service.
        tracing::info!("stopping: what was accepted is answered");
        let began = Instant::now();
        let (stopped, ()) =
            tokio::join!(listening.servers.stop(), sending.finish(shutdown_timeout));
        stopped?;
        writers.finish(shutdown_timeout.saturating_sub(began.elapsed())).await;
        Ok(())
    }
}

/// Brings the schema up to date.
///
/// # Errors
/// The database cannot be reached, is too old, or a migration fails.
pub async fn migrate(ledger: &Ledger) -> Result<()> {
    ledger.find(&ledger.owner).await?;
    let mut attempt: u32 = 1;
    loop {
        // A new session each time: one whose migration failed still holds the migrations' lock.
        let mut conn = db::connect(&ledger.owner, Purpose::Migrate).await?;
        let met_a_lock = match db::migrate::run(&mut conn, ledger.owner.schema()).await {
            Ok(()) => match grant(&mut conn, ledger).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind().is_about_locks() => anyhow::Error::from(error),
                Err(error) => {
                    let role = ledger.target.role();
                    let what = format!("the role {role} cannot be given its rights");
                    return Err(error).context(what);
                }
            },
            Err(error) if db::migrate::met_a_lock(&error) => error.into(),
            Err(error) => return Err(error).context("the schema cannot be migrated"),
        };
        if attempt >= MIGRATION_ATTEMPTS_MAX {
            return Err(met_a_lock).context("the schema cannot be migrated");
        }
        tracing::warn!(error = %met_a_lock, attempt, "a migration gives way, and is tried again");
        tokio::time::sleep(MIGRATION_PAUSE).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Gives the service's role, where it is another one than the owner's, what it needs.
async fn grant(conn: &mut db::PgConnection, ledger: &Ledger) -> Result<(), db::Error> {
    let role = ledger.target.role();
    if role == ledger.owner.role() { Ok(()) } else { db::migrate::grant(conn, role).await }
}
