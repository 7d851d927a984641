//! `GET /accounts/{id}/events`: an account's payments as they are made, as Server-Sent Events.

#![expect(unused_qualifications, reason = "utoipa writes its paths in full")]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, body, web};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::{Authenticated, require};
use super::error::ApiError;
use super::event_stream::{CutOff, EventStream};
use super::feed::{beyond_the_end, position};
use super::headers::{LAST_EVENT_ID, X_ACCEL_BUFFERING};
use super::query::{account_id, query};
use super::shapes::problems;
use super::state::Stopping;
use crate::auth::Identity;
use crate::domain::{AccountId, FeedPayment, Position};
use crate::service::Service;
use crate::service::live::{Begun, End, Stream};

/// How often a token's time is looked at, at least: the clock may be set.
const LOOK_AT_TOKEN_EVERY: Duration = Duration::from_mins(1);

/// The parameter, in words.
const HEADER: &str = "Last-Event-ID";

/// A payment without a note takes no more bytes.
const EVENT_BYTES_USUAL: usize = 420;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// As the header `Last-Event-ID`, for clients that cannot set one. Where both are there, the header counts.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    last_event_id: Option<String>,
}

problems!(EventsProblems: WITH_CALLER, [INVALID_REQUEST, ACCOUNT_NOT_FOUND]);

/// An account's payments as they are made, in the order of their positions: Server-Sent Events. It goes on until
/// somebody ends it.
///
/// The first event is `begin`; its `id`, and the `position` in its data, say after which position the payments come:
/// what was read since then has everything up to it. Each payment is an event without a name, whose `id` is its position
/// and whose data are those of the account's history, with the `position`. `Last-Event-ID` goes on after a position,
/// without a gap or a repeat. Between them come comments. At its end, an event `end` says why in `reason`:
/// `token_expired` or `stopping`. A client that takes too little is cut off without.
#[utoipa::path(
    get,
    path = "/accounts/{id}/events",
    tag = "following",
    params(
        ("id" = i64, Path, description = "The account's id.", minimum = 0,
         maximum = 9_007_199_254_740_991_i64, example = 1),
        ("Last-Event-ID" = Option<i64>, Header, description = "The position that was seen last.",
         minimum = 0, maximum = 9_007_199_254_740_991_i64),
        EventsQuery,
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The events, as long as they are wanted.", body = String,
         content_type = "text/event-stream"),
        EventsProblems,
    )
)]
pub(super) async fn events(
    Authenticated(Identity { caller, valid_until, .. }): Authenticated,
    service: web::Data<Service>,
    stopping: web::Data<Stopping>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let account = account_id("id", &id)?;
    require(caller.may_read(account))?;
    let seen = last_event_id(&request)?;
    service.accounts.get(account).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    // nginx, and proxies that do as it does, would keep events until there are many.
    response.insert_header((X_ACCEL_BUFFERING, "no"));
    if request.method() == Method::HEAD {
        // It takes no stream's place, and needs no reader.
        let last = service.feed.last_position().await?;
        return match seen.filter(|seen| *seen > last) {
            Some(_) => Err(beyond_the_end(HEADER, last)),
            None => Ok(response.body(body::None::new())),
        };
    }
    let payments = match service.live.follow(account, seen).await? {
        Begun::Stream(payments) => payments,
        Begun::BeyondTheEnd(last) => return Err(beyond_the_end(HEADER, last)),
    };
    let begin = begin(payments.after());
    let watching = Watching { account, payments, valid_until, stopping };
    let events = stream::once(async { Ok(begin) })
        .chain(stream::unfold(Some(watching), async |watching| Some(watching?.next().await)));
    Ok(response.streaming(EventStream::new(events)))
}

/// The position that the client has seen last.
fn last_event_id(request: &HttpRequest) -> Result<Option<Position>, ApiError> {
    let EventsQuery { last_event_id } = query(request)?;
    let mut headers = request.headers().get_all(LAST_EVENT_ID);
    let text = match headers.next() {
        // One that is no text is no position either.
        Some(header) => Some(header.to_str().unwrap_or_default()),
        None => last_event_id.as_deref(),
    };
    if headers.next().is_some() {
        return Err(ApiError::invalid_request("There is more than one Last-Event-ID."));
    }
    text.map(|text| position(HEADER, text)).transpose()
}

/// A client that watches an account.
struct Watching {
    account: AccountId,
    payments: Stream,
    valid_until: Option<SystemTime>,
    stopping: web::Data<Stopping>,
}

impl Watching {
    /// The next events, and what comes after them.
    async fn next(mut self) -> (Result<Bytes, CutOff>, Option<Self>) {
        let end = tokio::select! {
            biased;
            () = self.stopping.waits_end() => End::Stopping,
            () = expired(self.valid_until) => End::TokenExpired,
            found = self.payments.next() => {
                return match found {
                    Some(payments) => (Ok(events_of(&payments, self.account)), Some(self)),
                    None => (Err(CutOff), None),
                };
            }
        };
        self.payments.end(end);
        (Ok(end_event(end)), None)
    }
}

/// Waits until a token expires.
async fn expired(valid_until: Option<SystemTime>) {
    let Some(valid_until) = valid_until else {
        return std::future::pending().await;
    };
    while let Ok(left) = valid_until.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LOOK_AT_TOKEN_EVERY)).await;
    }
}

fn begin(after: Position) -> Bytes {
    format!("event: begin\nid: {after}\ndata: {{\"position\":{after}}}\n\n").into()
}

fn end_event(end: End) -> Bytes {
    format!("event: end\ndata: {{\"reason\":\"{}\"}}\n\n", end.name()).into()
}

fn events_of(payments: &[Arc<FeedPayment>], account: AccountId) -> Bytes {
    let mut text = Vec::with_capacity(payments.len().saturating_mul(EVENT_BYTES_USUAL));
    for payment in payments {
        // A vector takes everything, and the view has nothing that JSON lacks. JSON has no line breaks.
        let _ = write!(text, "id: {}\ndata: ", payment.position);
        let _ = serde_json::to_writer(&mut text, &payment.seen_by(Some(account)));
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}
