//! The commands that the service's own program and the playground's have in common, and how they talk
//! to the person at the terminal.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use utoipa::openapi::OpenApi;

use crate::config::{Settings, Telemetry};
use crate::domain::{AccountId, Position};
use crate::http::Added;
use crate::process::{Ledger, Prepared, Serving, Signals};
use crate::service::audit;
use crate::{auth, http, telemetry};

#[derive(Args)]
pub struct AuditOptions {
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// Audits only what came after this position of the feed, as an earlier audit printed it.
    #[arg(long, value_name = "POSITION")]
    since: Option<Position>,
}

#[derive(Args)]
pub struct TokenOptions {
    /// The account whose owner it is for.
    #[arg(long, required_unless_present = "operator")]
    account: Option<i64>,
    /// It may do everything.
    #[arg(long)]
    operator: bool,
    /// How long it is valid.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    expires_in_seconds: u32,
}

/// Checks the ledger's invariants over the whole database, or in what is new, and prints the report; failure on a
/// violation.
///
/// # Errors
/// The database does not answer, the feed has no such position, or the report cannot be printed.
pub async fn audit(ledger: &Ledger, options: &AuditOptions) -> Result<ExitCode> {
    ledger.find(&ledger.owner).await?;
    let audited = match options.since {
        None => audit::run(&ledger.owner).await,
        Some(since) => audit::run_since(&ledger.owner, since).await,
    };
    let report = audited.context("the audit could not be made")?;
    let text =
        if options.json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{text}").context("the report cannot be printed")?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a token for local use.
///
/// # Errors
/// There is no secret to sign it with, or no such account can be.
pub fn token(settings: &Settings, options: &TokenOptions) -> Result<()> {
    let account = options.account.map(AccountId::new).transpose()?;
    let lifetime = Duration::from_secs(options.expires_in_seconds.into());
    let token = auth::mint(&settings.auth, account, options.operator, lifetime)?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

/// Prints the API document, with what the program adds to it.
///
/// # Errors
/// It cannot be printed.
pub fn openapi(added: Option<OpenApi>) -> Result<()> {
    writeln!(std::io::stdout(), "{}", http::openapi(added)?)?;
    Ok(())
}

/// Tells the person at the terminal, if there still is one: a pipe that was closed must not end the
/// service.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The end of a program: an error is told to the person at the terminal.
#[must_use]
pub fn exit(program: &str, result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{program}: {error:#}");
        ExitCode::FAILURE
    })
}

/// Serves until a signal asks it to stop, which may come while it is still being prepared. `greet` is for
/// what the program has to say besides where it listens.
///
/// # Errors
/// It cannot be prepared, an address is not ours or is in use, or the server or a writer ended by itself.
pub async fn serve(
    settings: &Settings,
    mut signals: Signals,
    prepare: impl Future<Output = Result<Prepared>>,
    added: Option<&Added>,
    greet: impl FnOnce(&Serving),
) -> Result<ExitCode> {
    let Some(prepared) = signals.unless_asked(prepare).await else {
        return Ok(ExitCode::SUCCESS);
    };
    let serving = prepared?.listen(settings, added)?;
    say_addresses(&serving, &settings.telemetry);
    greet(&serving);
    serving.until_asked_to_stop(signals).await?;
    Ok(ExitCode::SUCCESS)
}

/// Says where the service can be reached. Scripts wait for these lines, so no filter leaves them out.
fn say_addresses(serving: &Serving, settings: &Telemetry) {
    for address in serving.admin_addresses() {
        say(&telemetry::told(settings, &format!("payonce is watched at http://{address}")));
    }
    for address in serving.addresses() {
        say(&telemetry::told(settings, &format!("payonce listens on http://{address}")));
    }
}
