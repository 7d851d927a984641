//! The API document says what the service does.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Answer, App, bare_command};

fn printed() -> Value {
    let output = bare_command().arg("openapi").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_document_is_served_printed_and_kept_for_the_page() {
    let app = App::start().await;
    let served = app.get("/openapi.json").await;
    assert_eq!(served.json["openapi"], "3.1.0");
    assert_eq!(served.json, printed());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/openapi.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept, printed(), "web/openapi.json is out of date: run `make openapi`");
}

#[tokio::test]
async fn every_path_of_the_document_exists_and_refuses_what_it_does_not_list() {
    let app = App::start().await;
    let document = printed();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{user}", "1").replace("{id}", "1").replace("{code}", "internal");
        let answer = Answer::of(app.request("DELETE", &path)).await;
        answer.assert_problem(405, "method_not_allowed");
        let allowed = answer.headers["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<&str> = allowed.split(", ").filter(|it| *it != "head").collect();
        let listed: BTreeSet<&str> = methods.as_object().unwrap().keys().map(|it| &**it).collect();
        assert_eq!(allowed, listed, "{path}");
    }
}

#[tokio::test]
async fn answers_have_the_members_that_their_schemas_list() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let schemas = printed()["components"]["schemas"].clone();
    let assert_shape = |value: &Value, schema: &str| {
        let shape = &schemas[schema];
        let has: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        let listed: BTreeSet<&String> = shape["properties"].as_object().unwrap().keys().collect();
        assert_eq!(has, listed, "{schema}");
        let required = shape["required"].as_array().map_or(0, Vec::len);
        assert_eq!(required, listed.len(), "{schema}: every member is always there");
    };
    let paid = app.pay(1, 2, 5, "k").await;
    assert_shape(&paid.json, "Payment");
    assert_shape(&app.get("/payment_history/2").await.json[0], "Payment");
    assert_shape(&app.get("/accounts/1").await.json, "Account");
    assert_shape(&app.post("/accounts", &json!({})).await.json, "Account");
    assert_shape(&app.get("/accounts").await.json[0], "NamedAccount");
    assert_shape(&app.get("/health/live").await.json, "Health");
    assert_shape(&app.get("/nowhere").await.json, "Problem");
}
