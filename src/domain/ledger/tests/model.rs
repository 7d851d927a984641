//! The rule against a person with pencil and paper, who does one thing after another: payments, refunds, requests
//! for money, voided keys, and accounts that take part no more.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::super::*;
use super::{accounts, time};
use crate::domain::{
    AskForMoney, CENTS_MAX, CloseRequest, Closing, RequestState, SimilarWithin, VoidKey,
};

/// Who pays whom, how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plain {
    from: i64,
    to: i64,
    amount: i64,
}

/// A client's name for something: an account and a number. As small as can be, so that collisions are common.
type Named = (i64, u8);

/// What somebody wants. Where it is about something that is there, it is mostly said correctly.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Pay { plain: Plain, key: u8, unless_similar: bool },
    Refund { of: Named, key: u8, amount: i64, said: Option<Plain> },
    Ask { plain: Plain, key: u8, expires_at: Option<i64> },
    PayRequest { request: Named, key: Option<u8>, said: Option<Plain> },
    Close { request: Named, how: Closing },
    Void { from: i64, key: u8 },
    SetStatus { account: i64, status: AccountStatus },
}

fn plain() -> impl Strategy<Value = Plain> {
    let few = prop::sample::select(vec![1_i64, 2, 20, 60]);
    let amount = prop_oneof![16 => few, 1 => Just(CENTS_MAX), 1 => Just(CENTS_MAX - 50)];
    // Nobody pays himself, and account 4, which is missing, is seldom meant.
    let mut pairs = vec![(1, 4), (4, 1)];
    pairs.extend((0..4).flat_map(|from| (1..4).map(move |step| (from, (from + step) % 4))));
    (prop::sample::select(pairs), amount).prop_map(|((from, to), amount)| Plain {
        from,
        to,
        amount,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let key = 0..4_u8;
    let named = (0..4_i64, 0..4_u8);
    // One of five is said wrongly.
    let said = prop_oneof![4 => Just(None), 1 => plain().prop_map(Some)];
    let status = prop_oneof![
        3 => Just(AccountStatus::Open), 1 => Just(AccountStatus::Frozen), 1 => Just(AccountStatus::Closed)
    ];
    prop_oneof![
        6 => (plain(), key.clone(), prop::bool::weighted(0.5))
            .prop_map(|(plain, key, unless_similar)| Wish::Pay { plain, key, unless_similar }),
        4 => (named.clone(), key.clone(), prop::sample::select(vec![1_i64, 2, 15, 20]), said.clone())
            .prop_map(|(of, key, amount, said)| Wish::Refund { of, key, amount, said }),
        3 => (plain(), key.clone(), prop::option::of(prop::sample::select(vec![400_i64, 700, 2_000])))
            .prop_map(|(plain, key, expires_at)| Wish::Ask { plain, key, expires_at }),
        5 => (named.clone(), prop::option::of(key.clone()), said)
            .prop_map(|(request, key, said)| Wish::PayRequest { request, key, said }),
        1 => (named, prop::bool::ANY).prop_map(|(request, declines)| {
            let how = if declines { Closing::Decline } else { Closing::Cancel };
            Wish::Close { request, how }
        }),
        1 => (0..5_i64, key).prop_map(|(from, key)| Wish::Void { from, key }),
        1 => (1..5_i64, status).prop_map(|(account, status)| Wish::SetStatus { account, status }),
    ]
}

/// The part of a payment that another one under its key must equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct What {
    plain: Plain,
    refund_of: Option<Named>,
    request: Option<Named>,
}

#[derive(Debug, Clone, Copy)]
enum Key {
    Paid(What),
    Failed(What),
    Voided,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    what: What,
    given_back: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Paid,
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    plain: Plain,
    expires_at: Option<i64>,
    fate: Fate,
}

/// The paper. Account 4 is missing.
#[derive(Default)]
struct Model {
    now: i64,
    balances: HashMap<i64, i128>,
    statuses: HashMap<i64, AccountStatus>,
    keys: HashMap<Named, Key>,
    /// Those that were made under a client's key.
    made: HashMap<Named, Made>,
    all_made: Vec<Plain>,
    /// When each account paid or was paid last.
    last_at: HashMap<i64, i64>,
    requests: HashMap<Named, Asked>,
}

impl Model {
    fn take(&mut self, wish: &Wish) -> String {
        self.try_take(wish).unwrap_or_else(|refused| refused)
    }

    fn try_take(&mut self, wish: &Wish) -> Result<String, String> {
        match *wish {
            Wish::Pay { plain, key, unless_similar } => {
                let what = What { plain, refund_of: None, request: None };
                self.pay(what, Some(key), unless_similar)
            }
            Wish::Refund { of, key, .. } => {
                let what = What { plain: self.said(wish), refund_of: Some(of), request: None };
                self.pay(what, Some(key), false)
            }
            Wish::PayRequest { request, key, .. } => {
                let what = What { plain: self.said(wish), refund_of: None, request: Some(request) };
                self.pay(what, key, false)
            }
            Wish::Ask { plain, key, expires_at } => self.ask(plain, (plain.to, key), expires_at),
            Wish::Close { request, .. } => {
                self.must_be_payable(request)?;
                self.requests.get_mut(&request).unwrap().fate = Fate::Closed;
                Ok("done".to_owned())
            }
            Wish::Void { from, key } => {
                self.balance(from)?;
                if let Some(Key::Paid(_)) = self.keys.get(&(from, key)) {
                    return Ok("paid already".to_owned());
                }
                self.keys.insert((from, key), Key::Voided);
                Ok("voided".to_owned())
            }
            Wish::SetStatus { account, status } => self.set_status(account, status),
        }
    }

    /// Who pays whom how much, as the one who wishes it says.
    fn said(&self, wish: &Wish) -> Plain {
        let nothing = Plain { from: 1, to: 2, amount: 5 };
        match *wish {
            Wish::Pay { plain, .. } | Wish::Ask { plain, .. } => plain,
            Wish::Refund { said: Some(said), .. } | Wish::PayRequest { said: Some(said), .. } => {
                said
            }
            Wish::Refund { of, amount, .. } => {
                let of = self.made.get(&of).map_or(nothing, |made| made.what.plain);
                Plain { from: of.to, to: of.from, amount }
            }
            Wish::PayRequest { request, .. } => {
                self.requests.get(&request).map_or(nothing, |asked| asked.plain)
            }
            Wish::Close { .. } | Wish::Void { .. } | Wish::SetStatus { .. } => nothing,
        }
    }

    fn pay(&mut self, what: What, key: Option<u8>, unless_similar: bool) -> Result<String, String> {
        let Plain { from, to, amount } = what.plain;
        let has = self.balance(from)?;
        let key = key.map(|key| (from, key));
        match key.and_then(|key| self.keys.get(&key)) {
            Some(Key::Voided) => return Err("key voided".to_owned()),
            Some(Key::Paid(before) | Key::Failed(before)) if *before != what => {
                return Err("reused".to_owned());
            }
            Some(Key::Paid(_)) => return Ok("replayed".to_owned()),
            Some(Key::Failed(_)) | None => {}
        }
        if let Some(name) = what.request {
            let request = *self.requests.get(&name).ok_or("no request")?;
            if from != request.plain.from && from != request.plain.to {
                return Err("no request".to_owned());
            }
            if request.plain != what.plain {
                return Err("mismatch".to_owned());
            }
            if request.fate == Fate::Paid {
                self.keys.extend(key.map(|key| (key, Key::Paid(what))));
                return Ok("replayed".to_owned());
            }
        }
        let gets = self.balance(to)?;
        self.must_be_open(from)?;
        self.must_be_open(to)?;
        if let Some(request) = what.request {
            self.must_be_payable(request)?;
        }
        if let Some(of) = what.refund_of {
            self.must_be_refundable(of, what.plain)?;
        }
        if unless_similar && self.all_made.contains(&what.plain) {
            return Err("similar".to_owned());
        }
        let (has, gets) = (has - i128::from(amount), gets + i128::from(amount));
        if from != 0 && has < 0 {
            self.keys.extend(key.map(|key| (key, Key::Failed(what))));
            return Err("insufficient".to_owned());
        }
        if gets > i128::from(CENTS_MAX) || has < -i128::from(CENTS_MAX) {
            return Err("limit".to_owned());
        }
        self.balances.extend([(from, has), (to, gets)]);
        self.keys.extend(key.map(|key| (key, Key::Paid(what))));
        self.all_made.push(what.plain);
        let now = self.moment_of(&what.plain);
        self.last_at.extend([(what.plain.from, now), (what.plain.to, now)]);
        if let Some(of) = what.refund_of {
            self.made.get_mut(&of).unwrap().given_back += amount;
        }
        match what.request {
            Some(request) => self.requests.get_mut(&request).unwrap().fate = Fate::Paid,
            None => self.made.extend(key.map(|key| (key, Made { what, given_back: 0 }))),
        }
        Ok("done".to_owned())
    }

    fn must_be_refundable(&self, of: Named, refund: Plain) -> Result<(), String> {
        let made = self.made.get(&of).ok_or("no payment")?;
        let paid = made.what.plain;
        if refund.from != paid.from && refund.from != paid.to {
            return Err("no payment".to_owned());
        }
        if made.what.refund_of.is_some() || (refund.from, refund.to) != (paid.to, paid.from) {
            return Err("not refundable".to_owned());
        }
        let left = paid.amount - made.given_back;
        if refund.amount > left { Err(format!("{left} left")) } else { Ok(()) }
    }

    /// The clock, unless one of the two has seen a later one.
    fn moment_of(&self, plain: &Plain) -> i64 {
        let last = [plain.from, plain.to].map(|id| self.last_at.get(&id).copied());
        last.into_iter().flatten().fold(self.now, i64::max)
    }

    fn must_be_payable(&self, request: Named) -> Result<(), String> {
        let request = self.requests.get(&request).ok_or("no request")?;
        let now = self.moment_of(&request.plain);
        let is_over = request.expires_at.is_some_and(|end| end <= now);
        let is_open = request.fate == Fate::Open && !is_over;
        if is_open { Ok(()) } else { Err("not open".to_owned()) }
    }

    fn ask(
        &mut self,
        plain: Plain,
        name: Named,
        expires_at: Option<i64>,
    ) -> Result<String, String> {
        if let Some(before) = self.requests.get(&name) {
            let word = if before.plain == plain { "replayed" } else { "reused" };
            return Ok(word.to_owned());
        }
        for id in [plain.to, plain.from] {
            self.balance(id)?;
            self.must_be_open(id)?;
        }
        if expires_at.is_some_and(|end| end <= self.moment_of(&plain)) {
            return Err("past".to_owned());
        }
        self.requests.insert(name, Asked { plain, expires_at, fate: Fate::Open });
        Ok("done".to_owned())
    }

    fn set_status(&mut self, account: i64, status: AccountStatus) -> Result<String, String> {
        let balance = self.balance(account)?;
        if account == 0 {
            return Err("bank".to_owned());
        }
        if self.status(account) == status {
            return Ok("done".to_owned());
        }
        if self.status(account) == AccountStatus::Closed {
            return Err(format!("closed {account}"));
        }
        if status == AccountStatus::Closed && balance != 0 {
            return Err("not empty".to_owned());
        }
        self.statuses.insert(account, status);
        Ok("done".to_owned())
    }

    fn balance(&self, account: i64) -> Result<i128, String> {
        self.balances.get(&account).copied().ok_or(format!("no account {account}"))
    }

    fn status(&self, account: i64) -> AccountStatus {
        self.statuses.get(&account).copied().unwrap_or_default()
    }

    fn must_be_open(&self, account: i64) -> Result<(), String> {
        match self.status(account) {
            AccountStatus::Open => Ok(()),
            AccountStatus::Frozen => Err(format!("frozen {account}")),
            AccountStatus::Closed => Err(format!("closed {account}")),
        }
    }
}

fn key(n: u8) -> IdempotencyKey {
    IdempotencyKey::new(format!("k{n}")).unwrap()
}

fn id(account: i64) -> AccountId {
    AccountId::trusted(account)
}

fn payment_id((payer, n): Named) -> PaymentId {
    PaymentId::derive(id(payer), &key(n))
}

fn request_id((asker, n): Named) -> PaymentRequestId {
    PaymentRequestId::derive(id(asker), &key(n))
}

/// The wish as the service hands it to the rule.
fn instruction(wish: &Wish, said: Plain, model: &Model) -> Instruction {
    let (from, to) = (id(said.from), id(said.to));
    let amount = Amount::from_cents(said.amount).unwrap();
    match *wish {
        Wish::Pay { key: n, unless_similar, .. } => {
            let intent = Intent::new(from, to, amount, None, key(n), None).unwrap();
            let within = SimilarWithin::from_seconds(3_600).unwrap();
            Instruction::Pay(if unless_similar { intent.unless_similar(within) } else { intent })
        }
        Wish::Refund { of, key: n, .. } => {
            let intent = Intent::new(from, to, amount, None, key(n), None).unwrap();
            Instruction::Pay(intent.refunding(payment_id(of)))
        }
        Wish::PayRequest { request, key: n, .. } => {
            let (request, n) = (request_id(request), n.map(key));
            Instruction::Pay(Intent::paying(request, from, to, amount, None, n, None).unwrap())
        }
        Wish::Ask { key: n, expires_at, .. } => {
            let (name, end) = (request_id((said.to, n)), expires_at.map(time));
            Instruction::Ask(AskForMoney::new(name, from, to, amount, None, end).unwrap())
        }
        Wish::Close { request, how } => {
            let asked = model.requests.get(&request).map_or(said, |asked| asked.plain);
            let (from, to) = (id(asked.from), id(asked.to));
            Instruction::Close(CloseRequest { id: request_id(request), from, to, how })
        }
        Wish::Void { from, key: n } => Instruction::Void(VoidKey::new(id(from), key(n))),
        Wish::SetStatus { account, status } => {
            Instruction::SetStatus(SetStatus { account: id(account), status })
        }
    }
}

fn word(outcome: &Outcome) -> String {
    let word = match outcome {
        Outcome::Done(body) if body.starts_with(r#"{"voided":true"#) => "voided",
        Outcome::Done(body) if body.starts_with(r#"{"voided":false"#) => "paid already",
        Outcome::Done(_) => "done",
        Outcome::Replayed(_) => "replayed",
        Outcome::InProgress => "in progress",
        Outcome::Declined(declined) => return word_of(declined),
    };
    word.to_owned()
}

fn word_of(declined: &Declined) -> String {
    let word = match declined {
        Declined::AccountNotFound(id) => return format!("no account {id}"),
        Declined::AccountFrozen(id) => return format!("frozen {id}"),
        Declined::AccountClosed(id) => return format!("closed {id}"),
        Declined::RefundExceeds { left_cents } => return format!("{left_cents} left"),
        Declined::AccountNotEmpty(_) => "not empty",
        Declined::BankStaysOpen => "bank",
        Declined::KeyReused => "reused",
        Declined::KeyVoided => "key voided",
        Declined::InsufficientFunds => "insufficient",
        Declined::BalanceLimit => "limit",
        Declined::PaymentNotFound => "no payment",
        Declined::NotRefundable => "not refundable",
        Declined::RequestNotFound => "no request",
        Declined::RequestMismatch => "mismatch",
        Declined::RequestNotOpen(_) => "not open",
        Declined::ExpiresInThePast => "past",
        Declined::Similar(_) => "similar",
    };
    word.to_owned()
}

/// What the tables hold between batches.
#[derive(Default)]
struct Tables {
    accounts: BTreeMap<AccountId, AccountState>,
    known: HashMap<PaymentId, Known>,
    payments: Vec<Payment>,
    requests: HashMap<PaymentRequestId, PaymentRequest>,
}

impl Tables {
    /// What is read for a batch.
    fn findings(&self, now: i64, batch: &[Instruction]) -> Findings {
        let mut last_request_at = BTreeMap::new();
        for request in self.requests.values() {
            for account in [request.from, request.to] {
                let newest = last_request_at.entry(account).or_insert(request.created_at);
                *newest = request.created_at.max(*newest);
            }
        }
        let given_back = |id| {
            let refunds = self.payments.iter().filter_map(|payment| payment.refund);
            refunds
                .filter(|refund| refund.of == id)
                .map(|refund| refund.refunded_after.cents())
                .max()
        };
        let refundable = self.payments.iter().map(|payment| {
            (payment.id, Refundable::new(payment, given_back(payment.id).unwrap_or_default()))
        });
        let intents = batch.iter().filter_map(Instruction::intent);
        let similar = intents.filter_map(|intent| {
            let mut like_it = self.payments.iter().rev().filter(|payment| {
                (payment.from, payment.to, payment.amount)
                    == (intent.from(), intent.to(), intent.amount)
            });
            let like_it = like_it.find(|payment| payment.id != intent.id())?;
            Some((
                (intent.id(), intent.to(), intent.amount),
                Similar { id: like_it.id, created_at: like_it.created_at },
            ))
        });
        Findings {
            now: time(now),
            known: self.known.clone(),
            requests: self.requests.clone(),
            last_request_at,
            refundable: refundable.collect(),
            similar: similar.collect(),
            is_repeated: false,
        }
    }

    fn write(&mut self, decision: &Decision) {
        for (id, state) in &decision.changed {
            let status = self.accounts[id].status;
            self.accounts.insert(*id, AccountState { status, ..*state });
        }
        for (id, status) in &decision.statuses {
            self.accounts.get_mut(id).unwrap().status = *status;
        }
        self.payments.extend(decision.payments.iter().cloned());
        self.requests.extend(decision.requests.iter().map(|it| (it.id, it.clone())));
        for (id, state) in &decision.request_states {
            self.requests.get_mut(id).unwrap().state = *state;
        }
        for claim in &decision.claims {
            let known = match claim.end.clone() {
                KeyEnd::Paid { fingerprint, response }
                | KeyEnd::PaidRequest { fingerprint, response, .. } => {
                    Known::Success { fingerprint, response }
                }
                KeyEnd::Failed { fingerprint } => Known::Failed { fingerprint },
                KeyEnd::Voided => Known::Voided,
            };
            let before = self.known.insert(PaymentId::derive(claim.payer, &claim.key), known);
            // The statement that writes them takes over what failed, and nothing else.
            assert!(matches!(before, None | Some(Known::Failed { .. })), "{before:?}");
        }
    }

    /// What holds of every ledger, whatever was wished.
    fn assert_sound(&self) {
        let balances = self.accounts.values().map(|it| i128::from(it.balance.cents()));
        assert_eq!(balances.sum::<i128>(), 0);
        for payment in &self.payments {
            let refunds = self
                .payments
                .iter()
                .filter(|it| it.refund.is_some_and(|refund| refund.of == payment.id));
            let given_back: i64 = refunds.map(|it| it.amount.cents()).sum();
            assert!(given_back <= payment.amount.cents());
            let id = PaymentId::derive(payment.from, &payment.key);
            assert!(matches!(self.known.get(&id), Some(Known::Success { .. })), "under its key");
        }
        for request in self.requests.values() {
            let payments = self.payments.iter().filter(|it| it.request == Some(request.id));
            let ids: Vec<PaymentId> = payments.map(|it| it.id).collect();
            match request.state {
                RequestState::Paid(id) => assert_eq!(ids, [id]),
                _ => assert!(ids.is_empty()),
            }
        }
        let closed = self.accounts.values().filter(|it| it.status == AccountStatus::Closed);
        closed.for_each(|it| assert_eq!(it.balance.cents(), 0));
    }
}

proptest! {
    #[test]
    fn a_batch_does_what_one_thing_after_another_would(
        wishes in prop::collection::vec(wish(), 0..120),
        start in prop::array::uniform3(0..200_i64),
        cuts in prop::array::uniform2(0..60_usize),
    ) {
        let funds = [(0, -start.iter().sum::<i64>()), (1, start[0]), (2, start[1]), (3, start[2])];
        let balances = funds.iter().map(|(id, cents)| (*id, i128::from(*cents))).collect();
        let mut model = Model { balances, ..Model::default() };
        let mut tables = Tables { accounts: accounts(&funds), ..Tables::default() };
        let mut times: HashMap<AccountId, Timestamp> = HashMap::new();
        let mut request_times: HashMap<AccountId, Timestamp> = HashMap::new();
        let first = cuts[0].min(wishes.len());
        let second = (first + cuts[1]).min(wishes.len());
        // Three batches, the second with an older clock than the first.
        for (batch, now) in [(&wishes[..first], 1_000), (&wishes[first..second], 500), (&wishes[second..], 1_500)] {
            model.now = now;
            let mut expected = Vec::new();
            let mut instructions = Vec::new();
            for wish in batch {
                instructions.push(instruction(wish, model.said(wish), &model));
                expected.push(model.take(wish));
            }
            let decision = decide(&tables.accounts, &tables.findings(now, &instructions), &instructions);
            let words: Vec<String> = decision.outcomes.iter().map(word).collect();
            prop_assert_eq!(words, expected, "{:?}", batch);
            for payment in &decision.payments {
                for id in [payment.from, payment.to] {
                    let before = times.insert(id, payment.created_at);
                    prop_assert!(before.is_none_or(|before| before < payment.created_at));
                }
            }
            for request in &decision.requests {
                for id in [request.from, request.to] {
                    let before = request_times.insert(id, request.created_at);
                    prop_assert!(before.is_none_or(|before| before < request.created_at));
                }
            }
            prop_assert!(decision.claims.is_sorted_by(|a, b| (a.payer, &a.key) < (b.payer, &b.key)));
            tables.write(&decision);
            tables.assert_sound();
        }
        for (id, state) in &tables.accounts {
            prop_assert_eq!(i128::from(state.balance.cents()), model.balances[&id.get()]);
            prop_assert_eq!(state.status, model.status(id.get()));
        }
    }
}
