# Builds from a checkout alone: the queries are checked against sqlx-data.json, not a database.
# Needs BuildKit (Docker 23 or newer has it), whose caches keep what was compiled and downloaded.
FROM rust:1.95.0-bookworm AS build
WORKDIR /payonce
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/payonce/target \
    cargo build --release --locked --bin payonce \
    && install --strip target/release/payonce /usr/local/bin/payonce

FROM node:20.20.2-bookworm-slim AS page
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm \
    npm install --no-save --no-audit --no-fund
COPY web .
RUN npm run build

FROM debian:12.12-slim
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
