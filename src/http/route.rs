//! Which route a request is for, and which parameters its query may have.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use actix_web::HttpRequest;
use actix_web::dev::ResourceDef;
use actix_web::http::Method;

use super::error::ApiError;
use super::openapi::Parameters;
use super::query::query;

/// The length to which a name is repeated in a message.
const NAME_CHARACTERS_MAX: usize = 40;

/// The routes of a port.
#[derive(Clone)]
pub(super) struct Routes(Rc<[Route]>);

pub(super) struct Route {
    pub pattern: &'static str,
    paths: ResourceDef,
    /// By method, the parameters that the API document lists. A route that is not in it takes none.
    listed: Option<BTreeMap<&'static str, BTreeSet<String>>>,
}

impl Routes {
    pub fn new(patterns: impl Iterator<Item = &'static str>, listed: &Parameters) -> Self {
        let route = |pattern| Route {
            pattern,
            paths: ResourceDef::new(pattern),
            listed: listed.get(pattern).cloned(),
        };
        Self(patterns.map(route).collect())
    }

    /// `None`: it is for a file of the page, or for nothing.
    pub fn of(&self, request: &HttpRequest) -> Option<&Route> {
        let path = request.match_info().as_str();
        self.0.iter().find(|route| route.paths.is_match(path))
    }
}

impl Route {
    /// Refuses parameters that the API document does not list, and those that are there twice:
    /// somebody counts on what an unknown one would mean, and of two values one would be ignored.
    pub fn check_query(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let method = match *request.method() {
            Method::HEAD => "GET",
            ref method => method.as_str(),
        };
        let nothing = BTreeSet::new();
        let listed = match &self.listed {
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
                return Err(ApiError::invalid_request(format!(
                    "The query: {method} {} takes no parameter {shown:?}.",
                    self.pattern
                )));
            }
            if !seen.insert(name) {
                return Err(ApiError::invalid_request(format!(
                    "The query: the parameter {shown:?} is there twice."
                )));
            }
        }
        Ok(())
    }
}
