//! What the rule needs to know besides the locked accounts, for the instructions of a batch.

use std::collections::BTreeSet;

use super::retry::Stage;
use crate::db::{Error, PgConnection, posting};
use crate::domain::ledger::{Findings, Known};
use crate::domain::{AccountId, Instruction, Intent, PaymentId, PaymentRequestId};

/// Reads it, when the accounts are locked. A batch of payments that refer to nothing takes one statement.
///
/// # Errors
/// The database's.
pub async fn read(
    conn: &mut PgConnection,
    instructions: &[&Instruction],
    stage: &mut Stage,
) -> Result<Findings, Error> {
    // A statement of its own, begun when the rows are locked: its snapshot shows the keys
    // that were committed while we waited for them.
    let (now, known) = posting::read_keys(conn, instructions).await?;
    let mut found = Findings { now, known, ..Findings::default() };
    let needs = Needs::of(instructions);
    if needs.is_nothing() {
        return Ok(found);
    }
    let before = std::mem::replace(stage, Stage::LookingUp);
    if !needs.requests.is_empty() {
        found.requests = posting::read_requests(conn, &needs.requests).await?;
    }
    if !needs.asking.is_empty() {
        found.last_request_at = posting::last_request_at(conn, &needs.asking).await?;
    }
    if !needs.refunds.is_empty() {
        found.refundable = posting::read_refundable(conn, &needs.refunds).await?;
    }
    if !needs.similar.is_empty() {
        found.similar = posting::read_similar(conn, now, &needs.similar).await?;
    }
    let unknown: Vec<PaymentId> =
        needs.payments.into_iter().filter(|id| !found.known.contains_key(id)).collect();
    if !unknown.is_empty() {
        add_payments(conn, unknown, &mut found).await?;
    }
    *stage = before;
    Ok(found)
}

/// Whether an instruction looks something up that others do not need.
pub fn looks_up(instruction: &Instruction) -> bool {
    !Needs::of(&[instruction]).is_nothing()
}

/// Adds to what is known the payments that were made. An answer that was stored with a key stays as it is, and a
/// key that was voided stays so.
///
/// # Errors
/// The database's.
pub async fn add_payments(
    conn: &mut PgConnection,
    ids: impl IntoIterator<Item = PaymentId>,
    found: &mut Findings,
) -> Result<(), Error> {
    for (id, payment) in posting::read_payments(conn, ids).await? {
        if !matches!(found.known.get(&id), Some(Known::Success { .. } | Known::Voided)) {
            found.known.insert(id, payment);
        }
    }
    Ok(())
}

/// The things that a batch must look up because of some of its instructions.
#[derive(Default)]
struct Needs<'a> {
    requests: BTreeSet<PaymentRequestId>,
    /// The accounts of those who ask and are asked.
    asking: BTreeSet<AccountId>,
    refunds: Vec<PaymentId>,
    similar: Vec<&'a Intent>,
    /// Payments that may have been made under keys whose rows are gone, where nothing else would tell.
    payments: Vec<PaymentId>,
}

impl<'a> Needs<'a> {
    fn of(instructions: &[&'a Instruction]) -> Self {
        let mut needs = Self::default();
        for instruction in instructions {
            needs.requests.extend(instruction.request());
            match instruction {
                Instruction::Pay(intent) => needs.add_intent(intent),
                Instruction::Void(void) => needs.payments.push(void.id()),
                Instruction::Ask(ask) => needs.asking.extend([ask.from(), ask.to()]),
                Instruction::Close(_) | Instruction::SetStatus(_) => {}
            }
        }
        needs
    }

    fn add_intent(&mut self, intent: &'a Intent) {
        self.refunds.extend(intent.refund_of());
        if intent.unless_similar_within().is_some() {
            self.similar.push(intent);
        }
        // The payment of a request does not have its id from the client's key, so no primary key would refuse a
        // second use of that.
        self.payments.extend(intent.client_key().map(|key| PaymentId::derive(intent.from(), key)));
    }

    fn is_nothing(&self) -> bool {
        let Self { requests, asking, refunds, similar, payments } = self;
        requests.is_empty()
            && asking.is_empty()
            && refunds.is_empty()
            && similar.is_empty()
            && payments.is_empty()
    }
}
