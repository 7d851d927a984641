//! A payment that was asked for by somebody other than its payer says by whom.

use serde_json::{Value, json};

use crate::harness::{
    App, hs256, id_of, now, operator, operator_called, owner_of, payment, payment_of, refund,
    request_for_money,
};

async fn send(app: &App, who: &str, body: &Value) -> crate::harness::Answer {
    app.ask(Some(who), "PUT", "/send_payment", Some(body)).await
}

#[tokio::test]
async fn what_an_operator_pays_for_somebody_says_who_asked() {
    let app = App::start_with_tokens(2).await;
    let paid = send(&app, &operator_called("kim@example"), &payment(1, 2, 10, "k")).await;
    paid.assert_paid();
    assert_eq!(paid.json["by"], "kim@example");
    assert!(paid.text.ends_with(",\"by\":\"kim@example\"}"), "{}", paid.text);
    for who in [owner_of(1), owner_of(2), operator()] {
        let read =
            app.ask(Some(&who), "GET", &format!("/payments/{}", id_of(&paid.json)), None).await;
        assert_eq!(read.json["by"], "kim@example");
    }
    for account in [1, 2] {
        let path = format!("/payment_history/{account}?limit=1");
        let history = app.ask(Some(&owner_of(account)), "GET", &path, None).await;
        assert_eq!(history.json[0]["by"], "kim@example");
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn what_a_payer_pays_himself_says_nothing_of_it() {
    let app = App::start_with_tokens(2).await;
    // An operator's token, of one who is the payer.
    let paid = [
        send(&app, &owner_of(1), &payment(1, 2, 10, "one")).await,
        send(&app, &operator_called("1"), &payment(1, 2, 10, "two")).await,
    ];
    for paid in paid {
        paid.assert_paid();
        assert_eq!(paid.json.get("by"), None, "{}", paid.text);
    }
    let of_another = send(&app, &operator_called("2"), &payment(1, 2, 10, "three")).await;
    assert_eq!(of_another.json["by"], "2");
    app.database.assert_sound();
}

#[tokio::test]
async fn an_operator_without_a_name_and_a_service_without_tokens_have_none_to_tell() {
    let app = App::start_with_tokens(2).await;
    for (n, claims) in [
        json!({"scope": "operator", "exp": now() + 600}),
        json!({"scope": "operator", "exp": now() + 600, "sub": null}),
    ]
    .iter()
    .enumerate()
    {
        let paid = send(&app, &hs256(claims), &payment(1, 2, 10, &format!("k{n}"))).await;
        paid.assert_paid();
        assert_eq!(paid.json.get("by"), None, "{}", paid.text);
    }
    let open = App::start().await;
    open.open_many(2, 1_000).await;
    let paid = open.pay(1, 2, 10, "k").await;
    assert_eq!(paid.json.get("by"), None, "{}", paid.text);
}

#[tokio::test]
async fn who_asked_is_no_part_of_what_was_asked_for() {
    let app = App::start_with_tokens(2).await;
    let body = payment(1, 2, 10, "k");
    let first = send(&app, &operator_called("kim"), &body).await;
    for again in [owner_of(1), operator_called("lee")] {
        let replayed = send(&app, &again, &body).await;
        assert_eq!(replayed.text, first.text);
        assert!(replayed.is_replay());
    }
    // Also when nothing but the payment is left to tell it.
    app.database.execute("DELETE FROM idempotency_keys").await;
    let replayed = send(&app, &owner_of(1), &body).await;
    assert_eq!(replayed.text, first.text);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_refund_and_the_payment_of_a_request_say_it_too_and_last() {
    let app = App::start_with_tokens(2).await;
    let paid = send(&app, &owner_of(1), &payment(1, 2, 10, "paid")).await.json;
    let back = send(&app, &operator_called("kim"), &refund(&paid, 5, "back")).await;
    let end = format!(",\"refund_of\":\"{}\",\"by\":\"kim\"}}", id_of(&paid));
    assert!(back.text.ends_with(&end), "{}", back.text);
    let body = request_for_money(1, 2, 5);
    let request = app.ask(Some(&owner_of(2)), "POST", "/payment_requests", Some(&body)).await.json;
    let paid = send(&app, &operator_called("kim"), &payment_of(&request)).await;
    let end = format!(",\"payment_request_id\":\"{}\",\"by\":\"kim\"}}", id_of(&request));
    assert!(paid.text.ends_with(&end), "{}", paid.text);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_name_with_any_characters_is_told_as_it_is() {
    let app = App::start_with_tokens(2).await;
    for (n, sub) in
        ["Zoë \"Q\" \\", "\u{202e}mik", "x".repeat(255).as_str()].into_iter().enumerate()
    {
        let paid = send(&app, &operator_called(sub), &payment(1, 2, 1, &format!("k{n}"))).await;
        paid.assert_paid();
        assert_eq!(paid.json["by"], sub);
    }
    app.database.assert_sound();
}
