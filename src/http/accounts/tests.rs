#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::domain::CENTS_MAX;

proptest! {
    #![proptest_config(Config {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    })]

    #[test]
    fn ids_are_read_as_they_are_written_up_to_a_hundred(ids in prop::collection::vec(0..=CENTS_MAX, 0..110)) {
        let text: Vec<String> = ids.iter().map(i64::to_string).collect();
        let read = parse_ids(&text.join(","));
        if ids.len() <= 100 {
            prop_assert_eq!(read.unwrap(), ids);
        } else {
            prop_assert_eq!(read.map_err(|error| error.code()), Err("invalid_request"));
        }
    }

    #[test]
    fn any_text_is_ids_or_refused(text in prop_oneof!["[0-9,]{0,30}", "[-+0-9, .ex]{0,12}", ".{0,12}"]) {
        let parts: Vec<&str> = text.split(',').filter(|part| !part.is_empty()).collect();
        if let Ok(ids) = parse_ids(&text) {
            let written: Vec<String> = ids.iter().map(i64::to_string).collect();
            prop_assert_eq!(written, parts);
        }
    }

    #[test]
    fn an_opening_is_within_its_limits_or_refused(
        id in prop::option::of(any::<i64>()),
        name in prop::option::of(prop_oneof![".{0,110}", "\\PC{0,110}", any::<String>()]),
        cents in prop::option::of(prop_oneof![any::<i64>(), 0..=CENTS_MAX, Just(0)]),
    ) {
        let is_name = |name: &String| {
            // Which of these can be seen is tested with [`Name`].
            (1..=100).contains(&name.chars().count())
                && !name.chars().any(char::is_control)
                && Name::new("name", name.clone()).is_ok()
        };
        let fits = |number: &i64| (0..=CENTS_MAX).contains(number);
        let is_sound = id.as_ref().is_none_or(fits)
            && name.as_ref().is_none_or(is_name)
            && cents.as_ref().is_none_or(fits);
        let body = OpenAccount {
            id: id.map(Integer),
            name: name.clone(),
            opening_balance: cents.map(Integer),
        };
        match opening(body) {
            Ok(opening) => {
                prop_assert!(is_sound);
                prop_assert_eq!(opening.id.map(AccountId::get), id);
                prop_assert_eq!(opening.name.as_ref().map(Name::as_str), name.as_deref());
                let balance = opening.balance.map_or(0, Amount::cents);
                prop_assert_eq!(balance, cents.unwrap_or(0));
            }
            Err(_) => prop_assert!(!is_sound),
        }
    }
}
