-- no-transaction
-- In steps, beside a service that pays. See the procedure (0011).
CALL number_payments_before_the_feed();
