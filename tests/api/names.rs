//! People are found by the beginning of a name.

use serde_json::{Value, json};

use crate::harness::{App, operator, owner_of};

/// Accounts with these names, from id 1 on.
async fn start(names: &[&str]) -> App {
    let app = App::start().await;
    for (n, name) in names.iter().enumerate() {
        let opened = app.post("/accounts", &json!({"id": n + 1, "name": name})).await;
        assert_eq!(opened.status, 201, "{}", opened.text);
    }
    app
}

/// The ids that a search finds, in their order. `name` as it stands in a query.
async fn found(app: &App, name: &str) -> Vec<u64> {
    let answer = app.get(&format!("/accounts?name={name}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json.as_array().unwrap().iter().map(|it| it["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn names_are_found_by_their_beginning_whatever_the_case_and_sorted() {
    let app = start(&["Eva", "ADAM", "Ada", "ada lovelace", "Ida", "Adele", "Ada"]).await;
    let answer = app.get("/accounts?name=aDa").await;
    assert_eq!(
        answer.json,
        json!([
            {"id": 3, "name": "Ada"}, {"id": 7, "name": "Ada"}, {"id": 4, "name": "ada lovelace"},
            {"id": 2, "name": "ADAM"},
        ])
    );
    assert_eq!(answer.header("link"), None);
    assert_eq!(found(&app, "ad").await, [3, 7, 4, 2, 6]);
    assert_eq!(found(&app, "ada%20l").await, [4]);
    assert_eq!(found(&app, "ada+l").await, [4]);
    assert_eq!(found(&app, "da").await, Vec::<u64>::new());
    assert_eq!(found(&app, "x").await, Vec::<u64>::new());
}

#[tokio::test]
async fn letters_of_any_language_are_found() {
    let app = start(&["Émile", "émilie", "Zoë", "ΣΟΦΙΑ", "李小龙", "Emil"]).await;
    assert_eq!(found(&app, "émi").await, [1, 2]);
    assert_eq!(found(&app, "ÉMI").await, [1, 2]);
    assert_eq!(found(&app, "zOË").await, [3]);
    assert_eq!(found(&app, "李").await, [5]);
    assert_eq!(found(&app, "emi").await, [6]);
}

#[tokio::test]
async fn characters_that_mean_something_in_a_pattern_mean_themselves() {
    let app = start(&["100% Ada", "1000 Ada", "a_b", "axb", "a\\b", "a%b", "'; DROP"]).await;
    assert_eq!(found(&app, "100%25").await, [1]);
    assert_eq!(found(&app, "%25").await, Vec::<u64>::new());
    assert_eq!(found(&app, "_").await, Vec::<u64>::new());
    assert_eq!(found(&app, "a_").await, [3]);
    assert_eq!(found(&app, "a%5C").await, [5]);
    assert_eq!(found(&app, "a%25").await, [6]);
    assert_eq!(found(&app, "'%3B").await, [7]);
}

#[tokio::test]
async fn a_name_before_the_last_of_all_letters_is_found_too() {
    // What follows a beginning is no letter that a comparison could put behind it.
    let app = start(&["z", "z\u{10ffff}z", "z\u{ffff}", "\u{10ffff}a", "zz"]).await;
    assert_eq!(found(&app, "z").await.len(), 4);
    assert_eq!(found(&app, "z%F4%8F%BF%BF").await, [2]);
    assert_eq!(found(&app, "%F4%8F%BF%BF").await, [4]);
}

#[tokio::test]
async fn ten_are_found_or_as_many_as_are_asked_for() {
    let names: Vec<String> = (0..30).map(|n| format!("Kim {n:02}")).collect();
    let app = start(&names.iter().map(|it| &**it).collect::<Vec<_>>()).await;
    assert_eq!(found(&app, "kim").await, (1..=10).collect::<Vec<_>>());
    assert_eq!(found(&app, "kim&limit=1").await, [1]);
    assert_eq!(found(&app, "kim&limit=100").await, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_search_that_is_asked_for_wrongly_is_refused() {
    let app = start(&["Ada"]).await;
    let long = "x".repeat(101);
    for query in [
        "name=",
        &format!("name={long}"),
        "name=ada&after=1",
        "name=ada&ids=1",
        "name=ada&limit=0",
        "name=ada&limit=101",
        "name=ada&limit=x",
        "name=ada&name=eva",
        "name=%00",
    ] {
        let refused = app.get(&format!("/accounts?{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text);
        refused.assert_problem(400, "invalid_request");
    }
    assert_eq!(found(&app, &"x".repeat(100)).await, Vec::<u64>::new());
}

#[tokio::test]
async fn accounts_without_a_name_and_the_bank_are_found_by_none() {
    let app = start(&["Ada"]).await;
    app.open(2, 0).await;
    for name in ["a", "b", "n", "null", "2", "0"] {
        let ids = found(&app, name).await;
        assert!(ids.iter().all(|id| *id == 1), "{name}: {ids:?}");
    }
}

#[tokio::test]
async fn holders_find_ten_at_most_and_list_nobody_else() {
    let app = App::start_with_tokens(2).await;
    for n in 0..12 {
        let body = json!({"name": format!("Kim {n:02}")});
        app.ask(Some(&operator()), "POST", "/accounts", Some(&body)).await;
    }
    let get = async |who: &str, path: &str| app.ask(Some(who), "GET", path, None).await;
    let count = |answer: &crate::harness::Answer| answer.json.as_array().map_or(0, Vec::len);
    let me = owner_of(1);
    assert_eq!(count(&get(&me, "/accounts?name=kim").await), 10);
    assert_eq!(count(&get(&me, "/accounts?name=kim&limit=10").await), 10);
    get(&me, "/accounts?name=kim&limit=11").await.assert_problem(400, "invalid_request");
    assert_eq!(count(&get(&me, "/accounts?ids=1,2,3").await), 3);
    for path in ["/accounts", "/accounts?after=5", "/accounts?limit=1"] {
        get(&me, path).await.assert_problem(403, "forbidden");
    }
    assert_eq!(count(&get(&operator(), "/accounts?name=kim&limit=100").await), 12);
    assert_eq!(count(&get(&operator(), "/accounts").await), 15);
    app.get("/accounts?name=kim").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn what_is_found_has_no_balance() {
    let app = start(&["Ada"]).await;
    let answer = app.get("/accounts?name=ada").await;
    let members: Vec<&String> = answer.json[0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["id", "name"]);
    assert_ne!(answer.json, Value::Null);
}
