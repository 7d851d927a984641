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

CREATE OR REPLACE FUNCTION grant_rights_of_the_service(service name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Of two that change the same rights at once Postgres would refuse one.
    PERFORM pg_advisory_xact_lock(hashtext('grant_rights_of_the_service'));
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema, service);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', current_schema, service);
    -- Databases that come from Postgres 14 or older let everybody make tables and functions here.
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', current_schema, service);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema, service);
    EXECUTE format('GRANT SELECT ON accounts, payments, idempotency_keys, payment_requests, payment_batches,
                                    feed_entries, feed_state, webhooks, account_idempotency_keys, key_sweeps
                    TO %I', service);
    -- Locking a row (FOR UPDATE) takes the right to update a column of it.
    EXECUTE format('GRANT INSERT, UPDATE (balance, last_payment_at, status) ON accounts TO %I', service);
    EXECUTE format('GRANT INSERT ON payments, payment_batches, feed_entries TO %I', service);
    EXECUTE format('GRANT UPDATE (last_position, settled_batch, settled_position) ON feed_state TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (status, fingerprint, response, created_at, payment_id)
                    ON idempotency_keys TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (status, payment_id) ON payment_requests TO %I', service);
    EXECUTE format('GRANT INSERT, DELETE, UPDATE (url, accounts, secret, old_secret, old_secret_until, status,
                                                  position, failures, next_attempt_at, last_failure, revision)
                    ON webhooks TO %I', service);
    -- Also after a restore without rights.
    REVOKE EXECUTE ON FUNCTION remove_old_keys FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION remove_old_keys TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (account_id, response)
                    ON account_idempotency_keys TO %I', service);
    EXECUTE format('GRANT USAGE, UPDATE ON SEQUENCE account_ids TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (last_at) ON key_sweeps TO %I', service);
END
$$;
