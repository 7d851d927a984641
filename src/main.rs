//! The commands.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use payonce::auth::{self, Auth};
use payonce::config::{AuthMode, Server, Settings, milliseconds};
use payonce::domain::{AccountId, Amount, IdempotencyKey, Name, Opening};
use payonce::local_postgres::Ledger;
use payonce::service::health::keep_looking;
use payonce::service::pruning::{self, Swept, keep_pruning};
use payonce::service::{Limits, Refusal, Service, Writers, audit};
use payonce::{db, http, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

/// Moves money between accounts in Postgres, and never twice.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves HTTP (the default). Migrates first, unless `database.migrate_on_start` is false.
    Serve,
    /// Brings the schema up to date.
    Migrate,
    /// Checks the ledger's invariants over the whole database; exit status 1 on a violation.
    Audit {
        /// Prints the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes the rows of idempotency keys that are past their retention.
    Prune,
    /// Asks the service of these settings, on this machine, whether it is ready; exit status 1 if not.
    Health,
    /// Prints the API document (`OpenAPI` 3.1).
    Openapi,
    /// Prints a token for local use, signed with `auth.jwt_secret`.
    Token {
        /// The account whose owner it is for.
        #[arg(long, required_unless_present = "operator")]
        account: Option<i64>,
        /// It may do everything.
        #[arg(long)]
        operator: bool,
        /// How long it is valid.
        #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
        expires_in_seconds: u32,
    },
}

/// How often a migration gives way to payments before the start is given up, and for how long.
const MIGRATION_ATTEMPTS_MAX: u32 = 60;
const MIGRATION_PAUSE: Duration = Duration::from_millis(500);

/// How long the service may take to say whether it is ready.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long threads that cannot be interrupted may take when everything else has ended.
const SHUTDOWN_REST: Duration = Duration::from_millis(200);

/// The people of a private, empty ledger: accounts 1 to 10.
const PLAYGROUND_NAMES: [&str; 10] =
    ["Ada", "Ben", "Chloe", "Dan", "Eva", "Finn", "Grace", "Hugo", "Iris", "Jack"];
const PLAYGROUND_CENTS: i64 = 100_000;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("payonce: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    if matches!(cli.command, Some(Command::Openapi)) {
        writeln!(std::io::stdout(), "{}", http::openapi()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::load()?;
    let command = cli.command.unwrap_or(Command::Serve);
    if let Command::Token { account, operator, expires_in_seconds } = command {
        let account = account.map(AccountId::new).transpose()?;
        let lifetime = Duration::from_secs(expires_in_seconds.into());
        let token = auth::mint(&settings.auth, account, operator, lifetime)?;
        writeln!(std::io::stdout(), "{token}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if matches!(command, Command::Health) {
        return health(&settings.server);
    }
    if matches!(command, Command::Serve) {
        http::check(&settings)?;
    }
    let _telemetry = telemetry::start(&settings.telemetry)?;
    // Writers and readers wait for the database most of the time; the other half of the cores is
    // for HTTP, whose workers have threads of their own. With fewer threads a batch's answers wake
    // fewer sleepers: measured, up to an eighth more histories per second on two cores.
    let cores = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .enable_all()
        .build()?;
    // Before anything is started, so that a signal from now on ends it in order.
    let signals = match command {
        Command::Serve => Some(runtime.block_on(async { Signals::new() })?),
        _ => None,
    };
    let ledger = Ledger::open(&settings)?;
    let code = runtime.block_on(async {
        if let Some(signals) = signals {
            warn_of_lost_commits(&settings);
            return serve(&settings, &ledger, signals).await.map(|()| ExitCode::SUCCESS);
        }
        match command {
            Command::Migrate => migrate(&settings, &ledger).await.map(|()| ExitCode::SUCCESS),
            Command::Audit { json } => audit(&settings, &ledger.owner, json).await,
            Command::Prune => prune(&ledger.target, &settings).await,
            // What needs no database was done above.
            Command::Serve | Command::Openapi | Command::Token { .. } | Command::Health => {
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    // Whatever still reads a file or resolves a name is not waited for.
    runtime.shutdown_timeout(SHUTDOWN_REST);
    let code = code?;
    ledger.close()?;
    Ok(code)
}

/// Brings the schema up to date.
async fn migrate(settings: &Settings, ledger: &Ledger) -> Result<()> {
    find_the_ledger(settings, &ledger.owner).await?;
    let mut attempt: u32 = 1;
    loop {
        // A new session each time: one whose migration failed still holds the migrations' lock.
        let mut conn = db::connect(&ledger.owner, db::Purpose::Migrate).await?;
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
    if ledger.server.is_some() {
        db::migrate::make_private_role(conn).await?;
    }
    let role = ledger.target.role();
    if role == ledger.owner.role() { Ok(()) } else { db::migrate::grant(conn, role).await }
}

/// Makes sure that there is one ledger only that can be meant.
async fn find_the_ledger(settings: &Settings, target: &db::Target) -> Result<()> {
    if settings.database.schema.is_some() {
        return Ok(());
    }
    let mut conn = db::connect(target, db::Purpose::Find).await?;
    let others = db::schema::others_with_a_ledger(&mut conn).await?;
    if let Some(other) = others.first() {
        bail!(
            "this database has a ledger in the schema {other:?}, beside or in the place of one in {:?}: say \
             which is meant with database.schema (PAYONCE_DATABASE__SCHEMA)",
            target.schema()
        );
    }
    Ok(())
}

/// For tests and benchmarks, and never by oversight.
fn warn_of_lost_commits(settings: &Settings) {
    if settings.database.allow_lost_commits {
        tracing::warn!(
            "database.allow_lost_commits is on: payments that were answered can be lost in a crash of \
             the database's server"
        );
    }
}

async fn prune(target: &db::Target, settings: &Settings) -> Result<ExitCode> {
    find_the_ledger(settings, target).await?;
    let step_timeout = milliseconds(settings.database.transaction_timeout_ms);
    let swept = pruning::sweep(target, settings.prune, step_timeout).await;
    match swept.context("old keys could not be removed")? {
        Swept::Removed(rows) => {
            say(&format!("Removed the rows of {rows} idempotency keys."));
            Ok(ExitCode::SUCCESS)
        }
        Swept::NotOurTurn => bail!("another process removes old keys already"),
    }
}

/// Asks from outside, as those do who watch the service.
fn health(server: &Server) -> Result<ExitCode> {
    // An address for all interfaces is none to connect to.
    let host = match server.host.as_str() {
        "localhost" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let url = format!("http://{host}:{}/health/ready", server.port);
    let client = reqwest::blocking::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT).build()?;
    let answer = client.get(url).send()?;
    let is_ready = answer.status().is_success();
    say(&answer.text()?);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn audit(settings: &Settings, target: &db::Target, json: bool) -> Result<ExitCode> {
    find_the_ledger(settings, target).await?;
    let report = audit::run(target).await.context("the audit could not be made")?;
    let text = if json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{text}").context("the report cannot be printed")?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What asks the service to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
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
}

async fn serve(settings: &Settings, ledger: &Ledger, mut signals: Signals) -> Result<()> {
    let (auth, service, mut writers) = tokio::select! {
        started = start(settings, ledger) => started?,
        _ = signals.next() => return Ok(()),
    };
    let health = Arc::clone(&service.health);
    let listening = http::listen(Arc::clone(&service), auth, settings)?;
    drop(service);
    let mut upkeep = JoinSet::new();
    upkeep.spawn(keep_looking(health));
    if settings.prune.in_background {
        let step_timeout = milliseconds(settings.database.transaction_timeout_ms);
        upkeep.spawn(keep_pruning(ledger.target.clone(), settings.prune, step_timeout));
    }
    greet(&listening, ledger, settings.auth.mode);
    let handle = listening.server.handle();
    let mut server = tokio::spawn(listening.server);
    let mut stop_delay = None;
    loop {
        let delay = async {
            match stop_delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = signals.next() => {
                if stop_delay.is_some() || signal != SignalKind::terminate() {
                    break;
                }
                listening.stopping.announce();
                stop_delay = Some(Duration::from_millis(settings.server.stop_delay_ms.into()));
            }
            () = delay => break,
            ended = &mut server => {
                ended??;
                bail!("the server ended by itself");
            }
            () = writers.any_ended() => bail!("a writer ended by itself"),
        }
    }
    listening.stopping.announce();
    // Through the log: whoever does not take what is printed must not keep the service.
    tracing::info!("stopping: what was accepted is answered");
    let limit = milliseconds(settings.server.shutdown_timeout_ms);
    let began = Instant::now();
    handle.stop(true).await;
    server.await??;
    writers.finish(limit.saturating_sub(began.elapsed())).await;
    Ok(())
}

/// Everything that may take a while before there is something to serve.
async fn start(settings: &Settings, ledger: &Ledger) -> Result<(Auth, Arc<Service>, Writers)> {
    let auth = Auth::start(&settings.auth).await?;
    if settings.database.migrate_on_start {
        migrate(settings, ledger).await?;
    } else {
        find_the_ledger(settings, &ledger.target).await?;
    }
    // As the writers will find it, and not only as the owner does.
    match db::connect(&ledger.target, db::Purpose::Write).await {
        Ok(_) => {}
        // Somebody else makes it, and until then readiness says that it is missing.
        Err(db::Error::Unfit(db::Unfit::NoSchema(_))) if !settings.database.migrate_on_start => {}
        Err(error) => return Err(error.into()),
    }
    // A private database is a playground, and nobody else's.
    let may_play = ledger.server.is_some();
    let (service, writers) = Service::start(&ledger.target, Limits::of(settings), may_play)?;
    if may_play {
        fill_playground(&service).await?;
    }
    Ok((auth, Arc::new(service), writers))
}

/// Opens accounts 1 to 10 with money, so that the first request works at once.
async fn fill_playground(service: &Service) -> Result<()> {
    for (id, name) in (1..).zip(PLAYGROUND_NAMES) {
        let opening = Opening {
            id: Some(AccountId::new(id)?),
            name: Some(Name::new("name", name.to_owned())?),
            balance: Some(Amount::from_cents(PLAYGROUND_CENTS)?),
        };
        // With a key, so that an interrupted or simultaneous start fills what is missing.
        let key = IdempotencyKey::internal(&format!("playground account {id}"));
        match service.accounts.open(opening, Some(key)).await {
            Ok(_) | Err(Refusal::AccountExists(_)) => {}
            Err(refusal) => {
                bail!("the playground's account {id} cannot be opened: {refusal:?}")
            }
        }
    }
    Ok(())
}

/// Tells the person at the terminal, if there still is one: a pipe that was closed must not end the
/// service.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn greet(listening: &http::Listening, ledger: &Ledger, auth: AuthMode) {
    for address in &listening.addresses {
        say(&format!("payonce listens on http://{address}"));
    }
    let Some(server) = &ledger.server else {
        return;
    };
    if auth == AuthMode::Jwt {
        say("Authorization is on: `payonce token --account 1` prints a token for the header of \
             `curl -H 'authorization: Bearer ...'`.");
    }
    let port = listening.addresses.first().map_or(0, std::net::SocketAddr::port);
    say(&format!(
        "Its private {} is in {}
Accounts 1 to 10 have money. Try:
  curl -X PUT http://localhost:{port}/send_payment -H 'content-type: application/json' \\
    -d '{{\"from\":1,\"to\":2,\"amount\":500,\"idempotency_key\":\"my-first\"}}'
  curl http://localhost:{port}/payment_history/1
Ctrl-C stops both.",
        server.version(),
        server.home().display()
    ));
}
