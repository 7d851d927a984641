#!/usr/bin/env bash
# Makes the ledger's database and its two roles: one that owns it and migrates, and the service's,
# which gets its few rights from the migrations. The Postgres image runs this once, on an empty volume;
# by hand it needs a superuser of a server (PGHOST, POSTGRES_USER) and the files with the passwords:
#
#   SECRETS=secrets POSTGRES_USER=postgres deploy/postgres/roles.sh
set -euo pipefail
export SECRETS="${SECRETS:-/run/secrets}"

# The passwords are read by psql itself, so that no list of processes shows them.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --username "$POSTGRES_USER" --dbname "${POSTGRES_DB:-postgres}" \
    --set ledger="${LEDGER_DATABASE:-payonce}" \
    --set owner="${OWNER_ROLE:-payonce_owner}" \
    --set service="${SERVICE_ROLE:-payonce_service}" << 'SQL'
\set owner_password `cat "$SECRETS/owner_password"`
\set service_password `cat "$SECRETS/service_password"`

-- Where a statement that fails is logged, its password would be, too.
SET log_min_error_statement = panic;
SET password_encryption = 'scram-sha-256';

CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"service" LOGIN PASSWORD :'service_password';
-- To see whom a replica follows (database.read_from).
GRANT pg_read_all_stats TO :"owner";
-- Nobody is let in before all is done: whether it was is what the health check of Compose asks.
CREATE DATABASE :"ledger" OWNER :"owner" ALLOW_CONNECTIONS false;
REVOKE ALL ON DATABASE :"ledger" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"ledger" TO :"service";
ALTER DATABASE :"ledger" ALLOW_CONNECTIONS true;
SQL
