-- Gives the payments that were loaded their positions in the feed, as an upgrade does with those that are older.
DELETE FROM feed_state;
CREATE INDEX payments_before_the_feed ON payments (created_at, id) WHERE batch_id IS NULL;
CALL number_payments_before_the_feed();
DROP INDEX payments_before_the_feed;
ALTER TABLE payments ENABLE TRIGGER payments_batch;
