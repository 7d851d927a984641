-- no-transaction
-- A request is paid once. Payments that pay none have no entry here.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS payments_of_requests
    ON payments (payment_request_id) WHERE payment_request_id IS NOT NULL;
