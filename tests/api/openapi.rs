//! The API document says what the service does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Answer, App, Home, bare_command};

/// The service's own.
fn printed() -> Value {
    document_of(bare_command())
}

/// The playground's, which has more.
fn printed_by_the_playground() -> Value {
    document_of(Home::new().command())
}

fn document_of(mut program: Command) -> Value {
    let output = program.arg("openapi").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_document_is_served_and_printed() {
    let app = App::start().await;
    let served = app.get("/openapi.json").await;
    assert_eq!(served.json["openapi"], "3.1.0");
    assert_eq!(served.json, printed());
}

#[tokio::test]
async fn the_playground_serves_its_own_document_which_is_kept_for_the_page() {
    let home = Home::new();
    let app = home.start();
    let printed = printed_by_the_playground();
    assert_eq!(app.get("/openapi.json").await.json, printed);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/openapi.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept, printed, "web/openapi.json is out of date: run `make openapi`");
}

#[tokio::test]
async fn every_path_of_the_document_exists_and_refuses_what_it_does_not_list() {
    assert_paths_exist(&App::start().await, &printed()).await;
}

#[tokio::test]
async fn so_does_every_path_of_the_playgrounds_document() {
    let home = Home::new();
    assert_paths_exist(&home.start(), &printed_by_the_playground()).await;
}

#[tokio::test]
async fn the_playgrounds_document_has_the_faults_besides_and_the_services_has_not() {
    let (service, playground) = (printed(), printed_by_the_playground());
    let paths = |document: &Value| -> BTreeSet<String> {
        document["paths"].as_object().unwrap().keys().cloned().collect()
    };
    let more: Vec<String> = paths(&playground).difference(&paths(&service)).cloned().collect();
    assert_eq!(more, ["/playground/cluster", "/playground/crash", "/playground/failover"]);
    assert!(paths(&service).is_subset(&paths(&playground)));
    assert!(!service.to_string().contains("crash"));
    assert!(!service.to_string().contains("failover"));
}

async fn assert_paths_exist(app: &App, document: &Value) {
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{user}", "1").replace("{id}", "1").replace("{code}", "internal");
        // No path takes it.
        let answer = Answer::of(app.request("PATCH", &path)).await;
        answer.assert_problem(405, "method_not_allowed");
        let allowed = answer.headers["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<&str> = allowed.split(", ").filter(|it| *it != "head").collect();
        let listed: BTreeSet<&str> = methods.as_object().unwrap().keys().map(|it| &**it).collect();
        assert_eq!(allowed, listed, "{path}");
    }
}

#[tokio::test]
async fn every_route_refuses_parameters_that_it_does_not_list_and_those_that_are_there_twice() {
    let app = App::start().await;
    let mut routes = 0;
    for (path, methods) in printed()["paths"].as_object().unwrap() {
        let path = path.replace("{user}", "1").replace("{id}", "1").replace("{code}", "internal");
        for (method, operation) in methods.as_object().unwrap() {
            let listed = operation["parameters"].as_array().into_iter().flatten();
            let listed = listed.filter(|it| it["in"] == "query");
            let names: Vec<&str> = listed.map(|it| it["name"].as_str().unwrap()).collect();
            let twice = names.iter().map(|name| (*name, format!("{name}=1&{name}=1")));
            let unknown = [("dry_run", "dry_run=true"), ("after ", "after%20=1"), ("", "=")];
            let unknown = unknown.map(|(name, query)| (name, query.to_owned()));
            for (name, query) in twice.chain(unknown) {
                let target = format!("{path}?{query}");
                let request = app.request(&method.to_uppercase(), &target);
                let answer = Answer::of(request.json(&json!({}))).await;
                answer.assert_problem(400, "invalid_request");
                let detail = answer.json["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("{name:?}")), "{method} {target}: {detail}");
            }
            routes += 1;
        }
    }
    assert!(routes > 10, "{routes}");
    // Routes that the document leaves out take none.
    app.get("/docs/swagger-ui.css?v=1").await.assert_problem(400, "invalid_request");
    assert_eq!(Answer::of(app.request("HEAD", "/accounts?x")).await.status, 400);
    assert_eq!(Answer::of(app.request("HEAD", "/accounts?limit=1")).await.status, 200);
    // A method that a path does not take is refused as that, and a path that is not there as that.
    Answer::of(app.request("DELETE", "/accounts?x"))
        .await
        .assert_problem(405, "method_not_allowed");
    app.get("/nowhere?x").await.assert_problem(404, "not_found");
    assert_eq!(app.get("/health/live?").await.status, 200);
}

#[tokio::test]
async fn answers_have_the_members_that_their_schemas_list() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let schemas = printed()["components"]["schemas"].clone();
    let assert_shape = |value: &Value, schema: &str| {
        let shape = &schemas[schema];
        let has: BTreeSet<&str> = value.as_object().unwrap().keys().map(|it| &**it).collect();
        let listed: BTreeSet<&str> =
            shape["properties"].as_object().unwrap().keys().map(|it| &**it).collect();
        let required: BTreeSet<&str> = shape["required"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| it.as_str().unwrap())
            .collect();
        assert_eq!(has, required, "{schema}: every member is always there");
        // But for those that are there only where they have something to say.
        let sometimes: Vec<&str> = listed.difference(&required).copied().collect();
        assert_eq!(sometimes, said_sometimes(schema), "{schema}");
    };
    let paid = app.pay(1, 2, 5, "k").await;
    assert_shape(&paid.json, "Payment");
    assert_shape(&app.get("/payment_history/2").await.json[0], "Payment");
    assert_shape(&app.get("/accounts/1").await.json, "Account");
    assert_shape(&app.post("/accounts", &json!({})).await.json, "Account");
    let statement =
        app.request("GET", "/accounts/1/statement").header("accept", "application/json");
    assert_shape(&Answer::of(statement).await.json, "Statement");
    assert_shape(&app.get("/accounts").await.json[0], "NamedAccount");
    assert_shape(&app.get("/health/live").await.json, "Health");
    assert_shape(&app.get("/nowhere").await.json, "Problem");
    assert_shape(&app.ask_for_money(1, 2, 5).await, "PaymentRequest");
    assert_shape(&app.get("/payment_requests?account=1").await.json[0], "PaymentRequest");
    let webhook = json!({"url": "https://receiver.example/"});
    assert_eq!(app.post("/webhooks", &webhook).await.status, 201);
    assert_shape(&app.get("/webhooks").await.json[0], "Webhook");
}

/// The members of a schema that are not in every answer, by name.
fn said_sometimes(schema: &str) -> &'static [&'static str] {
    match schema {
        "Payment" => &["by", "payment_request_id", "refund_of", "refunded"],
        "Account" => &["at", "status"],
        "Problem" => &["created_at", "id"],
        "Webhook" => &["secret"],
        _ => &[],
    }
}

#[tokio::test]
async fn the_document_lists_the_routes_of_the_contract() {
    let document = printed();
    let listed: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    for route in [
        "put /send_payment",
        "put /send_payments",
        "put /voided_keys",
        "get /payments",
        "get /payments/{id}",
        "post /payment_requests",
        "get /payment_requests",
        "get /payment_requests/{id}",
        "post /payment_requests/{id}/decline",
        "post /payment_requests/{id}/cancel",
        "put /accounts/{id}/status",
        "get /accounts/{id}/statement",
        "post /webhooks",
        "get /webhooks",
        "put /webhooks/{id}",
        "delete /webhooks/{id}",
        "get /accounts/{id}/events",
    ] {
        assert!(listed.contains(route), "{route}");
    }
}

#[tokio::test]
async fn the_examples_can_be_sent_as_they_are() {
    let home = Home::new();
    let app = home.start();
    let document = printed_by_the_playground();
    let paths = document["paths"].as_object().unwrap();
    let mut operations: Vec<(&String, &String, &Value)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, it)| (method, path, it))
        })
        .collect();
    // A request that was declined cannot be taken back: there are two.
    let ask = json!({"from": 2, "to": 1, "amount": 1});
    let asked = app.request("POST", "/payment_requests").header("idempotency-key", "taken-back");
    assert_eq!(Answer::of(asked.json(&ask)).await.status, 201);
    // The ids of webhooks are drawn.
    let webhook = app.post("/webhooks", &json!({"url": "https://receiver.example/"})).await.json;
    // A payment is made before it is read.
    operations.sort_by_key(|(method, ..)| *method != "put");
    for (method, path, operation) in operations {
        let mut path = path.clone();
        let (mut query, mut headers) = (Vec::new(), Vec::new());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let example = &parameter["example"];
            let name = parameter["name"].as_str().unwrap();
            let mut text = example.as_str().map_or(example.to_string(), str::to_owned);
            if path == "/webhooks/{id}" {
                webhook["id"].as_str().unwrap().clone_into(&mut text);
            }
            match parameter["in"].as_str().unwrap() {
                "path" => path = path.replace(&format!("{{{name}}}"), &text),
                _ if example.is_null() => assert_ne!(parameter["required"], true, "{path} {name}"),
                "query" => query.push(format!("{name}={text}")),
                _ => headers.push((name.to_owned(), text)),
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut request = app.request(&method.to_uppercase(), &path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        assert_eq!(body.is_null(), operation["requestBody"].is_null(), "{method} {path}");
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16().to_string();
        let success = operation["responses"].as_object().unwrap().keys().next().unwrap();
        // What succeeds may have no end.
        assert_eq!(status, *success, "{method} {path}");
    }
}

/// Every code of the document, with the status that it has.
fn codes(document: &Value) -> BTreeSet<(String, String)> {
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|methods| methods.as_object().unwrap().values());
    let responses = operations.flat_map(|operation| operation["responses"].as_object().unwrap());
    let mut codes = BTreeSet::new();
    for (status, response) in responses {
        let schema = &response["content"]["application/problem+json"]["schema"];
        for code in
            schema["allOf"][1]["properties"]["code"]["enum"].as_array().into_iter().flatten()
        {
            codes.insert((status.clone(), code.as_str().unwrap().to_owned()));
        }
    }
    codes
}

#[tokio::test]
async fn the_document_names_the_codes_of_the_contract_and_each_has_a_page() {
    let app = App::start().await;
    let codes = codes(&printed());
    let named = |status: &str| -> Vec<&str> {
        codes.iter().filter(|(of, _)| of == status).map(|(_, code)| &**code).collect()
    };
    assert_eq!(named("400"), ["idempotency_key_missing", "invalid_request"]);
    assert_eq!(named("401"), ["unauthenticated"]);
    assert_eq!(named("403"), ["forbidden"]);
    assert_eq!(
        named("404"),
        [
            "account_not_found",
            "not_found",
            "payment_not_found",
            "payment_request_not_found",
            "webhook_not_found"
        ]
    );
    assert_eq!(named("408"), ["request_timeout"]);
    assert_eq!(
        named("409"),
        ["account_exists", "request_in_progress", "request_not_open", "similar_payment"]
    );
    assert_eq!(named("413"), ["body_too_large"]);
    assert_eq!(named("415"), ["unsupported_media_type"]);
    let unprocessable = [
        "account_closed",
        "account_frozen",
        "account_not_empty",
        "balance_limit",
        "idempotency_key_reused",
        "idempotency_key_voided",
        "insufficient_funds",
        "invalid_amount",
        "not_refundable",
        "refund_exceeds_payment",
        "request_mismatch",
        "same_account",
    ];
    assert_eq!(named("422"), unprocessable);
    assert_eq!(named("429"), ["rate_limited"]);
    assert_eq!(named("500"), ["internal"]);
    assert_eq!(named("503"), ["account_busy", "database_unavailable", "overloaded"]);
    // The document lists what an operation answers; this is what an unknown method of a path gets.
    for code in codes.iter().map(|(_, code)| &**code).chain(["method_not_allowed"]) {
        let page = app.get(&format!("/problems/{code}")).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        assert!(page.text.contains(&format!("<code>{code}</code>")), "{}", page.text);
    }
}

#[tokio::test]
async fn the_document_can_be_read_in_a_browser_with_nothing_from_elsewhere() {
    let app = App::start().await;
    for path in ["/docs", "/docs/"] {
        let page = app.get(path).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("swagger-ui"), "{}", page.text);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        let parts: Vec<&str> = ["src=\"", "href=\""]
            .iter()
            .flat_map(|attribute| page.text.split(attribute).skip(1))
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(parts.len() >= 5, "{parts:?}");
        for part in parts {
            assert!(part.starts_with("/docs/"), "{part}");
            assert_eq!(app.get(part).await.status, 200, "{part}");
        }
    }
    let settings = app.get("/docs/swagger-initializer.js").await;
    assert!(settings.text.contains("\"/openapi.json\""), "{}", settings.text);
    app.get("/docs/none.js").await.assert_problem(404, "not_found");
}
