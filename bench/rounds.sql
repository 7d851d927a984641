-- Rounds :first to :last of payments, with their keys, after seed.sql. In a round every account
-- pays one cent to the next, the last pays the first, and each holds in the end what it held before.
-- Every payment is one microsecond after the one before it. Rounds of different numbers may be
-- made in any order, and at the same time.
\ir names.sql

BEGIN;

WITH paid AS (
    INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                          to_balance_after, idempotency_key)
    SELECT pg_temp.payment_id(payer, key), payer, payer % :accounts + 1, 1,
           bank.last_payment_at
               + ((round - 1) * :accounts + payer) * interval '1 microsecond',
           -- Everybody is paid before paying, but the first, who is paid last.
           :cents - (payer = 1)::int, :cents + (payer < :accounts)::int, key
    FROM accounts AS bank,
         generate_series(:first::bigint, :last) AS round,
         generate_series(1::bigint, :accounts) AS payer,
         -- As long as a UUID, as keys usually are.
         concat('round-', lpad(round::text, 30, '0')) AS key
    WHERE bank.id = 0
    ORDER BY round, payer
    RETURNING *
)
INSERT INTO idempotency_keys (user_id, key, status, fingerprint, response)
SELECT from_id, idempotency_key, 'success', sha256(uuid_send(id)),
       pg_temp.receipt(id, from_id, to_id, amount, created_at, from_balance_after)
FROM paid;

UPDATE accounts
SET last_payment_at = greatest(
        accounts.last_payment_at,
        bank.last_payment_at + ((:last - 1) * :accounts::bigint
            + CASE accounts.id WHEN 1 THEN :accounts ELSE accounts.id END)
            * interval '1 microsecond')
FROM accounts AS bank
WHERE bank.id = 0 AND accounts.id BETWEEN 1 AND :accounts;

COMMIT;
