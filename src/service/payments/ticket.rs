//! The ticket of an instruction, most often a payment, and the answer that its writer gives to it: a receipt or a
//! refusal, and where the time went.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::Instruction;
use crate::service::queue::Ticket;
use crate::service::refusal::Refusal;

/// The answer to an instruction.
#[derive(Debug)]
pub struct Answer {
    pub result: Result<Receipt, Refusal>,
    /// `None` where no writer saw it.
    pub timing: Option<Timing>,
}

/// An instruction that was carried out.
#[derive(Debug)]
pub struct Receipt {
    /// JSON, the same bytes at every retry.
    pub body: String,
    /// By an earlier request with the same key.
    pub replayed: bool,
}

/// The parts of an instruction's time.
#[derive(Debug, Clone)]
pub struct Timing {
    /// From its arrival to the begin of its transaction.
    pub queue: Duration,
    /// Waiting for its batch's row locks.
    pub lock: Duration,
    /// Waiting for the commit.
    pub commit: Duration,
    /// Which batch it was in: unique among the processes of a database.
    pub batch: Arc<str>,
}

pub(super) type PayTicket = Ticket<Instruction, Answer>;
