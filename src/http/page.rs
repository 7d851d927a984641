//! The page: files that the web build made, served as a web server would.

use std::path::Path;

use actix_files::Files;
use actix_web::dev::{ServiceRequest, ServiceResponse, fn_service};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{Error, ResponseError, guard};
use anyhow::{Result, bail};

use super::error::ApiError;

/// Files under this path have a hash of what is in them in their names.
const HASHED: &str = "/_next/static/";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Ask each time; an entity tag makes that cheap.
const ASK_FIRST: HeaderValue = HeaderValue::from_static("no-cache");

/// Whether the page is there.
///
/// # Errors
/// It is not.
pub(super) fn check(dir: &Path) -> Result<()> {
    if !dir.join("index.html").is_file() {
        bail!("page.dir: there is no index.html in {}", dir.display());
    }
    Ok(())
}

/// Serves the files of `dir` at the paths that no route has. What the build has compressed beside
/// them (`.br`, `.gz`) is sent to whoever takes it.
pub(super) fn serve(app: &mut ServiceConfig, dir: Option<&Path>) {
    let Some(dir) = dir else {
        return;
    };
    let nothing = fn_service(|request: ServiceRequest| async {
        Ok(request.into_response(ApiError::NotFound.error_response()))
    });
    let files = Files::new("/", dir)
        .index_file("index.html")
        .try_compressed()
        .redirect_to_slash_directory()
        .prefer_utf8(true)
        .default_handler(nothing);
    let reads = guard::Any(guard::Get()).or(guard::Head());
    app.service(web::scope("").guard(reads).wrap(from_fn(cached)).service(files));
}

async fn cached(
    request: ServiceRequest,
    next: Next<impl actix_web::body::MessageBody>,
) -> Result<ServiceResponse<impl actix_web::body::MessageBody>, Error> {
    let is_hashed = request.path().starts_with(HASHED);
    let mut response = next.call(request).await?;
    let is_there = response.status().is_success() || response.status().is_redirection();
    let policy = if is_hashed && is_there { FOR_EVER } else { ASK_FIRST };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, policy);
    // What its scripts may do is said in its files, by the build that knows them.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    Ok(response)
}
