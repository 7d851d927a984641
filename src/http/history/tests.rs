#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use actix_web::test::TestRequest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use uuid::Uuid;

use super::*;
use crate::domain::Timestamp;

proptest! {
    #![proptest_config(Config {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(6),
        ..Config::default()
    })]

    #[test]
    fn the_link_to_a_page_asks_for_that_page(
        account in 0..=9_007_199_254_740_991_i64,
        ms in -62_135_596_800_000_i64..253_402_300_799_999,
        id: Option<u128>,
        size in 1..=10_u16,
        direction in proptest::option::of(prop_oneof![
            Just(PaymentDirection::Sent),
            Just(PaymentDirection::Received),
        ]),
        since_ms in proptest::option::of(-62_135_596_800_000_i64..253_402_300_799_999),
    ) {
        let account = AccountId::new(account).unwrap();
        let last_seen_timestamp = Timestamp::from_unix_ms(ms).unwrap().next();
        let last_seen_id = id.map(Uuid::from_u128);
        let cursor = Cursor { last_seen_timestamp, last_seen_id };
        let since = since_ms.map(|ms| Timestamp::from_unix_ms(ms).unwrap().next());
        let filter = HistoryFilter { direction, since };
        let target = next_page(account, filter, cursor, size);
        let request = TestRequest::with_uri(&target).to_http_request();
        prop_assert_eq!(request.path(), format!("/payment_history/{account}"));
        let asked: HistoryQuery = query(&request).unwrap();
        prop_assert_eq!(limit(asked.limit.as_deref(), 3, 10).unwrap(), size);
        let read = Cursor::parse(asked.last_seen_timestamp.as_deref(), asked.last_seen_id.as_deref());
        prop_assert_eq!(read, Ok(Some(cursor)));
        prop_assert_eq!(asked.direction.as_deref(), direction.map(PaymentDirection::name));
        prop_assert_eq!(bound("since", asked.since.as_deref()), Ok(since));
    }
}
