//! The page: files that the web build made, served as a web server would.

use std::path::{Path, PathBuf};

use actix_files::Files;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue,
    IF_MATCH, IF_UNMODIFIED_SINCE, RANGE, VARY,
};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{Error, HttpResponseBuilder, ResponseError, guard};
use anyhow::{Result, bail};

use super::error::{ApiError, Code};
use super::problem;

/// Files under this path have a hash of what is in them in their names.
const HASHED: &str = "/_next/static/";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Ask each time; an entity tag makes that cheap.
const ASK_FIRST: HeaderValue = HeaderValue::from_static("no-cache");

/// The build's page for addresses that it does not have.
const NOTHING_HERE: &str = "404.html";

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
/// them (`.br`, `.gz`) is sent to whoever takes it. Where there is nothing, a browser that asks for a page gets
/// the build's page that says so, and a program a problem.
pub(super) fn serve(app: &mut ServiceConfig, dir: Option<&Path>) {
    let Some(dir) = dir else {
        return;
    };
    let files = Files::new("/", dir)
        .index_file("index.html")
        .try_compressed()
        .redirect_to_slash_directory()
        .prefer_utf8(true);
    let reads = guard::Any(guard::Get()).or(guard::Head());
    let nothing_here = dir.join(NOTHING_HERE);
    let served = from_fn(move |request, next| served(nothing_here.clone(), request, next));
    app.service(web::scope("").guard(reads).wrap(served).service(files));
}

async fn served(
    nothing_here: PathBuf,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Files are small and sent whole: of what is asked for there is no part to be refused.
    for header in [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE] {
        request.headers_mut().remove(header);
    }
    let is_hashed = request.path().starts_with(HASHED);
    let takes_html = takes_html(request.headers());
    let mut response = next.call(request).await?;
    let is_there = response.status().is_success() || response.status().is_redirection();
    if response.status().is_client_error() {
        // No such file, or a path that can be none.
        let page = if takes_html { tokio::fs::read(nothing_here).await.ok() } else { None };
        let problem = ApiError::from(problem::NOT_FOUND);
        let mut answer = match page {
            Some(page) => {
                let mut answer = HttpResponseBuilder::new(problem.status_code());
                answer.extensions_mut().insert(Code(problem.code()));
                answer.content_type("text/html; charset=utf-8").body(page)
            }
            None => problem.error_response(),
        };
        answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response = response.into_response(answer);
    }
    // Pages of some origins may read it, and it may be kept.
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    let policy = if is_hashed && is_there { FOR_EVER } else { ASK_FIRST };
    let headers = response.headers_mut();
    headers.remove(ACCEPT_RANGES);
    headers.insert(CACHE_CONTROL, policy);
    // The page's files say themselves what its scripts may do: the build knows them.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    Ok(response)
}

/// Whether a page is asked for by its media type, as browsers do; `*/*` is anybody's.
fn takes_html(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|it| it.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| {
            let (name, weight) = part.split_once('=')?;
            name.eq_ignore_ascii_case("q").then_some(weight)
        });
        is_html && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|it| it > 0.0))
    })
}
