#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use actix_web::test::TestRequest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

proptest! {
    #![proptest_config(Config {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(16),
        ..Config::default()
    })]

    #[test]
    fn no_text_is_taken_for_a_formula_and_none_is_lost(
        text in prop_oneof![
            any::<String>(),
            "[ \t\r\n\u{a0}\";'a]{0,4}[=+@＝＋－＠-][^\u{0}]{0,8}",
        ],
    ) {
        let written = defused(Some(&text));
        prop_assert_eq!(written.replace('\'', ""), text.replace('\'', ""));
        // Where semicolons separate cells, too.
        for cell in std::iter::once(&*written).chain(written.split(';')) {
            let begin = cell.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == '"');
            prop_assert!(!begin.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']), "{written:?}");
            prop_assert!(!cell.starts_with(char::is_control), "{written:?}");
        }
        let is_harmless = text.split(';').all(|cell| cell.starts_with(char::is_alphanumeric));
        prop_assert!(!is_harmless || *written == text, "{written:?}");
    }

    #[test]
    fn a_line_is_read_as_it_was_written(note: String, name: String) {
        let line = Line {
            account_name: (&name).into(),
            note: (&note).into(),
            ..Line::of_balance("sent", Timestamp::default(), Balance::from_cents(-5))
        };
        let mut csv = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
        csv.serialize(line).unwrap();
        let written = csv.into_inner().unwrap();
        let mut lines = csv::Reader::from_reader(&*written);
        let columns = lines.headers().unwrap().clone();
        let read = lines.records().next().unwrap().unwrap();
        let cell = |column: &str| read.get(columns.iter().position(|it| it == column).unwrap());
        prop_assert_eq!(cell("note"), Some(&*note));
        prop_assert_eq!(cell("account_name"), Some(&*name));
        prop_assert_eq!(cell("balance"), Some("-0.05"));
    }

    #[test]
    fn cents_are_written_exactly(cents in -9_007_199_254_740_991_i64..=9_007_199_254_740_991) {
        let text = decimal(cents);
        let (_, fraction) = text.split_once('.').unwrap();
        prop_assert_eq!(fraction.len(), 2);
        prop_assert_eq!(text.replace('.', "").parse::<i64>().unwrap(), cents);
    }
}

#[test]
fn json_is_for_those_who_prefer_it() {
    for (accept, expected) in [
        (None, Format::Csv),
        (Some("*/*"), Format::Csv),
        (Some("text/csv"), Format::Csv),
        (Some("text/csv, application/json"), Format::Csv),
        (Some("application/json"), Format::Json),
        (Some("application/json; charset=utf-8, */*"), Format::Json),
        (Some("text/csv;q=0.5, application/json"), Format::Json),
        (Some("text/html, application/json"), Format::Json),
        (Some("application/xml"), Format::Csv),
        (Some("nonsense"), Format::Csv),
    ] {
        let request = accept.into_iter().fold(TestRequest::get(), |request, accept| {
            request.insert_header((header::ACCEPT, accept))
        });
        assert_eq!(Format::of(&request.to_http_request()), expected, "{accept:?}");
    }
}
