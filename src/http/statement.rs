//! `GET /accounts/{id}/statement`: an account's payments between two moments, for people who keep books.
//!
//! It is written while it is read, so that its length costs no memory. Where the database fails in between, the
//! connection is closed without the end of the body, and the line with the closing balance is missing.

#![expect(unused_qualifications, reason = "utoipa writes its paths in full")]

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::{self, Header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, body, web};
use csv::{Terminator, WriterBuilder};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::auth::{Authenticated, require};
use super::body::Moment;
use super::error::ApiError;
use super::query::{account_id, bound, query};
use super::shapes::{self, problems};
use crate::auth::Identity;
use crate::domain::{AccountId, Balance, PaymentDirection, PaymentId, PaymentRequestId, Timestamp};
use crate::service::Service;
use crate::service::statements::{PastPayment, Statement};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatementQuery {
    /// Payments of this moment and later ones: RFC 3339, or a Unix time in milliseconds. The account's opening by
    /// default.
    #[param(value_type = Option<Moment>, inline)]
    since: Option<String>,
    /// Payments before this moment, which is over: RFC 3339, or a Unix time in milliseconds. Now by default.
    #[param(value_type = Option<Moment>, inline)]
    until: Option<String>,
}

problems!(StatementProblems: WITH_CALLER, [INVALID_REQUEST, ACCOUNT_NOT_FOUND]);

/// A statement: the balance at its beginning, every payment, oldest first, and the balance at its end. CSV, or JSON where
/// `Accept` asks for that.
///
/// The columns of CSV are `time`, `type` (`opening_balance`, `sent`, `received` or `closing_balance`), `payment_id`,
/// `account_id` and `account_name` (of the other account), `amount` and `balance` (as in `-12.50`), `note`, `refund_of`,
/// `payment_request_id` and `by`. An apostrophe stands before what a spreadsheet would take for a formula.
#[utoipa::path(
    get,
    path = "/accounts/{id}/statement",
    tag = "accounts",
    params(
        ("id" = i64, Path, description = "The account's id.", minimum = 0,
         maximum = 9_007_199_254_740_991_i64, example = 1),
        StatementQuery,
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The statement.",
         content((String = "text/csv"), (shapes::Statement = "application/json")),
         headers(("Content-Disposition" = String, description = "A name for the file."))),
        StatementProblems,
    )
)]
pub(super) async fn statement(
    Authenticated(Identity { caller, .. }): Authenticated,
    service: web::Data<Service>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let account = account_id("id", &id)?;
    require(caller.may_read(account))?;
    let query: StatementQuery = query(&request)?;
    let since = bound("since", query.since.as_deref())?;
    let until = bound("until", query.until.as_deref())?;
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return Err(ApiError::invalid_request("since is later than until."));
    }
    let statement = service.statements.statement(account, since, until).await?;
    let format = Format::of(&request);

    let mut response = HttpResponse::Ok();
    response.content_type(format.media_type());
    response.insert_header((header::VARY, header::ACCEPT.as_str()));
    response.insert_header((header::CONTENT_DISPOSITION, format.disposition(&statement)));
    if request.method() == Method::HEAD {
        return Ok(response.body(body::None::new()));
    }
    let begin = Writing { statement, format, has_begun: false };
    Ok(response.streaming(stream::try_unfold(Some(begin), async |writing| match writing {
        Some(writing) => writing.go_on().await.map(Some),
        None => Ok(None),
    })))
}

/// A statement that is being written.
struct Writing {
    statement: Statement,
    format: Format,
    has_begun: bool,
}

impl Writing {
    /// Writes the next payments, and what is before the first and after the last; returns what is still to be written.
    async fn go_on(mut self) -> Result<(Bytes, Option<Self>), &'static str> {
        let is_first = !self.has_begun;
        let read = self.statement.read_on().await;
        // The operator has been told why.
        let payments = read.map_err(|_| "the statement cannot be read")?;
        self.has_begun = true;
        let part = Part {
            statement: &self.statement,
            payments: &payments,
            is_first,
            is_last: self.statement.is_read(),
        };
        let text = match self.format {
            Format::Csv => part.csv().map_err(|error| {
                tracing::error!(%error, "a statement cannot be written");
                "the statement cannot be written"
            })?,
            Format::Json => part.json(),
        };
        Ok((text.into(), (!self.statement.is_read()).then_some(self)))
    }
}

/// Payments of a statement that are written at once.
struct Part<'a> {
    statement: &'a Statement,
    payments: &'a [PastPayment],
    is_first: bool,
    is_last: bool,
}

/// A line of CSV; its fields are the columns.
#[derive(Default, Serialize)]
struct Line<'a> {
    time: Timestamp,
    r#type: &'static str,
    payment_id: Option<PaymentId>,
    /// The other account's.
    account_id: Option<AccountId>,
    account_name: Cow<'a, str>,
    amount: Option<String>,
    balance: String,
    note: Cow<'a, str>,
    refund_of: Option<PaymentId>,
    payment_request_id: Option<PaymentRequestId>,
    by: Cow<'a, str>,
}

impl<'a> Line<'a> {
    fn of_balance(r#type: &'static str, time: Timestamp, balance: Balance) -> Self {
        Self { time, r#type, balance: decimal(balance.cents()), ..Self::default() }
    }

    fn of_payment(account: AccountId, line: &'a PastPayment) -> Self {
        let PastPayment { payment, other_name } = line;
        let direction = payment.direction(account);
        let (other, cents) = match direction {
            PaymentDirection::Sent => (payment.to, payment.amount.cents().saturating_neg()),
            PaymentDirection::Received => (payment.from, payment.amount.cents()),
        };
        Self {
            time: payment.created_at,
            r#type: direction.name(),
            payment_id: Some(payment.id),
            account_id: Some(other),
            account_name: defused(other_name.as_deref()),
            amount: Some(decimal(cents)),
            balance: decimal(payment.balance_after(account).cents()),
            note: defused(payment.note.as_deref()),
            refund_of: payment.refund.map(|refund| refund.of),
            payment_request_id: payment.request,
            by: defused(payment.asked_by.as_deref()),
        }
    }
}

impl Part<'_> {
    /// RFC 4180.
    fn csv(&self) -> csv::Result<Vec<u8>> {
        let Self { statement, payments, is_first, is_last } = *self;
        let mut csv = WriterBuilder::new()
            .terminator(Terminator::CRLF)
            .has_headers(is_first)
            .from_writer(Vec::new());
        if is_first {
            let Statement { since, opening_balance, .. } = *statement;
            csv.serialize(Line::of_balance("opening_balance", since, opening_balance))?;
        }
        for line in payments {
            csv.serialize(Line::of_payment(statement.account, line))?;
        }
        if is_last {
            let Statement { until, balance, .. } = *statement;
            csv.serialize(Line::of_balance("closing_balance", until, balance))?;
        }
        csv.into_inner().map_err(|error| error.into_error().into())
    }

    fn json(&self) -> Vec<u8> {
        let Self { statement, payments, is_first, is_last } = *self;
        let mut json = Vec::new();
        if is_first {
            let Statement { account, since, until, opening_balance, .. } = statement;
            let opening_balance = opening_balance.cents();
            json.extend_from_slice(
                format!(
                    r#"{{"account":{account},"since":"{since}","until":"{until}","opening_balance":{opening_balance},"payments":["#
                )
                .as_bytes(),
            );
        }
        for (place, PastPayment { payment, .. }) in payments.iter().enumerate() {
            if !is_first || place > 0 {
                json.push(b',');
            }
            payment.seen_by(Some(statement.account)).write_json(&mut json);
        }
        if is_last {
            let closing_balance = statement.balance.cents();
            json.extend_from_slice(
                format!(r#"],"closing_balance":{closing_balance}}}"#).as_bytes(),
            );
        }
        json
    }
}

/// Cents as in `-12.50`.
fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents.div_euclid(100), cents.rem_euclid(100))
}

/// A text that no spreadsheet takes for a formula: an apostrophe stands before what would begin one, at the
/// beginning, and after each semicolon, which separates cells in languages whose decimals have a comma.
fn defused(text: Option<&str>) -> Cow<'_, str> {
    let text = text.unwrap_or_default();
    let cells = || text.split_inclusive(';');
    if !cells().any(begins_formula) {
        return text.into();
    }
    let defused = cells().flat_map(|cell| [if begins_formula(cell) { "'" } else { "" }, cell]);
    defused.collect::<String>().into()
}

/// Programs differ in whether spaces and quotes before it count, and in whether the wide forms of these characters do.
fn begins_formula(cell: &str) -> bool {
    const FORMULAS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let is_passed_over = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    cell.starts_with(char::is_control)
        || cell.trim_start_matches(is_passed_over).starts_with(FORMULAS)
}

/// How a statement is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

impl Format {
    /// JSON where `Accept` prefers that, else CSV.
    fn of(request: &HttpRequest) -> Self {
        let accepted = header::Accept::parse(request).map(|accept| accept.ranked());
        let mut accepted = accepted.unwrap_or_default().into_iter();
        let preferred = accepted.find_map(|media| match media.essence_str() {
            "application/json" => Some(Self::Json),
            "text/csv" | "text/*" | "*/*" => Some(Self::Csv),
            _ => None,
        });
        preferred.unwrap_or(Self::Csv)
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
        }
    }

    /// A name for the file.
    fn disposition(self, statement: &Statement) -> String {
        let kind = match self {
            Self::Csv => "csv",
            Self::Json => "json",
        };
        let Statement { account, since, until, .. } = statement;
        let [since, until] = [since, until].map(ToString::to_string);
        let [since, until] =
            [&since, &until].map(|time| time.split('T').next().unwrap_or_default());
        format!("attachment; filename=\"statement-{account}-{since}-{until}.{kind}\"")
    }
}

#[cfg(test)]
mod tests;
