//! Query strings and paths, read strictly, and the link to a next page.

use std::str::FromStr;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponseBuilder, web};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::ApiError;
use crate::domain::{AccountId, Invalid};

/// The brief's page: ten payments.
pub(super) const PAGE_SIZE: u16 = 10;

/// Reads the query string; an unknown parameter is an error, since a misspelt cursor would
/// return the first page for ever.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    web::Query::<T>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .map_err(|error| ApiError::invalid_request(format!("The query: {error}.")))
}

/// The account that a path or a parameter names.
///
/// # Errors
/// It is none; the text says which `parameter` it is.
pub(super) fn account_id(parameter: &str, text: &str) -> Result<AccountId, Invalid> {
    AccountId::from_str(text).map_err(|invalid| invalid.of(parameter))
}

/// An id that a field or a parameter names.
///
/// # Errors
/// It is none; the text says which `field` it is.
pub(super) fn uuid(field: &str, text: &str) -> Result<Uuid, Invalid> {
    Uuid::parse_str(text).map_err(|_| Invalid::Value(format!("{field}: an id is a UUID")))
}

/// A page size from 1 to `max`.
pub(super) fn limit(asked: Option<&str>, default: u16, max: u16) -> Result<u16, ApiError> {
    let Some(text) = asked else {
        return Ok(default.min(max));
    };
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| ApiError::invalid_request(format!("limit is an integer from 1 to {max}.")))
}

/// Adds a link to the next page (RFC 8288).
pub(super) fn link_next(response: &mut HttpResponseBuilder, target: &str) {
    if let Ok(link) = HeaderValue::from_str(&format!("<{target}>; rel=\"next\"")) {
        response.insert_header((header::LINK, link));
    }
}

#[cfg(test)]
mod tests;
