//! `GET /feed`.

#![expect(unused_qualifications, reason = "utoipa writes its paths in full")]

use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::auth::{Authenticated, require};
use super::error::ApiError;
use super::query::{limit, query};
use super::shapes::{self, problems};
use super::state::Stopping;
use crate::auth::Identity;
use crate::domain::{FeedPaymentView, Position, unsigned};
use crate::service::Service;
use crate::service::feed::FeedPage;

/// Payments in an answer, by default and at the most.
const SIZE: u16 = 100;
const SIZE_MAX: u16 = 1_000;

const WAIT_MS_MAX: u32 = 30_000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedQuery {
    /// The last position seen; without it the feed's beginning.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<String>,
    /// 1 to 1,000; 100 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1_000)]
    limit: Option<String>,
    /// How long to wait for a payment where there is none yet, up to 30,000 milliseconds; not at all by default.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 30_000)]
    wait_ms: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    payments: Vec<FeedPaymentView<'a>>,
    next: Position,
}

problems!(FeedProblems: WITH_CALLER, [INVALID_REQUEST]);

/// Every payment of the ledger, in the order of their positions: 1, 2, 3, ... A position never changes, and none is left
/// out; of two payments that share an account the earlier has the smaller one. For operators.
#[utoipa::path(
    get,
    path = "/feed",
    tag = "following",
    params(FeedQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The next payments. None where the wait is over, or the service stops.",
         body = shapes::Feed),
        FeedProblems,
    )
)]
pub(super) async fn feed(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    stopping: web::Data<Stopping>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    require(caller.may_follow_everybody())?;
    let query: FeedQuery = query(&request)?;
    let after = query.after.as_deref().map(|it| position("after", it)).transpose()?;
    let after = after.unwrap_or(Position::START);
    let limit = limit(query.limit.as_deref(), SIZE, SIZE_MAX)?;
    let mut wait = wait(query.wait_ms.as_deref())?;
    if request.method() == Method::HEAD {
        // A payment that is waited for is content.
        wait = Duration::ZERO;
    }
    let found = match service.feed.page(after, limit, wait, stopping.waits_end()).await? {
        FeedPage::Payments(found) => found,
        FeedPage::BeyondTheEnd(last) => return Err(beyond_the_end("after", last)),
    };
    let payments: Vec<_> = found.iter().map(|payment| payment.seen_by(None)).collect();
    let next = payments.last().map_or(after, |last| last.position);
    Ok(HttpResponse::Ok().json(Body { payments, next }))
}

/// The position that a parameter names.
///
/// # Errors
/// It is none; the text says which `parameter` it is.
pub(super) fn position(parameter: &str, text: &str) -> Result<Position, ApiError> {
    Ok(text.parse::<Position>().map_err(|invalid| invalid.of(parameter))?)
}

/// The answer to one who has read further than the feed is.
pub(super) fn beyond_the_end(parameter: &str, last: Position) -> ApiError {
    ApiError::invalid_request(format!(
        "{parameter} is beyond the last position, {last}: it is of another ledger, or this one was restored to an \
         earlier state. Compare what you have with the feed's beginning."
    ))
}

fn wait(asked: Option<&str>) -> Result<Duration, ApiError> {
    let wait_ms: Option<u32> = asked.map_or(Some(0), unsigned);
    let wait_ms = wait_ms.filter(|wait_ms| *wait_ms <= WAIT_MS_MAX);
    wait_ms.map(|wait_ms| Duration::from_millis(wait_ms.into())).ok_or_else(|| {
        ApiError::invalid_request(format!("wait_ms is an integer from 0 to {WAIT_MS_MAX}."))
    })
}
