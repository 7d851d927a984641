# Builds from a checkout alone: the queries are checked against sqlx-data.json, not a database.
FROM rust:1.95-bookworm AS build
WORKDIR /payonce
COPY . .
RUN cargo build --release --locked --bin payonce

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home payonce
COPY --from=build /payonce/target/release/payonce /usr/local/bin/payonce
USER payonce
EXPOSE 4000
# Without DATABASE_URL it would look for a Postgres of its own, which this image does not have.
ENTRYPOINT ["payonce"]
CMD ["serve"]
