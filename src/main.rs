//! The commands.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use payonce::commands::{self, AuditOptions, TokenOptions, say};
use payonce::config::{Server, Settings, milliseconds};
use payonce::process::{self, Ledger, Prepared, Signals};
use payonce::service::pruning;
use payonce::{http, telemetry};

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
    /// Checks the ledger's invariants, over the whole database or in what is new; exit status 1 on a violation.
    Audit(AuditOptions),
    /// Removes the rows of idempotency keys that are past their retention.
    Prune,
    /// Asks the service of these settings, on this machine, whether it is ready; exit status 1 if not.
    Health,
    /// Prints the API document (`OpenAPI` 3.1).
    Openapi,
    /// Prints a token for local use, signed with `auth.jwt_secret`.
    Token(TokenOptions),
}

/// How long the service may take to say whether it is ready.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    commands::exit("payonce", run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let command = cli.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        return commands::openapi(None).map(|()| ExitCode::SUCCESS);
    }
    let settings = Settings::load()?;
    match command {
        Command::Token(options) => {
            return commands::token(&settings, &options).map(|()| ExitCode::SUCCESS);
        }
        Command::Health => return health(&settings.server),
        Command::Serve => http::check(&settings)?,
        _ => {}
    }
    let ledger = Ledger::of(&settings)?;
    let _telemetry = telemetry::start(&settings.telemetry)?;
    let runtime = process::runtime()?;
    let code = match command {
        Command::Serve => {
            let signals = Signals::new(&runtime)?;
            let prepare = Prepared::new(&settings, &ledger);
            runtime.block_on(commands::serve(&settings, signals, prepare, None, |_| {}))
        }
        Command::Migrate => runtime.block_on(process::migrate(&ledger)).map(|()| ExitCode::SUCCESS),
        Command::Audit(options) => runtime.block_on(commands::audit(&ledger, &options)),
        Command::Prune => runtime.block_on(prune(&ledger, &settings)),
        // Commands without a database were done above.
        Command::Openapi | Command::Token(_) | Command::Health => Ok(ExitCode::SUCCESS),
    };
    process::shut_down(runtime);
    code
}

async fn prune(ledger: &Ledger, settings: &Settings) -> Result<ExitCode> {
    ledger.find(&ledger.target).await?;
    let step_timeout = milliseconds(settings.database.transaction_timeout_ms);
    let swept = pruning::sweep(&ledger.target, settings.prune, step_timeout).await;
    let Some(rows) = swept.context("old keys could not be removed")? else {
        bail!("another process removes old keys already");
    };
    say(&format!("Removed the rows of {rows} idempotency keys."));
    Ok(ExitCode::SUCCESS)
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
    let port = server.admin_port.unwrap_or(server.port);
    let url = format!("http://{host}:{port}/health/ready");
    let client = reqwest::blocking::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT).build()?;
    let answer = client.get(url).send()?;
    let is_ready = answer.status().is_success();
    say(&answer.text()?);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
