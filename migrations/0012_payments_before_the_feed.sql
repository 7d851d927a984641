-- no-transaction
-- The order in which 0013 numbers what is older than the feed; payments since then have no entry, and 0014 removes it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_before_the_feed
    ON payments (created_at, id) WHERE batch_id IS NULL;
