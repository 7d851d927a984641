//! Query strings and paths, read strictly, and the link to a next page.

use std::str::FromStr;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponseBuilder, web};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::body::{Integer, integer};
use super::error::ApiError;
use crate::domain::{AccountId, Invalid, Timestamp, unsigned};

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

/// The moment from which on, or before which, something is asked for: RFC 3339, or a Unix time in milliseconds.
///
/// # Errors
/// It is none; the text says which `parameter` it is.
pub(super) fn bound(parameter: &str, text: Option<&str>) -> Result<Option<Timestamp>, Invalid> {
    text.map(|text| time(parameter, text, Timestamp::parse_bound)).transpose()
}

/// A moment: RFC 3339, which `parse` reads, or a Unix time in milliseconds.
///
/// # Errors
/// It is none; the text says which `parameter` it is.
pub(super) fn time(
    parameter: &str,
    text: &str,
    parse: fn(&str) -> Result<Timestamp, Invalid>,
) -> Result<Timestamp, Invalid> {
    let time = match integer(text) {
        Some(Integer(ms)) => Timestamp::from_unix_ms(ms),
        None => parse(&Timestamp::unescaped(text)),
    };
    time.map_err(|invalid| invalid.of(parameter))
}

/// A page size from 1 to `max`.
pub(super) fn limit(asked: Option<&str>, default: u16, max: u16) -> Result<u16, ApiError> {
    let Some(text) = asked else {
        return Ok(default.min(max));
    };
    let limit = unsigned(text).filter(|limit| (1..=max).contains(limit));
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
