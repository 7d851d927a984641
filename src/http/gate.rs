//! The one way in: what is about every request is found out once and done here.
//!
//! From the outside inwards: the request gets its names and its route; pages of other origins are
//! told what they may (CORS); limits and queries are checked; the route answers. On the way out an answer gets
//! the headers that all have, an error that nobody has told as one becomes a problem, and the operator is told.
//! Only what a request needs is done for it: each step that it does not need costs it a look.

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_cors::Cors;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{self, HeaderName, HeaderValue, InvalidHeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::{Error, ResponseError};

use super::address_limit::AddressLimit;
use super::error::{ApiError, as_problem};
use super::headers;
use super::observe::Observed;
use super::route::Routes;
use super::state::Stopping;
use super::unread_body::Kept;

/// An answer that is being made.
type Answering = Pin<Box<dyn Future<Output = Result<ServiceResponse, Error>>>>;

/// The parts of a worker's gate.
#[derive(Clone)]
pub(super) struct Gate {
    /// Pages of these may call the service.
    pub origins: Arc<[String]>,
    pub routes: Routes,
    pub address_limit: Option<Arc<AddressLimit>>,
    pub stopping: Stopping,
    pub defaults: DefaultHeaders,
}

impl<S> Transform<S, ServiceRequest> for Gate
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error, Future = Answering>
        + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = Entry<S>;
    type InitError = ();
    type Future = Pin<Box<dyn Future<Output = Result<Self::Transform, ()>>>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let Self { origins, routes, address_limit, .. } = self;
        let (routes, address_limit) = (routes.clone(), address_limit.clone());
        let same_origin = Rc::new(Checked { service, routes, address_limit });
        let any_origin = cors(origins).new_transform(Rc::clone(&same_origin));
        let gate = self.clone();
        Box::pin(async move { Ok(Entry { any_origin: any_origin.await?, same_origin, gate }) })
    }
}

type CorsOf<S> = <Cors as Transform<S, ServiceRequest>>::Transform;

/// The gate of a worker.
pub(super) struct Entry<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error, Future = Answering>
        + 'static,
{
    any_origin: CorsOf<Rc<Checked<S>>>,
    same_origin: Rc<Checked<S>>,
    gate: Gate,
}

impl<S> Service<ServiceRequest> for Entry<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error, Future = Answering>
        + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Answering;

    forward_ready!(same_origin);

    fn call(&self, mut request: ServiceRequest) -> Answering {
        let Gate { routes, defaults, stopping, .. } = &self.gate;
        let observed = Observed::new(&request, routes);
        let body = Kept::of(&mut request);
        let names = Rc::clone(observed.names());
        let mut answering = names.during(|| {
            let is_from_elsewhere = request.headers().contains_key(header::ORIGIN)
                || request.method() == Method::OPTIONS;
            if is_from_elsewhere {
                let answer = self.any_origin.call(request);
                Box::pin(async move { Ok(answer.await?.map_into_boxed_body()) })
            } else {
                self.same_origin.call(request)
            }
        });
        let (defaults, stopping) = (defaults.clone(), stopping.clone());
        Box::pin(async move {
            let answer = poll_fn(|cx| names.during(|| answering.as_mut().poll(cx))).await?;
            let mut answer = as_problem(answer);
            defaults.add_to(&mut answer);
            observed.answered(&mut answer);
            if stopping.is_announced() {
                // The client's next request is for another process.
                let head = answer.response_mut().head_mut();
                head.set_connection_type(ConnectionType::Close);
            }
            Ok(match body {
                Some(body) => body.kept_by(answer),
                None => answer,
            })
        })
    }
}

/// The routes, behind what may refuse a request before it reaches one.
pub(super) struct Checked<S> {
    service: S,
    routes: Routes,
    address_limit: Option<Arc<AddressLimit>>,
}

impl<S> Service<ServiceRequest> for Checked<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error, Future = Answering>,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Answering;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Answering {
        let quota = match &self.address_limit {
            Some(limit) => limit.check(&request),
            None => Ok(None),
        };
        let quota = match quota {
            Ok(quota) => quota,
            Err(exceeded) => return refused(request, &exceeded.into()),
        };
        let answering = match self.check_query(&request) {
            Ok(()) => self.service.call(request),
            Err(error) => refused(request, &error),
        };
        let Some(quota) = quota else {
            return answering;
        };
        Box::pin(async move {
            let mut answer = answering.await?;
            quota.tell(answer.headers_mut());
            Ok(answer)
        })
    }
}

impl<S> Checked<S> {
    /// The page's files take any parameters, as from a cache's point of view another query is another
    /// file.
    fn check_query(&self, request: &ServiceRequest) -> Result<(), ApiError> {
        if request.query_string().is_empty() {
            return Ok(());
        }
        let route = self.routes.of(request.request());
        route.map_or(Ok(()), |route| route.check_query(request.request()))
    }
}

fn refused(request: ServiceRequest, error: &ApiError) -> Answering {
    Box::pin(ready(Ok(request.into_response(error.error_response()))))
}

/// Pages of these origins may call the service and read the headers that explain an answer.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE])
        .allowed_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            headers::IDEMPOTENCY_KEY,
            headers::LAST_EVENT_ID,
            headers::X_REQUEST_ID,
            headers::TRACEPARENT,
            headers::TRACESTATE,
        ])
        .expose_headers([
            header::CONTENT_DISPOSITION,
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

/// The headers of every answer that has no others: it is for nobody's cache and nobody's frame, and no
/// browser is to guess what it is.
#[derive(Clone)]
pub(super) struct DefaultHeaders(Arc<[(HeaderName, HeaderValue)]>);

impl DefaultHeaders {
    /// # Errors
    /// An origin cannot stand in a header.
    pub fn new(origins: &[String]) -> Result<Self, InvalidHeaderValue> {
        let policy = "default-src 'none'; frame-ancestors 'none'";
        let origins = HeaderValue::try_from(origins.join(", "))?;
        Ok(Self(Arc::from([
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (headers::TIMING_ALLOW_ORIGIN, origins),
        ])))
    }

    fn add_to(&self, answer: &mut ServiceResponse) {
        let headers = answer.headers_mut();
        for (name, value) in &*self.0 {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}
