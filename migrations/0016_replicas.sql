-- The timeline that a replica follows; 0 where the owner of this function may not see it (only members of
-- pg_read_all_stats may), NULL where it follows nobody. With the rights of its owner, so that the service's role does
-- not see what others ask the server.
CREATE FUNCTION followed_timeline() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(received_tli, 0) FROM pg_stat_wal_receiver
$$;

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
    REVOKE EXECUTE ON FUNCTION remove_old_keys, followed_timeline FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION remove_old_keys, followed_timeline TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (account_id, response)
                    ON account_idempotency_keys TO %I', service);
    EXECUTE format('GRANT USAGE, UPDATE ON SEQUENCE account_ids TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE (last_at) ON key_sweeps TO %I', service);
END
$$;
