use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..Config::default()
    })]

    #[test]
    fn different_fields_have_different_fingerprints(
        one in prop::collection::vec(prop::option::of("[ab]{0,3}"), 0..4),
        other in prop::collection::vec(prop::option::of("[ab]{0,3}"), 0..4),
    ) {
        prop_assert_eq!(Fingerprint::of(&one) == Fingerprint::of(&other), one == other);
    }
}
