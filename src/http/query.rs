//! Query strings and paths, read strictly, and the link to a next page.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::LazyLock;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponseBuilder, ResponseError, web};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::openapi;
use crate::domain::{AccountId, Invalid};

/// The length to which a name is repeated in a message.
const NAME_CHARACTERS_MAX: usize = 40;

/// Refuses parameters that the API document does not list for a route, and those that are there twice:
/// somebody counts on what an unknown one would mean, and of two values one would be ignored. A route
/// that is not in the document takes none. The page's files take any, as from a cache's point of
/// view another query is another file.
pub(super) async fn strict<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match parameters_listed(request.request()) {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        Err(error) => Ok(request.into_response(error.error_response()).map_into_right_body()),
    }
}

fn parameters_listed(request: &HttpRequest) -> Result<(), ApiError> {
    static LISTED: LazyLock<openapi::Parameters> = LazyLock::new(openapi::parameters);
    if request.query_string().is_empty() {
        return Ok(());
    }
    // Without a route it is a file of the page, or nothing.
    let Some(route) = request.match_pattern().filter(|route| !route.is_empty()) else {
        return Ok(());
    };
    let nothing = BTreeSet::new();
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let listed = match LISTED.get(&*route) {
        // A method that it does not take is refused as that.
        Some(methods) if !methods.contains_key(method) => return Ok(()),
        Some(methods) => methods.get(method).unwrap_or(&nothing),
        None => &nothing,
    };
    let given: Vec<(String, String)> = query(request)?;
    let mut seen = BTreeSet::new();
    for (name, _) in given {
        let shown: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
        if !listed.contains(&name) {
            return Err(ApiError::InvalidRequest(format!(
                "The query: {method} {route} takes no parameter {shown:?}."
            )));
        }
        if !seen.insert(name) {
            return Err(ApiError::InvalidRequest(format!(
                "The query: the parameter {shown:?} is there twice."
            )));
        }
    }
    Ok(())
}

/// Reads the query string; an unknown parameter is an error, since a misspelt cursor would
/// return the first page for ever.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    web::Query::<T>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .map_err(|error| ApiError::InvalidRequest(format!("The query: {error}.")))
}

/// The account that a path or a parameter names.
///
/// # Errors
/// It is none; the text says which `parameter` it is.
pub(super) fn account_id(parameter: &str, text: &str) -> Result<AccountId, Invalid> {
    AccountId::from_str(text).map_err(|invalid| invalid.of(parameter))
}

/// A page size from 1 to `max`.
pub(super) fn limit(asked: Option<&str>, default: u16, max: u16) -> Result<u16, ApiError> {
    let Some(text) = asked else {
        return Ok(default.min(max));
    };
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| ApiError::InvalidRequest(format!("limit is an integer from 1 to {max}.")))
}

/// Adds a link to the next page (RFC 8288).
pub(super) fn link_next(response: &mut HttpResponseBuilder, target: &str) {
    if let Ok(link) = HeaderValue::from_str(&format!("<{target}>; rel=\"next\"")) {
        response.insert_header((header::LINK, link));
    }
}

#[cfg(test)]
mod tests;
