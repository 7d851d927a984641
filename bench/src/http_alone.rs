//! HTTP alone: the least that a server on the same framework does for a payment. It parses the same body
//! and answers as many bytes, with no database, no middleware and no log. The service's time per payment
//! beside its own shows the cost of all the rest.

use std::net::TcpListener;

use actix_web::http::header::ContentType;
use actix_web::web::{self, Json};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Result;
use serde::Deserialize;

/// The command of this program that serves so, as a process that the meter can tell from others.
pub const COMMAND: &str = "http-alone";

/// A payment as the service answers it, byte for byte, to the requests of `requests.lua`.
const ANSWER: &str = concat!(
    r#"{"id":"0fc38bf5-9597-86f0-b04b-6ef81d0f62fc","from_id":31415,"to_id":27182,"amount":1,"note":null,"#,
    r#""created_at":"2026-11-23T04:48:03.632115Z","requested_at":null,"balance_after":1000000}"#,
);

/// The body that `requests.lua` sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    from: i64,
    to: i64,
    amount: i64,
    idempotency_key: String,
}

/// Serves on a free port of 127.0.0.1, which it prints as the service does, with as many workers as the
/// service has by default, until a signal ends it.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(|| App::new().route("/send_payment", web::put().to(answer)))
        .shutdown_timeout(1)
        .listen(listener)?
        .run();
    println!("payonce listens on http://{address}");
    Ok(server.await?)
}

async fn answer(Json(body): Json<Body>) -> HttpResponse {
    if body.from == body.to || body.amount < 1 || body.idempotency_key.is_empty() {
        return HttpResponse::UnprocessableEntity().finish();
    }
    HttpResponse::Ok().content_type(ContentType::json()).body(ANSWER)
}
