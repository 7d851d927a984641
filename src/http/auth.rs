//! Who sent a request.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::{FromRequest, HttpRequest, web};

use super::error::ApiError;
use super::problem;
use crate::auth::{Auth, Identity, Unauthenticated, is_this_machine};
use crate::service::Refusal;

/// The caller of a handler that has this among its parameters; it comes first, so that nothing is
/// read from somebody who is not known.
pub(super) struct Authenticated(pub Identity);

impl FromRequest for Authenticated {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let auth = request.app_data::<web::Data<Auth>>().ok_or(Refusal::Internal)?;
            if auth.trusts_this_machine_alone() && !names_this_machine(&request) {
                return Err(ApiError::new(
                    problem::FORBIDDEN,
                    "Without authorization the service answers to localhost and to loopback addresses \
                     alone, and the request is for another host. See auth.mode and \
                     auth.allow_off_on_public.",
                ));
            }
            if auth.trusts_this_machine_alone() && comes_from_another_site(&request) {
                return Err(ApiError::new(
                    problem::FORBIDDEN,
                    "Without authorization a page of another site may not change anything here.",
                ));
            }
            let mut headers = request.headers().get_all(AUTHORIZATION);
            let header = headers.next().map(HeaderValue::as_bytes);
            if headers.next().is_some() {
                return Err(Unauthenticated::Refused("There is more than one.").into());
            }
            Ok(Self(auth.identity(header).await?))
        })
    }
}

/// Whether the request is for a name that can only be this machine. A page from elsewhere can make its
/// own name point here (DNS rebinding): to the browser it is then of the same origin, and only this
/// header shows it.
fn names_this_machine(request: &HttpRequest) -> bool {
    let Some(host) = request.headers().get(HOST) else {
        // Browsers always send it.
        return true;
    };
    let Some(authority) = host.to_str().ok().and_then(|it| it.parse::<Authority>().ok()) else {
        return false;
    };
    is_this_machine(authority.host())
}

/// Whether a browser says that a page of another site wants something changed (W3C Fetch Metadata). A request without
/// a body is sent without a preflight.
fn comes_from_another_site(request: &HttpRequest) -> bool {
    let site = request.headers().get("sec-fetch-site");
    !request.method().is_safe() && site.is_some_and(|site| site.as_bytes() == b"cross-site")
}

/// Ends a request that its caller may not make.
pub(super) fn require(is_allowed: bool) -> Result<(), ApiError> {
    if is_allowed {
        Ok(())
    } else {
        Err(ApiError::new(problem::FORBIDDEN, "The token does not allow this."))
    }
}

#[cfg(test)]
mod tests;
