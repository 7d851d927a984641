//! `payonce-playground`: the service on a private ledger, with people who have money, and with faults on
//! demand. It is what `make run` starts; what is deployed has none of it.
//!
//! With `DATABASE_URL` it serves that database, as the service's own program does: nothing is filled
//! in, and nothing is broken.
//!
//! `payonce-playground cluster` is what `make cluster` starts: the ledger on three servers, whose leader can be
//! killed on demand.

mod cluster;
mod crash;
mod failover;
mod people;
mod private;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use local_postgres::cluster::Members;
use local_postgres::{LocalPostgres, Source};
use payonce::commands::{self, AuditOptions, TokenOptions, say};
use payonce::config::{AuthMode, Settings};
use payonce::http::{self, Added};
use payonce::process::{self, Ledger, Prepared, Serving, Signals};
use payonce::telemetry;
use serde::Deserialize;
use utoipa::openapi::OpenApi;

/// payonce on a private ledger to play with, or on that of `DATABASE_URL`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves HTTP (the default).
    Serve {
        /// Of `cluster` for its processes: where it lives. By this the next one finds them where it was killed.
        #[arg(long, hide = true)]
        cluster: Option<PathBuf>,
    },
    /// Runs a cluster of three Postgres servers under Patroni, with two services in front.
    Cluster,
    /// Checks the ledger's invariants; exit status 1 on a violation.
    Audit(AuditOptions),
    /// Prints the API document (`OpenAPI` 3.1), with the faults on demand.
    Openapi,
    /// Prints a token, signed with `auth.jwt_secret`.
    Token(TokenOptions),
}

/// Settings of the playground, beside those of the service.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PlaygroundSettings {
    /// Where the private Postgres lives.
    data_dir: PathBuf,
    /// Where the cluster of `cluster` lives.
    cluster_dir: PathBuf,
    /// Where its programs come from: `auto` (the system, else a pinned package), `package`, or a
    /// directory.
    local_binaries: String,
}

/// Their names.
const SETTINGS: [&str; 3] = ["data_dir", "cluster_dir", "local_binaries"];

impl Default for PlaygroundSettings {
    fn default() -> Self {
        Self {
            data_dir: ".payonce".into(),
            cluster_dir: ".payonce-cluster".into(),
            local_binaries: "auto".to_owned(),
        }
    }
}

impl PlaygroundSettings {
    fn source(&self) -> Source {
        match self.local_binaries.as_str() {
            "auto" => Source::Auto,
            "package" => Source::Package,
            dir => Source::Dir(dir.into()),
        }
    }
}

fn main() -> ExitCode {
    commands::exit("payonce-playground", run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let command = cli.command.unwrap_or(Command::Serve { cluster: None });
    if matches!(command, Command::Openapi) {
        return commands::openapi(Some(document())).map(|()| ExitCode::SUCCESS);
    }
    let (mut settings, own): (_, PlaygroundSettings) = Settings::load_beside(&SETTINGS)?;
    if let Command::Token(options) = &command {
        return commands::token(&settings, options).map(|()| ExitCode::SUCCESS);
    }
    let is_serve = matches!(command, Command::Serve { .. });
    if is_serve {
        http::check(&settings)?;
    }
    let _telemetry = telemetry::start(&settings.telemetry)?;
    let runtime = process::runtime()?;
    // Before the server is started, which a signal from then on is to stop again.
    if matches!(command, Command::Cluster) {
        return cluster::run(settings, &own, runtime);
    }
    let signals = if is_serve { Some(Signals::new(&runtime)?) } else { None };
    let server = match is_private(&settings) {
        true if is_serve => Some(private::start(&own)?),
        true => Some(private::join(&own)?),
        false => None,
    };
    if let Some(server) = &server {
        private::point(&mut settings, server);
    }
    let ledger = Ledger::of(&settings)?;
    let code = runtime.block_on(async {
        match (signals, command) {
            (Some(signals), Command::Serve { cluster }) => {
                serve(&settings, &ledger, server.as_ref(), cluster.as_deref(), signals).await
            }
            (_, Command::Audit(options)) => commands::audit(&ledger, &options).await,
            // Commands without a database were done above.
            _ => Ok(ExitCode::SUCCESS),
        }
    });
    process::shut_down(runtime);
    let code = code?;
    if let Some(server) = server {
        server.stop()?;
    }
    Ok(code)
}

/// Whether the settings leave the ledger to the playground. A URL for migrations alone names no
/// database, but it is set by somebody who means one.
fn is_private(settings: &Settings) -> bool {
    settings.database.url.is_none() && settings.database.migrate_url.is_none()
}

async fn serve(
    settings: &Settings,
    ledger: &Ledger,
    server: Option<&LocalPostgres>,
    cluster: Option<&Path>,
    signals: Signals,
) -> Result<ExitCode> {
    let prepare = prepare(settings, ledger, server.is_some());
    let members = cluster.map(Members::of).transpose()?;
    // Nobody else depends on the ledger.
    let is_ours = server.is_some() || members.is_some();
    let added = is_ours.then(|| faults(settings, ledger, members));
    let greet = |serving: &Serving| {
        if let Some(server) = server {
            greet(serving.addresses(), server, settings.auth.mode);
        }
    };
    commands::serve(settings, signals, prepare, added.as_ref(), greet).await
}

/// The faults on demand.
fn faults(settings: &Settings, ledger: &Ledger, members: Option<Members>) -> Added {
    let mut routes = failover::routes(members);
    routes.push(crash::route(&ledger.target, settings));
    Added { document: document(), routes }
}

/// Their part of the API document.
fn document() -> OpenApi {
    crash::document().merge_from(failover::document())
}

async fn prepare(settings: &Settings, ledger: &Ledger, is_private: bool) -> Result<Prepared> {
    if is_private {
        private::make_role(&ledger.owner).await?;
    }
    let prepared = Prepared::new(settings, ledger).await?;
    if is_private {
        people::open_accounts(&prepared.service).await?;
    }
    Ok(prepared)
}

fn greet(addresses: &[SocketAddr], server: &LocalPostgres, auth: AuthMode) {
    if auth == AuthMode::Jwt {
        say(
            "Authorization is on: `payonce-playground token --account 1` prints a token for the header \
             of `curl -H 'authorization: Bearer ...'`.",
        );
    }
    let port = addresses.first().map_or(0, SocketAddr::port);
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
