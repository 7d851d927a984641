//! Failed statements, and what their SQLSTATE means for those who sent them.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::Unfit;
use super::connect::hint;

/// A failed statement. The text is for the operator; clients never see it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", describe(.0))]
    Statement(sqlx::Error),
    /// No session could be had, for whatever reason.
    #[error("the database cannot be reached: {}{}", describe(.0), hint(.0))]
    Connect(sqlx::Error),
    /// It can, and is not to be used.
    #[error("the database is not to be used: {0}")]
    Unfit(Unfit),
    /// None of several servers will do. `unfit` is the fault of one that can be reached.
    #[error("the database cannot be reached at any of its servers: {told}")]
    NoServer { told: String, unfit: Option<Unfit> },
    /// A payment is there whose key is not, so that what was decided does not hold.
    #[error("a payment is there already, although its key is not")]
    KnownAlready,
    /// A statement succeeded, and wrote fewer rows than it was given: a trigger, for instance, that
    /// returns null.
    #[error("{written} of {given} rows were written to {table}, without an error")]
    Swallowed { table: &'static str, given: usize, written: u64 },
}

/// The meaning of a failed statement for its batch (SQLSTATE: Postgres manual, appendix A).
///
/// Only [`ErrorKind::Unavailable`] is about the connection, and so about everything in a batch. All the
/// others are what the server says of a statement, and may be one payment's doing: a trigger can raise
/// any SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The data is at fault, or code that it set off, or a right or a page that is missing; and will be
    /// the next time.
    Refused,
    /// 55P03: somebody else holds a lock for longer than we wait.
    LockNotAvailable,
    /// 40001 and 40P01: the transaction can succeed when it is run again.
    Conflict,
    /// [`Error::KnownAlready`]: so can this one, when it reads the payments first.
    KnownAlready,
    /// The server was short of something, cancelled the statement or is read-only: another moment, or
    /// another server, may do better.
    Momentary,
    /// 0A000, 26000, 42P05: the session went stale, because a table was changed under its prepared
    /// statements or they are gone. One more run, on a new session, tells.
    Stale,
    /// The database cannot be reached, is stopping or starting; or the connection broke, and whether a
    /// COMMIT under way arrived is not known.
    Unavailable,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::KnownAlready => ErrorKind::KnownAlready,
            Self::Swallowed { .. } => ErrorKind::Refused,
            Self::Connect(_) | Self::Unfit(_) | Self::NoServer { .. } => ErrorKind::Unavailable,
            Self::Statement(error) => ErrorKind::of(error),
        }
    }

    /// What is wrong with the database, where it can be reached.
    #[must_use]
    pub fn unfit(&self) -> Option<&Unfit> {
        match self {
            Self::Unfit(unfit) => Some(unfit),
            Self::NoServer { unfit, .. } => unfit.as_ref(),
            _ => None,
        }
    }

    /// Why there is no session with one server of several.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Connect(error) => format!("{}{}", describe(error), hint(error)),
            Self::Unfit(unfit) => unfit.to_string(),
            _ => self.to_string(),
        }
    }

    /// Whether a commit may have arrived although its answer did not.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Statement(_)) && self.kind() == ErrorKind::Unavailable
    }

    /// Whether a session that met it is as good as before. Another one may lead to a server that is not
    /// read-only.
    #[must_use]
    pub fn spares_the_session(&self) -> bool {
        let is_read_only = matches!(self, Self::Statement(sqlx::Error::Database(error))
            if error.code().as_deref() == Some(READ_ONLY));
        !is_read_only && !matches!(self.kind(), ErrorKind::Stale | ErrorKind::Unavailable)
    }

    /// A statement, a transaction or an attempt to connect that took longer than its limit.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::Statement(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }
}

impl ErrorKind {
    /// Whether it was about what others have locked, and may be tried again.
    #[must_use]
    pub fn is_about_locks(self) -> bool {
        matches!(self, Self::LockNotAvailable | Self::Conflict)
    }

    pub(super) fn of(error: &sqlx::Error) -> Self {
        use sqlx::Error as Sqlx;
        match error {
            Sqlx::Database(error) => {
                let ends_the_session = error
                    .try_downcast_ref::<PgDatabaseError>()
                    .is_some_and(|error| error.severity() != PgSeverity::Error);
                if ends_the_session {
                    Self::Unavailable
                } else {
                    of_sqlstate(error.code().as_deref().unwrap_or_default())
                }
            }
            Sqlx::Io(_) | Sqlx::Tls(_) | Sqlx::Protocol(_) | Sqlx::WorkerCrashed => {
                Self::Unavailable
            }
            _ => Self::Refused,
        }
    }
}

/// SQLSTATE of a write on a server that takes none: a standby, or told to be.
const READ_ONLY: &str = "25006";

/// SQLSTATE of a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// The meaning of an error that leaves the session alive (severity ERROR). Its SQLSTATE alone does not
/// say that the connection is at fault: a trigger may raise 57P01, too.
fn of_sqlstate(code: &str) -> ErrorKind {
    match code {
        "55P03" => ErrorKind::LockNotAvailable,
        "40001" | "40P01" => ErrorKind::Conflict,
        "0A000" | "26000" | "42P05" => ErrorKind::Stale,
        READ_ONLY => ErrorKind::Momentary,
        _ => match code.get(..2) {
            Some("08" | "53" | "57" | "58") => ErrorKind::Momentary,
            _ => ErrorKind::Refused,
        },
    }
}

fn describe(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => {
            let code = database.code().unwrap_or_default();
            if code == UNDEFINED_TABLE {
                return format!("{}: run `payonce migrate` first", database.message());
            }
            format!("{} (SQLSTATE {code})", database.message())
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_says_whether_the_data_the_moment_or_the_session_is_at_fault() {
        for (code, kind) in [
            ("23505", ErrorKind::Refused),
            ("22P02", ErrorKind::Refused),
            ("P0001", ErrorKind::Refused),
            ("2F003", ErrorKind::Refused),
            ("40001", ErrorKind::Conflict),
            ("40P01", ErrorKind::Conflict),
            ("55P03", ErrorKind::LockNotAvailable),
            ("57P01", ErrorKind::Momentary),
            ("57014", ErrorKind::Momentary),
            ("53100", ErrorKind::Momentary),
            ("08006", ErrorKind::Momentary),
            ("25006", ErrorKind::Momentary),
            ("0A000", ErrorKind::Stale),
            ("26000", ErrorKind::Stale),
            ("42P05", ErrorKind::Stale),
            ("42501", ErrorKind::Refused),
            ("42703", ErrorKind::Refused),
            ("XX001", ErrorKind::Refused),
            ("", ErrorKind::Refused),
        ] {
            assert_eq!(of_sqlstate(code), kind, "{code}");
        }
    }
}
