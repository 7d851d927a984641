# `make` lists the targets.

# A setting of one's own shell must not reach the build or the tests.
unexport SQLX_OFFLINE SQLX_OFFLINE_DIR

TEST ?=
SEED ?=
FAULT ?=

.PHONY: help
help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: run
run: ## Builds and runs the playground on http://localhost:4000: the service, with a private Postgres unless DATABASE_URL is set.
	$(if $(DATABASE_URL),,scripts/needs postgres || true)
	scripts/page
	if [ -e web/out/index.html ]; then export PAYONCE_PAGE__DIR="$${PAYONCE_PAGE__DIR:-web/out}"; fi; \
	    exec cargo run --release --locked --package payonce-playground

.PHONY: cluster
cluster: ## The same on three Postgres servers under Patroni, of which one may be lost, with two services in front.
	scripts/needs postgres pip etcd
	scripts/page
	if [ -e web/out/index.html ]; then export PAYONCE_PAGE__DIR="$${PAYONCE_PAGE__DIR:-web/out}"; fi; \
	    exec cargo run --release --locked --package payonce-playground -- cluster

.PHONY: test
test: ## Runs all tests on a Postgres of their own. TEST=name runs those of Rust whose name contains it.
	$(if $(TEST),,scripts/needs psql promtool pgbouncer pip chromium etcd)
	scripts/test $(TEST)
	$(if $(TEST),,scripts/test-page)

.PHONY: test-page
test-page: ## Runs the tests of the page alone, in Chromium.
	scripts/needs postgres chromium
	cargo build --locked --workspace --bins
	scripts/test-page

.PHONY: fuzz
fuzz: ## Sends requests made of the API document, and checks the answers against it. SEED=1 repeats them.
	cargo build --locked --workspace --bins
	SEED=$(SEED) scripts/fuzz

# Its own step, because the suite is to find the service of the same checkout beside it.
.PHONY: build-chaos
build-chaos:
	scripts/needs postgres pip etcd
	cargo build --release --locked --package payonce --package payonce-faults --bins

.PHONY: chaos
chaos: build-chaos ## Breaks the service on purpose, in every way, and checks that nothing is lost (35 minutes). SEED=1 repeats it, FAULT=name runs one.
	SEED=$(SEED) cargo run --release --locked --quiet --package payonce-faults --bin chaos -- $(FAULT)

.PHONY: containers
containers: ## Builds the image and goes through what is said about Compose: the tour, restarts, a first start that fails (needs Docker).
	scripts/containers

.PHONY: lint
lint: ## Checks format, lints, licenses and that sqlx-data.json is current.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	scripts/deny
	scripts/sqlx-data --check

.PHONY: sqlx
sqlx: ## Brings sqlx-data.json up to date after a query or a migration has changed.
	scripts/sqlx-data

.PHONY: openapi
openapi: ## Brings web/openapi.json up to date after a route or a shape has changed.
	cargo build --quiet --locked --package payonce-playground
	cargo run --quiet --locked --package payonce-playground -- openapi > web/openapi.json

# Its own step, because the benchmark is to find the service of the same checkout beside it.
.PHONY: build-bench
build-bench:
	cargo build --release --locked --workspace --bins

.PHONY: bench
bench: build-bench ## Payments and reads per second against pgbench and the statements alone (13 minutes).
	cargo run --release --locked --quiet --package payonce-bench -- throughput

.PHONY: bench-growth
bench-growth: build-bench ## The same with ten thousand and with ten million payments in the ledger (8 minutes).
	cargo run --release --locked --quiet --package payonce-bench -- growth

.PHONY: load
load: build-bench ## Requests at fixed rates, with k6. SCRIPT=steady runs one of tests/load (3 minutes).
	cargo run --release --locked --quiet --package payonce-bench -- load

.PHONY: bench-live
bench-live: build-bench ## 5,000 clients watch their accounts while 1,000 payments a second are made (1 minute).
	cargo run --release --locked --quiet --package payonce-bench -- live

.PHONY: bench-replicas
bench-replicas: build-bench ## Histories read by the primary, and by two replicas of it (3 minutes).
	cargo run --release --locked --quiet --package payonce-bench -- replicas

.PHONY: bench-standby
bench-standby: build-bench ## Payments that wait for a standby 0, 0.5, 2 and 10 ms away (5 minutes).
	cargo run --release --locked --quiet --package payonce-bench -- standby

.PHONY: audit
audit: ## Checks the invariants of the ledger that `make run` serves, beside it or without it.
	cargo run --release --locked --package payonce-playground -- audit
