use super::*;
use crate::domain::{AccountId, Caller};

fn known(valid_from: u64, valid_until: u64) -> Known {
    Known { identity: Caller::Operator.into(), valid_from, valid_until }
}

#[test]
fn a_token_is_known_within_its_time_alone_wherever_the_clock_jumps() {
    let verified = Verified::default();
    verified.remember("a", known(10, 20));
    for (now, is_valid) in [(10, true), (19, true), (20, false), (9, false), (15, true)] {
        assert_eq!(verified.identity("a", now).is_some(), is_valid, "{now}");
    }
    assert_eq!(verified.identity("b", 15), None);
}

#[test]
fn a_token_is_its_own_callers() {
    let verified = Verified::default();
    let holder = |id| AccountId::new(id).ok().map(Caller::Holder);
    for (token, id) in [("a", 1), ("b", 2)] {
        let caller = holder(id).unwrap_or(Caller::Operator);
        verified.remember(token, Known { identity: caller.into(), ..known(0, 9) });
    }
    assert_eq!(verified.identity("a", 5).map(|it| it.caller), holder(1));
    assert_eq!(verified.identity("b", 5).map(|it| it.caller), holder(2));
}

#[test]
fn however_many_tokens_come_those_that_are_used_stay_and_the_rest_is_forgotten() {
    let verified = Verified::default();
    verified.remember("used", known(0, 9));
    verified.remember("not used", known(0, 9));
    for n in 0..5 * TOKENS_MAX {
        verified.remember(&n.to_string(), known(0, 9));
        if n % 1_000 == 0 {
            assert!(verified.identity("used", 5).is_some(), "after {n}");
        }
    }
    assert_eq!(verified.identity("not used", 5), None);
    let tokens = verified.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(tokens.young.len() <= TOKENS_MAX && tokens.old.len() <= TOKENS_MAX);
}
