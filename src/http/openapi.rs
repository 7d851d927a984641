//! The API document (`OpenAPI` 3.1), generated from the handlers' annotations, the shapes below and the
//! catalogue of problems; and the page that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::{HttpResponse, web};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response,
    ResponseBuilder, Type,
};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_swagger_ui::Config;

use super::error::ApiError;
use super::problem::{self, Kind, Problem};
use super::{accounts, health, history, metrics, payments};
use crate::service::Refusal;

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
        history::page,
        history::payment,
        accounts::list,
        accounts::open,
        accounts::get,
        health::live,
        health::ready,
        metrics::text,
        problem::explain,
        document,
        docs
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

/// Declares a type that stands for some problems among an operation's responses.
macro_rules! problems {
    ($vis:vis $name:ident: $($kinds:expr),+ $(,)?) => {
        /// Some of the problems.
        $vis struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                use crate::http::problem::*;
                crate::http::openapi::responses(&[$(&$kinds[..]),+].concat())
            }
        }
    };
}
pub(super) use problems;

/// A response for each status of these problems, which names its codes and shows one of each.
pub(super) fn responses(kinds: &[Kind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status.as_u16()).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), response(&kinds))).collect()
}

fn response(kinds: &[Kind]) -> RefOr<Response> {
    let codes = kinds.iter().map(|kind| kind.code);
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.clone()));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", code));
    let examples = kinds.iter().map(|kind| {
        let value = serde_json::to_value(kind.problem(kind.meaning.to_owned())).ok();
        (kind.code, ExampleBuilder::new().summary(kind.title).value(value).build())
    });
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    let names: Vec<String> = codes.map(|code| format!("`{code}`")).collect();
    let mut response = ResponseBuilder::new()
        .description(names.join(", "))
        .content("application/problem+json", content);
    let text = |description| {
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some(description))
            .build()
    };
    if kinds.iter().all(|kind| kind.retryable) {
        response = response.header("Retry-After", text("Seconds after which to ask again."));
    }
    if kinds.iter().any(|kind| kind.code == problem::UNAUTHENTICATED.code) {
        response = response.header("WWW-Authenticate", text("What is asked for (RFC 6750)."));
    }
    response.build().into()
}

/// The document as JSON, with what a program adds to it.
///
/// # Errors
/// None that can happen: it has nothing that JSON lacks.
pub fn openapi(added: Option<utoipa::openapi::OpenApi>) -> serde_json::Result<String> {
    let document = Document::openapi();
    added.into_iter().fold(document, utoipa::openapi::OpenApi::merge_from).to_pretty_json()
}

/// The document that is served.
pub(super) struct DocumentText(pub web::Bytes);

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

problems!(DocumentProblems: [RATE_LIMITED]);

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    responses(
        (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
        DocumentProblems,
    )
)]
pub(super) async fn document(text: web::Data<DocumentText>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(text.0.clone())
}

/// What the page that shows the document may do: nothing but load its own files and call the service.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// This document, to read and to try.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "operation",
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        DocumentProblems,
    )
)]
pub(super) async fn docs() -> Result<HttpResponse, ApiError> {
    docs_file("index.html")
}

/// A file of that page.
pub(super) async fn docs_part(path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    docs_file(if path.is_empty() { "index.html" } else { &path })
}

fn docs_file(path: &str) -> Result<HttpResponse, ApiError> {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from("/openapi.json").persist_authorization(false)));
    let file =
        utoipa_swagger_ui::serve(path, Arc::clone(&CONFIG)).map_err(|_| Refusal::Internal)?;
    let file = file.ok_or(ApiError::NotFound)?;
    let mut response = HttpResponse::Ok();
    response.content_type(file.content_type);
    response.insert_header((CONTENT_SECURITY_POLICY, DOCS_POLICY));
    response.insert_header((CACHE_CONTROL, "no-cache"));
    if path == "index.html" {
        // So that the page works at /docs as well as at /docs/.
        let text = String::from_utf8_lossy(&file.bytes).replace("=\"./", "=\"");
        let text = text.replace("src=\"", "src=\"/docs/").replace("href=\"", "href=\"/docs/");
        return Ok(response.body(text));
    }
    Ok(response.body(file.bytes.into_owned()))
}

/// A payment as one reader sees it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::PaymentView`")]
pub(super) struct Payment {
    /// Derived from payer and key.
    #[schema(format = "uuid")]
    id: String,
    from_id: i64,
    to_id: i64,
    /// Cents.
    #[schema(minimum = 1)]
    amount: i64,
    #[schema(required)]
    note: Option<String>,
    /// The ledger's time: strictly increasing along each account's payments.
    #[schema(format = "date-time")]
    created_at: String,
    /// The client's own time, where it gave one.
    #[schema(required, format = "date-time")]
    requested_at: Option<String>,
    /// Cents after this payment, of the account whose history it is; of the payer in the answer to a
    /// payment; null where there is no such reader.
    #[schema(required)]
    balance_after: Option<i64>,
}

/// An account as its owner sees it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::Account`")]
pub(super) struct Account {
    id: i64,
    #[schema(required)]
    name: Option<String>,
    /// Cents.
    balance: i64,
    #[schema(format = "date-time")]
    created_at: String,
}
