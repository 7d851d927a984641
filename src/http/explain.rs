//! `/problems/{code}`: a page for each type of problem.

use actix_web::{HttpResponse, web};

use super::error::ApiError;
use super::problem::{self, ProblemType};
use super::shapes::problems;

problems!(ExplainProblems: [NOT_FOUND, RATE_LIMITED]);

/// The page that the `type` of a problem points to.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "operation",
    params(("code" = String, Path, description = "A problem's `code`.", example = "insufficient_funds")),
    responses(
        (status = 200, description = "A page that explains it.", body = String, content_type = "text/html"),
        ExplainProblems,
    )
)]
pub(super) async fn explain(code: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let kind = problem::ALL.iter().find(|kind| kind.code == *code).ok_or(problem::NOT_FOUND)?;
    let ProblemType { status, code, title, retryable, meaning } = kind;
    let retry = if *retryable {
        "It is worth while to send the same request again, with the same idempotency key, after the \
         seconds of Retry-After."
    } else {
        "Sending the same request again will not help as long as nothing else changes."
    };
    // Nothing in it comes from a request.
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{code}</title>\n\
         <h1>{title}</h1>\n<p><code>{code}</code>, status {}\n<p>{meaning}\n<p>{retry}\n\
         <p><a href=\"/docs\">The API's document</a>\n</html>\n",
        status.as_u16()
    );
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page))
}
