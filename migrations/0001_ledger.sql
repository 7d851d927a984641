-- The ledger: accounts, payments between them, and the idempotency keys of requests.
-- Amounts and balances are cents. 9007199254740991 is 2^53 - 1, the largest integer that
-- JavaScript reads exactly.

CREATE TABLE accounts (
    id              bigint      PRIMARY KEY,
    balance         bigint      NOT NULL DEFAULT 0,
    -- The time of the newest payment, the floor of the next one's: see payments.created_at.
    last_payment_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    name            text,
    CONSTRAINT accounts_last_payment_at_finite CHECK (isfinite(last_payment_at)),
    CONSTRAINT accounts_id_range CHECK (id BETWEEN 0 AND 9007199254740991),
    CONSTRAINT accounts_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    -- Account 0 is the bank: money enters the ledger from it, so it alone may be below zero.
    CONSTRAINT accounts_balance_floor CHECK (balance >= 0 OR id = 0),
    CONSTRAINT accounts_balance_limit
        CHECK (balance BETWEEN -9007199254740991 AND 9007199254740991)
) WITH (fillfactor = 50); -- Room on the page keeps balance updates heap-only (HOT).

-- Ids for accounts that were opened without one. Not an identity column: ids given by hand may
-- run ahead of it, and opening an account then moves it on.
CREATE SEQUENCE account_ids AS bigint MINVALUE 1 MAXVALUE 9007199254740991;

INSERT INTO accounts (id, name) VALUES (0, 'Bank');

CREATE TABLE payments (
    -- Derived from payer and key (a name-based UUID), so the primary key itself refuses a
    -- second payment with the same key, for ever.
    id                 uuid        PRIMARY KEY,
    from_id            bigint      NOT NULL REFERENCES accounts,
    to_id              bigint      NOT NULL REFERENCES accounts,
    amount             bigint      NOT NULL,
    -- The ledger's time: strictly increasing along each account's payments.
    created_at         timestamptz NOT NULL,
    from_balance_after bigint      NOT NULL,
    to_balance_after   bigint      NOT NULL,
    -- The client's own time, as information.
    requested_at       timestamptz,
    idempotency_key    text        COLLATE "C" NOT NULL,
    note               text,
    CONSTRAINT payments_two_accounts CHECK (from_id <> to_id),
    CONSTRAINT payments_amount_range CHECK (amount BETWEEN 1 AND 9007199254740991),
    CONSTRAINT payments_key_length CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT payments_note_length CHECK (char_length(note) <= 280)
);

-- A history is the newest of two index scans: what an account sent, and what it received.
CREATE INDEX payments_sent ON payments (from_id, created_at, id);
CREATE INDEX payments_received ON payments (to_id, created_at, id);

CREATE TABLE idempotency_keys (
    user_id     bigint      NOT NULL REFERENCES accounts,
    key         text        COLLATE "C" NOT NULL,
    status      text        NOT NULL,
    -- SHA-256 of what the request asked for; another request under the same key is refused.
    fingerprint bytea,
    -- json, not jsonb: a replay must be the same bytes, and jsonb reorders them.
    response    json,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_status CHECK (status IN ('in_progress', 'success', 'failed')),
    CONSTRAINT idempotency_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_outcome CHECK (
        status = 'in_progress' OR (octet_length(fingerprint) = 32 AND response IS NOT NULL)
    )
);

-- Keys of requests that open accounts: a namespace of its own, and never pruned.
CREATE TABLE account_idempotency_keys (
    key         text        COLLATE "C" PRIMARY KEY,
    fingerprint bytea       NOT NULL,
    -- Both are set by the transaction that claimed the key, before it commits.
    account_id  bigint      REFERENCES accounts,
    response    json,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT account_idempotency_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 255),
    CONSTRAINT account_idempotency_keys_fingerprint CHECK (octet_length(fingerprint) = 32)
);
