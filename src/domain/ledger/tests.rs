#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

mod model;

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::domain::{AskForMoney, CENTS_MAX, CloseRequest, Closing, Invalid, Note};

/// A payment as small as can be.
#[derive(Debug, Clone)]
struct Wish {
    from: i64,
    to: i64,
    amount: i64,
    key: u8,
}

fn intent(wish: &Wish) -> Intent {
    let key = IdempotencyKey::new(format!("k{}", wish.key)).unwrap();
    let amount = Amount::from_cents(wish.amount).unwrap();
    Intent::new(AccountId::trusted(wish.from), AccountId::trusted(wish.to), amount, None, key, None)
        .unwrap()
}

fn pay(wish: &Wish) -> Instruction {
    Instruction::Pay(intent(wish))
}

fn found(now: Timestamp, known: &HashMap<PaymentId, Known>) -> Findings {
    Findings { now, known: known.clone(), ..Findings::default() }
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_unix_ms(second * 1_000).unwrap()
}

fn accounts(balances: &[(i64, i64)]) -> BTreeMap<AccountId, AccountState> {
    let state = |cents| AccountState {
        balance: Balance::from_cents(cents),
        last_payment_at: None,
        status: AccountStatus::Open,
    };
    balances.iter().map(|(id, cents)| (AccountId::trusted(*id), state(*cents))).collect()
}

proptest! {
    #[test]
    fn an_amount_or_balance_never_wraps(balance in -CENTS_MAX..=CENTS_MAX, amount in 1..=CENTS_MAX) {
        let (before, moved) = (Balance::from_cents(balance), Amount::from_cents(amount).unwrap());
        let exact = |cents: i128| (cents.abs() <= i128::from(CENTS_MAX)).then_some(cents);
        let (plus, minus) = (i128::from(balance) + i128::from(amount), i128::from(balance) - i128::from(amount));
        prop_assert_eq!(before.plus(moved).map(|it| i128::from(it.cents())), exact(plus));
        prop_assert_eq!(before.minus(moved).map(|it| i128::from(it.cents())), exact(minus));
    }
}

#[test]
fn an_amount_is_from_one_cent_to_the_limit() {
    for (cents, fits) in [
        (i64::MIN, false),
        (-1, false),
        (0, false),
        (1, true),
        (CENTS_MAX, true),
        (CENTS_MAX + 1, false),
        (i64::MAX, false),
    ] {
        assert_eq!(Amount::from_cents(cents).is_ok(), fits, "{cents}");
    }
}

#[test]
fn the_same_key_twice_in_one_batch_is_one_payment_and_a_replay() {
    let wish = Wish { from: 1, to: 2, amount: 5, key: 1 };
    let both = [pay(&wish), pay(&wish)];
    let found = found(time(1), &HashMap::new());
    let decision = decide(&accounts(&[(1, 10), (2, 0)]), &found, &both);
    let [Outcome::Done(first), Outcome::Replayed(second)] = decision.outcomes.as_slice() else {
        panic!("{:?}", decision.outcomes);
    };
    assert_eq!(first, second);
    assert_eq!((decision.payments.len(), decision.claims.len()), (1, 1));
}

#[test]
fn a_failure_that_succeeds_later_in_the_batch_is_written_once_as_a_success() {
    let wishes = [(1, 2, 50, 1), (3, 1, 50, 1), (1, 2, 50, 1)]
        .map(|(from, to, amount, key)| pay(&Wish { from, to, amount, key }));
    let found = found(time(1), &HashMap::new());
    let decision = decide(&accounts(&[(1, 0), (2, 0), (3, 60)]), &found, &wishes);
    assert!(matches!(decision.outcomes[0], Outcome::Declined(Declined::InsufficientFunds)));
    assert!(matches!(decision.outcomes[2], Outcome::Done(_)));
    let of_one: Vec<_> = decision.claims.iter().filter(|claim| claim.payer.get() == 1).collect();
    assert_eq!(of_one.len(), 1);
    assert!(matches!(of_one[0].end, KeyEnd::Paid { .. }));
}

#[test]
fn a_stored_failure_that_fails_again_writes_nothing() {
    let again = intent(&Wish { from: 1, to: 2, amount: 50, key: 1 });
    let known = HashMap::from([(again.id(), Known::Failed { fingerprint: again.fingerprint() })]);
    let decision =
        decide(&accounts(&[(1, 0), (2, 0)]), &found(time(1), &known), [&Instruction::Pay(again)]);
    assert!(decision.changes_nothing());
}

#[test]
fn a_key_in_progress_decides_nothing() {
    let held = intent(&Wish { from: 1, to: 2, amount: 50, key: 1 });
    let known = HashMap::from([(held.id(), Known::InProgress { fingerprint: None })]);
    let decision =
        decide(&accounts(&[(1, 100), (2, 0)]), &found(time(1), &known), [&Instruction::Pay(held)]);
    assert_eq!(decision.outcomes, [Outcome::InProgress]);
    assert!(decision.changes_nothing());
}

#[test]
fn the_fingerprint_tells_every_field_apart_and_ignores_the_clients_time() {
    let make = |to, amount, note: Option<&str>, at: Option<Timestamp>| {
        let note = note.map(|text| Note::new("note", text.to_owned()).unwrap());
        let key = IdempotencyKey::new("k".to_owned()).unwrap();
        let (from, to) = (AccountId::trusted(1), AccountId::trusted(to));
        Intent::new(from, to, Amount::from_cents(amount).unwrap(), note, key, at)
            .unwrap()
            .fingerprint()
    };
    let original = make(2, 10, Some("rent"), None);
    assert_eq!(original, make(2, 10, Some("rent"), Some(time(9))));
    for other in [
        make(3, 10, Some("rent"), None),
        make(2, 11, Some("rent"), None),
        make(2, 10, None, None),
        make(2, 10, Some("ren"), None),
    ] {
        assert_ne!(original, other);
    }
}

#[test]
fn a_request_that_may_have_been_ended_by_this_very_instruction_is_told_as_ended() {
    let key = IdempotencyKey::new("k".to_owned()).unwrap();
    let (from, to) = (AccountId::trusted(1), AccountId::trusted(2));
    let id = PaymentRequestId::derive(to, &key);
    let ask = AskForMoney::new(id, from, to, Amount::from_cents(5).unwrap(), None, None).unwrap();
    let declined = PaymentRequest { state: RequestState::Declined, ..ask.opened_at(time(1)) };
    let end = |how, is_repeated| {
        let requests = HashMap::from([(id, declined.clone())]);
        let found = Findings { now: time(2), requests, is_repeated, ..Findings::default() };
        let close = Instruction::Close(CloseRequest { id, from, to, how });
        let mut decision = decide(&accounts(&[(1, 0), (2, 0)]), &found, [&close]);
        assert!(decision.changes_nothing());
        decision.outcomes.remove(0)
    };
    let not_open = Outcome::Declined(Declined::RequestNotOpen(RequestStatus::Declined));
    assert_eq!(end(Closing::Decline, false), not_open);
    assert!(matches!(end(Closing::Decline, true), Outcome::Replayed(_)));
    assert_eq!(end(Closing::Cancel, true), not_open);
}

#[test]
fn an_id_follows_from_payer_and_key_alone() {
    let id = |payer, key: &str| {
        PaymentId::derive(AccountId::trusted(payer), &IdempotencyKey::new(key.to_owned()).unwrap())
    };
    assert_eq!(id(1, "abc123").uuid().to_string(), "0fc38bf5-9597-86f0-b04b-6ef81d0f62fc");
    assert_ne!(id(1, "1/x"), id(11, "/x"));
    assert_ne!(id(1, "a"), id(2, "a"));
}

#[test]
fn a_timestamp_reads_and_writes_microseconds_exactly() {
    for (given, written) in [
        ("2026-11-22T12:00:00Z", "2026-11-22T12:00:00.000000Z"),
        ("2026-11-22T12:00:00.1+05:30", "2026-11-22T06:30:00.100000Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ] {
        assert_eq!(Timestamp::parse(given).unwrap().to_string(), written);
    }
    for wrong in [
        "",
        "now",
        "2026-11-22",
        "2026-13-01T00:00:00Z",
        "0000-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
    ] {
        assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_written_timestamp_reads_back_as_itself(ms in -62_135_596_800_000_i64..253_402_300_799_000, steps in 0..3) {
        let mut time = Timestamp::from_unix_ms(ms).unwrap();
        for _ in 0..steps {
            time = time.next();
        }
        let text = time.to_string();
        prop_assert_eq!(Timestamp::parse(&text), Ok(time));
        prop_assert_eq!(Timestamp::parse_bound(&text), Ok(time));
        prop_assert!(text < time.next().to_string(), "texts sort as the moments do");
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
        let _ = Timestamp::parse(&text);
        let _ = text.parse::<AccountId>();
        let _ = IdempotencyKey::new(text.clone());
        let _ = Note::new("note", text.clone());
        let _ = crate::domain::Cursor::parse(Some(&text), Some(&text));
    }
}

#[test]
fn nobody_pays_himself() {
    let me = AccountId::trusted(1);
    let key = IdempotencyKey::new("k".to_owned()).unwrap();
    let intent = Intent::new(me, me, Amount::from_cents(1).unwrap(), None, key, None);
    assert_eq!(intent.map(|_| ()), Err(Invalid::SameAccount));
}
