-- The brief's payment, one per transaction: claim the key, lock both accounts in id order, move
-- the money, record it, store the response. Any account pays any other, or, where one_payee is 1,
-- account 1.
\if :one_payee
\set from random(2, :accounts)
\set to 1
\else
\set from random(1, :accounts)
\set other random(1, :accounts - 1)
\set to :other + (case when :other >= :from then 1 else 0 end)
\endif
\set amount 1

BEGIN;

INSERT INTO idempotency_keys (user_id, key, status)
VALUES (:from, gen_random_uuid()::text, 'in_progress')
ON CONFLICT (user_id, key) DO NOTHING
RETURNING key \gset

SELECT balance FROM accounts WHERE id IN (:from, :to) ORDER BY id FOR UPDATE;

UPDATE accounts SET balance = balance - :amount, last_payment_at = clock_timestamp()
WHERE id = :from RETURNING balance AS from_balance \gset

UPDATE accounts SET balance = balance + :amount, last_payment_at = clock_timestamp()
WHERE id = :to RETURNING balance AS to_balance \gset

INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                      to_balance_after, idempotency_key)
VALUES (gen_random_uuid(), :from, :to, :amount, clock_timestamp(), :from_balance,
        :to_balance, :key);

-- A fingerprint and a response of the usual length; making them costs the client nothing.
UPDATE idempotency_keys
SET status = 'success', fingerprint = sha256('from, to, amount, note'),
    response = '{"id": "00000000-0000-8000-8000-000000000000", "from_id": 12345, "to_id": 12345, "amount": 1, "note": null, "created_at": "2025-01-01T00-00-00.000000Z", "requested_at": null, "balance_after": 999999}'
WHERE user_id = :from AND key = :key;

COMMIT;
