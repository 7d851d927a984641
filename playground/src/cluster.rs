//! `make cluster`: a ledger on three Postgres servers under Patroni, with two services in front. It tells who
//! leads and how to kill it, starts again what was killed, as a supervisor would, and ends all of it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use local_postgres::cluster::{Cluster, Part, WHOLE_MAX};
use payonce::commands::say;
use payonce::config::Settings;
use payonce::process::{self, Ledger, Prepared, Signals};
use rustix::process::Signal;
use testbed::Service;
use tokio::runtime::Runtime;
use tokio::task::block_in_place;

use crate::private::{self, SERVICE_ROLE};
use crate::{PlaygroundSettings, is_private, people};

/// How many processes of the service there are.
const SERVICES: u16 = 2;

/// A process that has ended is started again after so long. Sooner than `ttl` a leader that was lost would go on
/// leading.
pub(crate) const RESTART_PAUSE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(200);

/// Runs the cluster until a signal asks it to stop.
pub(crate) fn run(
    mut settings: Settings,
    own: &PlaygroundSettings,
    runtime: Runtime,
) -> Result<ExitCode> {
    // Before anything is started, which a signal from then on is to stop again.
    let mut signals = Signals::new(&runtime)?;
    if !is_private(&settings) {
        bail!("`make cluster` brings its own database: unset DATABASE_URL");
    }
    say("Three Postgres servers are started under Patroni.");
    let tools = testbed::beside_programs("tools")?;
    let mut cluster = Cluster::start(&own.cluster_dir, &tools, &own.source(), &[])
        .context("the cluster cannot be started")?;
    settings.database.url = Some(cluster.url(SERVICE_ROLE).into());
    settings.database.migrate_url = Some(cluster.url(cluster.owner_role()).into());
    let mut services = Vec::new();
    let work = work(&settings, &mut cluster, &mut services);
    let ended = runtime.block_on(signals.unless_asked(work));
    process::shut_down(runtime);
    say("Stopping.");
    for service in &mut services {
        service.process.stop(Signal::TERM)?;
    }
    cluster.stop()?;
    ended.unwrap_or(Ok(ExitCode::SUCCESS))
}

/// Everything between the start and the end.
async fn work(
    settings: &Settings,
    cluster: &mut Cluster,
    services: &mut Vec<Numbered>,
) -> Result<ExitCode> {
    let is_whole = async || Ok(block_in_place(|| cluster.is_whole()));
    testbed::until("the three servers follow one leader", WHOLE_MAX, is_whole)
        .await
        .with_context(|| format!("{}/db*/patroni.log says why", cluster.home().display()))?;
    let ledger = Ledger::of(settings)?;
    private::make_role(&ledger.owner).await?;
    let prepared = Prepared::new(settings, &ledger).await?;
    people::open_accounts(&prepared.service).await?;
    drop(prepared);
    for number in 0..SERVICES {
        services.push(block_in_place(|| Numbered::start(settings, cluster, number))?);
    }
    greet(settings, cluster, services);
    watch(settings, cluster, services).await
}

/// A process of the service, of which there are several.
struct Numbered {
    number: u16,
    process: Service,
}

impl Numbered {
    fn start(settings: &Settings, cluster: &Cluster, number: u16) -> Result<Self> {
        let port = match settings.server.port {
            // One that is free.
            0 => 0,
            port => port.checked_add(number).context("there is no port behind server.port")?,
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--cluster"]).arg(cluster.home());
        command.env("DATABASE_URL", cluster.url(SERVICE_ROLE)).env("PORT", port.to_string());
        command.env("PAYONCE_DATABASE__MIGRATE_ON_START", "false");
        // So that Ctrl-C reaches us first.
        command.process_group(0);
        let log = File::create(cluster.home().join(format!("service-{number}.log")))?;
        Ok(Self { number, process: Service::start(command, log)? })
    }
}

fn greet(settings: &Settings, cluster: &Cluster, services: &[Numbered]) {
    let origins: Vec<&str> = services.iter().map(|it| it.process.origin.as_str()).collect();
    let first = origins.first().copied().unwrap_or_default();
    let ports: Vec<String> = (0..cluster.size())
        .map(|node| format!("{} on port {}", cluster.name(node), cluster.postgres_port(node)))
        .collect();
    say(&format!(
        "{} on three servers: {}. Their files and logs are in {}
Two services are in front, and accounts 1 to 10 have money: {}
  curl -X PUT {}/send_payment -H 'content-type: application/json' \\
    -d '{{\"from\":1,\"to\":2,\"amount\":500,\"idempotency_key\":\"my-first\"}}'
  psql '{}' -c 'TABLE accounts'
Ctrl-C stops all of it.",
        cluster.version(),
        ports.join(", "),
        cluster.home().display(),
        origins.join(" and "),
        first,
        cluster.url(cluster.owner_role()),
    ));
    if settings.page.dir.is_some() {
        say(&format!(
            "The lab kills the leader under payments, and shows how they fare: {first}/lab/#failover"
        ));
    }
}

/// Tells who leads, and starts again what has ended.
async fn watch(
    settings: &Settings,
    cluster: &mut Cluster,
    services: &mut [Numbered],
) -> Result<ExitCode> {
    let mut leading = None;
    // Since when nobody leads.
    let mut lost: Option<Instant> = None;
    let mut was_whole = true;
    // What has ended, and since when.
    let mut due: Vec<(Instant, usize, Part)> = Vec::new();
    loop {
        for (node, part) in cluster.ended()? {
            let what = match part {
                Part::Etcd => "etcd",
                Part::Patroni => "Patroni",
            };
            say(&format!(
                "{what} of {} has ended. It is started again in {} s.",
                cluster.name(node),
                RESTART_PAUSE.as_secs()
            ));
            due.push((Instant::now(), node, part));
        }
        for (_, node, part) in due.extract_if(.., |(ended, ..)| ended.elapsed() > RESTART_PAUSE) {
            match part {
                Part::Etcd => cluster.start_etcd(node)?,
                Part::Patroni => cluster.start_node(node)?,
            }
        }
        for service in &mut *services {
            if let Some(status) = service.process.ended()? {
                say(&format!("A service has ended ({status}), and is started again."));
                *service = block_in_place(|| Numbered::start(settings, cluster, service.number))?;
                say(&format!("It listens on {}", service.process.origin));
            }
        }
        let leader = block_in_place(|| cluster.leader());
        if leader != leading {
            match leader {
                Some(node) => tell_leader(cluster, node, lost.map(|lost| lost.elapsed()))?,
                None => say("Nobody leads: payments wait."),
            }
            lost = if leader.is_none() { Some(Instant::now()) } else { None };
            (leading, was_whole) = (leader, false);
        } else if !was_whole && due.is_empty() && block_in_place(|| cluster.is_whole()) {
            say("All three are in step: the leader can be lost.");
            was_whole = true;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn tell_leader(cluster: &Cluster, node: usize, after: Option<Duration>) -> Result<()> {
    let after = after.map_or(String::new(), |it| format!(", after {:.1} s", it.as_secs_f64()));
    let pids: Vec<String> =
        cluster.processes(node)?.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
    say(&format!(
        "{} leads{after}. To lose it with its Patroni, as if its machine were gone:\n  kill -9 {}",
        cluster.name(node),
        pids.join(" ")
    ));
    Ok(())
}
