-- Accounts 1 to :accounts with money that a payment from account 0 explains, so that the audit is
-- clean. Account 0 pays them one after the other, one microsecond apart.
\ir names.sql

BEGIN;

-- feed.sql gives positions to all that is loaded.
ALTER TABLE payments DISABLE TRIGGER payments_batch;

INSERT INTO accounts (id, balance, last_payment_at)
SELECT n, :cents, now() - interval '1 day' + n * interval '1 microsecond'
FROM generate_series(1, :accounts) AS n;

INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                      to_balance_after, idempotency_key)
SELECT pg_temp.payment_id(0, key), 0, id, balance, last_payment_at, -:cents * id, balance, key
FROM accounts, format('opening-%s', id) AS key
WHERE id <> 0
ORDER BY id;

UPDATE accounts
SET balance = -:cents::bigint * :accounts,
    last_payment_at = (SELECT max(created_at) FROM payments)
WHERE id = 0;

COMMIT;
