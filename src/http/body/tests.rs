#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use std::time::Duration;

use actix_web::ResponseError;
use actix_web::http::header::HeaderValue;
use actix_web::test::TestRequest;
use actix_web::web::PayloadConfig;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::Value;

use super::super::payments::{SendPayment, allowed_intent};
use super::*;
use crate::domain::{CENTS_MAX, Caller, Intent, Note};

/// Reads a request to pay as the handler does.
fn read(request: TestRequest, body: &[u8]) -> Result<Intent, ApiError> {
    let limits = HttpLimits { body_read_timeout: Duration::from_mins(1), page_size_max: 10 };
    let (request, mut payload) = request
        .insert_header(("content-type", "application/json"))
        .app_data(ThinData(limits))
        .app_data(PayloadConfig::new(BODY_BYTES_MAX))
        .set_payload(body.to_vec())
        .to_http_parts();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let Json(body) = runtime.block_on(Json::<SendPayment>::from_request(&request, &mut payload))?;
    allowed_intent(&Caller::Operator.into(), body, |key| idempotency_key(&request, key))
}

fn read_body(body: &[u8]) -> Result<Intent, ApiError> {
    read(TestRequest::put(), body)
}

/// A refusal says what is wrong, and that it is the client's mistake.
fn assert_refused(error: &ApiError) {
    let codes = ["invalid_request", "invalid_amount", "same_account", "idempotency_key_missing"];
    assert!(codes.contains(&error.code()), "{error}");
    assert!(error.error_response().status().is_client_error());
    assert!(!error.to_string().is_empty());
}

/// A JSON text, and what it is to be read as; `None`: it is to be refused.
type Member<T> = (String, Option<T>);

fn integer_member(min: i64) -> impl Strategy<Value = Member<i64>> {
    let literal = prop_oneof![
        6 => (1..1_000_i64).prop_map(|it| it.to_string()),
        1 => any::<i64>().prop_map(|it| it.to_string()),
        1 => (CENTS_MAX - 2..=CENTS_MAX + 2).prop_map(|it| it.to_string()),
        1 => "-?[0-9]{1,40}",
        1 => "-?[0-9]{1,3}(\\.[0-9]{1,3})?([eE][-+]?[0-9]{1,3})?",
        1 => prop::sample::select(
            vec!["-0", "0", "+1", "0x1", "1_0", "\"1\"", "null", "true", "[1]", "{}", "", " ", "--1",
             "1 2", "NaN", "\u{661}", "1,", "/**/1"]
        ).prop_map(str::to_owned),
    ];
    literal.prop_map(move |literal| {
        let digits = literal.strip_prefix('-').unwrap_or(&literal);
        let is_one_spelling = digits == "0" || !digits.starts_with('0');
        let is_integer = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
        let value = literal.parse().ok().filter(|value| (min..=CENTS_MAX).contains(value));
        let value = value.filter(|_| is_integer && is_one_spelling && literal != "-0");
        (literal, value)
    })
}

fn note_member() -> impl Strategy<Value = Member<Option<String>>> {
    let text = prop_oneof![any::<String>(), "\\PC{0,300}", "[a-z]{278,282}", "[ -~]{0,20}"];
    prop_oneof![
        6 => text.prop_map(|text| {
            let is_note = text.chars().count() <= 280 && !text.chars().any(char::is_control);
            let literal = serde_json::to_string(&text).unwrap();
            (literal, is_note.then_some(Some(text).filter(|text| !text.is_empty())))
        }),
        1 => prop::sample::select(vec![
            ("null", Some(None)),
            ("\"\\u0041\"", Some(Some("A"))),
            ("\"\\ud83d\\ude00\"", Some(Some("\u{1F600}"))),
            ("\"\\ud800\"", None),
            ("\"\\udc00\\ud800\"", None),
            ("\"\\u0000\"", None),
            ("\"\\x41\"", None),
            ("\"\n\"", None),
            ("'a'", None),
            ("7", None),
            ("[]", None),
        ]).prop_map(|(literal, note)| {
            (literal.to_owned(), note.map(|note: Option<&str>| note.map(str::to_owned)))
        }),
    ]
}

fn key_member() -> impl Strategy<Value = Member<String>> {
    let key = prop_oneof![4 => "[!-~]{1,20}", 1 => "[!-~]{250,260}", 1 => any::<String>()];
    key.prop_map(|key| {
        let is_key = (1..=255).contains(&key.len()) && key.bytes().all(|it| it.is_ascii_graphic());
        (serde_json::to_string(&key).unwrap(), is_key.then_some(key))
    })
}

fn time_member() -> impl Strategy<Value = Member<Option<String>>> {
    prop::sample::select(vec![
        ("null", Some(None)),
        ("0", Some(Some("1970-01-01T00:00:00.000000Z"))),
        ("-1", Some(Some("1969-12-31T23:59:59.999000Z"))),
        ("253402300799999", Some(Some("9999-12-31T23:59:59.999000Z"))),
        ("253402300800000", None),
        ("99999999999999999999999999", None),
        ("-0", None),
        ("1.5", None),
        ("1e3", None),
        ("true", None),
        ("\"2026-11-22T12:00:00Z\"", Some(Some("2026-11-22T12:00:00.000000Z"))),
        ("\"2026-11-22\\u005412:00:00Z\"", Some(Some("2026-11-22T12:00:00.000000Z"))),
        ("\"2026-11-22T12:00:00.1234567+01:00\"", Some(Some("2026-11-22T11:00:00.123456Z"))),
        ("\"2026-11-22x12:00:00Z\"", None),
        ("\"2026-11-22\"", None),
        ("\"0\"", None),
        ("\"\\ud800\"", None),
        ("[\"2026-11-22T12:00:00Z\"]", None),
    ])
    .prop_map(|(literal, time)| {
        (literal.to_owned(), time.map(|time: Option<&str>| time.map(str::to_owned)))
    })
}

const WHOLE: &str = "{\"from\":1,\"to\":2,\"amount\":5,\"created_at\":\"2026-11-22T12:00:00Z\",\
                     \"idempotency_key\":\"abc123\",\"note\":\"lunch\"}";

/// Changes that may befall a body on its way.
#[derive(Debug, Clone)]
enum Edit {
    Replace(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    /// A part of it once more.
    Repeat(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..WHOLE.len();
    let byte =
        prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\0123456789-+.eE \n\0u".to_vec())];
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..6),
        prop::sample::select(vec![
            "\"",
            "\\u0000",
            "\\ud800",
            "{\"",
            "\"from\":3,",
            "\"x\":1,",
            "null",
            "\u{feff}",
            "e5",
            ".0",
            "00",
            "-",
            "[[[[",
            "\u{2028}"
        ])
        .prop_map(|it| it.as_bytes().to_vec()),
    ];
    prop_oneof![
        (at.clone(), byte).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at.clone(), piece).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (at.clone(), 1..20_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at, 1..40_usize).prop_map(|(at, len)| Edit::Repeat(at, len)),
    ]
}

fn edited(edits: &[Edit]) -> Vec<u8> {
    let mut body = WHOLE.as_bytes().to_vec();
    for edit in edits {
        let place = |at: usize| at.min(body.len());
        match edit.clone() {
            Edit::Replace(at, byte) => {
                if let Some(to) = body.get_mut(at) {
                    *to = byte;
                }
            }
            Edit::Insert(at, piece) => {
                let at = place(at);
                body.splice(at..at, piece);
            }
            Edit::Remove(at, len) => drop(body.drain(place(at)..place(at + len))),
            Edit::Repeat(at, len) => {
                let (at, end) = (place(at), place(at + len));
                let part = body[at..end].to_vec();
                body.splice(at..at, part);
            }
        }
    }
    body
}

/// Whatever was accepted is what any other reader of JSON would have read.
fn assert_is_what_it_says(intent: &Intent, body: &[u8]) {
    let value: Value = serde_json::from_slice(body).expect("what is accepted is JSON");
    let members = value.as_object().expect("it is an object");
    let known = ["from", "to", "amount", "created_at", "idempotency_key", "note"];
    assert!(members.keys().all(|name| known.contains(&name.as_str())), "{value}");
    assert_eq!(value["from"].as_i64(), Some(intent.from().get()), "{value}");
    assert_eq!(value["to"].as_i64(), Some(intent.to().get()), "{value}");
    assert_eq!(value["amount"].as_i64(), Some(intent.amount.cents()), "{value}");
    assert!((1..=CENTS_MAX).contains(&intent.amount.cents()));
    assert_eq!(value["idempotency_key"].as_str(), Some(intent.key().as_str()), "{value}");
    let note = value["note"].as_str().filter(|note| !note.is_empty());
    assert_eq!(note, intent.note.as_ref().map(Note::as_str), "{value}");
    assert_eq!(value["created_at"].is_null(), intent.requested_at.is_none(), "{value}");
}

proptest! {
    #![proptest_config(Config {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(10),
        ..Config::default()
    })]

    #[test]
    fn a_payment_is_read_as_it_is_written_or_refused(
        from in integer_member(0),
        to in integer_member(0),
        amount in integer_member(1),
        note in note_member(),
        key in key_member(),
        time in time_member(),
        space in "[ \t\r\n]{0,3}",
    ) {
        let body = format!(
            "{space}{{\"note\":{}{space},\"from\":{},\"to\":{space}{},\"amount\":{},\
             \"created_at\":{},\"idempotency_key\":{}}}{space}",
            note.0, from.0, to.0, amount.0, time.0, key.0
        );
        let wanted = (|| {
            let parts = (from.1?, to.1?, amount.1?, note.1?, key.1?, time.1?);
            (parts.0 != parts.1).then_some(parts)
        })();
        match read_body(body.as_bytes()) {
            Ok(intent) => {
                let got = (
                    intent.from().get(),
                    intent.to().get(),
                    intent.amount.cents(),
                    intent.note.as_ref().map(|note| note.as_str().to_owned()),
                    intent.key().as_str().to_owned(),
                    intent.requested_at.map(|time| time.to_string()),
                );
                prop_assert_eq!(Some(got), wanted, "{}", body);
            }
            Err(error) => {
                assert_refused(&error);
                prop_assert_eq!(wanted, None, "{}: {}", body, error);
            }
        }
    }

    #[test]
    fn a_body_that_was_changed_on_its_way_is_what_it_says_or_refused(
        edits in prop::collection::vec(edit(), 1..4),
    ) {
        let body = edited(&edits);
        match read_body(&body) {
            Ok(intent) => assert_is_what_it_says(&intent, &body),
            Err(error) => assert_refused(&error),
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused(
        name in prop::sample::select(vec!["from", "to", "amount", "created_at", "idempotency_key", "note"]),
        is_first: bool,
    ) {
        let whole: Value = serde_json::from_str(WHOLE).unwrap();
        let again = format!("\"{name}\":{}", whole[name]);
        let inner = WHOLE.trim_matches(['{', '}']);
        let body = if is_first { format!("{{{again},{inner}}}") } else { format!("{{{inner},{again}}}") };
        prop_assert!(read_body(WHOLE.as_bytes()).is_ok());
        assert_refused(&read_body(body.as_bytes()).unwrap_err());
    }

    #[test]
    fn any_bytes_are_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_refused(&read_body(&body).unwrap_err());
    }

    #[test]
    fn the_header_names_the_key_that_its_string_spells(
        key in "[!-~]{1,20}",
        space in "[ \t]{0,2}",
        in_body: bool,
    ) {
        let quoted = format!("{space}\"{}\"{space}", key.replace('\\', "\\\\").replace('"', "\\\""));
        let in_body = in_body.then(|| key.clone());
        let named = |value: &str| {
            let request = TestRequest::put().insert_header((IDEMPOTENCY_KEY, value)).to_http_request();
            idempotency_key(&request, in_body.clone()).ok().flatten().map(|it| it.as_str().to_owned())
        };
        prop_assert_eq!(named(&quoted), Some(key.clone()));
        if !key.starts_with('"') {
            prop_assert_eq!(named(&format!("{space}{key}{space}")), Some(key.clone()));
        }
        let unclosed = format!("\"{key}");
        let request =
            TestRequest::put().insert_header((IDEMPOTENCY_KEY, unclosed)).to_http_request();
        prop_assert_eq!(idempotency_key(&request, None).is_ok(), key.strip_suffix('"').is_some_and(is_string));
    }

    #[test]
    fn any_header_names_a_key_or_is_refused(
        values in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'a'), 32..=126_u8, 128..=255_u8, Just(b'\t')], 0..8),
            0..3,
        ),
        in_body in prop::option::of("[a\"]{0,2}"),
    ) {
        let mut request = TestRequest::put();
        for value in &values {
            request = request.append_header((IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap()));
        }
        match idempotency_key(&request.to_http_request(), in_body.clone()) {
            Ok(Some(key)) => {
                prop_assert!(IdempotencyKey::new(key.as_str().to_owned()).is_ok());
                prop_assert!(in_body.is_none_or(|in_body| in_body == key.as_str()));
            }
            Ok(None) => prop_assert!(values.is_empty() && in_body.is_none()),
            Err(error) => assert_refused(&error),
        }
    }
}

/// Whether a text can stand in quotes as it is.
fn is_string(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char == '"' || (char == '\\' && !matches!(chars.next(), Some('"' | '\\'))) {
            return false;
        }
    }
    !text.is_empty()
}

#[test]
fn however_deep_a_value_is_nested_it_is_refused() {
    for field in ["from", "note", "created_at", "idempotency_key", "unknown"] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for depth in [1, 127, 128, 129, 2_000] {
                let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let nested = WHOLE.replacen(&format!("\"{field}\":"), "\"unknown\":", 1);
                let body = nested.replacen('{', &format!("{{\"{field}\":{value},"), 1);
                assert_refused(&read_body(body.as_bytes()).unwrap_err());
                let unclosed = format!("{{\"{field}\":{}", open.repeat(depth));
                assert_refused(&read_body(unclosed.as_bytes()).unwrap_err());
            }
        }
    }
}

#[test]
fn a_body_is_one_object_in_utf8_without_a_mark_and_with_nothing_after_it() {
    for (before, after) in
        [("\u{feff}", ""), ("", "{}"), ("", "\0"), ("[", "]"), ("\0", ""), ("\u{c}", "")]
    {
        let body = format!("{before}{WHOLE}{after}");
        assert_refused(&read_body(body.as_bytes()).unwrap_err());
    }
    // Its members in their order, without their names.
    let array = b"[1,2,5,null,\"abc123\",null]";
    assert_refused(&read_body(array).unwrap_err());
    let latin1: Vec<u8> =
        WHOLE.replace("lunch", "Gru\u{df}").chars().map(|it| u8::try_from(it).unwrap()).collect();
    assert_refused(&read_body(&latin1).unwrap_err());
    let utf16: Vec<u8> = WHOLE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_refused(&read_body(&utf16).unwrap_err());
}

#[test]
fn a_body_has_at_most_its_bytes() {
    let body = |bytes: usize| format!("{WHOLE}{}", " ".repeat(bytes - WHOLE.len()));
    assert!(read_body(body(BODY_BYTES_MAX).as_bytes()).is_ok());
    let error = read_body(body(BODY_BYTES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error.code(), "body_too_large");
}
