-- After :rounds rounds of rounds.sql: :payments more, an even number, between accounts 1 and 2, who
-- pay each other one cent in turn.
\ir names.sql

BEGIN;

CREATE TEMPORARY TABLE times AS
SELECT turn, last_payment_at + (:rounds * :accounts::bigint + turn) * interval '1 microsecond' AS at
FROM accounts, generate_series(1, :payments) AS turn
WHERE id = 0;

WITH paid AS (
    INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                          to_balance_after, idempotency_key)
    SELECT pg_temp.payment_id(payer, key), payer, 3 - payer, 1, at,
           :cents - (payer = 1)::int, :cents + (payer = 1)::int, key
    FROM (
        SELECT at, 2 - turn % 2 AS payer, concat('turn-', lpad(turn::text, 31, '0')) AS key
        FROM times
    ) AS turns
    ORDER BY at
    RETURNING *
)
INSERT INTO idempotency_keys (user_id, key, status, fingerprint, response)
SELECT from_id, idempotency_key, 'success', sha256(uuid_send(id)),
       pg_temp.receipt(id, from_id, to_id, amount, created_at, from_balance_after)
FROM paid;

UPDATE accounts SET last_payment_at = (SELECT max(at) FROM times) WHERE id IN (1, 2);

COMMIT;
