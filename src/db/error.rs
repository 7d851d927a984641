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
    /// A payment is there whose key is not, so that what was decided does not hold.
    #[error("a payment is there already, although its key is not")]
    KnownAlready,
}

/// What a failed statement means for whoever ran it (SQLSTATE: Postgres manual, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Class 22 or 23: the data is at fault, and will be the next time.
    Refused,
    /// 55P03: somebody else holds a lock for longer than we wait.
    LockNotAvailable,
    /// 40001, 40P01 and [`Error::KnownAlready`]: the transaction can succeed when it is run again.
    Conflict,
    /// The database cannot be reached, is stopping, starting or short of something; or the
    /// connection broke, and whether a COMMIT under way arrived is not known.
    Unavailable,
    /// A mistake of ours.
    Bug,
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
    pub fn kind(&self) -> Kind {
        match self {
            Self::KnownAlready => Kind::Conflict,
            Self::Connect(_) | Self::Unfit(_) => Kind::Unavailable,
            Self::Statement(error) => Kind::of(error),
        }
    }

    /// Whether a commit may have arrived although its answer did not.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Statement(_)) && self.kind() == Kind::Unavailable
    }

    /// A statement, a transaction or an attempt to connect that took longer than its limit.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::Statement(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }
}

impl Kind {
    /// Whether it was about what others have locked, and may be tried again.
    #[must_use]
    pub fn is_about_locks(self) -> bool {
        matches!(self, Self::LockNotAvailable | Self::Conflict)
    }

    pub(super) fn of(error: &sqlx::Error) -> Self {
        use sqlx::Error as Sqlx;
        match error {
            Sqlx::Database(error) => of_sqlstate(error.code().as_deref().unwrap_or_default()),
            Sqlx::Io(_) | Sqlx::Tls(_) | Sqlx::Protocol(_) | Sqlx::WorkerCrashed => {
                Self::Unavailable
            }
            _ => Self::Bug,
        }
    }
}

/// SQLSTATE of a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

fn of_sqlstate(code: &str) -> Kind {
    match code {
        "55P03" => Kind::LockNotAvailable,
        "40001" | "40P01" => Kind::Conflict,
        // A read-only server is a standby; a cancelled statement, or a session that was idle in its
        // transaction, ran out of its time; a commit may have arrived.
        "25006" | "57014" | "25P03" | "25P04" | "40003" => Kind::Unavailable,
        _ => match code.get(..2) {
            Some("22" | "23") => Kind::Refused,
            Some("08" | "53" | "57" | "58") => Kind::Unavailable,
            _ => Kind::Bug,
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
    fn a_sqlstate_says_whether_the_data_the_moment_or_the_database_is_at_fault() {
        for (code, kind) in [
            ("23505", Kind::Refused),
            ("22P02", Kind::Refused),
            ("40001", Kind::Conflict),
            ("40P01", Kind::Conflict),
            ("55P03", Kind::LockNotAvailable),
            ("57P01", Kind::Unavailable),
            ("57014", Kind::Unavailable),
            ("53100", Kind::Unavailable),
            ("08006", Kind::Unavailable),
            ("25006", Kind::Unavailable),
            ("25P03", Kind::Unavailable),
            ("40003", Kind::Unavailable),
            ("42703", Kind::Bug),
            ("", Kind::Bug),
        ] {
            assert_eq!(of_sqlstate(code), kind, "{code}");
        }
    }
}
