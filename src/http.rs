//! HTTP: routes, what bodies and queries may look like, and which status an error has.

mod accounts;
mod added;
mod address_limit;
mod auth;
mod body;
mod bulk;
mod docs;
mod error;
mod event_stream;
mod explain;
mod feed;
mod gate;
mod headers;
mod health;
mod history;
mod instructions;
mod live;
mod metrics;
mod observe;
mod openapi;
mod payment_requests;
mod payments;
mod problem;
mod query;
mod quota;
mod route;
mod shapes;
mod state;
mod statement;
mod unread_body;
mod voided_keys;
mod web_ui;
mod webhooks;

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use actix_web::dev::ServerHandle;
use actix_web::middleware::Condition;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, PathConfig, PayloadConfig, ThinData};
use actix_web::{App, HttpResponse, HttpServer, Resource, Route, guard};
use anyhow::{Context, Result, bail};
use rustix::net::sockopt;
use tokio::task::JoinHandle;
use tracing_actix_web::TracingLogger;

use crate::auth::Auth;
use crate::config::{AuthMode, Settings, milliseconds};
use crate::service::Service;
use crate::service::webhooks::outcomes as webhook_outcomes;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::spans_are_seen;
pub use added::{Added, AddedAnswer, AddedProblems, AddedRoute, Answering};
use address_limit::AddressLimit;
use docs::DocumentText;
use error::ApiError;
use gate::{DefaultHeaders, Gate};
use instructions::PayerLimit;
use metrics::Rendering;
use observe::RequestSpan;
pub use openapi::openapi;
pub use payments::{SendPayment, SendProblems};
use route::Routes;
pub use state::Stopping;
use state::{BODY_BYTES_MAX, BULK_BYTES_MAX, BodyBytesMax, HttpLimits};

/// Connections of those who watch the service, where they have a port of their own.
const WATCHING_CONNECTIONS_MAX: usize = 256;

/// Each path, and what answers there.
type Table = Vec<(&'static str, Resource)>;

/// Every route of the service, and those that the program adds, if any; but for those of
/// [`watching`]. The API document lists each with its parameters, and [`Gate`] refuses any other.
fn routes(added: Option<&Added>) -> Table {
    let mut routes = vec![
        at("/send_payment", "PUT", [web::put().to(payments::send)]),
        with_larger_bodies(at("/send_payments", "PUT", [web::put().to(bulk::send_many)])),
        at("/payment_history/{user}", "GET, HEAD", [get().to(history::page)]),
        at("/payments", "GET, HEAD", [get().to(history::payment_by_key)]),
        at("/payments/{id}", "GET, HEAD", [get().to(history::payment)]),
        at("/voided_keys", "PUT", [web::put().to(voided_keys::void)]),
        at(
            "/payment_requests",
            "GET, HEAD, POST",
            [get().to(payment_requests::list), web::post().to(payment_requests::ask)],
        ),
        at("/payment_requests/{id}", "GET, HEAD", [get().to(payment_requests::get)]),
        at("/payment_requests/{id}/decline", "POST", [web::post().to(payment_requests::decline)]),
        at("/payment_requests/{id}/cancel", "POST", [web::post().to(payment_requests::cancel)]),
        at(
            "/accounts",
            "GET, HEAD, POST",
            [get().to(accounts::list), web::post().to(accounts::open)],
        ),
        at("/accounts/{id}", "GET, HEAD", [get().to(accounts::get)]),
        at("/accounts/{id}/statement", "GET, HEAD", [get().to(statement::statement)]),
        at("/accounts/{id}/events", "GET, HEAD", [get().to(live::events)]),
        at("/accounts/{id}/status", "PUT", [web::put().to(accounts::set_status)]),
        at("/feed", "GET, HEAD", [get().to(feed::feed)]),
        at(
            "/webhooks",
            "GET, HEAD, POST",
            [get().to(webhooks::list), web::post().to(webhooks::add)],
        ),
        at(
            "/webhooks/{id}",
            "PUT, DELETE",
            [web::put().to(webhooks::change), web::delete().to(webhooks::remove)],
        ),
        at("/problems/{code}", "GET, HEAD", [get().to(explain::explain)]),
        at("/openapi.json", "GET, HEAD", [get().to(docs::document)]),
        at("/docs", "GET, HEAD", [get().to(docs::docs)]),
        at("/docs/{file:.*}", "GET, HEAD", [get().to(docs::docs_part)]),
    ];
    for added in added.into_iter().flat_map(|added| &added.routes) {
        let (allow, route) = added.route();
        routes.push(at(added.path, allow, [route]));
    }
    routes
}

/// The routes of those who watch the service.
fn watching() -> Table {
    vec![
        at("/health/live", "GET, HEAD", [get().to(health::live)]),
        at("/health/ready", "GET, HEAD", [get().to(health::ready)]),
        at("/metrics", "GET, HEAD", [get().to(metrics::text)]),
    ]
}

fn at<const N: usize>(
    path: &'static str,
    allow: &'static str,
    routes: [Route; N],
) -> (&'static str, Resource) {
    let refuse = move || async move { Err::<HttpResponse, _>(ApiError::method_not_allowed(allow)) };
    let resource = web::resource(path).default_service(web::to(refuse));
    (path, routes.into_iter().fold(resource, Resource::route))
}

/// The same, for a path whose bodies may be larger than others.
fn with_larger_bodies((path, resource): (&'static str, Resource)) -> (&'static str, Resource) {
    let config = PayloadConfig::new(BULK_BYTES_MAX);
    (path, resource.app_data(config).app_data(BodyBytesMax(BULK_BYTES_MAX)))
}

/// Whatever can be read with GET has a HEAD (RFC 9110, section 9.3.2).
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// The routes that are served at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Everything,
    /// Where `server.admin_port` is set: the other ports, and that one.
    AllButWatching,
    Watching,
}

impl Serves {
    fn routes(self, added: Option<&Added>) -> Table {
        match self {
            Self::Everything => watching().into_iter().chain(routes(added)).collect(),
            Self::AllButWatching => routes(added),
            Self::Watching => watching(),
        }
    }
}

/// Servers that listen, and where.
pub struct Listening {
    pub addresses: Vec<SocketAddr>,
    /// Where `server.admin_port` is set: where metrics and health are served.
    pub admin_addresses: Vec<SocketAddr>,
    pub stopping: Stopping,
    pub servers: Servers,
}

/// The servers of a process.
pub struct Servers {
    public: Running,
    admin: Option<Running>,
}

struct Running {
    handle: ServerHandle,
    ended: JoinHandle<io::Result<()>>,
}

impl Servers {
    /// Waits for one that ends although nobody has told it to: a fault of ours.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn any_ended(&mut self) -> Result<()> {
        let admin = async {
            match &mut self.admin {
                Some(admin) => (&mut admin.ended).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = &mut self.public.ended => ended,
            ended = admin => ended,
        };
        Ok(ended??)
    }

    /// Stops them: what was accepted is answered, and whoever watches is served until it is.
    ///
    /// # Errors
    /// One ended with an error.
    pub async fn stop(self) -> Result<()> {
        self.public.handle.stop(true).await;
        self.public.ended.await??;
        if let Some(admin) = self.admin {
            admin.handle.stop(false).await;
            admin.ended.await??;
        }
        Ok(())
    }
}

/// Whether the settings are such that the service may be reached where they say, before anything is
/// started.
///
/// # Errors
/// Everybody could do everything from elsewhere; or the page is not there.
pub fn check(settings: &Settings) -> Result<()> {
    if let Some(dir) = &settings.page.dir {
        web_ui::check(dir)?;
    }
    let Settings { auth, server, .. } = settings;
    if auth.mode == AuthMode::Jwt || auth.allow_off_on_public {
        return Ok(());
    }
    for host in hosts(&server.host) {
        let addresses = (host, server.port)
            .to_socket_addrs()
            .with_context(|| format!("server.host: {host} has no address"))?;
        for address in addresses {
            if !address.ip().to_canonical().is_loopback() {
                bail!(
                    "auth.mode is off, and at {} everybody could pay from every account: set \
                     auth.mode to jwt, or auth.allow_off_on_public to true",
                    address.ip()
                );
            }
        }
    }
    Ok(())
}

/// Binds the addresses and starts serving.
///
/// # Errors
/// An address is not ours or is in use.
pub fn listen(
    service: Arc<Service>,
    auth: Auth,
    settings: &Settings,
    added: Option<&Added>,
) -> Result<Listening> {
    let server = settings.server.clone();
    let limits = HttpLimits {
        body_read_timeout: milliseconds(server.read_timeout_ms),
        page_size_max: settings.history.page_size_max.get(),
    };
    let service = web::Data::from(service);
    let auth = web::Data::new(auth);
    let payer_limit = web::Data::new(PayerLimit::of(&settings.rate_limit));
    let address_limit = AddressLimit::of(settings).map(Arc::new);
    let listed = Arc::new(openapi::parameters());
    let document = openapi(added.map(|added| added.document.clone()))?;
    let document = web::Data::new(DocumentText(document.into()));
    let rendering = web::Data::new(Rendering::default());
    METRICS.payment_outcomes(payments::outcomes());
    METRICS.webhook_outcomes(webhook_outcomes());
    let stopping = Stopping::default();
    let origins: Arc<[String]> = Arc::from(server.cors_origins.clone());
    let defaults = DefaultHeaders::new(&origins).context("server.cors_origins")?;
    let write_timeout_ms = server.write_timeout_ms.get();

    let serve = |serves: Serves, mut port: u16, workers: usize, connections: usize| -> Result<_> {
        let (service, auth, payer_limit) = (service.clone(), auth.clone(), payer_limit.clone());
        let (address_limit, listed) = (address_limit.clone(), Arc::clone(&listed));
        let (rendering, stopping) = (rendering.clone(), stopping.clone());
        let (origins, defaults) = (Arc::clone(&origins), defaults.clone());
        let page = settings.page.dir.clone();
        let (document, added) = (document.clone(), added.cloned());
        let mut http = HttpServer::new(move || {
            let routes = serves.routes(added.as_ref());
            let gate = Gate {
                origins: Arc::clone(&origins),
                routes: Routes::new(routes.iter().map(|(path, _)| *path), &listed),
                address_limit: address_limit.clone(),
                stopping: stopping.clone(),
                defaults: defaults.clone(),
            };
            App::new()
                .app_data(service.clone())
                .app_data(auth.clone())
                .app_data(payer_limit.clone())
                .app_data(document.clone())
                .app_data(rendering.clone())
                .app_data(web::Data::new(stopping.clone()))
                .app_data(ThinData(limits))
                .app_data(PayloadConfig::new(BODY_BYTES_MAX))
                .app_data(PathConfig::default().error_handler(|error, _| {
                    ApiError::invalid_request(format!("The path: {error}.")).into()
                }))
                .wrap(gate)
                .wrap(Condition::new(spans_are_seen(), TracingLogger::<RequestSpan>::new()))
                .configure(|app| {
                    for (_, resource) in routes {
                        app.service(resource);
                    }
                    app.default_service(web::to(async || {
                        Err::<HttpResponse, _>(ApiError::from(problem::NOT_FOUND))
                    }));
                    if serves != Serves::Watching {
                        web_ui::serve(app, page.as_deref());
                    }
                })
        })
        .on_connect(move |connection, _| give_up_on_slow_readers(connection, write_timeout_ms))
        .disable_signals()
        .client_request_timeout(milliseconds(server.read_timeout_ms))
        .keep_alive(milliseconds(server.keep_alive_ms))
        .workers(workers)
        .max_connections(connections.div_ceil(workers))
        .shutdown_timeout(u64::from(server.shutdown_timeout_ms.get()).div_ceil(1_000));
        for host in hosts(&server.host) {
            http = http
                .bind((host, port))
                .with_context(|| format!("cannot listen on {host}, port {port}"))?;
            // With port 0 the first address chooses, and the others follow.
            port = http.addrs().first().map_or(port, SocketAddr::port);
        }
        let (addresses, server) = (http.addrs(), http.run());
        let handle = server.handle();
        Ok((addresses, Running { handle, ended: tokio::spawn(server) }))
    };

    let workers = match server.workers.get() {
        0 => thread::available_parallelism()?.get(),
        workers => workers,
    };
    let connections_max = server.connections_max.get();
    let Some(admin_port) = server.admin_port else {
        let (addresses, public) = serve(Serves::Everything, server.port, workers, connections_max)?;
        let servers = Servers { public, admin: None };
        return Ok(Listening { addresses, admin_addresses: Vec::new(), stopping, servers });
    };
    // A thread and connections of its own: it answers, however busy the others are.
    let (admin_addresses, admin) =
        serve(Serves::Watching, admin_port, 1, WATCHING_CONNECTIONS_MAX)?;
    let (addresses, public) = serve(Serves::AllButWatching, server.port, workers, connections_max)?;
    let servers = Servers { public, admin: Some(admin) };
    Ok(Listening { addresses, admin_addresses, stopping, servers })
}

/// `localhost` is both loopback addresses, where there is IPv6 (containers are often without).
fn hosts(host: &str) -> Vec<&str> {
    match host {
        "localhost" if TcpListener::bind(("::1", 0)).is_ok() => vec!["127.0.0.1", "::1"],
        "localhost" => vec!["127.0.0.1"],
        host => vec![host],
    }
}

/// Linux gives up a connection whose client does not take what it asked for (`TCP_USER_TIMEOUT`,
/// tcp(7)): the web framework would keep it for as long as the client likes.
fn give_up_on_slow_readers(connection: &dyn Any, write_timeout_ms: u32) {
    #[cfg(target_os = "linux")]
    if let Some(connection) = connection.downcast_ref::<TcpStream>()
        && let Err(error) = sockopt::set_tcp_user_timeout(connection, write_timeout_ms)
    {
        tracing::warn!(%error, "a connection has no time limit for writing");
    }
}
