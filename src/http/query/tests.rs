#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use actix_web::ResponseError;
use actix_web::test::TestRequest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde::Deserialize;

use super::*;

/// Like each query of the service: texts, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ids: Option<String>,
    limit: Option<String>,
}

fn asked(query: &str) -> Result<Asked, ApiError> {
    let target = format!("/accounts?{query}");
    super::query(&TestRequest::with_uri(&target).to_http_request())
}

/// As a browser writes it (RFC 3986, section 2.1).
fn percent_encoded(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..Config::default()
    })]

    #[test]
    fn a_parameter_arrives_as_it_was_sent(ids: String, limit: Option<String>) {
        let query = format!("ids={}", percent_encoded(&ids));
        let query = match &limit {
            Some(limit) => format!("limit={}&{query}", percent_encoded(limit)),
            None => query,
        };
        let asked = asked(&query).unwrap();
        prop_assert_eq!((asked.ids, asked.limit), (Some(ids), limit));
    }

    #[test]
    fn a_parameter_that_is_unknown_or_there_twice_is_refused(
        name in "[a-z]{1,8}",
        value in "[a-z0-9]{0,8}",
    ) {
        let is_known = ["ids", "limit"].contains(&name.as_str());
        let once = format!("{name}={value}");
        prop_assert_eq!(asked(&once).is_ok(), is_known);
        let twice = format!("{name}={value}&{name}={value}");
        prop_assert!(asked(&twice).is_err());
    }

    #[test]
    fn any_query_is_read_or_refused(query in "[!$-;=?-Z_a-z~]{0,40}") {
        if let Err(error) = asked(&query) {
            prop_assert_eq!(error.code(), "invalid_request");
            prop_assert!(error.error_response().status().is_client_error());
        }
    }

    #[test]
    fn a_limit_is_in_its_range(text in prop_oneof!["[0-9]{1,6}", "[-+0-9.ex]{0,6}", ".{0,6}"], max in 1..=1_000_u16) {
        let is_plain = text.chars().all(|character| character.is_ascii_digit());
        let asked: Option<u16> = text.parse().ok().filter(|limit| is_plain && (1..=max).contains(limit));
        prop_assert_eq!(limit(Some(&text), 10, max).ok(), asked);
        let default = limit(None, 10, max).unwrap();
        prop_assert!((1..=max).contains(&default));
    }

    #[test]
    fn a_link_is_a_header_or_none(target in ".{0,40}") {
        let mut response = actix_web::HttpResponse::Ok();
        link_next(&mut response, &target);
        let response = response.finish();
        let link = response.headers().get(header::LINK);
        // Nothing in it can end the header.
        prop_assert!(link.is_none_or(|link| !link.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte))));
    }
}
