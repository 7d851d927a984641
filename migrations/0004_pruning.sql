-- The service removes the rows of old keys by itself. A payment stays: its primary key refuses a second
-- one also when its key's row is gone. The right to delete from a table is also the right to lock all of
-- it, so the service's role gets a function in its place, which removes nothing that is younger than a day.

-- Reads a range of pages of the table, of 8 KiB, and nothing else (TidRangeScan), so that this needs no
-- index, which each payment would have to write. What somebody else has locked is left for the next
-- time. A key in progress is not ours to remove.
CREATE FUNCTION remove_old_keys(first_page bigint, end_page bigint, retention_days int)
RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
    WITH removed AS (
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys
            WHERE ctid >= format('(%s,0)', $1)::tid AND ctid < format('(%s,0)', $2)::tid
              AND created_at < now() - make_interval(days => greatest($3, 1))
              AND status <> 'in_progress'
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM removed
$$;

-- It runs with its owner's rights, so a caller's own table of that name must not come before ours
-- (Postgres manual, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely").
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION remove_old_keys SET search_path = %I, pg_temp', current_schema);
END $$;
REVOKE EXECUTE ON FUNCTION remove_old_keys FROM PUBLIC;

CREATE OR REPLACE FUNCTION grant_rights_of_the_service(service name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Of two that change the same rights at once Postgres would refuse one.
    PERFORM pg_advisory_xact_lock(hashtext('grant_rights_of_the_service'));
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema, service);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', current_schema, service);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema, service);
    EXECUTE format('GRANT SELECT ON accounts, payments, idempotency_keys,
                                    account_idempotency_keys TO %I', service);
    -- Locking a row (FOR UPDATE) takes the right to update a column of it.
    EXECUTE format('GRANT INSERT, UPDATE (balance, last_payment_at) ON accounts TO %I', service);
    EXECUTE format('GRANT INSERT ON payments TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (status, fingerprint, response, created_at)
                    ON idempotency_keys TO %I', service);
    EXECUTE format('GRANT EXECUTE ON FUNCTION remove_old_keys TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (account_id, response)
                    ON account_idempotency_keys TO %I', service);
    EXECUTE format('GRANT USAGE, UPDATE ON SEQUENCE account_ids TO %I', service);
END
$$;
