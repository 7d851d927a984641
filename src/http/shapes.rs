//! The shapes of answers in the API document.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response,
    ResponseBuilder, Type,
};

use super::problem::{self, ProblemType};

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
                crate::http::shapes::responses(&[$(&$kinds[..]),+].concat())
            }
        }
    };
}
pub(super) use problems;

/// A response for each status of these problems, which names its codes and shows one of each.
pub(super) fn responses(types: &[&'static ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<&ProblemType>> = BTreeMap::new();
    for r#type in types {
        by_status.entry(r#type.status.as_u16()).or_default().push(*r#type);
    }
    by_status.into_iter().map(|(status, types)| (status.to_string(), response(&types))).collect()
}

fn response(types: &[&ProblemType]) -> RefOr<Response> {
    let codes = types.iter().map(|it| it.code);
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.clone()));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", code));
    let examples = types.iter().map(|it| {
        let value = serde_json::to_value(it.problem(it.meaning)).ok();
        (it.code, ExampleBuilder::new().summary(it.title).value(value).build())
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
    if types.iter().all(|it| it.retryable) {
        response = response.header("Retry-After", text("Seconds after which to ask again."));
    }
    if types.iter().any(|it| it.code == problem::UNAUTHENTICATED.code) {
        response = response.header("WWW-Authenticate", text("What is asked for (RFC 6750)."));
    }
    response.build().into()
}

/// A payment as one reader sees it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::PaymentView`")]
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
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
    /// Of a refund: the payment that it gives back. Not there otherwise.
    #[schema(format = "uuid", nullable = false)]
    refund_of: Option<String>,
    /// The request for money that it pays. Not there otherwise.
    #[schema(format = "uuid", nullable = false)]
    payment_request_id: Option<String>,
    /// Cents given back so far, where one payment is asked for. Not there where nothing was.
    #[schema(minimum = 1, nullable = false)]
    refunded: Option<i64>,
    /// Who asked for it, where that was not its payer: the `sub` of a token. Not there otherwise.
    #[schema(nullable = false)]
    by: Option<String>,
}

/// A part of the feed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `http::feed`")]
pub(super) struct Feed {
    payments: Vec<FeedPayment>,
    /// The position to ask for next.
    #[schema(minimum = 0)]
    next: i64,
}

/// A payment with its position in the feed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::FeedPaymentView`")]
pub(super) struct FeedPayment {
    /// It never changes.
    #[schema(minimum = 1)]
    position: i64,
    #[schema(inline)]
    #[serde(flatten)]
    payment: Payment,
}

/// A request for money, as its parties see it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::PaymentRequestView`")]
pub(super) struct PaymentRequest {
    #[schema(format = "uuid")]
    id: String,
    /// Who is asked to pay.
    from_id: i64,
    /// Who asks.
    to_id: i64,
    /// Cents.
    #[schema(minimum = 1)]
    amount: i64,
    #[schema(required)]
    note: Option<String>,
    status: RequestStatus,
    /// The ledger's time: strictly increasing among an account's requests.
    #[schema(format = "date-time")]
    created_at: String,
    /// From then on it cannot be paid.
    #[schema(required, format = "date-time")]
    expires_at: Option<String>,
    /// The payment that paid it.
    #[schema(required, format = "uuid")]
    payment_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a shape, filled by `domain::RequestStatus`")]
enum RequestStatus {
    Open,
    Paid,
    Declined,
    Cancelled,
    Expired,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a shape, filled by `domain::AccountStatus`")]
pub(super) enum AccountStatus {
    Open,
    Frozen,
    Closed,
}

/// An account's status.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by the rule")]
pub(super) struct StatusOfAccount {
    id: i64,
    status: AccountStatus,
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
    /// Not there where it is open.
    #[schema(nullable = false)]
    status: Option<AccountStatus>,
    /// The moment that was asked for, whose balance it is. Not there otherwise.
    #[schema(nullable = false, format = "date-time")]
    at: Option<String>,
}

/// An account's payments between two moments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, written as the payments are read")]
pub(super) struct Statement {
    account: i64,
    #[schema(format = "date-time")]
    since: String,
    /// The payments are earlier.
    #[schema(format = "date-time")]
    until: String,
    /// Cents.
    opening_balance: i64,
    /// Oldest first, each with the account's balance after it.
    payments: Vec<Payment>,
    /// Cents.
    closing_balance: i64,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a shape, filled by `domain::WebhookStatus`")]
pub(super) enum WebhookStatus {
    Active,
    Disabled,
}

/// An address that is told of payments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape, filled by `domain::Webhook`")]
pub(super) struct Webhook {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "uri")]
    url: String,
    /// Whose payments it is told of; null: everybody's.
    #[schema(required)]
    accounts: Option<Vec<i64>>,
    status: WebhookStatus,
    /// Up to this position of the feed everything was delivered, or is about other accounts.
    #[schema(minimum = 0)]
    position: i64,
    /// Attempts that failed since the last delivery.
    #[schema(minimum = 0)]
    failures: u32,
    /// After a failure: when the next one is due.
    #[schema(required, format = "date-time")]
    next_attempt_at: Option<String>,
    /// What became of the last attempt, where that failed.
    #[schema(required)]
    last_failure: Option<String>,
    #[schema(format = "date-time")]
    created_at: String,
    /// Told where it is new, and never again.
    #[schema(nullable = false)]
    secret: Option<String>,
}
