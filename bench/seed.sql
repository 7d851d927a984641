-- Accounts 1 to :accounts with money that a payment from account 0 explains, so that the audit is
-- clean. Account 0 pays them one after the other, one microsecond apart.
\set cents 1000000

BEGIN;

INSERT INTO accounts (id, balance, last_payment_at)
SELECT n, :cents, now() - interval '1 day' + n * interval '1 microsecond'
FROM generate_series(1, :accounts) AS n;

-- An id is the name-based UUID (version 8, SHA-256) of payer and key that the audit expects.
INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                      to_balance_after, idempotency_key)
SELECT encode(set_byte(set_byte(substring(hash FROM 1 FOR 16),
                                6, (get_byte(hash, 6) & 15) | 128),
                       8, (get_byte(hash, 8) & 63) | 128), 'hex')::uuid,
       0, id, balance, last_payment_at, -:cents * id, balance, key
FROM (
    SELECT id, balance, last_payment_at, key,
           sha256('\x6f1d8c0e52b44c579a3e0b7d94f261aa' || convert_to('0/' || key, 'UTF8')) AS hash
    FROM accounts, format('opening-%s', id) AS key
    WHERE id <> 0
) AS named
ORDER BY id;

UPDATE accounts
SET balance = -:cents::bigint * :accounts,
    last_payment_at = (SELECT max(created_at) FROM payments)
WHERE id = 0;

COMMIT;
