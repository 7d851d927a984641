# Builds from a checkout alone: the queries are checked against sqlx-data.json, not a database.
# Needs BuildKit, whose caches keep what was compiled and downloaded.
FROM rust:1.95.0-bookworm AS build
WORKDIR /payonce
COPY Cargo.toml Cargo.lock build.rs sqlx-data.json ./
# The workspace's other members are not built, but cargo wants to see them.
COPY bench/Cargo.toml bench/
COPY crates/local-postgres/Cargo.toml crates/local-postgres/
COPY crates/testbed/Cargo.toml crates/testbed/
COPY playground/Cargo.toml playground/
COPY tests/faults/Cargo.toml tests/faults/
RUN for member in bench crates/* playground tests/faults; do mkdir $member/src; touch $member/src/lib.rs $member/src/main.rs; done
COPY migrations migrations
COPY src src
# All checkouts share these caches. Cargo compares the times of files alone, so the program of another checkout
# would pass for that of an older file here: what is not of a registry is compiled anew, and builds take turns.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/payonce/target,sharing=locked \
    cargo clean --release --locked --package payonce \
    && cargo build --release --locked --bin payonce \
    && install --strip target/release/payonce /usr/local/bin/payonce

FROM node:24.21.0-bookworm-slim AS page
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm \
    npm install --no-save --no-audit --no-fund
COPY web/next.config.ts web/openapi.json web/postcss.config.mjs web/tsconfig.json ./
COPY web/scripts scripts
COPY web/src src
# A checkout's files may be their owner's alone; the service runs as somebody else.
RUN npm run build && chmod -R a+rX out

FROM debian:12.15-slim
# Whom TLS trusts: a database, an issuer of tokens.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/payonce /usr/local/bin/payonce
COPY --from=page /web/out /usr/share/payonce/page
# A payonce.toml may be mounted here.
WORKDIR /etc/payonce
ENV HOST=0.0.0.0 PORT=4000 PAYONCE_PAGE__DIR=/usr/share/payonce/page
USER 10001:10001
EXPOSE 4000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["payonce", "health"]
# Without a database that is named (DATABASE_URL, database.url_file) it ends, and says so.
ENTRYPOINT ["payonce"]
CMD ["serve"]
