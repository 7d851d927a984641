-- Times that the service can read: a single one that is infinite, or of another age, would otherwise end
-- the task that reads it. (Existing rows need not be looked at again: the service has written no other.)
ALTER TABLE payments
    ADD CONSTRAINT payments_created_at_plausible
    CHECK (created_at >= '0001-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT payments_requested_at_plausible
    CHECK (requested_at >= '0001-01-01 00:00:00+00' AND requested_at < '10000-01-01 00:00:00+00')
    NOT VALID;
ALTER TABLE accounts ADD CONSTRAINT accounts_created_at_plausible
    CHECK (created_at >= '0001-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00') NOT VALID;
