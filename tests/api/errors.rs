//! Bad input gets a clear error, the documented one, and changes nothing.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Answer, App, payment};

fn with(field: &str, value: Value) -> Value {
    let mut body = payment(1, 2, 10, "k");
    body[field] = value;
    body
}

fn without(field: &str) -> Value {
    let mut body = payment(1, 2, 10, "k");
    body.as_object_mut().unwrap().remove(field);
    body
}

#[tokio::test]
async fn every_malformed_payment_gets_its_code_and_is_not_stored() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let kept = "SELECT (SELECT count(*) FROM payments) + (SELECT count(*) FROM idempotency_keys)";
    let before = app.database.count(kept).await;
    let long_key = "k".repeat(256);
    let long_note = "n".repeat(281);
    for (body, status, code) in [
        (without("from"), 400, "invalid_request"),
        (without("to"), 400, "invalid_request"),
        (without("amount"), 400, "invalid_request"),
        (without("idempotency_key"), 400, "idempotency_key_missing"),
        (with("idempotency_key", Value::Null), 400, "idempotency_key_missing"),
        (with("extra", json!(1)), 400, "invalid_request"),
        (with("from", json!("1")), 400, "invalid_request"),
        (with("from", json!(1.0)), 400, "invalid_request"),
        (with("from", json!(-1)), 400, "invalid_request"),
        (with("to", json!(9_007_199_254_740_992_i64)), 400, "invalid_request"),
        (with("to", Value::Null), 400, "invalid_request"),
        (with("amount", json!("10")), 400, "invalid_request"),
        (with("amount", json!(10.5)), 400, "invalid_request"),
        (with("amount", json!(1e3)), 400, "invalid_request"),
        (with("amount", json!(true)), 400, "invalid_request"),
        (with("amount", json!([10])), 400, "invalid_request"),
        (with("amount", json!(0)), 422, "invalid_amount"),
        (with("amount", json!(-5)), 422, "invalid_amount"),
        (with("amount", json!(9_007_199_254_740_992_i64)), 422, "invalid_amount"),
        (with("amount", json!(u64::MAX)), 422, "invalid_amount"),
        (with("to", json!(1)), 422, "same_account"),
        (with("to", json!(99)), 404, "account_not_found"),
        (with("from", json!(99)), 404, "account_not_found"),
        (with("idempotency_key", json!("")), 400, "invalid_request"),
        (with("idempotency_key", json!(long_key)), 400, "invalid_request"),
        (with("idempotency_key", json!("two words")), 400, "invalid_request"),
        (with("idempotency_key", json!("schlüssel")), 400, "invalid_request"),
        (with("idempotency_key", json!("nul\0")), 400, "invalid_request"),
        (with("idempotency_key", json!(7)), 400, "invalid_request"),
        (with("note", json!(long_note)), 400, "invalid_request"),
        (with("note", json!("line\nbreak")), 400, "invalid_request"),
        (with("note", json!("nul\0")), 400, "invalid_request"),
        (with("note", json!("\u{85}")), 400, "invalid_request"),
        (with("note", json!(7)), 400, "invalid_request"),
        (with("created_at", json!("yesterday")), 400, "invalid_request"),
        (with("created_at", json!("2026-02-30T00:00:00Z")), 400, "invalid_request"),
        (with("created_at", json!("2026-11-22T12:00:00")), 400, "invalid_request"),
        (with("created_at", json!(1.5)), 400, "invalid_request"),
        (with("created_at", json!(i64::MAX)), 400, "invalid_request"),
        (with("refund_of", json!("paid")), 400, "invalid_request"),
        (with("refund_of", json!(7)), 400, "invalid_request"),
        (with("payment_request_id", json!("asked")), 400, "invalid_request"),
        (with("payment_request_id", json!(7)), 400, "invalid_request"),
        (with("unless_similar_within_seconds", json!(0)), 400, "invalid_request"),
        (with("unless_similar_within_seconds", json!(3_601)), 400, "invalid_request"),
        (with("unless_similar_within_seconds", json!("60")), 400, "invalid_request"),
        (with("by", json!("me")), 400, "invalid_request"),
        (with("refunded", json!(0)), 400, "invalid_request"),
        // The fields of a payment in their order.
        (json!([1, 2, 10, null, "k", null]), 400, "invalid_request"),
        (Value::Null, 400, "invalid_request"),
    ] {
        let answer = app.send_payment(&body).await;
        assert_eq!(
            (answer.status, answer.json["code"].as_str()),
            (status, Some(code)),
            "{body}: {}",
            answer.text
        );
        answer.assert_problem(status, code);
    }
    assert_eq!(app.database.count(kept).await, before);
    app.database.assert_sound();
}

#[tokio::test]
async fn text_that_is_not_json_is_refused() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for body in [
        "",
        "{",
        "nonsense",
        "{\"from\":1,\"to\":2,\"amount\":1",
        "\u{feff}{}",
        "{\"from\":1,\"from\":2,\"to\":2,\"amount\":1,\"idempotency_key\":\"k\"}",
    ] {
        let request = app
            .request("PUT", "/send_payment")
            .header("content-type", "application/json")
            .body(body);
        Answer::of(request).await.assert_problem(400, "invalid_request");
    }
    let bank = "{\"from\":-0,\"to\":2,\"amount\":1,\"idempotency_key\":\"k\"}";
    let request =
        app.request("PUT", "/send_payment").header("content-type", "application/json").body(bank);
    Answer::of(request).await.assert_problem(400, "invalid_request");
    // A number beyond 64 bits is an integer all the same, and too large.
    let huge =
        "{\"from\":1,\"to\":2,\"amount\":100000000000000000000000000000,\"idempotency_key\":\"k\"}";
    let request =
        app.request("PUT", "/send_payment").header("content-type", "application/json").body(huge);
    Answer::of(request).await.assert_problem(422, "invalid_amount");
    let not_utf8 = app
        .request("PUT", "/send_payment")
        .header("content-type", "application/json")
        .body(vec![b'"', 0xff, b'"']);
    Answer::of(not_utf8).await.assert_problem(400, "invalid_request");
    assert_eq!(app.database.payments().await, 0);
}

#[tokio::test]
async fn what_is_at_the_edge_of_a_limit_is_accepted() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 1, &"~".repeat(255));
    body["note"] = json!("\u{1F600}".repeat(280));
    app.send_payment(&body).await.assert_paid();
    let mut body = payment(1, 2, 1, "!");
    body["note"] = json!("");
    assert_eq!(app.send_payment(&body).await.json["note"], Value::Null);
    for time in [
        json!("0001-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:59.999999Z"),
        json!(0),
        json!(-1),
        Value::Null,
    ] {
        let mut body = payment(1, 2, 1, &format!("t{}", time.to_string().replace(['"', ' '], "")));
        body["created_at"] = time;
        app.send_payment(&body).await.assert_paid();
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn a_client_time_keeps_its_microseconds_and_may_be_in_milliseconds() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for (given, kept) in [
        (json!("2026-11-22T12:00:00Z"), "2026-11-22T12:00:00.000000Z"),
        (json!("2026-11-22T12:00:00.123456+02:00"), "2026-11-22T10:00:00.123456Z"),
        (json!(1_763_812_800_123_i64), "2025-11-22T12:00:00.123000Z"),
    ] {
        let mut body = payment(1, 2, 1, &format!("k-{kept}"));
        body["created_at"] = given;
        assert_eq!(app.send_payment(&body).await.json["requested_at"], kept);
    }
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_too_large() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 1, "k");
    body["note"] = json!("n".repeat(10_000_000));
    app.send_payment(&body).await.assert_problem(413, "body_too_large");
    app.pay(1, 2, 1, "k").await.assert_paid();
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_given_up() {
    // The head is to arrive in time, also on a busy machine.
    let app = App::start_with(&[("PAYONCE_SERVER__READ_TIMEOUT_MS", "1500")]).await;
    let address = app.base.strip_prefix("http://").unwrap();
    let mut wire = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "PUT /send_payment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"from\":1,";
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let bytes = wire.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..bytes]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_unsupported() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let body = payment(1, 2, 1, "k").to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml"] {
        let request = app
            .request("PUT", "/send_payment")
            .header("content-type", media_type)
            .body(body.clone());
        Answer::of(request).await.assert_problem(415, "unsupported_media_type");
    }
    Answer::of(app.request("PUT", "/send_payment").body(body.clone()))
        .await
        .assert_problem(415, "unsupported_media_type");
    for media_type in [
        "application/json; charset=utf-8",
        "application/json ; charset=utf-8",
        "Application/JSON;\tCharset=\"UTF-8\" ;",
        "application/json;version=1",
    ] {
        let declared = app.request("PUT", "/send_payment").header("content-type", media_type);
        Answer::of(declared.body(body.clone())).await.assert_paid();
    }
    assert_eq!(app.database.payments().await, 1);
}

#[tokio::test]
async fn a_body_in_another_encoding_than_it_is_read_in_is_unsupported() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let send = async |headers: &[(&'static str, &'static str)]| {
        let mut request = app.request("PUT", "/send_payment");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.body(payment(1, 2, 1, "k").to_string())).await
    };
    let json = ("content-type", "application/json");
    for charset in ["latin1", "utf-16", "", "\"utf-8"] {
        let declared = format!("application/json; charset={charset}").leak();
        send(&[("content-type", declared)]).await.assert_problem(415, "unsupported_media_type");
    }
    for malformed in
        ["application/json; charset", "application/json, text/plain", "application/json utf-8"]
    {
        send(&[("content-type", malformed)]).await.assert_problem(415, "unsupported_media_type");
    }
    send(&[json, ("content-type", "text/plain")])
        .await
        .assert_problem(415, "unsupported_media_type");
    for coding in ["gzip", "br", "GZIP", "identity, gzip", "x-unheard-of"] {
        let refused = send(&[json, ("content-encoding", coding)]).await;
        refused.assert_problem(415, "unsupported_media_type");
        assert_eq!(refused.header("accept-encoding"), Some("identity"));
        let twice = [json, ("content-encoding", "identity"), ("content-encoding", coding)];
        send(&twice).await.assert_problem(415, "unsupported_media_type");
    }
    assert_eq!(app.database.payments().await, 0);
    send(&[json, ("content-encoding", "Identity")]).await.assert_paid();
}

#[tokio::test]
async fn an_unknown_parameter_pays_nothing() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let request = app.request("PUT", "/send_payment?dry_run=true").json(&payment(1, 2, 1, "k"));
    let refused = Answer::of(request).await;
    refused.assert_problem(400, "invalid_request");
    assert!(refused.text.contains("dry_run"), "{}", refused.text);
    assert_eq!(app.database.payments().await, 0);
}

#[tokio::test]
async fn an_error_about_a_time_or_an_account_names_the_field() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for (body, named) in [
        (with("created_at", json!("yesterday")), "created_at: a timestamp is"),
        (with("created_at", json!(i64::MAX)), "created_at: a timestamp is"),
        (with("created_at", json!(1.5)), "created_at: 1.5 is not"),
        (with("created_at", json!([])), "created_at: [] is not"),
        (with("from", json!(-1)), "from: an account id is"),
        (with("to", json!(-1)), "to: an account id is"),
        (with("refund_of", json!("x")), "refund_of"),
        (with("payment_request_id", json!("x")), "payment_request_id"),
        (with("unless_similar_within_seconds", json!(0)), "unless_similar_within_seconds"),
    ] {
        let refused = app.send_payment(&body).await;
        refused.assert_problem(400, "invalid_request");
        assert!(refused.json["detail"].as_str().unwrap().starts_with(named), "{}", refused.text);
    }
    for (path, named) in [
        ("/payment_history/1?last_seen_timestamp=yesterday", "last_seen_timestamp: a timestamp is"),
        ("/payment_history/x", "user: an account id is"),
        ("/accounts/x", "id: an account id is"),
        ("/accounts?after=x", "after: an account id is"),
        ("/accounts?ids=1,x", "ids: an account id is"),
        ("/payments?from=x&idempotency_key=k", "from: an account id is"),
        ("/payment_requests?account=x", "account: an account id is"),
        (
            "/payment_requests?account=1&last_seen_timestamp=yesterday",
            "last_seen_timestamp: a timestamp is",
        ),
    ] {
        let refused = app.get(path).await;
        refused.assert_problem(400, "invalid_request");
        assert!(refused.json["detail"].as_str().unwrap().starts_with(named), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_body_and_a_query_take_the_same_times() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for (n, (time, is_taken)) in [
        ("0001-01-01T00:00:00Z", true),
        ("0000-12-31T23:59:59.9999999Z", false),
        ("0001-01-01T00:00:00%2B00:01", false),
        ("9999-12-31T23:59:59.9999999Z", true),
        ("9999-12-31T23:59:59.999999999999Z", true),
        ("9999-12-31T23:59:59-00:01", false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = payment(1, 2, 1, &format!("k{n}"));
        body["created_at"] = json!(time.replace("%2B", "+"));
        let in_body = app.send_payment(&body).await.status == 200;
        let in_query =
            app.get(&format!("/payment_history/1?last_seen_timestamp={time}")).await.status == 200;
        assert_eq!((in_body, in_query), (is_taken, is_taken), "{time}");
    }
}

#[tokio::test]
async fn what_others_refuse_for_the_service_is_a_problem_too() {
    let app = App::start().await;
    let preflight = |origin: &str, method: &str, headers: &str| {
        let request = app.request("OPTIONS", "/send_payment").header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", method);
        request.header("Access-Control-Request-Headers", headers)
    };
    let ours = "http://localhost:3000";
    for (origin, method, headers) in [
        ("http://evil.example", "PUT", "content-type"),
        (ours, "PATCH", "content-type"),
        (ours, "PUT", "x-anything"),
    ] {
        let refused = Answer::of(preflight(origin, method, headers)).await;
        refused.assert_problem(400, "invalid_request");
        assert_eq!(refused.header("cache-control"), Some("no-store"));
        assert_eq!(refused.header("access-control-allow-methods"), None);
    }
    // A path that is no text.
    app.get("/accounts/%ff").await.assert_problem(400, "invalid_request");
    app.get("/payment_history/%c3%28").await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let app = App::start().await;
    for path in
        ["/", "/send", "/payment_history", "/payment_history/", "/accounts/1/2", "/../etc/passwd"]
    {
        app.get(path).await.assert_problem(404, "not_found");
    }
    for (method, path, allow) in [
        ("POST", "/send_payment", "PUT"),
        ("GET", "/send_payment", "PUT"),
        ("PUT", "/payment_history/1", "GET, HEAD"),
        ("DELETE", "/accounts", "GET, HEAD, POST"),
        ("DELETE", "/accounts/1", "GET, HEAD"),
        ("GET", "/accounts/1/status", "PUT"),
        ("POST", "/send_payments", "PUT"),
        ("GET", "/voided_keys", "PUT"),
        ("POST", "/payments", "GET, HEAD"),
        ("DELETE", "/payment_requests", "GET, HEAD, POST"),
        ("PUT", "/payment_requests/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc", "GET, HEAD"),
        ("GET", "/payment_requests/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc/decline", "POST"),
        ("GET", "/payment_requests/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc/cancel", "POST"),
        ("POST", "/payments/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc", "GET, HEAD"),
        ("POST", "/health/live", "GET, HEAD"),
    ] {
        let answer = Answer::of(app.request(method, path)).await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[tokio::test]
async fn malformed_and_unknown_ids_in_paths_are_told_apart() {
    let app = App::start().await;
    for path in [
        "/accounts/abc",
        "/accounts/-1",
        "/accounts/1.0",
        "/accounts/01",
        "/accounts/%2B1",
        "/payment_history/abc",
        "/payment_history/99999999999999999999",
        "/payments/7",
        "/payment_requests/7",
    ] {
        app.get(path).await.assert_problem(400, "invalid_request");
    }
    app.get("/accounts/404").await.assert_problem(404, "account_not_found");
    app.get("/payments/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc")
        .await
        .assert_problem(404, "payment_not_found");
    app.get("/payment_requests/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc")
        .await
        .assert_problem(404, "payment_request_not_found");
}

#[tokio::test]
async fn a_malformed_opening_opens_nothing() {
    let app = App::start().await;
    for (body, status, code) in [
        (json!({"id": -1}), 400, "invalid_request"),
        (json!({"id": "1"}), 400, "invalid_request"),
        (json!({"name": ""}), 400, "invalid_request"),
        (json!({"name": "x".repeat(101)}), 400, "invalid_request"),
        (json!({"name": "tab\t"}), 400, "invalid_request"),
        (json!({"name": "Ada\u{2028}"}), 400, "invalid_request"),
        (json!({"name": "\u{202e}adA"}), 400, "invalid_request"),
        (json!({"name": "Ada\u{200f}"}), 400, "invalid_request"),
        (json!({"name": "   "}), 400, "invalid_request"),
        (json!({"name": "\u{3164}\u{200b}"}), 400, "invalid_request"),
        (json!({"balance": 5}), 400, "invalid_request"),
        (json!([7, "x", 5]), 400, "invalid_request"),
        (json!({"opening_balance": -5}), 422, "invalid_amount"),
        (json!({"opening_balance": 0.5}), 400, "invalid_request"),
        (json!({"opening_balance": 9_007_199_254_740_992_i64}), 422, "invalid_amount"),
    ] {
        app.post("/accounts", &body).await.assert_problem(status, code);
    }
    assert_eq!(app.database.count("SELECT count(*) FROM accounts").await, 1);
}

#[tokio::test]
async fn a_note_may_turn_the_direction_of_its_text_and_a_name_of_before_is_read() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 1, "k");
    body["note"] = json!("\u{202e}hcnul\u{2028}\u{2069}");
    assert_eq!(app.send_payment(&body).await.json["note"], body["note"]);
    // Version 0.2 took such a name.
    app.database.execute("UPDATE accounts SET name = U&'\\202Eada\\2028' WHERE id = 1").await;
    assert_eq!(app.get("/accounts/1").await.json["name"], "\u{202e}ada\u{2028}");
    assert_eq!(app.get("/accounts?ids=1").await.json[0]["name"], "\u{202e}ada\u{2028}");
}

#[tokio::test]
async fn a_problems_type_leads_to_an_explanation() {
    let app = App::start().await;
    let problem = app.get("/nowhere").await;
    let page = app.get(problem.json["type"].as_str().unwrap()).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("not_found"));
    app.get("/problems/unheard_of").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_database_that_is_gone_is_told_as_unavailable_and_retryable() {
    let app = App::start_with(&[("PAYONCE_WRITER__ATTEMPTS_MAX", "2")]).await;
    app.open_many(2, 1_000).await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    let name = app.database.name();
    let mut elsewhere = app.database.beside("postgres").session().await;
    let gone = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    sqlx::raw_sql(sqlx::AssertSqlSafe(gone)).execute(&mut elsewhere).await.unwrap();
    let killed = format!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(killed)).execute(&mut elsewhere).await.unwrap();

    app.pay(1, 2, 1, "k").await.assert_problem(503, "database_unavailable");
    app.get("/accounts/1").await.assert_problem(503, "database_unavailable");
    app.get("/health/ready").await.assert_problem(503, "database_unavailable");
    assert_eq!(app.get("/health/live").await.status, 200);

    let back = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
    sqlx::raw_sql(sqlx::AssertSqlSafe(back)).execute(&mut elsewhere).await.unwrap();
    app.pay(1, 2, 1, "k").await.assert_paid();
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.database.assert_sound();
}

#[tokio::test]
async fn pages_of_the_allowed_origins_may_read_the_headers_that_explain_an_answer() {
    let app = App::start().await;
    let answer =
        Answer::of(app.request("GET", "/accounts").header("Origin", "http://localhost:3000")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["link", "location", "retry-after", "idempotency-replayed", "server-timing"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert!(answer.header("timing-allow-origin").unwrap().contains("http://localhost:3000"));
    let preflight = app
        .request("OPTIONS", "/send_payment")
        .header("Origin", "http://localhost:3000")
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-type,idempotency-key");
    assert_eq!(Answer::of(preflight).await.status, 200);
    let foreign =
        Answer::of(app.request("GET", "/accounts").header("Origin", "http://evil.example")).await;
    assert_eq!(foreign.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn what_can_be_read_has_a_head() {
    let app = App::start().await;
    let head = Answer::of(app.request("HEAD", "/accounts")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}
