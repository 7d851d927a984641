-- What the service does needs few rights: it can neither change the schema nor change or remove a
-- payment. This gives a role exactly those, and takes every other right to the tables away; whoever
-- migrates as another role than the service's runs it after each migration.

CREATE FUNCTION grant_rights_of_the_service(service name) RETURNS void LANGUAGE plpgsql AS $$
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
    EXECUTE format('GRANT INSERT, UPDATE (account_id, response)
                    ON account_idempotency_keys TO %I', service);
    EXECUTE format('GRANT USAGE, UPDATE ON SEQUENCE account_ids TO %I', service);
END
$$;
