use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::domain::CENTS_MAX;

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(4),
        ..Config::default()
    })]

    #[test]
    fn an_account_id_has_one_spelling(text in prop_oneof!["[0-9]{1,17}", "[-+]?[0-9 _.,ex]{0,6}", ".{0,6}"]) {
        match text.parse::<AccountId>() {
            Ok(id) => {
                prop_assert_eq!(id.to_string(), text);
                prop_assert!((0..=CENTS_MAX).contains(&id.get()));
            }
            Err(invalid) => {
                let written: Option<i64> = text.parse().ok().filter(|id| (0..=CENTS_MAX).contains(id));
                prop_assert!(written.is_none_or(|id| id.to_string() != text), "{}", text);
                prop_assert!(matches!(invalid, Invalid::Value(_)));
            }
        }
    }

    #[test]
    fn every_account_id_reads_as_itself(id in prop_oneof![0..=CENTS_MAX, Just(0), Just(CENTS_MAX)]) {
        prop_assert_eq!(id.to_string().parse(), AccountId::new(id));
    }
}
