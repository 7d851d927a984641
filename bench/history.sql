-- The newest page of an account's history, as the service reads it (db::history::pages), written for
-- one account as one would without a service: one row more than a page has.
\set account random(1, :accounts)
SELECT p.*
FROM accounts
LEFT JOIN LATERAL (
    (SELECT * FROM payments WHERE from_id = :account
     ORDER BY created_at DESC, id DESC LIMIT 11)
    UNION ALL
    (SELECT * FROM payments WHERE to_id = :account
     ORDER BY created_at DESC, id DESC LIMIT 11)
    ORDER BY created_at DESC, id DESC LIMIT 11
) AS p ON true
WHERE accounts.id = :account;
