-- The service removes the rows of old keys by itself. A payment stays: its primary key refuses a second
-- one also when its key's row is gone. The right to delete from a table is also the right to lock all of
-- it, so the service's role gets a function in its place, which removes nothing that is younger than a day.

-- Reads a range of pages of the table, of 8 KiB, and nothing else (TidRangeScan), so that this needs no
-- index, which each payment would have to write. What somebody else has locked is left for the next
-- time. A key in progress is not ours to remove.
--
-- It runs with its owner's rights, so its body is bound to the ledger's own tables and Postgres' own
-- functions when it is made (BEGIN ATOMIC): nothing that a caller makes can come before them.
CREATE FUNCTION remove_old_keys(first_page bigint, end_page bigint, retention_days int)
RETURNS bigint LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT old.ctid FROM idempotency_keys AS old
            WHERE old.ctid >= format('(%s,0)', first_page)::tid
              AND old.ctid < format('(%s,0)', end_page)::tid
              AND old.created_at < now() - make_interval(days => greatest(retention_days, 1))
              AND old.status <> 'in_progress'
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM removed;
END;

-- Times that the service can read. (Existing rows need not be looked at again: they are such.)
ALTER TABLE accounts ADD CONSTRAINT accounts_last_payment_at_plausible
    CHECK (last_payment_at < '9999-01-01') NOT VALID;

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
                                    account_idempotency_keys TO %I', service);
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
END
$$;

REVOKE EXECUTE ON FUNCTION remove_old_keys FROM PUBLIC;
