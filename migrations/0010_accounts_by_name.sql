-- no-transaction
-- People are found by the beginning of a name, whatever its case. A payment changes nothing that is in it,
-- so balances stay heap-only updates (HOT).
CREATE INDEX CONCURRENTLY IF NOT EXISTS accounts_by_name
    ON accounts (lower(name) COLLATE "C", id) WHERE name IS NOT NULL;
