-- Times that the service can read: a single one that is infinite, or of another age, would otherwise end
-- whoever reads it. (Existing rows need not be looked at again: the service has written no other.)
ALTER TABLE payments ADD CONSTRAINT payments_times_plausible
    CHECK (created_at >= '0001-01-01' AND created_at < '10000-01-01'
           AND requested_at >= '0001-01-01' AND requested_at < '10000-01-01') NOT VALID;
ALTER TABLE accounts ADD CONSTRAINT accounts_created_at_plausible
    CHECK (created_at >= '0001-01-01' AND created_at < '10000-01-01') NOT VALID;
