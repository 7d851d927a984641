//! The ends of streams.

/// Why a stream has no more payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its client has gone away.
    ClientLeft,
    TokenExpired,
    /// The service stops.
    Stopping,
    /// More payments waited for it than may.
    Slow,
    /// Its account's history could not be read, or the feed is another one by now.
    Failed,
}

impl End {
    pub const ALL: [Self; 5] =
        [Self::ClientLeft, Self::TokenExpired, Self::Stopping, Self::Slow, Self::Failed];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientLeft => "client_left",
            Self::TokenExpired => "token_expired",
            Self::Stopping => "stopping",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}
