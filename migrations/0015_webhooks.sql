-- Webhooks: addresses of others that are told of payments, in the feed's order. Few rows; a row that is active is
-- changed after deliveries, several at once.

CREATE TABLE webhooks (
    id               uuid        PRIMARY KEY,
    url              text        NOT NULL,
    -- Payments of these are told; NULL: of all.
    accounts         bigint[],
    -- As it is, because every delivery is signed with it. Who knows it can send what looks like ours.
    secret           text        NOT NULL,
    -- The one before: it signs beside the new one for as long as it is said here.
    old_secret       text,
    old_secret_until timestamptz,
    status           text        NOT NULL DEFAULT 'active',
    -- Up to here everything was delivered, or is about other accounts.
    position         bigint      NOT NULL,
    -- Attempts that failed since the last delivery, and when the next is due.
    failures         int         NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz,
    last_failure     text,
    -- Changes by operators. A process that has not seen the last one moves no position: it might pass over what the
    -- change is about.
    revision         bigint      NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT webhooks_url_length CHECK (char_length(url) BETWEEN 1 AND 2000),
    CONSTRAINT webhooks_accounts_number CHECK (cardinality(accounts) BETWEEN 1 AND 100),
    CONSTRAINT webhooks_status CHECK (status IN ('active', 'disabled')),
    CONSTRAINT webhooks_position_range CHECK (position BETWEEN 0 AND 9007199254740991),
    CONSTRAINT webhooks_failures_range CHECK (failures BETWEEN 0 AND 1000),
    CONSTRAINT webhooks_old_secret CHECK ((old_secret IS NULL) = (old_secret_until IS NULL))
);
