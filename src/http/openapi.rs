//! The API document (`OpenAPI` 3.1), generated from the handlers' annotations, the shapes of their answers
//! and the catalogue of problems.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::Problem;
use super::{
    accounts, bulk, docs, explain, feed, health, history, live, metrics, payment_requests,
    payments, statement, voided_keys, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "payonce",
        description = "Moves money between accounts, and never twice.\n\n\
            Amounts and balances are integers in cents; timestamps are RFC 3339 in UTC with six \
            decimals, and are to be given back as they came: they are exact to the microsecond.\n\n\
            The examples are requests to the playground that `make run` brings: they can be sent, in \
            their order.\n\n\
            With authorization on, a token is a JSON Web Token whose `sub` is the account's id; the \
            scope `operator` may do everything. With authorization off, no token is needed.\n\n\
            Where requests are limited, answers carry `RateLimit` and `RateLimit-Policy`.\n\n\
            Fields and parameters that are not listed here are refused, and so are parameters that are \
            there twice. Every answer that is not a success is a problem. Only bytes that are no request (a malformed head, \
            one of more than 128 KiB or 96 lines, or one that does not arrive in time) is answered with \
            400, 431 or 408 and no body, and its connection is closed."
    ),
    paths(
        payments::send,
        bulk::send_many,
        history::page,
        history::payment_by_key,
        history::payment,
        voided_keys::void,
        payment_requests::ask,
        payment_requests::list,
        payment_requests::get,
        payment_requests::decline,
        payment_requests::cancel,
        accounts::list,
        accounts::open,
        accounts::get,
        accounts::set_status,
        feed::feed,
        statement::statement,
        webhooks::list,
        webhooks::add,
        webhooks::change,
        webhooks::remove,
        live::events,
        health::live,
        health::ready,
        metrics::text,
        explain::explain,
        docs::document,
        docs::docs
    ),
    components(schemas(Problem)),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document as JSON, with what a program adds to it.
///
/// # Errors
/// None that can happen: it has nothing that JSON lacks.
pub fn openapi(added: Option<utoipa::openapi::OpenApi>) -> serde_json::Result<String> {
    let document = Document::openapi();
    added.into_iter().fold(document, utoipa::openapi::OpenApi::merge_from).to_pretty_json()
}

/// By path and method, the names of the parameters that a query may have.
pub(super) type Parameters = BTreeMap<String, BTreeMap<&'static str, BTreeSet<String>>>;

/// Collects the query parameters that the document lists.
pub(super) fn parameters() -> Parameters {
    let paths = Document::openapi().paths.paths.into_iter();
    let of = |operation: Operation| -> BTreeSet<String> {
        let all = operation.parameters.unwrap_or_default().into_iter();
        all.filter_map(|parameter| match parameter {
            RefOr::T(it) if it.parameter_in == ParameterIn::Query => Some(it.name),
            _ => None,
        })
        .collect()
    };
    paths
        .map(|(path, item)| {
            let operations = [
                ("GET", item.get),
                ("PUT", item.put),
                ("POST", item.post),
                ("DELETE", item.delete),
            ];
            let operations = operations.into_iter();
            (path, operations.filter_map(|(method, it)| Some((method, of(it?)))).collect())
        })
        .collect()
}
