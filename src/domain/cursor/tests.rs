#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

proptest! {
    #![proptest_config(Config {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2),
        ..Config::default()
    })]

    #[test]
    fn a_written_cursor_reads_as_itself(
        ms in -62_135_596_800_000_i64..253_402_300_799_000,
        us in 0..3,
        id: Option<u128>,
    ) {
        let last_seen_timestamp =
            (0..us).fold(Timestamp::from_unix_ms(ms).unwrap(), |time, _| time.next());
        let id = id.map(Uuid::from_u128);
        let (time, text) = (last_seen_timestamp.to_string(), id.map(|id| id.to_string()));
        let cursor = Cursor::parse(Some(&time), text.as_deref());
        prop_assert_eq!(cursor, Ok(Some(Cursor { last_seen_timestamp, last_seen_id: id })));
    }

    #[test]
    fn a_plus_sign_that_arrives_as_a_space_is_a_plus_sign(
        hours in 0..24,
        separator in prop::sample::select(vec!['T', 't', ' ']),
    ) {
        let text = |sign| format!("2026-11-22{separator}12:00:00.5{sign}{hours:02}:30");
        let cursor = Cursor::parse(Some(&text('+')), None);
        prop_assert!(cursor.is_ok());
        prop_assert_eq!(Cursor::parse(Some(&text(' ')), None), cursor);
    }

    #[test]
    fn whatever_is_no_cursor_is_refused_in_words(
        timestamp in prop::option::of(any::<String>()),
        id in prop::option::of(any::<String>()),
    ) {
        let parsed = Cursor::parse(timestamp.as_deref(), id.as_deref());
        match (timestamp, id) {
            (None, None) => prop_assert_eq!(parsed, Ok(None)),
            // A text that nobody wrote as a cursor is none.
            _ => prop_assert!(matches!(parsed, Err(Invalid::Value(text)) if !text.is_empty())),
        }
    }
}

#[test]
fn between_date_and_time_may_be_a_space() {
    let cursor = |text| Cursor::parse(Some(text), None).unwrap().unwrap();
    assert_eq!(cursor("2026-11-22 12:00:00Z"), cursor("2026-11-22T12:00:00Z"));
}
