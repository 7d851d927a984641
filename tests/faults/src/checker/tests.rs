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

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{Rule, check};
use crate::ledger::{Account, Key, Ledger, Payment, Request};
use crate::record::{
    Attempt, BalanceRead, Delivery, Draft, End, Errand, ErrandRun, FeedRead, Intent, Outcome,
    Records, Reference, Scroll,
};
use serde_json::{Value, json};
use simulation::{Size, shown, shown_request};

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
    body_of(&attempt.outcome)
}

fn body_of(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Done { body, .. } => Some(body),
        Outcome::Refused { .. } | Outcome::Lost => None,
    }
}

/// The copies of one intent, by when they were asked.
fn copies<'a>(records: &'a mut Records, payment: &Payment) -> Vec<&'a mut Attempt> {
    let all = records.attempts.iter_mut();
    let mut copies: Vec<_> = all
        .filter(|it| it.intent.from == payment.from_id && it.intent.payment_key() == payment.key)
        .collect();
    copies.sort_by_key(|it| it.asked_us);
    copies
}

/// A client's payment that `suits` by its answers: how many 200 it got of how many copies. It refers to
/// nothing, nobody cancelled it, and its key's row is there.
fn payment(
    records: &mut Records,
    ledger: &Ledger,
    suits: impl Fn(usize, usize) -> bool,
) -> Payment {
    let is_cancelled = |records: &Records, payment: &Payment| {
        records.errands.iter().any(|run| {
            matches!(&run.errand, Errand::Void { payer, key }
                if (*payer, key) == (payment.from_id, &payment.key))
        })
    };
    let has_row =
        |it: &Payment| ledger.keys.iter().any(|row| (row.payer, &row.key) == (it.from_id, &it.key));
    let mut clients = ledger.payments.iter().filter(|it| it.from_id != 0);
    let found = clients.find(|it| {
        let is_plain = it.refund_of.is_none() && it.payment_request_id.is_none();
        if !is_plain || is_cancelled(records, it) || !has_row(it) {
            return false;
        }
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
        "refund_exceeds_payment",
        "request_not_open",
        "idempotency_key_voided",
    ];
    for wanted in refusals {
        let has =
            |it: &Attempt| matches!(&it.outcome, Outcome::Refused { code, .. } if code == wanted);
        assert!(records.attempts.iter().any(has), "{wanted}");
    }
    let replayed = |it: &&Attempt| matches!(it.outcome, Outcome::Done { replayed: true, .. });
    assert!(records.attempts.iter().filter(replayed).count() > 100);
    assert!(records.attempts.iter().any(|it| it.outcome == Outcome::Lost));
    assert!(records.scrolls.iter().any(|it| it.complete && it.pages.len() >= 3));
    assert!(records.scrolls.iter().any(|it| !it.complete));
    assert!(ledger.payments.len() > 200);
    assert!(records.feed.len() > 10 && records.heard.len() > 3);
    assert!(records.deliveries.iter().any(|it| !it.is_taken));
    assert!(ledger.keys.iter().any(|it| it.status == "failed"));
    let attempts = || records.attempts.iter();
    assert!(attempts().any(|it| it.is_in_bulk && body(it).is_some()));
    assert!(ledger.payments.iter().filter(|it| it.refund_of.is_some()).count() > 10);
    for status in ["open", "paid", "declined", "cancelled"] {
        assert!(ledger.requests.iter().any(|it| it.status == status), "{status}");
    }
    // Several clicked the same request, with keys and without.
    let clicks = |id: &str| {
        let of_it =
            attempts().filter(|it| it.intent.refers_to == Reference::Request(id.to_owned()));
        let paid = of_it.filter(|it| body(it).is_some());
        paid.map(|it| it.intent.key.as_str()).collect::<BTreeSet<_>>()
    };
    assert!(ledger.requests.iter().any(|it| clicks(&it.id).len() > 1));
    assert!(ledger.requests.iter().any(|it| clicks(&it.id).contains("")));
    for told in [r#"{"voided":true}"#, r#"{"voided":false,"#] {
        let has = |run: &ErrandRun| body_of(&run.outcome).is_some_and(|it| it.starts_with(told));
        assert!(records.errands.iter().any(has), "{told}");
    }
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
            copy.outcome = Outcome::Done { body: "{}".to_owned(), replayed: true };
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
        last.outcome = Outcome::Done { body, replayed: true };
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
            if let Outcome::Done { replayed, .. } = &mut copy.outcome {
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
            if let Outcome::Done { replayed, .. } = &mut copy.outcome {
                *replayed = true;
                later = Some(copy.clone());
            }
        }
        let mut later = later.unwrap();
        (later.asked_us, later.ended_us) = (AFTERWARDS_US, AFTERWARDS_US + 1);
        later.outcome = Outcome::Done { body: body(&later).unwrap().to_owned(), replayed: false };
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
        for (refused_payer, is_innocent, is_errand) in
            [(1, true, false), (2, false, false), (1, true, true), (2, false, true)]
        {
            let rules = violated(|records, _| {
                let attempts = records.attempts.iter_mut().map(|it| &mut it.outcome);
                let errands = records.errands.iter_mut().map(|it| &mut it.outcome);
                // The simulated run has some of its own.
                attempts
                    .chain(errands)
                    .filter(|outcome| matches!(outcome, Outcome::Refused { .. }))
                    .for_each(|outcome| *outcome = refused(503, "overloaded"));
                records.refused_payers.insert(refused_payer);
                let (key, refers_to) = ("of another".to_owned(), Reference::Nothing);
                let intent =
                    Intent { from: 2, to: 1, amount: 1, key: key.clone(), note: None, refers_to };
                let attempt = records.attempts[0].clone();
                if is_errand {
                    let run = records.errands[0].clone();
                    let errand = Errand::Void { payer: 2, key };
                    records.errands.push(ErrandRun { errand, outcome: outcome.clone(), ..run });
                } else {
                    records.attempts.push(Attempt { intent, outcome: outcome.clone(), ..attempt });
                }
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
        refers_to: Reference::Nothing,
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

/// The first refund that is there.
fn refund(ledger: &mut Ledger) -> &mut Payment {
    ledger.payments.iter_mut().find(|it| it.refund_of.is_some()).unwrap()
}

#[test]
fn a_refund_that_exceeds_its_payment_or_is_none_of_it_is_found() {
    let plants: [fn(&mut Payment); 7] = [
        |refund| refund.amount += 1_000,
        |refund| refund.refund_of = Some("nothing".to_owned()),
        |refund| refund.refund_of = None,
        |refund| refund.refunded_after = None,
        |refund| refund.refunded_after = refund.refunded_after.map(|cents| cents + 1),
        |refund| std::mem::swap(&mut refund.from_id, &mut refund.to_id),
        |refund| refund.created_us = 1,
    ];
    for plant in plants {
        assert_finds(Rule::RefundsAreBounded, |_, ledger| plant(refund(ledger)));
    }
    assert_finds(Rule::RefundsAreBounded, |_, ledger| {
        let of = refund(ledger).refund_of.clone();
        let paid = ledger.payments.iter_mut().find(|it| Some(&it.id) == of.as_ref()).unwrap();
        (paid.refund_of, paid.refunded_after) = (Some("another".to_owned()), Some(paid.amount));
    });
}

#[test]
fn refunds_that_only_together_exceed_their_payment_are_found() {
    assert_finds(Rule::RefundsAreBounded, |_, ledger| {
        let mut second = refund(ledger).clone();
        let of = second.refund_of.clone();
        let paid = ledger.payments.iter().find(|it| Some(&it.id) == of.as_ref()).unwrap();
        second.id = "another".to_owned();
        second.created_us += 1_000_000_000_000;
        (second.amount, second.refunded_after) = (paid.amount, Some(paid.amount));
        ledger.payments.push(second);
    });
}

#[test]
fn a_refund_that_is_refused_although_it_fits_is_found() {
    for (more, expected) in
        [(0, BTreeSet::from([Rule::RefundsThatFitAreMade])), (1, BTreeSet::new())]
    {
        let rules = violated(|records, ledger| {
            let paid = payment(records, ledger, |paid, _| paid > 0);
            let refunds =
                ledger.payments.iter().filter(|it| it.refund_of.as_ref() == Some(&paid.id));
            let left = paid.amount - refunds.map(|it| it.amount).sum::<i64>();
            let intent = Intent {
                from: paid.to_id,
                to: paid.from_id,
                amount: left + more,
                key: "of a refund".to_owned(),
                note: None,
                refers_to: Reference::Payment(paid.id),
            };
            let outcome = refused(422, "refund_exceeds_payment");
            let attempt = records.attempts[0].clone();
            records.attempts.push(Attempt { intent, outcome, ..attempt });
        });
        assert_eq!(rules, expected);
    }
}

/// A request that was acknowledged and has this status.
fn request(records: &Records, ledger: &Ledger, status: &str) -> Request {
    let is_acknowledged = |request: &&Request| {
        let body = shown_request(request, "open", None);
        records.errands.iter().any(|run| body_of(&run.outcome) == Some(&body))
    };
    let mut all = ledger.requests.iter();
    all.rfind(|it| it.status == status && is_acknowledged(it)).unwrap().clone()
}

fn request_row<'a>(ledger: &'a mut Ledger, request: &Request) -> &'a mut Request {
    ledger.requests.iter_mut().find(|it| it.id == request.id).unwrap()
}

/// The answers to what asked for a request.
fn answers<'a>(records: &'a mut Records, request: &Request) -> Vec<&'a mut ErrandRun> {
    let body = shown_request(request, "open", None);
    let errands = records.errands.iter_mut();
    errands.filter(|run| body_of(&run.outcome) == Some(&body)).collect()
}

#[test]
fn a_request_that_is_not_as_it_was_acknowledged_is_found() {
    let plants: [fn(&mut Request); 6] = [
        |request| request.id = "another".to_owned(),
        |request| request.to_id = 99,
        |request| request.from_id = 99,
        |request| request.amount += 1,
        |request| request.note = Some("another".to_owned()),
        |request| request.created_us += 1,
    ];
    for plant in plants {
        assert_finds(Rule::RequestsAreKept, |records, ledger| {
            let request = request(records, ledger, "open");
            plant(request_row(ledger, &request));
        });
    }
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "open");
        ledger.requests.retain(|it| it.id != request.id);
    });
    assert!(rules.contains(&Rule::RequestsAreKept));
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "open");
        let body = format!("{} ", shown_request(&request, "open", None));
        let run = answers(records, &request)[0].clone();
        let outcome = Outcome::Done { body, replayed: true };
        records.errands.push(ErrandRun { outcome, ..run });
    });
    assert_eq!(rules, BTreeSet::from([Rule::RequestsAreKept]));
}

#[test]
fn a_request_that_was_made_twice_or_that_nobody_asked_for_is_found() {
    for note in [None, Some("of nobody".to_owned())] {
        let rules = violated(|records, ledger| {
            let request = request(records, ledger, "open");
            let note = note.clone().or_else(|| request.note.clone());
            let id = "another".to_owned();
            ledger.requests.push(Request { id, note, ..request });
        });
        assert_eq!(rules, BTreeSet::from([Rule::RequestsAreKept]));
    }
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "open");
        let run = answers(records, &request)[0].clone();
        let fresh = Outcome::Done { body: shown_request(&request, "open", None), replayed: false };
        records
            .errands
            .extend([(); 2].map(|()| ErrandRun { outcome: fresh.clone(), ..run.clone() }));
    });
    assert_eq!(rules, BTreeSet::from([Rule::RequestsAreKept]));
}

#[test]
fn a_request_that_is_paid_twice_or_otherwise_is_found() {
    type Plant = fn(&mut Ledger, &Request);
    let plants: [Plant; 7] = [
        |ledger, request| {
            let all = &ledger.payments;
            let paid = all.iter().find(|it| Some(&it.id) == request.payment_id.as_ref()).unwrap();
            let (id, key) = ("another".to_owned(), "another".to_owned());
            let created_us = paid.created_us + 1;
            let second = Payment { id, created_us, key, ..paid.clone() };
            ledger.payments.push(second);
        },
        |ledger, request| ledger.payments.retain(|it| Some(&it.id) != request.payment_id.as_ref()),
        |ledger, request| request_row(ledger, request).payment_id = Some("another".to_owned()),
        |ledger, request| request_row(ledger, request).status = "open".to_owned(),
        |ledger, request| request_row(ledger, request).amount += 1,
        |ledger, request| request_row(ledger, request).to_id = 99,
        |ledger, request| ledger.requests.retain(|it| it.id != request.id),
    ];
    for plant in plants {
        assert_finds(Rule::RequestsArePaidOnce, |records, ledger| {
            let request = request(records, ledger, "paid");
            plant(ledger, &request);
        });
    }
}

/// The answers to what ended a request.
fn ends<'a>(records: &'a mut Records, request: &Request) -> Vec<&'a mut ErrandRun> {
    let errands = records.errands.iter_mut();
    let is_end = |run: &&mut ErrandRun| matches!(&run.errand, Errand::Close { request: id, .. } if *id == request.id);
    errands.filter(is_end).collect()
}

/// A call that ends a request.
fn end(records: &Records, request: &Request, how: End, outcome: Outcome) -> ErrandRun {
    let run = records.errands[0].clone();
    let errand = Errand::Close { account: request.from_id, request: request.id.clone(), how };
    ErrandRun { errand, outcome, ..run }
}

#[test]
fn a_request_that_was_declined_and_paid_is_found() {
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "paid");
        let body = shown_request(&request, "declined", None);
        let declined = Outcome::Done { body, replayed: false };
        records.errands.push(end(records, &request, End::Declined, declined));
    });
    assert_eq!(rules, BTreeSet::from([Rule::RequestsEndOnce]));
}

#[test]
fn a_request_that_ended_twice_or_otherwise_or_by_itself_is_found() {
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "declined");
        let body = shown_request(&request, "declined", None);
        let declined = Outcome::Done { body, replayed: false };
        for _ in 0..2 {
            records.errands.push(end(records, &request, End::Declined, declined.clone()));
        }
    });
    assert_eq!(rules, BTreeSet::from([Rule::RequestsEndOnce]));
    // An end that is told once more, as one, is no second end; unless it is another.
    for (status, expected) in
        [("declined", BTreeSet::new()), ("cancelled", BTreeSet::from([Rule::RequestsEndOnce]))]
    {
        let rules = violated(|records, ledger| {
            let request = request(records, ledger, "declined");
            let body = shown_request(&request, status, None);
            let how = if status == "declined" { End::Declined } else { End::Cancelled };
            let told = Outcome::Done { body, replayed: true };
            records.errands.push(end(records, &request, how, told));
        });
        assert_eq!(rules, expected);
    }
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "open");
        let body = shown_request(&request, "cancelled", None);
        let cancelled = Outcome::Done { body, replayed: false };
        records.errands.push(end(records, &request, End::Cancelled, cancelled));
    });
    assert_eq!(rules, BTreeSet::from([Rule::RequestsEndOnce]));
    // A client that asks again after a commit in doubt is told of its own end.
    for (told, expected) in [
        (refused(503, "overloaded"), BTreeSet::from([Rule::RequestsEndOnce])),
        (refused(409, "request_not_open"), BTreeSet::new()),
    ] {
        let rules = violated(|records, ledger| {
            let request = request(records, ledger, "declined");
            ends(records, &request).into_iter().for_each(|run| run.outcome = told.clone());
        });
        assert_eq!(rules, expected);
    }
}

#[test]
fn an_open_or_paid_request_of_which_somebody_was_told_that_it_has_ended_is_found() {
    let told = || refused(409, "request_not_open");
    for (status, is_payer, is_wrong) in [
        ("open", false, true),
        ("open", true, true),
        ("paid", false, false),
        ("paid", true, true),
        ("declined", true, false),
    ] {
        let rules = violated(|records, ledger| {
            let request = request(records, ledger, status);
            if is_payer {
                let mut attempt = records.attempts[0].clone();
                attempt.intent = payment_of(&request, "of another");
                attempt.outcome = told();
                records.attempts.push(attempt);
            } else {
                records.errands.push(end(records, &request, End::Cancelled, told()));
            }
        });
        let expected = is_wrong.then_some(Rule::RequestsEndOnce);
        assert!(expected.is_none_or(|rule| rules.contains(&rule)), "{status}: {rules:?}");
        assert!(is_wrong || rules.is_empty(), "{status}: {rules:?}");
    }
}

fn payment_of(request: &Request, key: &str) -> Intent {
    Intent {
        from: request.from_id,
        to: request.to_id,
        amount: request.amount,
        key: key.to_owned(),
        note: None,
        refers_to: Reference::Request(request.id.clone()),
    }
}

#[test]
fn a_paid_request_that_is_denied_under_whatever_key_is_found_unless_the_key_is_voided() {
    for (code, key, is_wrong) in [
        ("request_not_open", "of another", true),
        ("insufficient_funds", "of another", true),
        ("insufficient_funds", "", true),
        ("idempotency_key_voided", "of another", false),
    ] {
        let rules = violated(|records, ledger| {
            let request = request(records, ledger, "paid");
            let mut paid = records.attempts[0].clone();
            paid.intent = payment_of(&request, "of one");
            let all = &ledger.payments;
            let payment =
                all.iter().find(|it| Some(&it.id) == request.payment_id.as_ref()).unwrap();
            let (body, replayed) = (shown(payment, payment.from_id), true);
            (paid.outcome, paid.ended_us) = (Outcome::Done { body, replayed }, AFTERWARDS_US);
            let mut later = paid.clone();
            later.intent.key = key.to_owned();
            (later.asked_us, later.ended_us) = (AFTERWARDS_US + 1, AFTERWARDS_US + 2);
            later.outcome = refused(422, code);
            records.attempts.extend([paid, later]);
        });
        assert_eq!(rules.contains(&Rule::PaidIsRemembered), is_wrong, "{code}: {rules:?}");
    }
}

#[test]
fn two_keys_that_paid_one_request_and_were_told_of_two_payments_are_found() {
    let rules = violated(|records, ledger| {
        let request = request(records, ledger, "paid");
        let all = &ledger.payments;
        let payment = all.iter().find(|it| Some(&it.id) == request.payment_id.as_ref()).unwrap();
        let body = shown(&Payment { id: "another".to_owned(), ..payment.clone() }, payment.from_id);
        let intent = payment_of(&request, "of another");
        let outcome = Outcome::Done { body, replayed: true };
        let attempt = records.attempts[0].clone();
        records.attempts.push(Attempt { intent, outcome, ..attempt });
    });
    assert!(rules.contains(&Rule::AnswersAgree), "{rules:?}");
}

#[test]
fn an_element_of_a_bulk_is_an_answer_like_any_other_but_has_no_mark() {
    for (space, expected) in [("", BTreeSet::new()), (" ", BTreeSet::from([Rule::AnswersAgree]))] {
        let rules = violated(|records, ledger| {
            let payment = payment(records, ledger, |paid, _| paid > 0);
            let mut copies = copies(records, &payment);
            let mut later = copies.iter_mut().find(|copy| body(copy).is_some()).unwrap().clone();
            (later.asked_us, later.ended_us) = (AFTERWARDS_US, AFTERWARDS_US + 1);
            later.is_in_bulk = true;
            let body = format!("{}{space}", body(&later).unwrap());
            later.outcome = Outcome::Done { body, replayed: false };
            records.attempts.push(later);
        });
        assert_eq!(rules, expected);
    }
}

/// A call that voids the key of a payment.
fn void(records: &Records, payment: &Payment, body: String) -> ErrandRun {
    let run = records.errands[0].clone();
    let errand = Errand::Void { payer: payment.from_id, key: payment.key.clone() };
    ErrandRun { errand, outcome: Outcome::Done { body, replayed: false }, ..run }
}

const VOIDED: &str = r#"{"voided":true}"#;

#[test]
fn a_key_that_was_voided_and_has_a_payment_or_an_answer_is_found() {
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid == 0);
        records.errands.push(void(records, &payment, VOIDED.to_owned()));
    });
    assert_eq!(rules, BTreeSet::from([Rule::VoidedIsNotPaid]));
    assert_finds(Rule::VoidedIsNotPaid, |records, ledger| {
        let key = ledger.keys.iter().find(|it| it.status == "voided").unwrap();
        let mut attempt = records.attempts[0].clone();
        (attempt.intent.from, attempt.intent.key) = (key.payer, key.key.clone());
        attempt.outcome = Outcome::Done { body: "{}".to_owned(), replayed: false };
        records.attempts.push(attempt);
    });
}

#[test]
fn a_voided_key_that_is_forgotten_or_that_nobody_wanted_to_be_is_found() {
    fn told(records: &Records) -> (i64, String) {
        let mut told = records.errands.iter().filter(|it| body_of(&it.outcome) == Some(VOIDED));
        told.find_map(|run| match &run.errand {
            Errand::Void { payer, key } => Some((*payer, key.clone())),
            _ => None,
        })
        .unwrap()
    }
    for status in ["failed", "success", ""] {
        assert_finds(Rule::VoidedIsNotPaid, |records, ledger| {
            let (payer, key) = told(records);
            ledger.keys.retain_mut(|row| {
                let is_it = (row.payer, &row.key) == (payer, &key);
                if is_it {
                    status.clone_into(&mut row.status);
                }
                !(is_it && status.is_empty())
            });
        });
    }
    assert_finds(Rule::VoidedIsNotPaid, |records, ledger| {
        let (payer, key) = told(records);
        let mut rows = ledger.keys.iter_mut();
        let row = rows.find(|it| (it.payer, &it.key) == (payer, &key)).unwrap();
        row.payment_id = Some("another".to_owned());
    });
    assert_finds(Rule::VoidedIsNotPaid, |records, _| {
        let name = told(records);
        records.errands.retain(|run| {
            !matches!(&run.errand, Errand::Void { payer, key } if (*payer, key.clone()) == name)
        });
    });
    // Of a key that is not voided, a payer was told so.
    assert_finds(Rule::VoidedIsNotPaid, |records, _| {
        let mut attempt = records.attempts[0].clone();
        attempt.intent.key = "of another".to_owned();
        attempt.outcome = refused(422, "idempotency_key_voided");
        records.attempts.push(attempt);
    });
}

#[test]
fn a_key_that_was_not_voided_for_a_payment_that_is_not_there_or_another_is_found() {
    let not_voided = |payment: &str| format!(r#"{{"voided":false,"payment":{payment}}}"#);
    for is_acknowledged in [true, false] {
        for (change, is_sound) in [(0, true), (1, false)] {
            let rules = violated(|records, ledger| {
                let suits = |paid, _| (paid > 0) == is_acknowledged;
                let payment = payment(records, ledger, suits);
                let amount = payment.amount + change;
                let body = shown(&Payment { amount, ..payment.clone() }, payment.from_id);
                records.errands.push(void(records, &payment, not_voided(&body)));
            });
            let expected = if is_sound { vec![] } else { vec![Rule::VoidTellsThePayment] };
            assert_eq!(rules, BTreeSet::from_iter(expected));
        }
    }
    for body in [not_voided("{}"), not_voided("null"), "{}".to_owned()] {
        let rules = violated(|records, ledger| {
            let payment = payment(records, ledger, |paid, _| paid > 0);
            records.errands.push(void(records, &payment, body.clone()));
        });
        assert_eq!(rules, BTreeSet::from([Rule::VoidTellsThePayment]));
    }
    let rules = violated(|records, ledger| {
        let payment = payment(records, ledger, |paid, _| paid > 0);
        let body = not_voided(&shown(&payment, payment.from_id));
        let key = "of another".to_owned();
        records.errands.push(void(records, &Payment { key, ..payment }, body));
    });
    assert_eq!(rules, BTreeSet::from([Rule::VoidTellsThePayment]));
}

#[test]
fn a_key_whose_row_says_otherwise_is_found() {
    let plants: [fn(&mut Key, &mut Payment); 6] = [
        |key, _| key.response = Some(format!("{} ", key.response.as_deref().unwrap())),
        |key, _| key.response = None,
        |key, _| key.status = "failed".to_owned(),
        |key, _| key.status = "done".to_owned(),
        |key, _| key.status = "voided".to_owned(),
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
        let refers_to = Reference::Nothing;
        let intent =
            Intent { from: from_id, to: to_id, amount, key: key.clone(), note: None, refers_to };
        let (asked_us, ended_us, outcome) = (number, u64::MAX, Outcome::Lost);
        let is_in_bulk = false;
        let attempt = Attempt { client: 0, intent, is_in_bulk, asked_us, ended_us, outcome };
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
            refund_of: None,
            refunded_after: None,
            payment_request_id: None,
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
        records.attempts[number].outcome = Outcome::Done { body, replayed: false };
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

/// The payments that each follower was given, to be changed.
fn change_feed(records: &mut Records, change: impl Fn(u32, &mut Vec<Value>)) {
    let mut given: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
    for read in &records.feed {
        let page: Value = serde_json::from_str(body_of(&read.outcome).unwrap()).unwrap();
        let payments = page["payments"].as_array().unwrap().iter().cloned();
        given.entry(read.client).or_default().extend(payments);
    }
    records.feed.clear();
    for (client, mut payments) in given {
        change(client, &mut payments);
        let next = payments.last().unwrap()["position"].as_u64().unwrap();
        let body = json!({"payments": payments, "next": next}).to_string();
        let outcome = Outcome::Done { body, replayed: false };
        records.feed.push(FeedRead { client, after: 0, next, outcome });
    }
}

/// Lets two payments have each other's positions.
fn exchange(payments: &mut [Value], one: usize, other: usize) {
    let positions = [one, other].map(|place| payments[place]["position"].clone());
    payments.swap(one, other);
    [one, other].iter().zip(positions).for_each(|(place, it)| payments[*place]["position"] = it);
}

/// The first place in the feed whose payment shares an account with the next, or does not.
fn neighbours(payments: &[Value], share: bool) -> usize {
    let parties = |payment: &Value| ["from_id", "to_id"].map(|it| payment[it].as_i64().unwrap());
    let shares = |one: &Value, other: &Value| {
        parties(one).iter().any(|account| parties(other).contains(account))
    };
    let mut places = 0..payments.len() - 1;
    places.find(|n| shares(&payments[*n], &payments[n + 1]) == share).unwrap()
}

#[test]
fn a_feed_that_shows_a_payment_otherwise_is_found() {
    let plants: [fn(&mut Value); 4] = [
        |payment| payment["amount"] = json!(987_654),
        |payment| payment["id"] = json!("another"),
        |payment| payment["balance_after"] = json!(1),
        |payment| payment["created_at"] = json!("2026-01-01T00:00:00Z"),
    ];
    for plant in plants {
        assert_finds(Rule::FeedTruth, |records, _| {
            change_feed(records, |_, payments| plant(&mut payments[7]));
        });
    }
    assert_finds(Rule::FeedTruth, |records, _| {
        records.feed[1].outcome = Outcome::Done { body: "[]".to_owned(), replayed: false };
    });
}

#[test]
fn a_gap_in_the_feed_is_found() {
    assert_finds(Rule::FeedHasNoGaps, |records, _| {
        change_feed(records, |_, payments| {
            payments.iter_mut().skip(7).for_each(|payment| {
                payment["position"] = json!(payment["position"].as_u64().unwrap() + 1);
            });
        });
    });
    // Of one who is told to go on somewhere else.
    let rules = violated(|records, _| {
        change_feed(records, |_, _| ());
        let read = &mut records.feed[0];
        let body = body_of(&read.outcome).unwrap();
        let body = body.replacen("\"next\":", "\"next\":1", 1);
        read.outcome = Outcome::Done { body, replayed: false };
    });
    assert_eq!(rules, BTreeSet::from([Rule::FeedHasNoGaps]));
    // Of one who was not given a page.
    assert_finds(Rule::FeedHasNoGaps, |records, _| drop(records.feed.remove(1)));
}

#[test]
fn a_payment_that_has_two_positions_is_found() {
    assert_finds(Rule::FeedRepeatsNothing, |records, _| {
        change_feed(records, |_, payments| {
            let mut again = payments[3].clone();
            again["position"] = json!(payments.len() + 1);
            payments.push(again);
        });
    });
}

#[test]
fn followers_that_are_given_different_feeds_are_found() {
    let rules = violated(|records, _| {
        change_feed(records, |client, payments| {
            if client == 101 {
                let place = neighbours(payments, false);
                exchange(payments, place, place + 1);
            }
        });
    });
    assert_eq!(rules, BTreeSet::from([Rule::FollowersAgree]));
}

#[test]
fn a_position_that_is_gone_again_is_found() {
    let rules = violated(|records, _| {
        let outcome = refused(400, "invalid_request");
        records.feed.push(FeedRead { outcome, ..records.feed[0].clone() });
    });
    assert_eq!(rules, BTreeSet::from([Rule::FollowersAgree]));
}

#[test]
fn a_payment_without_a_position_is_found() {
    let rules = violated(|records, _| {
        change_feed(records, |_, payments| drop(payments.pop()));
    });
    assert_eq!(rules, BTreeSet::from([Rule::FeedIsComplete]));
}

#[test]
fn a_feed_in_another_order_than_an_accounts_history_is_found() {
    assert_finds(Rule::FeedFollowsHistories, |records, _| {
        change_feed(records, |_, payments| {
            let place = neighbours(payments, true);
            exchange(payments, place, place + 1);
        });
    });
}

#[test]
fn a_listener_who_hears_otherwise_too_little_or_again_is_found() {
    type Plant = fn(&mut Records);
    let plants: [Plant; 8] = [
        |records| drop(records.heard[1].events.remove(2)),
        |records| records.heard[1].events.swap(1, 2),
        |records| {
            let again = records.heard[1].events[1].clone();
            records.heard[1].events.insert(2, again);
        },
        |records| {
            let event = &mut records.heard[1].events[1];
            *event = event.replacen("\"amount\":", "\"amount\":1", 1);
        },
        |records| {
            let event = &mut records.heard[1].events[1];
            *event = event.replacen("\"position\":", "\"position\":1", 1);
        },
        // He goes on somewhere else than where he was.
        |records| drop(records.heard.remove(1)),
        |records| records.heard[1].events[0] = "event: begin\nid: 1".to_owned(),
        |records| drop(records.heard.pop()),
    ];
    for plant in plants {
        let rules = violated(|records, _| {
            assert!(records.heard[1].events.len() > 2);
            plant(records);
        });
        assert_eq!(rules, BTreeSet::from([Rule::EventsFollowTheFeed]));
    }
}

#[test]
fn a_receiver_who_is_told_otherwise_too_little_or_too_early_is_found() {
    type Plant = fn(&mut Vec<Delivery>);
    let plants: [Plant; 6] = [
        |deliveries| {
            let position = deliveries[9].position();
            deliveries.retain(|it| it.position() != position);
        },
        |deliveries| {
            let position = deliveries[9].position();
            deliveries
                .iter_mut()
                .filter(|it| it.position() == position)
                .for_each(|it| it.is_taken = false);
        },
        |deliveries| deliveries.truncate(20),
        |deliveries| deliveries[9].webhook_id = "another".to_owned(),
        |deliveries| {
            let delivery = &mut deliveries[9];
            delivery.body = delivery.body.replacen("\"amount\":", "\"amount\":1", 1);
        },
        |deliveries| {
            let delivery = &mut deliveries[9];
            delivery.body = delivery.body.replacen("\"type\":\"", "\"type\":\"un", 1);
        },
    ];
    for plant in plants {
        let rules = violated(|records, _| plant(&mut records.deliveries));
        assert_eq!(rules, BTreeSet::from([Rule::DeliveriesFollowTheFeed]));
    }
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
