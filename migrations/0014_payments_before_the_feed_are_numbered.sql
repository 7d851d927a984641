-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS payments_before_the_feed;
