//! Who may do what, and whose word is taken for it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::{
    Answer, App, Database, Home, SECRET, bare_command, command, hs256, now, operator, owner_of,
    payment,
};

const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// `{"alg":"none","typ":"JWT"}`
const HEADER_WITHOUT_SIGNATURE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

fn sign(header: &Header, claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

/// Accounts 1 to 3, and a payment from 1 to 2.
async fn start_with_secret() -> (App, String) {
    let app = App::start_with_tokens(3).await;
    let pay = payment(1, 2, 10, "first");
    let paid = app.ask(Some(&owner_of(1)), "PUT", "/send_payment", Some(&pay)).await;
    paid.assert_paid();
    let id = paid.json["id"].as_str().unwrap().to_owned();
    (app, id)
}

#[tokio::test]
async fn without_tokens_a_page_of_another_site_changes_nothing() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let asked = app.ask_for_money(1, 2, 10).await;
    let path = format!("/payment_requests/{}", crate::harness::id_of(&asked));
    let from = async |site: &str, method: &str, path: &str| {
        Answer::of(app.request(method, path).header("sec-fetch-site", site)).await
    };
    let decline = format!("{path}/decline");
    from("cross-site", "POST", &decline).await.assert_problem(403, "forbidden");
    assert_eq!(from("cross-site", "GET", &path).await.json["status"], "open");
    assert_eq!(from("same-site", "POST", &decline).await.status, 200);
}

#[tokio::test]
async fn everybody_may_do_what_is_his_and_nothing_else() {
    let (app, payment_id) = start_with_secret().await;
    let everybody =
        [None, Some(owner_of(3)), Some(owner_of(1)), Some(owner_of(2)), Some(operator())];
    let (yes, out, no) = ("", "unauthenticated", "forbidden");
    let unseen = "payment_not_found";
    let the_payment = format!("/payments/{payment_id}");
    // Of nobody, a stranger, the payer, the payee and an operator.
    for (method, path, body, answers) in [
        ("PUT", "/send_payment", Some(payment(1, 2, 1, "k")), [out, no, yes, no, yes]),
        ("PUT", "/send_payment", Some(payment(1, 2, 10, "first")), [out, no, yes, no, yes]),
        ("PUT", "/send_payment", Some(payment(1, 0, 1, "b")), [out, no, no, no, yes]),
        ("PUT", "/send_payment", Some(payment(0, 1, 1, "b")), [out, no, no, no, yes]),
        ("GET", "/payment_history/1", None, [out, no, yes, no, yes]),
        ("GET", "/payment_history/2?limit=1", None, [out, no, no, yes, yes]),
        ("GET", "/accounts/1", None, [out, no, yes, no, yes]),
        ("GET", "/accounts/0", None, [out, no, no, no, yes]),
        ("GET", "/accounts", None, [out, no, no, no, yes]),
        ("GET", "/accounts?after=1&limit=2", None, [out, no, no, no, yes]),
        ("GET", "/accounts?name=a", None, [out, yes, yes, yes, yes]),
        ("GET", "/accounts?ids=1,2", None, [out, yes, yes, yes, yes]),
        ("POST", "/accounts", Some(json!({})), [out, no, no, no, yes]),
        ("GET", &the_payment, None, [out, unseen, yes, yes, yes]),
        ("HEAD", "/accounts/1", None, [out, no, yes, no, yes]),
    ] {
        for (who, expected) in everybody.iter().zip(answers) {
            let answer = app.ask(who.as_deref(), method, path, body.as_ref()).await;
            let code = answer.json["code"].as_str().unwrap_or_default();
            if method == "HEAD" {
                assert_eq!(answer.status < 400, expected.is_empty(), "{method} {path}");
            } else {
                assert_eq!(code, expected, "{method} {path} {body:?}: {}", answer.text);
            }
        }
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn only_an_operator_may_break_something_or_see_what_can_be() {
    let home = Home::new();
    let mut command = home.command();
    command.env("PAYONCE_AUTH__MODE", "jwt").env("PAYONCE_AUTH__JWT_SECRET", SECRET);
    let app = App::spawn(command, Database::at(""));
    let crash = async |token: Option<&str>| {
        app.ask(token, "POST", "/playground/crash", Some(&payment(1, 2, 1, "k"))).await
    };
    crash(None).await.assert_problem(401, "unauthenticated");
    crash(Some(&owner_of(2))).await.assert_problem(403, "forbidden");
    // The payee's balance would be in the answer.
    crash(Some(&owner_of(1))).await.assert_problem(403, "forbidden");
    assert_eq!(crash(Some(&operator())).await.status, 200);
    for (method, path) in [("GET", "/playground/cluster"), ("POST", "/playground/failover")] {
        app.ask(None, method, path, None).await.assert_problem(401, "unauthenticated");
        app.ask(Some(&owner_of(1)), method, path, None).await.assert_problem(403, "forbidden");
        assert_eq!(app.ask(Some(&operator()), method, path, None).await.status, 200);
    }
}

#[tokio::test]
async fn what_needs_no_token_takes_none() {
    let (app, _) = start_with_secret().await;
    for path in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/problems/unauthenticated",
    ] {
        assert_eq!(app.get(path).await.status, 200, "{path}");
        let refused = app.ask(Some("nonsense"), "GET", path, None).await;
        assert_eq!(refused.status, 200, "{path} with a token that is not looked at");
    }
    app.get("/nowhere").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn nobody_learns_which_accounts_exist_from_what_is_forbidden() {
    let (app, _) = start_with_secret().await;
    let me = owner_of(1);
    for path in ["/accounts/", "/payment_history/"] {
        let existing = app.ask(Some(&me), "GET", &format!("{path}2"), None).await;
        let missing = app.ask(Some(&me), "GET", &format!("{path}99"), None).await;
        existing.assert_problem(403, "forbidden");
        assert_eq!(existing.text, missing.text);
    }
    let of_another = app.ask(Some(&me), "PUT", "/send_payment", Some(&payment(2, 1, 1, "k"))).await;
    let of_none = app.ask(Some(&me), "PUT", "/send_payment", Some(&payment(99, 1, 1, "k"))).await;
    of_another.assert_problem(403, "forbidden");
    assert_eq!(of_another.text, of_none.text);
}

#[tokio::test]
async fn each_party_sees_its_own_balance_in_a_payment_and_an_operator_none() {
    let (app, id) = start_with_secret().await;
    for (who, balance) in
        [(owner_of(1), json!(990)), (owner_of(2), json!(1_010)), (operator(), Value::Null)]
    {
        let seen = app.ask(Some(&who), "GET", &format!("/payments/{id}"), None).await;
        assert_eq!(seen.json["balance_after"], balance);
    }
}

#[tokio::test]
async fn a_token_that_is_not_to_be_trusted_opens_nothing() {
    let app = App::start_with(&[
        ("PAYONCE_AUTH__MODE", "jwt"),
        ("PAYONCE_AUTH__JWT_SECRET", SECRET),
        ("PAYONCE_AUTH__ISSUER", "https://issuer.example"),
        ("PAYONCE_AUTH__AUDIENCE", "payonce"),
    ])
    .await;
    let claims = |change: Value| {
        let mut claims = json!({
            "sub": "1", "scope": "operator", "exp": now() + 600, "iss": "https://issuer.example",
            "aud": ["other", "payonce"],
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    };
    let good = hs256(&claims(json!({})));
    let payload = good.split('.').nth(1).unwrap();
    let signature = good.split('.').nth(2).unwrap();
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["exp".to_owned()]);
    let bad = [
        ("expired", hs256(&claims(json!({"exp": now() - 1})))),
        ("expired this second", hs256(&claims(json!({"exp": now()})))),
        ("expired at the beginning", hs256(&claims(json!({"exp": 0})))),
        ("without end", hs256(&claims(json!({"exp": null})))),
        ("with an end in words", hs256(&claims(json!({"exp": "tomorrow"})))),
        ("not yet valid", hs256(&claims(json!({"nbf": now() + 600})))),
        ("of another issuer", hs256(&claims(json!({"iss": "https://evil.example"})))),
        ("of no issuer", hs256(&claims(json!({"iss": null})))),
        ("for another audience", hs256(&claims(json!({"aud": "elsewhere"})))),
        ("for no audience", hs256(&claims(json!({"aud": null})))),
        ("of nobody", hs256(&claims(json!({"scope": "read", "sub": null})))),
        ("of no account", hs256(&claims(json!({"scope": "read", "sub": "kim"})))),
        ("of account 1, written otherwise", hs256(&claims(json!({"scope": "", "sub": "01"})))),
        ("of the bank", hs256(&claims(json!({"scope": "", "sub": "0"})))),
        ("of a negative account", hs256(&claims(json!({"scope": "read", "sub": -1})))),
        ("wrongly signed", sign(&Header::new(Algorithm::HS256), &claims(json!({})), OTHER_SECRET)),
        ("signed otherwise", sign(&Header::new(Algorithm::HS512), &claims(json!({})), SECRET)),
        ("with an extension", sign(&critical, &claims(json!({})), SECRET)),
        ("without signature", format!("{HEADER_WITHOUT_SIGNATURE}.{payload}.")),
        ("with a foreign signature", format!("{HEADER_WITHOUT_SIGNATURE}.{payload}.{signature}")),
        ("cut short", format!("{}.{payload}", good.split('.').next().unwrap())),
        ("empty", String::new()),
        ("nonsense", "nonsense".to_owned()),
    ];
    for (what, token) in &bad {
        for (method, path, body) in [
            ("GET", "/accounts", None),
            ("GET", "/accounts/1", None),
            ("GET", "/payment_history/1", None),
            ("GET", "/payments/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc", None),
            ("POST", "/accounts", Some(json!({}))),
            ("PUT", "/send_payment", Some(payment(0, 1, 1, "k"))),
        ] {
            let answer = app.ask(Some(token), method, path, body.as_ref()).await;
            assert_eq!(answer.json["code"], "unauthenticated", "{what}: {method} {path}");
            answer.assert_problem(401, "unauthenticated");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm=\"payonce\""), "{challenge}");
        }
    }
    let accepted = app.ask(Some(&good), "GET", "/accounts", None).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    let expired = app.ask(Some(&bad[0].1), "GET", "/accounts", None).await;
    assert!(expired.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    assert!(expired.json["detail"].as_str().unwrap().contains("expired"), "{}", expired.text);
    assert_eq!(app.database.count("SELECT count(*) FROM accounts").await, 1, "only the bank");
}

#[tokio::test]
async fn only_one_authorization_header_with_a_bearer_token_is_taken() {
    let (app, _) = start_with_secret().await;
    let get = || app.request("GET", "/accounts");
    let with = |header: String| get().header("authorization", header);
    let token = operator();
    for request in [
        get(),
        with("Basic a2ltOnNlY3JldA==".to_owned()),
        with(format!("Token {token}")),
        with(token.clone()),
        with(format!("Bearer {token}")).header("authorization", format!("Bearer {token}")),
    ] {
        Answer::of(request).await.assert_problem(401, "unauthenticated");
    }
    assert_eq!(Answer::of(with(format!("bearer {token}"))).await.status, 200);
}

#[tokio::test]
async fn clocks_that_differ_are_a_setting() {
    let almost = hs256(&json!({"sub": "1", "exp": now() - 20, "nbf": now() + 20}));
    let app = App::start_with(&[
        ("PAYONCE_AUTH__MODE", "jwt"),
        ("PAYONCE_AUTH__JWT_SECRET", SECRET),
        ("PAYONCE_AUTH__CLOCK_SKEW_SECONDS", "600"),
    ])
    .await;
    assert_eq!(app.ask(Some(&almost), "GET", "/accounts?ids=1", None).await.status, 200);
}

/// Somebody who signs with a private key, and publishes the public one.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: &'static str,
}

impl Signer {
    fn es256(kid: &'static str) -> Self {
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        Self { algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(der.as_ref()), kid }
    }

    fn eddsa(kid: &'static str) -> Self {
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let der = Ed25519KeyPair::generate_pkcs8v1(&rng).unwrap();
        Self { algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(der.as_ref()), kid }
    }

    fn rs256(kid: &'static str) -> Self {
        let der: Pkcs8V1Der = KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
        // PKCS #8 is PKCS #1 behind 26 bytes that say so.
        let key = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
        Self { algorithm: Algorithm::RS256, key, kid }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn token(&self) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        self.sign(&header)
    }

    fn sign(&self, header: &Header) -> String {
        let claims = json!({"sub": "1", "exp": now() + 600, "aud": "payonce"});
        self.sign_claims(header, &claims)
    }

    fn sign_claims(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }
}

fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// Publishes a key set, and counts how often it is asked for.
struct Publisher {
    url: String,
    document: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Publisher {
    fn start(document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let document = Arc::new(Mutex::new(document));
        let asked = Arc::new(AtomicUsize::new(0));
        let publisher = Self { url, document: Arc::clone(&document), asked: Arc::clone(&asked) };
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4_096]);
                asked.fetch_add(1, Ordering::Relaxed);
                let body = document.lock().unwrap().clone();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        publisher
    }

    fn publish(&self, document: String) {
        *self.document.lock().unwrap() = document;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn start_with_keys(url: &str, env: &[(&str, &str)]) -> App {
    let mut all = vec![
        ("PAYONCE_AUTH__MODE", "jwt"),
        ("PAYONCE_AUTH__JWKS_URL", url),
        ("PAYONCE_AUTH__AUDIENCE", "payonce"),
    ];
    all.extend(env);
    App::start_with(&all).await
}

async fn is_accepted(app: &App, token: &str) -> bool {
    let answer = app.ask(Some(token), "GET", "/accounts?ids=1", None).await;
    if answer.status != 200 {
        answer.assert_problem(401, "unauthenticated");
    }
    answer.status == 200
}

#[tokio::test]
async fn public_keys_of_every_kind_verify_what_their_owners_signed() {
    let signers = [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")];
    let mut document: Value = serde_json::from_str(&key_set(&signers.each_ref())).unwrap();
    // Keys that are for something else, or that nobody knows yet, are passed over.
    let keys = document["keys"].as_array_mut().unwrap();
    keys.insert(0, json!({"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44", "pub": "x"}));
    let encrypting = Signer::es256("x");
    let mut for_encryption = encrypting.jwk();
    for_encryption["use"] = json!("enc");
    keys.insert(0, for_encryption);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let app = start_with_keys(path.to_str().unwrap(), &[]).await;
    assert!(!is_accepted(&app, &encrypting.token()).await);
    for signer in &signers {
        assert!(is_accepted(&app, &signer.token()).await, "{:?}", signer.algorithm);
        let another = Signer::es256(signer.kid);
        assert!(!is_accepted(&app, &another.token()).await, "the same name is not the same key");
        let nameless = signer.sign(&Header::new(signer.algorithm));
        assert!(!is_accepted(&app, &nameless).await, "it could be any of three keys");
    }
}

#[tokio::test]
async fn only_the_algorithms_of_the_settings_are_taken() {
    let (rsa, ec) = (Signer::rs256("r"), Signer::es256("e"));
    let publisher = Publisher::start(key_set(&[&rsa, &ec]));
    let app =
        start_with_keys(&publisher.url, &[("PAYONCE_AUTH__ALGORITHMS", "ES256, EdDSA")]).await;
    assert!(is_accepted(&app, &ec.token()).await);
    assert!(!is_accepted(&app, &rsa.token()).await);
    assert!(is_accepted(&app, &ec.sign(&Header::new(Algorithm::ES256))).await, "one key is left");
    // Anybody who knows a public key could sign with it as with a secret.
    let public = serde_json::to_string(&rsa.jwk()).unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("r".to_owned());
    let claims = json!({"sub": "1", "scope": "operator", "exp": now() + 600, "aud": "payonce"});
    assert!(!is_accepted(&app, &sign(&header, &claims, &public)).await);
}

#[tokio::test]
async fn a_key_that_is_not_known_is_fetched_at_once_but_not_often() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let publisher = Publisher::start(key_set(&[&old]));
    let pause = ("PAYONCE_AUTH__JWKS_PAUSE_SECONDS", "1");
    let app = start_with_keys(&publisher.url, &[pause]).await;
    assert_eq!(publisher.asked(), 1);
    assert!(is_accepted(&app, &old.token()).await);
    assert_eq!(publisher.asked(), 1, "what is known is not asked for");

    publisher.publish(key_set(&[&old, &new]));
    crate::harness::eventually("the new key is known", async || {
        is_accepted(&app, &new.token()).await
    })
    .await;
    assert_eq!(publisher.asked(), 2);
    assert!(is_accepted(&app, &old.token()).await);
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_service_ask_again_and_again() {
    let (known, unknown) = (Signer::es256("known"), Signer::es256("unknown"));
    let publisher = Publisher::start(key_set(&[&known]));
    let app =
        start_with_keys(&publisher.url, &[("PAYONCE_AUTH__JWKS_PAUSE_SECONDS", "3600")]).await;
    for _ in 0..20 {
        assert!(!is_accepted(&app, &unknown.token()).await);
    }
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn keys_stay_in_use_while_they_cannot_be_fetched_and_go_when_they_are_withdrawn() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let publisher = Publisher::start(key_set(&[&old]));
    let app = start_with_keys(&publisher.url, &[("PAYONCE_AUTH__JWKS_REFRESH_SECONDS", "1")]).await;
    publisher.publish("the disk is full".to_owned());
    crate::harness::eventually("the operator is told", async || {
        app.log().contains("the keys from before stay in use")
    })
    .await;
    assert!(is_accepted(&app, &old.token()).await);
    publisher.publish(key_set(&[&new]));
    crate::harness::eventually("the old key is gone", async || {
        !is_accepted(&app, &old.token()).await
    })
    .await;
    assert!(is_accepted(&app, &new.token()).await);
}

#[tokio::test]
async fn a_token_of_the_same_issuer_for_somebody_else_opens_nothing() {
    let signer = Signer::es256("k");
    let publisher = Publisher::start(key_set(&[&signer]));
    let app = start_with_keys(&publisher.url, &[]).await;
    let mut header = Header::new(signer.algorithm);
    header.kid = Some("k".to_owned());
    let claims = |aud: Value| {
        let mut claims = json!({"sub": "x", "scope": "operator", "exp": now() + 600, "aud": aud});
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signer.sign_claims(&header, &claims)
    };
    for aud in [json!("crm"), json!(["crm", "wiki"]), json!([]), Value::Null] {
        assert!(!is_accepted(&app, &claims(aud)).await);
    }
    assert!(is_accepted(&app, &claims(json!(["crm", "payonce"]))).await);
}

#[tokio::test]
async fn without_an_audience_public_keys_stop_the_start() {
    let publisher = Publisher::start(key_set(&[&Signer::es256("k")]));
    let mut command = command(&Database::new().await);
    command.env("PAYONCE_AUTH__MODE", "jwt").env("PAYONCE_AUTH__JWKS_URL", &publisher.url);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("auth.audience"), "{told}");
    assert_eq!(publisher.asked(), 0);
}

/// A metric without labels.
async fn metric(app: &App, name: &str) -> f64 {
    let text = app.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not measured")).parse().unwrap()
}

#[tokio::test]
async fn the_service_starts_without_its_issuer_and_is_ready_when_the_keys_are_there() {
    let signer = Signer::es256("k");
    let publisher = Publisher::start("the disk is full".to_owned());
    let app = start_with_keys(
        &format!("{}?token=0123456789abcdef", publisher.url),
        &[("PAYONCE_AUTH__JWKS_PAUSE_SECONDS", "1")],
    )
    .await;
    assert_eq!(app.get("/health/live").await.status, 200);
    let ready = app.get("/health/ready").await;
    ready.assert_problem(503, "overloaded");
    assert!(ready.json["detail"].as_str().unwrap().contains("auth.jwks_url"), "{}", ready.text);
    assert_eq!(metric(&app, "payonce_ready").await.to_string(), "0");
    // The token is good: nobody says that it is not.
    let asked = app.ask(Some(&signer.token()), "GET", "/accounts", None).await;
    asked.assert_problem(503, "overloaded");
    app.get("/accounts").await.assert_problem(401, "unauthenticated");
    assert!(!app.log().contains("0123456789abcdef"), "{}", app.log());

    publisher.publish(key_set(&[&signer]));
    crate::harness::eventually("it is ready", async || {
        app.get("/health/ready").await.status == 200
    })
    .await;
    assert!(is_accepted(&app, &signer.token()).await);
    crate::harness::eventually("the metric says so", async || {
        metric(&app, "payonce_ready").await.to_string() == "1"
    })
    .await;
}

#[tokio::test]
async fn how_old_the_public_keys_are_can_be_seen() {
    let publisher = Publisher::start(key_set(&[&Signer::es256("k")]));
    let refresh = ("PAYONCE_AUTH__JWKS_REFRESH_SECONDS", "1");
    let app = start_with_keys(&publisher.url, &[refresh]).await;
    publisher.publish("the disk is full".to_owned());
    let age = "payonce_jwks_age_seconds";
    crate::harness::eventually("they grow older", async || metric(&app, age).await > 2.5).await;
    publisher.publish(key_set(&[&Signer::es256("k")]));
    crate::harness::eventually("they are fetched", async || metric(&app, age).await < 2.0).await;

    let without = App::start().await;
    assert_eq!(metric(&without, age).await.to_string(), "0");
}

#[tokio::test]
async fn without_authorization_it_serves_this_machine_alone() {
    let database = Database::new().await;
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let output = command(&database).env("HOST", host).output().unwrap();
        assert!(!output.status.success(), "{host}");
        let told = String::from_utf8_lossy(&output.stderr);
        for named in ["auth.mode", "auth.allow_off_on_public", host] {
            assert!(told.contains(named), "{told}");
        }
    }
    let loopback = App::start_on(&database, &[("HOST", "127.0.0.2")]);
    assert_eq!(loopback.get("/accounts").await.status, 200);
    let (host, off) = (("HOST", "0.0.0.0"), ("PAYONCE_AUTH__ALLOW_OFF_ON_PUBLIC", "true"));
    let public = App::start_on(&database, &[host, off]);
    assert_eq!(public.get("/accounts").await.status, 200);
    let (mode, secret) = (("PAYONCE_AUTH__MODE", "jwt"), ("PAYONCE_AUTH__JWT_SECRET", SECRET));
    let public = App::start_on(&database, &[host, mode, secret]);
    public.get("/accounts").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn without_authorization_a_page_that_calls_itself_this_machine_is_not_believed() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    let ask = async |app: &App, host: &str| {
        Answer::of(app.request("GET", "/accounts").header("host", host)).await
    };
    for host in
        ["evil.example", "evil.example:4000", "localhost.evil.example", "192.0.2.1", "a@b@c"]
    {
        ask(&app, host).await.assert_problem(403, "forbidden");
    }
    for host in ["localhost", "LOCALHOST:3000", "127.0.0.1:1", "[::1]:4000", "127.0.0.2"] {
        assert_eq!(ask(&app, host).await.status, 200, "{host}");
    }
    let public = App::start_on(&database, &[("PAYONCE_AUTH__ALLOW_OFF_ON_PUBLIC", "true")]);
    assert_eq!(ask(&public, "pay.example").await.status, 200);
}

#[tokio::test]
async fn a_key_set_that_cannot_be_read_to_its_end_stops_neither_requests_nor_the_service() {
    let known = Signer::es256("known");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    std::fs::write(&path, key_set(&[&known])).unwrap();
    let pause = ("PAYONCE_AUTH__JWKS_PAUSE_SECONDS", "1");
    let refresh = ("PAYONCE_AUTH__JWKS_REFRESH_SECONDS", "1");
    let mut app = start_with_keys(path.to_str().unwrap(), &[pause, refresh]).await;
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    crate::harness::eventually("the operator is told", async || app.log().contains("is no file"))
        .await;
    assert!(is_accepted(&app, &known.token()).await);
    assert!(!is_accepted(&app, &Signer::es256("unknown").token()).await);
    assert!(app.stop(rustix::process::Signal::TERM).success());
}

#[tokio::test]
async fn keys_from_this_machine_pass_through_no_proxy() {
    let (ours, theirs) = (Signer::es256("k"), Signer::es256("k"));
    let (publisher, proxy) =
        (Publisher::start(key_set(&[&ours])), Publisher::start(key_set(&[&theirs])));
    let app = start_with_keys(&publisher.url, &[("http_proxy", &proxy.url)]).await;
    assert!(is_accepted(&app, &ours.token()).await);
    assert_eq!(proxy.asked(), 0);
}

#[tokio::test]
async fn a_start_that_has_to_wait_can_be_stopped() {
    let database = Database::new().await;
    let mut outside = database.session().await;
    let lock = "SELECT pg_advisory_lock(hashtext('grant_rights_of_the_service'))";
    sqlx::raw_sql(lock).execute(&mut outside).await.unwrap();
    let mut starting = command(&database).stderr(std::process::Stdio::null()).spawn().unwrap();
    database
        .until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'payonce migration' AND wait_event_type = 'Lock')",
        )
        .await;
    let pid = rustix::process::Pid::from_child(&starting);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(starting.wait().unwrap().success());
}

#[tokio::test]
async fn settings_that_would_verify_nothing_stop_the_start_and_are_named() {
    let database = Database::new().await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("file://{}/{name}", dir.path().display())
    };
    let no_keys = file("none.json", "{\"keys\":[]}");
    let malformed = file("malformed.json", "{");
    let rsa_only = file("rsa.json", &key_set(&[&Signer::rs256("r")]));
    let missing = format!("file://{}/missing.json", dir.path().display());
    let (secret, keys) = ("PAYONCE_AUTH__JWT_SECRET", "PAYONCE_AUTH__JWKS_URL");
    let (algorithms, audience) = ("PAYONCE_AUTH__ALGORITHMS", "PAYONCE_AUTH__AUDIENCE");
    for (env, named) in [
        (vec![], "auth.jwt_secret"),
        (vec![(secret, "short")], "auth.jwt_secret"),
        (vec![(secret, SECRET), (keys, &*rsa_only)], "auth.jwks_url"),
        (vec![(secret, SECRET), (algorithms, "RS256")], "auth.algorithms"),
        (vec![(keys, &*rsa_only), (algorithms, "HS256")], "auth.algorithms"),
        (vec![(keys, &*rsa_only), (algorithms, "ES256")], "auth.jwks_url"),
        (vec![(secret, SECRET), (algorithms, "none")], "auth.algorithms"),
        (vec![(keys, &*missing)], "auth.jwks_url"),
        (vec![(keys, &*malformed)], "auth.jwks_url"),
        (vec![(keys, &*no_keys)], "auth.jwks_url"),
        (vec![(keys, &*rsa_only), (audience, "")], "auth.audience"),
        (vec![(keys, "http://issuer.example/keys")], "auth.jwks_url"),
        (vec![(keys, "http://issuer.example/keys?token=0123456789abcdef")], "auth.jwks_url"),
        (vec![(keys, "keys.json")], "auth.jwks_url"),
        (vec![("PAYONCE_AUTH__MODE", "basic")], "auth.mode"),
    ] {
        let mut command = command(&database);
        command.env("PAYONCE_AUTH__MODE", "jwt").env(audience, "payonce");
        command.envs(env.iter().copied());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{env:?}");
        assert!(told.contains(named), "{env:?}: {told}");
        assert_eq!(told.trim().lines().count(), 1, "{env:?}: {told}");
        assert!(!told.contains("0123456789abcdef"), "{told}");
    }
}

#[tokio::test]
async fn a_token_for_local_use_can_be_printed() {
    let settings = [
        ("PAYONCE_AUTH__MODE", "jwt"),
        ("PAYONCE_AUTH__JWT_SECRET", SECRET),
        ("PAYONCE_AUTH__ISSUER", "me"),
        ("PAYONCE_AUTH__AUDIENCE", "payonce"),
    ];
    let print = |args: &[&str]| {
        let output = bare_command().envs(settings).arg("token").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let app = App::start_with(&settings).await;
    let operator = print(&["--operator"]);
    let opening = json!({"id": 1, "opening_balance": 5});
    let opened = app.ask(Some(&operator), "POST", "/accounts", Some(&opening)).await;
    assert_eq!(opened.status, 201, "{}", opened.text);
    let owner = print(&["--account", "1"]);
    assert_eq!(app.ask(Some(&owner), "GET", "/accounts/1", None).await.json["balance"], 5);
    app.ask(Some(&owner), "GET", "/accounts/0", None).await.assert_problem(403, "forbidden");

    let refused = bare_command().args(["token", "--operator"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("auth.jwt_secret"));
}
