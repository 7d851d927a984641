# Builds from a checkout alone: the queries are checked against sqlx-data.json, not a database.
FROM rust:1.95-bookworm AS build
WORKDIR /payonce
COPY . .
RUN cargo build --release --locked --bin payonce

FROM node:20-bookworm-slim AS page
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm install --no-save --no-audit --no-fund
COPY web .
RUN npm run build

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home payonce
COPY --from=build /payonce/target/release/payonce /usr/local/bin/payonce
COPY --from=page /web/out /usr/share/payonce/page
ENV PAYONCE_PAGE__DIR=/usr/share/payonce/page
USER payonce
EXPOSE 4000
# Without DATABASE_URL it would look for a Postgres of its own, which this image does not have.
ENTRYPOINT ["payonce"]
CMD ["serve"]
