-- One sweep for old keys in each interval, whatever number of processes there are: each of them read the
-- whole table before. The process that is to sweep changes this row first, if its time has come.
CREATE TABLE key_sweeps (
    the_only_row boolean     PRIMARY KEY DEFAULT true,
    -- When a sweep began or ended, whichever was later. One that died half-way is made up for as one that
    -- ended: an interval later.
    last_at      timestamptz NOT NULL,
    CONSTRAINT key_sweeps_one_row CHECK (the_only_row)
);

-- After the last id comes the first: an account that was opened with the largest id must not end the
-- opening of accounts without one. Ids that are taken are passed over.
ALTER SEQUENCE account_ids CYCLE;

CREATE OR REPLACE FUNCTION grant_rights_of_the_service(service name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Of two that change the same rights at once Postgres would refuse one.
    PERFORM pg_advisory_xact_lock(hashtext('grant_rights_of_the_service'));
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema, service);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', current_schema, service);
    -- Databases that come from Postgres 14 or older let everybody make tables and functions here.
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', current_schema, service);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema, service);
    EXECUTE format('GRANT SELECT ON accounts, payments, idempotency_keys,
                                    account_idempotency_keys, key_sweeps TO %I', service);
    -- Locking a row (FOR UPDATE) takes the right to update a column of it.
    EXECUTE format('GRANT INSERT, UPDATE (balance, last_payment_at) ON accounts TO %I', service);
    EXECUTE format('GRANT INSERT ON payments TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (status, fingerprint, response, created_at)
                    ON idempotency_keys TO %I', service);
    -- Also after a restore without rights.
    REVOKE EXECUTE ON FUNCTION remove_old_keys FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION remove_old_keys TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (account_id, response)
                    ON account_idempotency_keys TO %I', service);
    EXECUTE format('GRANT USAGE, UPDATE ON SEQUENCE account_ids TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (last_at) ON key_sweeps TO %I', service);
END
$$;
