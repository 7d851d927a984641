//! HTTP: routes, what bodies and queries may look like, and which status an error has.

mod accounts;
mod added;
mod auth;
mod body;
mod error;
mod headers;
mod health;
mod history;
mod metrics;
mod observe;
mod openapi;
mod page;
mod payments;
mod problem;
mod query;
mod rate_limit;
mod unread_body;

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::ServerHandle;
use actix_web::http::{Method, header};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, PathConfig, PayloadConfig, ServiceConfig, ThinData};
use actix_web::{App, HttpResponse, HttpServer, Resource, Route, guard};
use anyhow::{Context, Result, bail};
use rustix::net::sockopt;
use tokio::task::JoinHandle;
use tracing_actix_web::TracingLogger;

use crate::auth::Auth;
use crate::config::{AuthMode, Settings, milliseconds};
use crate::service::Service;
use crate::telemetry::metrics::METRICS;
pub use added::AddedRoute;
use error::ApiError;
use metrics::Rendering;
use observe::RequestSpan;
use openapi::DocumentText;
pub use openapi::openapi;
pub use payments::{SendPayment, SendProblems};
use rate_limit::RateLimits;

/// Every route of the service, and the one that the program adds, if any; but for those of
/// [`watching`]. The API document lists each with its
/// parameters, and [`query::strict`] refuses any other.
fn routes(app: &mut ServiceConfig, added: Option<&AddedRoute>) {
    app.service(at("/send_payment", "PUT").route(web::put().to(payments::send)))
        .service(at("/payment_history/{user}", "GET, HEAD").route(get().to(history::page)))
        .service(at("/payments/{id}", "GET, HEAD").route(get().to(history::payment)))
        .service(
            at("/accounts", "GET, HEAD, POST")
                .route(get().to(accounts::list))
                .route(web::post().to(accounts::open)),
        )
        .service(at("/accounts/{id}", "GET, HEAD").route(get().to(accounts::get)))
        .service(at("/problems/{code}", "GET, HEAD").route(get().to(problem::explain)))
        .service(at("/openapi.json", "GET, HEAD").route(get().to(openapi::document)))
        .service(at("/docs", "GET, HEAD").route(get().to(openapi::docs)))
        .service(at("/docs/{file:.*}", "GET, HEAD").route(get().to(openapi::docs_part)))
        .default_service(nothing());
    if let Some(added) = added {
        app.service(at(added.path, "POST").route(web::post().to(added.handler())));
    }
}

/// The routes of those who watch the service.
fn watching(app: &mut ServiceConfig) {
    app.service(at("/health/live", "GET, HEAD").route(get().to(health::live)))
        .service(at("/health/ready", "GET, HEAD").route(get().to(health::ready)))
        .service(at("/metrics", "GET, HEAD").route(get().to(metrics::text)));
}

fn nothing() -> Route {
    web::to(async || Err::<HttpResponse, _>(ApiError::NotFound))
}

fn at(path: &str, allow: &'static str) -> Resource {
    let refuse =
        move || async move { Err::<HttpResponse, _>(ApiError::MethodNotAllowed { allow }) };
    web::resource(path).default_service(web::to(refuse))
}

/// Whatever can be read with GET has a HEAD (RFC 9110, section 9.3.2).
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A larger body is refused. The largest request that can succeed has a third of it.
const BODY_BYTES_MAX: usize = 16_384;

/// The limits that handlers and extractors need.
#[derive(Debug, Clone, Copy)]
struct HttpLimits {
    body_bytes_max: usize,
    body_read_timeout: Duration,
    page_size_max: u16,
}

/// Whether the service is about to stop: it is not ready any more, and keeps no connection.
#[derive(Debug, Clone, Default)]
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    /// From now on it is.
    pub fn announce(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_announced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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
    fn routes(self, app: &mut ServiceConfig, added: Option<&AddedRoute>, page: Option<&Path>) {
        if self != Self::AllButWatching {
            watching(app);
        }
        if self == Self::Watching {
            app.default_service(nothing());
        } else {
            routes(app, added);
            page::serve(app, page);
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
        page::check(dir)?;
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
    added: Option<&AddedRoute>,
) -> Result<Listening> {
    let server = settings.server.clone();
    let limits = HttpLimits {
        body_bytes_max: BODY_BYTES_MAX,
        body_read_timeout: milliseconds(server.read_timeout_ms),
        page_size_max: settings.history.page_size_max.get(),
    };
    let service = web::Data::from(service);
    let auth = web::Data::new(auth);
    let rate_limits = web::Data::new(RateLimits::of(settings));
    let document = openapi(added.map(|added| added.document.clone()))?;
    let document = web::Data::new(DocumentText(document.into()));
    let rendering = web::Data::new(Rendering::default());
    METRICS.payment_outcomes(payments::outcomes());
    let stopping = Stopping::default();
    let stopping_data = web::Data::new(stopping.clone());
    let write_timeout_ms = server.write_timeout_ms.get();

    let serve = |serves: Serves, mut port: u16, workers: usize| -> Result<_> {
        let (service, auth, rate_limits) = (service.clone(), auth.clone(), rate_limits.clone());
        let (rendering, stopping) = (rendering.clone(), stopping_data.clone());
        let (origins, page) = (server.cors_origins.clone(), settings.page.dir.clone());
        let (document, added) = (document.clone(), added.cloned());
        let mut http = HttpServer::new(move || {
            App::new()
                .app_data(service.clone())
                .app_data(auth.clone())
                .app_data(rate_limits.clone())
                .app_data(document.clone())
                .app_data(rendering.clone())
                .app_data(stopping.clone())
                .app_data(ThinData(limits))
                .app_data(PayloadConfig::new(limits.body_bytes_max))
                .app_data(PathConfig::default().error_handler(|error, _| {
                    ApiError::InvalidRequest(format!("The path: {error}.")).into()
                }))
                .wrap(from_fn(query::strict))
                .wrap(from_fn(rate_limit::by_address))
                .wrap(cors(&origins))
                .wrap(from_fn(error::as_problem))
                .wrap(default_headers(&origins))
                .wrap(from_fn(observe::observed))
                .wrap(TracingLogger::<RequestSpan>::new())
                .wrap(from_fn(unread_body::closed))
                .configure(|app| serves.routes(app, added.as_ref(), page.as_deref()))
        })
        .on_connect(move |connection, _| give_up_on_slow_readers(connection, write_timeout_ms))
        .disable_signals()
        .client_request_timeout(milliseconds(server.read_timeout_ms))
        .keep_alive(milliseconds(server.keep_alive_ms))
        .max_connections(server.connections_max.get())
        .shutdown_timeout(u64::from(server.shutdown_timeout_ms.get()).div_ceil(1_000));
        if workers > 0 {
            http = http.workers(workers);
        }
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

    let Some(admin_port) = server.admin_port else {
        let (addresses, public) = serve(Serves::Everything, server.port, server.workers.get())?;
        let servers = Servers { public, admin: None };
        return Ok(Listening { addresses, admin_addresses: Vec::new(), stopping, servers });
    };
    // A thread and connections of its own: it answers, however busy the others are.
    let (admin_addresses, admin) = serve(Serves::Watching, admin_port, 1)?;
    let (addresses, public) = serve(Serves::AllButWatching, server.port, server.workers.get())?;
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

/// Pages of these origins may call the service and read the headers that explain an answer.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST])
        .allowed_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            headers::IDEMPOTENCY_KEY,
            headers::X_REQUEST_ID,
            headers::TRACEPARENT,
            headers::TRACESTATE,
        ])
        .expose_headers([
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            headers::SERVER_TIMING,
            headers::IDEMPOTENCY_REPLAYED,
            headers::RATE_LIMIT,
            headers::RATE_LIMIT_POLICY,
            headers::X_REQUEST_ID,
            header::WWW_AUTHENTICATE,
        ])
        .max_age(3_600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// What every answer says unless it says otherwise: it is for nobody's cache and nobody's frame, and no
/// browser is to guess what it is.
fn default_headers(origins: &[String]) -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CACHE_CONTROL, "no-store"))
        .add((header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((headers::TIMING_ALLOW_ORIGIN, origins.join(", ")))
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
