-- no-transaction
-- Refunds have entries here, other payments none. (Alone in its file, and beside a service that pays:
-- CREATE INDEX CONCURRENTLY. One that was interrupted is removed before it is tried again: db/migrate.rs.)
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS payments_refunds
    ON payments (refund_of, refunded_after) WHERE refund_of IS NOT NULL;
