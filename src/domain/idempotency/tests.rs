use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(3),
        ..Config::default()
    })]

    #[test]
    fn a_key_has_1_to_255_visible_ascii_characters_and_stays_as_it_is(
        text in prop_oneof!["[!-~]{0,260}", "[ -~]{0,20}", "[!-~]{0,5}\\PC[!-~]{0,5}", ".{0,20}"],
    ) {
        let is_key = (1..=255).contains(&text.len()) && text.chars().all(|it| ('!'..='~').contains(&it));
        match IdempotencyKey::new(text.clone()) {
            Ok(key) => prop_assert!(is_key && key.as_str() == text),
            Err(invalid) => prop_assert!(!is_key && matches!(invalid, Invalid::Value(_))),
        }
    }

    #[test]
    fn no_client_can_name_a_key_of_the_services_own(words in "[a-z]{1,9} [a-z0-9 ]{1,20}") {
        prop_assert!(IdempotencyKey::new(IdempotencyKey::internal(&words).as_str().to_owned()).is_err());
    }
}
