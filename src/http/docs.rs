//! The API document as it is served, and the page that shows it.

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::{HttpResponse, web};
use utoipa_swagger_ui::Config;

use super::error::ApiError;
use super::problem;
use super::shapes::problems;
use crate::service::Refusal;

/// The document that is served.
pub(super) struct DocumentText(pub web::Bytes);

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

/// The page that shows the document may load its own files and call the service, and nothing else.
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
    let file = file.ok_or(problem::NOT_FOUND)?;
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
