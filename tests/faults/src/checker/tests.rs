#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::integer_division,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

//! The checker is tested like the service: correct runs are sound, and a fault of every kind is found
//! and named.

mod simulation;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{Rule, check};
use crate::ledger::{Account, Key, Ledger, Payment};
use crate::record::{Attempt, BalanceRead, Draft, Intent, Outcome, Records, Scroll};
use simulation::{Size, shown};

/// Enough for everything to happen: retries, refusals, long histories, readers on the way.
const SIZE: Size = Size { accounts: 6, intents: 600, reads: 600, scrolls: 60 };

/// The rules that a simulated run violates after `plant` has changed what it left behind.
fn violated(plant: impl FnOnce(&mut Records, &mut Ledger)) -> BTreeSet<Rule> {
    let (mut records, mut ledger) = simulation::run(7, SIZE);
    assert_eq!(check(&records, &ledger), []);
    plant(&mut records, &mut ledger);
    check(&records, &ledger).into_iter().map(|violation| violation.rule).collect()
}

#[track_caller]
fn assert_finds(rule: Rule, plant: impl FnOnce(&mut Records, &mut Ledger)) {
    let rules = violated(plant);
    assert!(rules.contains(&rule), "{rule:?} is not among {rules:?}");
}

fn body(attempt: &Attempt) -> Option<&str> {
    match &attempt.outcome {
        Outcome::Paid { body, .. } => Some(body),
        Outcome::Refused { .. } | Outcome::Lost => None,
    }
}

/// The copies of one intent, by when they were asked.
fn copies<'a>(records: &'a mut Records, payment: &Payment) -> Vec<&'a mut Attempt> {
    let all = records.attempts.iter_mut();
    let mut copies: Vec<_> = all
        .filter(|it| it.intent.from == payment.from_id && it.intent.key == payment.key)
        .collect();
    copies.sort_by_key(|it| it.asked_us);
    copies
}

/// A client's payment that `suits` by its answers: how many 200 it got of how many copies.
fn payment(
    records: &mut Records,
    ledger: &Ledger,
    suits: impl Fn(usize, usize) -> bool,
) -> Payment {
    let mut clients = ledger.payments.iter().filter(|it| it.from_id != 0);
    let found = clients.find(|it| {
        let copies = copies(records, it);
        let is_reused = copies.iter().any(|copy| copy.intent.to != it.to_id);
        !is_reused && suits(copies.iter().filter(|copy| body(copy).is_some()).count(), copies.len())
    });
    found.unwrap().clone()
}

fn acknowledged(records: &mut Records, ledger: &Ledger) -> Payment {
    payment(records, ledger, |paid, _| paid > 0)
}

fn row<'a>(ledger: &'a mut Ledger, payment: &Payment) -> &'a mut Payment {
    ledger.payments.iter_mut().find(|it| it.id == payment.id).unwrap()
}

/// One account's payments, from the oldest.
fn history(ledger: &Ledger, account: i64) -> Vec<Payment> {
    let all = ledger.payments.iter();
    let mut history: Vec<Payment> =
        all.filter(|it| [it.from_id, it.to_id].contains(&account)).cloned().collect();
    history.sort_by_key(|it| it.created_us);
    history
}

/// A scroll of at least three pages that got to the end.
fn long_scroll(records: &mut Records) -> &mut Scroll {
    records.scrolls.iter_mut().find(|it| it.complete && it.pages.len() >= 3).unwrap()
}

fn refused(status: u16, code: &str) -> Outcome {
    Outcome::Refused { status, code: code.to_owned(), retryable: status == 503 }
}

const NEVER_HELD: i64 = 987_654_321;
/// When everything is over.
const AFTERWARDS_US: u64 = 1_000_000_000;

proptest! {
    #![proptest_config(Config { cases: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_correct_run_violates_nothing(
        seed: u64,
        accounts in 2..9_i64,
        intents in 0..300_usize,
        reads in 0..200_usize,
        scrolls in 0..20_usize,
    ) {
        let (records, ledger) = simulation::run(seed, Size { accounts, intents, reads, scrolls });
        prop_assert_eq!(check(&records, &ledger), []);
    }
}

#[test]
fn the_simulated_run_has_everything_that_a_rule_is_about() {
    let (records, ledger) = simulation::run(7, SIZE);
    let refusals = [
        "overloaded",
        "database_unavailable",
        "insufficient_funds",
        "idempotency_key_reused",
        "account_not_found",
    ];
    for wanted in refusals {
        let has =
            |it: &Attempt| matches!(&it.outcome, Outcome::Refused { code, .. } if code == wanted);
        assert!(records.attempts.iter().any(has), "{wanted}");
    }
    let replayed = |it: &&Attempt| matches!(it.outcome, Outcome::Paid { replayed: true, .. });
    assert!(records.attempts.iter().filter(replayed).count() > 100);
    assert!(records.attempts.iter().any(|it| it.outcome == Outcome::Lost));
    assert!(records.scrolls.iter().any(|it| it.complete && it.pages.len() >= 3));
    assert!(records.scrolls.iter().any(|it| !it.complete));
    assert!(ledger.payments.len() > 200);
    assert!(ledger.keys.iter().any(|it| it.status == "failed"));
}

#[test]
fn money_from_nowhere_is_found() {
    assert_finds(Rule::Conservation, |_, ledger| ledger.accounts[1].balance += 1);
}

#[test]
fn an_account_below_zero_is_found() {
    let rules = violated(|_, ledger| ledger.accounts[2].balance = -1);
    assert!(rules.contains(&Rule::Floor));
    // The bank is, in every run.
    let (_, ledger) = simulation::run(7, SIZE);
    assert!(ledger.accounts[0].balance < 0);
}

#[test]
fn a_payment_to_nobody_is_found() {
    assert_finds(Rule::AccountsExist, |_, ledger| {
        ledger.accounts.pop();
    });
}

#[test]
fn two_payments_of_an_account_at_one_time_are_found() {
    assert_finds(Rule::TimesIncrease, |_, ledger| {
        let history = history(ledger, 1);
        row(ledger, &history[5]).created_us = history[4].created_us;
    });
}

#[test]
fn an_account_that_forgot_its_newest_payment_is_found() {
    let rules = violated(|_, ledger| ledger.accounts[1].last_payment_us = None);
    assert_eq!(rules, BTreeSet::from([Rule::TimesIncrease]));
}

#[test]
fn a_gap_in_the_balances_of_the_payer_or_the_payee_is_found() {
    assert_finds(Rule::BalancesFollow, |records, ledger| {
        let payment = acknowledged(records, ledger);
        row(ledger, &payment).from_balance_after += 1;
    });
    assert_finds(Rule::BalancesFollow, |records, ledger| {
        let payment = acknowledged(records, ledger);
        row(ledger, &payment).to_balance_after -= 1;
    });
}

#[test]
fn a_history_that_does_not_begin_at_zero_is_found() {
    assert_finds(Rule::BalancesFollow, |_, ledger| {
        let opening = history(ledger, 1).remove(0);
        ledger.payments.retain(|it| it.id != opening.id);
    });
}

#[test]
fn a_balance_that_its_history_does_not_give_is_found() {
    let rules = violated(|_, ledger| {
        ledger.accounts[1].balance += 1;
        ledger.accounts[2].balance -= 1;
    });
    assert_eq!(rules, BTreeSet::from([Rule::BalancesAreExplained]));
}

#[test]
fn a_key_that_paid_twice_is_found() {
    assert_finds(Rule::OncePerKey, |records, ledger| {
        let mut second = acknowledged(records, ledger);
        second.id = "another".to_owned();
        second.created_us += 1;
        ledger.payments.push(second);
    });
}

#[test]
fn a_payment_that_nobody_asked_for_is_found() {
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid == 0);
        records.attempts.retain(|it| it.intent.key != payment.key);
    });
    assert_eq!(rules, BTreeSet::from([Rule::AskedFor]));
}

#[test]
fn a_payment_that_was_asked_for_otherwise_is_found() {
    let plants: [fn(&mut Intent); 3] = [
        |intent| intent.amount += 1,
        |intent| intent.to = 17,
        |intent| intent.note = Some("another".to_owned()),
    ];
    for plant in plants {
        assert_finds(Rule::AskedFor, |records, ledger| {
            let payment = acknowledged(records, ledger);
            copies(records, &payment).into_iter().for_each(|copy| plant(&mut copy.intent));
        });
    }
}

#[test]
fn an_acknowledged_payment_that_is_lost_is_found() {
    assert_finds(Rule::AcknowledgedIsThere, |records, ledger| {
        let payment = acknowledged(records, ledger);
        ledger.payments.retain(|it| it.id != payment.id);
    });
}

#[test]
fn an_acknowledged_payment_that_is_another_in_the_ledger_is_found() {
    let plants: [fn(&mut Payment); 6] = [
        |payment| payment.id = "another".to_owned(),
        |payment| payment.to_id = payment.to_id % 6 + 1,
        |payment| payment.amount += 1,
        |payment| payment.note = Some("another".to_owned()),
        |payment| payment.created_us += 1,
        |payment| payment.from_balance_after += 1,
    ];
    for plant in plants {
        assert_finds(Rule::AcknowledgedIsTrue, |records, ledger| {
            let payment = acknowledged(records, ledger);
            plant(row(ledger, &payment));
        });
    }
}

#[test]
fn an_answer_that_is_no_payment_is_found() {
    assert_finds(Rule::AcknowledgedIsTrue, |records, ledger| {
        let payment = acknowledged(records, ledger);
        for copy in copies(records, &payment) {
            copy.outcome = Outcome::Paid { body: "{}".to_owned(), replayed: true };
        }
    });
}

#[test]
fn a_key_that_answers_another_intent_with_its_payment_is_found() {
    assert_finds(Rule::AcknowledgedIsTrue, |records, ledger| {
        let payment = payment(records, ledger, |paid, copies| paid > 0 && copies > 1);
        let mut copies = copies(records, &payment);
        copies.iter_mut().find(|copy| body(copy).is_some()).unwrap().intent.amount += 1;
    });
}

#[test]
fn two_answers_that_differ_in_one_byte_are_found() {
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid > 1);
        let mut copies = copies(records, &payment);
        let last = copies.iter_mut().rfind(|copy| body(copy).is_some()).unwrap();
        let body = format!("{} ", body(last).unwrap());
        last.outcome = Outcome::Paid { body, replayed: true };
    });
    assert!(rules.contains(&Rule::AnswersAgree));
}

#[test]
fn two_answers_that_both_say_paid_now_are_found() {
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid > 1);
        for copy in copies(records, &payment) {
            // All at once, so that none comes after another.
            copy.asked_us = 1;
            if let Outcome::Paid { replayed, .. } = &mut copy.outcome {
                *replayed = false;
            }
        }
    });
    assert_eq!(rules, BTreeSet::from([Rule::FreshOnce]));
}

#[test]
fn an_answer_that_says_paid_now_after_another_is_found() {
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid > 0);
        let mut copies = copies(records, &payment);
        let mut later = None;
        for copy in &mut copies {
            if let Outcome::Paid { replayed, .. } = &mut copy.outcome {
                *replayed = true;
                later = Some(copy.clone());
            }
        }
        let mut later = later.unwrap();
        (later.asked_us, later.ended_us) = (AFTERWARDS_US, AFTERWARDS_US + 1);
        later.outcome = Outcome::Paid { body: body(&later).unwrap().to_owned(), replayed: false };
        records.attempts.push(later);
    });
    assert_eq!(rules, BTreeSet::from([Rule::FreshOnce]));
}

#[test]
fn a_payment_that_was_refused_each_time_is_found() {
    assert_finds(Rule::RefusedIsNotPaid, |records, ledger| {
        let payment = acknowledged(records, ledger);
        for copy in copies(records, &payment) {
            copy.outcome = refused(503, "overloaded");
        }
    });
    // One copy that may have been done explains it.
    let internal = Outcome::Refused { status: 500, code: "internal".to_owned(), retryable: true };
    for explains in [refused(503, "database_unavailable"), internal, Outcome::Lost] {
        let rules = violated(|records, ledger| {
            let payment = payment(records, ledger, |paid, copies| paid > 0 && copies > 1);
            let mut copies = copies(records, &payment);
            copies.iter_mut().for_each(|copy| copy.outcome = refused(503, "overloaded"));
            copies[0].outcome = explains;
        });
        assert!(!rules.contains(&Rule::RefusedIsNotPaid), "{rules:?}");
    }
}

#[test]
fn a_payment_that_is_denied_after_it_was_acknowledged_is_found() {
    for (outcome, is_wrong) in [
        (refused(422, "insufficient_funds"), true),
        (refused(404, "account_not_found"), true),
        (refused(500, "internal"), true),
        (refused(503, "overloaded"), false),
        (refused(503, "database_unavailable"), false),
        (Outcome::Lost, false),
    ] {
        let rules = violated(|records, ledger| {
            let payment = acknowledged(records, ledger);
            let mut later = copies(records, &payment)[0].clone();
            (later.asked_us, later.ended_us) = (AFTERWARDS_US, AFTERWARDS_US + 1);
            later.outcome = outcome.clone();
            records.attempts.push(later);
        });
        assert_eq!(rules.contains(&Rule::PaidIsRemembered), is_wrong, "{outcome:?}");
    }
}

#[test]
fn an_innocent_who_is_told_of_the_trouble_of_another_is_found() {
    for (outcome, is_wrong) in [
        (refused(500, "internal"), true),
        (refused(503, "database_unavailable"), true),
        (refused(503, "overloaded"), false),
        (refused(422, "insufficient_funds"), false),
    ] {
        for (refused_payer, is_innocent) in [(1, true), (2, false)] {
            let rules = violated(|records, _| {
                let attempts = records.attempts.iter_mut();
                // The simulated run has some of its own.
                attempts
                    .filter(|it| matches!(&it.outcome, Outcome::Refused { .. }))
                    .for_each(|attempt| attempt.outcome = refused(503, "overloaded"));
                records.refused_payers.insert(refused_payer);
                let intent =
                    Intent { from: 2, to: 1, amount: 1, key: "of another".to_owned(), note: None };
                let attempt = records.attempts[0].clone();
                records.attempts.push(Attempt { intent, outcome: outcome.clone(), ..attempt });
            });
            let is_found = rules.contains(&Rule::RefusedAlone);
            assert_eq!(is_found, is_wrong && is_innocent, "{outcome:?}");
        }
    }
    // Where the database refuses nobody, it may be down.
    assert!(violated(|_, _| ()).is_empty());
}

/// A draft of one intent for each of these payments.
fn draft_of(payments: &[&Payment]) -> Draft {
    let intent = |payment: &&Payment| Intent {
        from: payment.from_id,
        to: payment.to_id,
        amount: payment.amount,
        key: payment.key.clone(),
        note: payment.note.clone(),
    };
    Draft { intents: payments.iter().map(intent).collect() }
}

#[test]
fn a_draft_that_two_windows_paid_under_two_keys_is_found() {
    for (paid, is_sound) in [(1, true), (2, false)] {
        let (mut records, ledger) = three_payments();
        let payments: Vec<&Payment> = ledger.payments[1..=paid].iter().collect();
        // Both windows have asked for each.
        records.drafts.push(draft_of(&[payments.clone(), payments].concat()));
        let rules: Vec<Rule> = check(&records, &ledger).iter().map(|it| it.rule).collect();
        let expected = if is_sound { vec![] } else { vec![Rule::OncePerDraft] };
        assert_eq!(rules, expected);
    }
}

#[test]
fn a_draft_that_was_never_paid_is_found_unless_it_was_refused_each_time() {
    for (outcome, is_sound) in [
        (Outcome::Lost, false),
        (refused(503, "database_unavailable"), false),
        (refused(422, "insufficient_funds"), true),
    ] {
        let (mut records, ledger) = three_payments();
        let nothing = Payment { key: "of nothing".to_owned(), ..ledger.payments[1].clone() };
        let draft = draft_of(&[&nothing]);
        let attempt = records.attempts[1].clone();
        let intent = draft.intents[0].clone();
        records.attempts.push(Attempt { intent, outcome, ..attempt });
        records.drafts.push(draft);
        let rules: Vec<Rule> = check(&records, &ledger).iter().map(|it| it.rule).collect();
        let expected = if is_sound { vec![] } else { vec![Rule::OncePerDraft] };
        assert_eq!(rules, expected);
    }
}

#[test]
fn a_key_whose_row_says_otherwise_is_found() {
    let plants: [fn(&mut Key, &mut Payment); 5] = [
        |key, _| key.response = Some(format!("{} ", key.response.as_deref().unwrap())),
        |key, _| key.response = None,
        |key, _| key.status = "failed".to_owned(),
        |key, _| key.status = "done".to_owned(),
        |_, payment| payment.key = "another".to_owned(),
    ];
    for plant in plants {
        assert_finds(Rule::KeysAgree, |records, ledger| {
            let payment = payment(records, ledger, |paid, _| paid > 0);
            let mut keys = ledger.keys.iter_mut();
            let key = keys.find(|it| it.payer == payment.from_id && it.key == payment.key).unwrap();
            let mut changed = payment.clone();
            plant(key, &mut changed);
            *row(ledger, &payment) = changed;
        });
    }
}

#[test]
fn a_key_whose_answer_was_never_seen_is_checked_against_its_payment() {
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid == 0);
        let mut keys = ledger.keys.iter_mut();
        let key = keys.find(|it| it.payer == payment.from_id && it.key == payment.key).unwrap();
        key.response = Some(shown(&Payment { amount: payment.amount + 1, ..payment }, key.payer));
    });
    assert_eq!(rules, BTreeSet::from([Rule::KeysAgree]));
}

#[test]
fn what_is_left_in_progress_is_found() {
    let rules = violated(|_, ledger| ledger.keys[3].status = "in_progress".to_owned());
    assert_eq!(rules, BTreeSet::from([Rule::NothingInProgress]));
    let rules = violated(|_, ledger| ledger.openings_in_progress.push("k".to_owned()));
    assert_eq!(rules, BTreeSet::from([Rule::NothingInProgress]));
}

#[test]
fn a_session_left_in_a_transaction_is_found() {
    let rules = violated(|_, ledger| ledger.idle_in_transaction.push("session 1".to_owned()));
    assert_eq!(rules, BTreeSet::from([Rule::NoIdleTransaction]));
}

#[test]
fn a_payment_that_comes_before_one_that_was_acknowledged_before_it_was_asked_for_is_found() {
    assert_finds(Rule::RealTimeOrder, |records, ledger| {
        let history = history(ledger, 1);
        for copy in copies(records, &history[20]) {
            (copy.asked_us, copy.ended_us) = (AFTERWARDS_US, AFTERWARDS_US + 1);
        }
    });
}

#[test]
fn a_balance_that_never_was_is_found() {
    let rules = violated(|records, _| records.balances[0].balance = NEVER_HELD);
    assert_eq!(rules, BTreeSet::from([Rule::BalanceExisted]));
    let rules = violated(|records, _| records.balances[0].account = 99);
    assert!(rules.contains(&Rule::BalanceExisted));
}

#[test]
fn a_stale_balance_is_found() {
    let rules = violated(|records, ledger| {
        let balance = history(ledger, 1)[0].to_balance_after;
        assert_ne!(balance, ledger.accounts[1].balance);
        let read = BalanceRead { account: 1, balance, ..records.balances[0].clone() };
        records.balances.push(BalanceRead {
            asked_us: AFTERWARDS_US,
            answered_us: AFTERWARDS_US + 1,
            ..read
        });
    });
    assert_eq!(rules, BTreeSet::from([Rule::BalanceInOrder]));
}

#[test]
fn an_account_that_is_seen_before_it_was_opened_is_found() {
    let rules = violated(|records, _| {
        let read = BalanceRead { account: 1, balance: 0, ..records.balances[0].clone() };
        records.balances.push(BalanceRead { asked_us: 1, answered_us: 1, ..read });
    });
    assert_eq!(rules, BTreeSet::from([Rule::BalanceInOrder]));
}

#[test]
fn a_balance_from_the_future_is_found() {
    let rules = violated(|records, ledger| {
        let history = history(ledger, 0);
        let last = history.iter().rfind(|it| it.to_id == 0).unwrap();
        let read = BalanceRead { account: 0, ..records.balances[0].clone() };
        let balance = last.to_balance_after;
        records.balances.push(BalanceRead { asked_us: 0, answered_us: 0, balance, ..read });
    });
    assert_eq!(rules, BTreeSet::from([Rule::BalanceInOrder]));
}

/// Account 1 pays 10, 20 and 30 cents of 100 to the bank; nobody was answered.
fn three_payments() -> (Records, Ledger) {
    let (mut records, mut ledger) = (Records::default(), Ledger::default());
    let mut balance = 0;
    for (number, (from_id, to_id, amount)) in
        (1..).zip([(0, 1, 100), (1, 0, 10), (1, 0, 20), (1, 0, 30)])
    {
        balance += if to_id == 1 { amount } else { -amount };
        let key = match from_id {
            0 => "opening balance of account 1".to_owned(),
            _ => format!("key-{number}"),
        };
        let (from_balance_after, to_balance_after) =
            if from_id == 0 { (-balance, balance) } else { (balance, -balance) };
        let intent = Intent { from: from_id, to: to_id, amount, key: key.clone(), note: None };
        let (asked_us, ended_us) = (number, u64::MAX);
        let attempt = Attempt { client: 0, intent, asked_us, ended_us, outcome: Outcome::Lost };
        records.attempts.push(attempt);
        ledger.payments.push(Payment {
            id: format!("payment-{number}"),
            from_id,
            to_id,
            amount,
            created_us: i64::try_from(number).unwrap(),
            from_balance_after,
            to_balance_after,
            key,
            note: None,
        });
    }
    ledger.accounts = [(0, -balance), (1, balance)]
        .map(|(id, balance)| Account { id, balance, last_payment_us: Some(4) })
        .to_vec();
    (records, ledger)
}

#[test]
fn reads_that_go_back_in_time_are_found_and_reads_at_one_time_have_no_order() {
    let read = |asked_us, answered_us, balance| BalanceRead {
        client: 0,
        account: 1,
        asked_us,
        answered_us,
        balance,
    };
    for (reads, is_sound) in [
        (vec![read(10, 20, 90), read(30, 40, 70), read(50, 60, 40)], true),
        (vec![read(10, 20, 70), read(30, 40, 90)], false),
        (vec![read(10, 30, 70), read(30, 40, 90)], true),
        (vec![read(10, 35, 70), read(30, 40, 90)], true),
        // Through a third, that the first two both are at the same time as.
        (vec![read(10, 20, 70), read(15, 35, 40), read(30, 40, 90)], false),
        // In the order of the questions, not of the records.
        (vec![read(50, 60, 90), read(10, 20, 70)], false),
        // The last payment was asked for at 4.
        (vec![read(1, 3, 40)], false),
        (vec![read(1, 4, 40)], true),
    ] {
        let (mut records, ledger) = three_payments();
        records.balances.clone_from(&reads);
        let rules: Vec<Rule> = check(&records, &ledger).iter().map(|it| it.rule).collect();
        let expected = if is_sound { vec![] } else { vec![Rule::BalanceInOrder] };
        assert_eq!(rules, expected, "{reads:?}");
    }
}

#[test]
fn what_was_acknowledged_out_of_order_was_paid_in_order() {
    let (mut records, ledger) = three_payments();
    for (number, ended_us) in [(2, 20), (1, 30)] {
        let body = shown(&ledger.payments[number], 1);
        records.attempts[number].outcome = Outcome::Paid { body, replayed: false };
        records.attempts[number].ended_us = ended_us;
    }
    for (asked_us, balance, is_sound) in
        [(20, 90, true), (21, 90, false), (40, 90, false), (40, 70, true)]
    {
        let read = BalanceRead { client: 0, account: 1, asked_us, answered_us: 50, balance };
        records.balances = vec![read];
        assert_eq!(check(&records, &ledger).is_empty(), is_sound, "{:?}", records.balances);
    }
}

#[test]
fn a_payment_that_is_seen_before_the_copy_that_made_it_was_asked_for_is_found() {
    let (mut records, ledger) = three_payments();
    let (asked_us, answered_us, balance) = (10, 20, 40);
    records.balances.push(BalanceRead { client: 0, account: 1, asked_us, answered_us, balance });
    assert_eq!(check(&records, &ledger), []);
    let retry = Attempt { asked_us: 30, ..records.attempts[3].clone() };
    records.attempts[3].outcome = refused(503, "overloaded");
    records.attempts.push(retry);
    assert_eq!(check(&records, &ledger)[0].rule, Rule::BalanceInOrder);
}

#[test]
fn a_balance_that_the_account_had_twice_is_placed_wherever_it_fits() {
    let (mut records, mut ledger) = three_payments();
    // 100, 90, 70 and then, with 30 coming back instead of going, 100 again.
    let last = &mut ledger.payments[3];
    (last.from_id, last.to_id) = (0, 1);
    (last.from_balance_after, last.to_balance_after) = (-100, 100);
    (records.attempts[3].intent.from, records.attempts[3].intent.to) = (0, 1);
    (ledger.accounts[0].balance, ledger.accounts[1].balance) = (-100, 100);
    for (balance, at_us) in [(100, 10), (90, 20), (70, 30), (100, 40)] {
        let (asked_us, answered_us) = (at_us, at_us + 5);
        records.balances.push(BalanceRead {
            client: 0,
            account: 1,
            asked_us,
            answered_us,
            balance,
        });
    }
    assert_eq!(check(&records, &ledger), []);
    let again = BalanceRead { asked_us: 50, answered_us: 55, ..records.balances[1].clone() };
    records.balances.push(again);
    assert_eq!(check(&records, &ledger)[0].rule, Rule::BalanceInOrder);
}

#[test]
fn a_scroll_and_a_balance_are_reads_of_one_account() {
    let (mut records, ledger) = three_payments();
    let page = |payments: &[Payment]| {
        let rows: Vec<String> = payments.iter().rev().map(|it| shown(it, 1)).collect();
        format!("[{}]", rows.join(","))
    };
    records.scrolls.push(Scroll {
        client: 0,
        account: 1,
        began_us: 10,
        ended_us: 20,
        pages: vec![page(&ledger.payments[..3])],
        complete: true,
    });
    assert_eq!(check(&records, &ledger), []);
    let (asked_us, answered_us, balance) = (30, 40, 90);
    records.balances.push(BalanceRead { client: 0, account: 1, asked_us, answered_us, balance });
    assert_eq!(check(&records, &ledger)[0].rule, Rule::BalanceInOrder);
    records.scrolls[0].began_us = 50;
    records.scrolls[0].ended_us = 60;
    assert_eq!(check(&records, &ledger), []);
    records.scrolls[0].pages = vec![page(&ledger.payments[..1])];
    assert_eq!(check(&records, &ledger)[0].rule, Rule::ScrollInOrder);
}

#[test]
fn a_page_with_eleven_payments_is_found() {
    let rules = violated(|records, _| {
        let scroll = long_scroll(records);
        let second = scroll.pages.remove(1);
        let first = &mut scroll.pages[0];
        *first =
            format!("{},{}", first.strip_suffix(']').unwrap(), second.strip_prefix('[').unwrap());
    });
    assert_eq!(rules, BTreeSet::from([Rule::PageSize]));
}

#[test]
fn a_scroll_that_shows_a_payment_otherwise_is_found() {
    let plants: [fn(&str) -> String; 5] = [
        |page| page.replacen("\"balance_after\":", "\"balance_after\":1", 1),
        |page| page.replacen("\"note\":null", "\"note\":\"another\"", 1),
        |page| page.replacen("\"amount\":", "\"amount\":1", 1),
        |page| page.replacen("\"id\":\"", "\"id\":\"f", 1),
        |_| "[{}]".to_owned(),
    ];
    for plant in plants {
        let rules = violated(|records, _| {
            let page = &mut long_scroll(records).pages[1];
            let planted = plant(page);
            assert_ne!(*page, planted);
            *page = planted;
        });
        assert_eq!(rules, BTreeSet::from([Rule::ScrollTruth]));
    }
}

#[test]
fn a_scroll_with_somebody_elses_payment_is_found() {
    assert_finds(Rule::ScrollTruth, |records, ledger| {
        let scroll = long_scroll(records);
        let mut others = ledger.payments.iter();
        let other = others.find(|it| ![it.from_id, it.to_id].contains(&scroll.account)).unwrap();
        scroll.pages[1] = format!("[{}]", shown(other, other.from_id));
    });
}

#[test]
fn a_scroll_that_repeats_a_page_is_found() {
    let rules = violated(|records, _| {
        let scroll = long_scroll(records);
        scroll.pages.insert(1, scroll.pages[0].clone());
    });
    assert_eq!(rules, BTreeSet::from([Rule::ScrollRepeatsNothing]));
}

#[test]
fn a_scroll_that_skips_a_page_is_found_also_at_its_end() {
    let rules = violated(|records, _| drop(long_scroll(records).pages.remove(1)));
    assert_eq!(rules, BTreeSet::from([Rule::ScrollSkipsNothing]));
    let rules = violated(|records, _| drop(long_scroll(records).pages.pop()));
    assert_eq!(rules, BTreeSet::from([Rule::ScrollSkipsNothing]));
}

#[test]
fn a_scroll_that_begins_too_late_in_the_history_is_found() {
    let rules = violated(|records, _| {
        let scroll = long_scroll(records);
        scroll.began_us += AFTERWARDS_US;
        scroll.ended_us += AFTERWARDS_US;
        scroll.pages.remove(0);
    });
    assert_eq!(rules, BTreeSet::from([Rule::ScrollInOrder]));
    // Of an account that has payments, an empty history is one that begins too late.
    let rules = violated(|records, _| {
        let scroll = long_scroll(records);
        scroll.pages = vec!["[]".to_owned()];
    });
    assert_eq!(rules, BTreeSet::from([Rule::ScrollInOrder]));
}

#[test]
fn many_violations_of_a_rule_are_counted() {
    let (mut records, ledger) = simulation::run(7, SIZE);
    records.balances.iter_mut().for_each(|read| read.balance = NEVER_HELD);
    let violations = check(&records, &ledger);
    assert_eq!(violations.len(), 11);
    let rest = format!("BalanceExisted: and {} more", records.balances.len() - 10);
    assert_eq!(violations[10].to_string(), rest);
}
