-- What people do around a payment: give it back, ask for it, stop it; and accounts that take part no more.
-- An ordinary payment writes none of these columns, and has no entry in an index of them (0008, 0009).

-- NULL is an open account.
ALTER TABLE accounts
    ADD COLUMN status text,
    -- One constraint, because Postgres reads the text of each at each write. A closed account is empty, and
    -- the bank is always open.
    ADD CONSTRAINT accounts_status CHECK (
        status IS NULL OR (id <> 0 AND (status = 'frozen' OR (status = 'closed' AND balance = 0)))
    ) NOT VALID;

ALTER TABLE payments
    -- The payment that this one gives back, in full or in part.
    ADD COLUMN refund_of uuid,
    -- The cents of it that have been given back after this one: the largest is what its refunds come to,
    -- and no two can be the same.
    ADD COLUMN refunded_after bigint,
    -- The request for money that this payment pays.
    ADD COLUMN payment_request_id uuid,
    -- Who asked for it, where that was not the payer: the `sub` of a token.
    ADD COLUMN asked_by text,
    ADD CONSTRAINT payments_referring CHECK (
        (refund_of IS NULL) = (refunded_after IS NULL)
        AND (refunded_after IS NULL OR refunded_after BETWEEN amount AND 9007199254740991)
        AND (asked_by IS NULL OR char_length(asked_by) BETWEEN 1 AND 255)
    ) NOT VALID;

-- Requests for money. Whoever changes one holds the locks of both its accounts.
CREATE TABLE payment_requests (
    -- Derived from the one who asks and his idempotency key.
    id         uuid        PRIMARY KEY,
    -- `from_id` is asked to pay `to_id`.
    from_id    bigint      NOT NULL,
    to_id      bigint      NOT NULL,
    amount     bigint      NOT NULL,
    note       text,
    -- An open one whose `expires_at` is over can be paid no more: nothing is written for that.
    status     text        NOT NULL,
    -- The ledger's time: strictly increasing among an account's requests.
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    payment_id uuid,
    CONSTRAINT payment_requests_two_accounts CHECK (from_id <> to_id),
    CONSTRAINT payment_requests_amount_range CHECK (amount BETWEEN 1 AND 9007199254740991),
    CONSTRAINT payment_requests_note_length CHECK (char_length(note) <= 280),
    CONSTRAINT payment_requests_status CHECK (status IN ('open', 'paid', 'declined', 'cancelled')),
    CONSTRAINT payment_requests_paid CHECK ((status = 'paid') = (payment_id IS NOT NULL)),
    CONSTRAINT payment_requests_times_plausible CHECK (
        created_at >= '0001-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00'
        AND expires_at >= '0001-01-01 00:00:00+00' AND expires_at < '10000-01-01 00:00:00+00'
    )
);

-- A page of requests is an index scan, with a status and without.
CREATE INDEX payment_requests_incoming ON payment_requests (from_id, created_at, id);
CREATE INDEX payment_requests_outgoing ON payment_requests (to_id, created_at, id);
CREATE INDEX payment_requests_incoming_by_status
    ON payment_requests (from_id, status, created_at, id);
CREATE INDEX payment_requests_outgoing_by_status
    ON payment_requests (to_id, status, created_at, id);

ALTER TABLE idempotency_keys
    -- The payment that was made under this key, where its id is not derived from the key, because it pays
    -- a request. Such a row, and a voided key, are never pruned: no payment's id would tell of them.
    ADD COLUMN payment_id uuid,
    DROP CONSTRAINT idempotency_keys_status,
    DROP CONSTRAINT idempotency_keys_outcome,
    ADD CONSTRAINT idempotency_keys_status
        CHECK (status IN ('in_progress', 'success', 'failed', 'voided')) NOT VALID,
    ADD CONSTRAINT idempotency_keys_outcome CHECK (
        status IN ('in_progress', 'voided')
        OR (octet_length(fingerprint) = 32 AND response IS NOT NULL)
    ) NOT VALID;

CREATE OR REPLACE FUNCTION remove_old_keys(first_page bigint, end_page bigint, retention_days int)
RETURNS bigint LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT old.ctid FROM idempotency_keys AS old
            WHERE old.ctid >= format('(%s,0)', first_page)::tid
              AND old.ctid < format('(%s,0)', end_page)::tid
              AND old.created_at < now() - make_interval(days => greatest(retention_days, 1))
              AND old.status IN ('success', 'failed') AND old.payment_id IS NULL
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM removed;
END;

CREATE OR REPLACE FUNCTION grant_rights_of_the_service(service name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Of two that change the same rights at once Postgres would refuse one.
    PERFORM pg_advisory_xact_lock(hashtext('grant_rights_of_the_service'));
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema, service);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', current_schema, service);
    -- Databases that come from Postgres 14 or older let everybody make tables and functions here.
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', current_schema, service);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema, service);
    EXECUTE format('GRANT SELECT ON accounts, payments, idempotency_keys, payment_requests,
                                    account_idempotency_keys, key_sweeps TO %I', service);
    -- Locking a row (FOR UPDATE) takes the right to update a column of it.
    EXECUTE format('GRANT INSERT, UPDATE (balance, last_payment_at, status) ON accounts TO %I', service);
    EXECUTE format('GRANT INSERT ON payments TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (status, fingerprint, response, created_at, payment_id)
                    ON idempotency_keys TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (status, payment_id) ON payment_requests TO %I', service);
    -- Also after a restore without rights.
    REVOKE EXECUTE ON FUNCTION remove_old_keys FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION remove_old_keys TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (account_id, response)
                    ON account_idempotency_keys TO %I', service);
    EXECUTE format('GRANT USAGE, UPDATE ON SEQUENCE account_ids TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (last_at) ON key_sweeps TO %I', service);
END
$$;
