#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Value, json};

use super::*;
use crate::domain::CENTS_MAX;

const HOUR: Duration = Duration::from_hours(1);

fn settings() -> config::Auth {
    config::Auth {
        mode: AuthMode::Jwt,
        jwt_secret: Some("0123456789abcdef0123456789abcdef".into()),
        ..config::Auth::default()
    }
}

/// Whom the service sees behind a header.
fn caller(authorization: &[u8]) -> Result<Caller, Unauthenticated> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let auth = Auth::start(&settings()).await.unwrap();
        auth.identity(Some(authorization)).await.map(|identity| identity.caller)
    })
}

/// A token that says what it likes, signed by the issuer.
fn signed(claims: &Value) -> String {
    let secret = settings().jwt_secret.unwrap();
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// Whatever JSON can say.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1..=3_i64).prop_map(Value::from),
        "[0-9]{1,3}".prop_map(Value::from),
        "(operator|operators| |reader){0,3}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(
                prop_oneof![Just(json!("operator")), Just(json!("reader"))],
                0..3
            )
            .prop_map(Value::from),
            ("[a-z]{1,3}", inner).prop_map(|(name, value)| json!({name: value})),
        ]
    })
}

proptest! {
    #![proptest_config(Config {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..Config::default()
    })]

    #[test]
    fn a_minted_token_is_its_accounts(id in 1..=CENTS_MAX, is_operator: bool, scheme in "(?i)bearer") {
        let account = AccountId::new(id).unwrap();
        let token = mint(&settings(), Some(account), is_operator, HOUR).unwrap();
        let caller = caller(format!("{scheme} {token}").as_bytes());
        let wanted = if is_operator { Caller::Operator } else { Caller::Holder(account) };
        prop_assert_eq!(caller, Ok(wanted));
    }

    #[test]
    fn a_token_with_one_character_changed_is_refused(at: prop::sample::Index, with in "[!-~]") {
        let token = mint(&settings(), Some(AccountId::new(1).unwrap()), false, HOUR).unwrap();
        let at = at.index(token.len());
        let changed = format!("{}{with}{}", &token[..at], &token[at + 1..]);
        prop_assume!(changed != token);
        let caller = caller(format!("Bearer {changed}").as_bytes());
        prop_assert!(matches!(caller, Err(Unauthenticated::Refused(_))), "{:?}", caller);
    }

    #[test]
    fn a_token_cut_short_or_lengthened_is_refused(at: prop::sample::Index, more in "[A-Za-z0-9_.=-]{1,4}") {
        let token = mint(&settings(), Some(AccountId::new(1).unwrap()), false, HOUR).unwrap();
        let (short, long) = (&token[..at.index(token.len())], format!("{token}{more}"));
        for wrong in [short, &long] {
            let authorization = format!("Bearer {wrong}");
            prop_assert!(caller(authorization.as_bytes()).is_err(), "{}", wrong);
        }
    }

    #[test]
    fn whatever_a_signed_token_says_it_is_a_known_identity_or_refused(
        sub in value(),
        scope in prop_oneof![value(), "(operator|s| |reader){0,4}".prop_map(Value::from)],
    ) {
        let exp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + HOUR;
        let token = signed(&json!({"sub": sub, "scope": scope, "exp": exp.as_secs()}));
        let words: Vec<&str> = match &scope {
            Value::String(text) => text.split(' ').collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        match caller(format!("Bearer {token}").as_bytes()) {
            Ok(Caller::Operator) => prop_assert!(words.contains(&"operator")),
            Ok(Caller::Holder(id)) => {
                let text = sub.as_str().map_or_else(|| sub.to_string(), str::to_owned);
                prop_assert_eq!(id.to_string(), text);
                prop_assert!((1..=CENTS_MAX).contains(&id.get()));
                prop_assert!(!words.contains(&"operator"));
            }
            Err(why) => prop_assert!(matches!(why, Unauthenticated::Refused(_))),
        }
    }

    #[test]
    fn whenever_a_token_ends_it_is_an_integer_of_seconds_to_come(exp in value()) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let token = signed(&json!({"sub": "1", "exp": exp}));
        if caller(format!("Bearer {token}").as_bytes()).is_ok() {
            prop_assert!(exp.as_f64().is_some_and(|exp| exp > now - 1.0), "{}", exp);
        }
    }

    #[test]
    fn any_header_is_refused(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "(?i)(bearer|basic) ?[ -~]{0,60}".prop_map(String::into_bytes),
        "Bearer [A-Za-z0-9_-]{0,20}(\\.[A-Za-z0-9_-]{0,20}){0,4}".prop_map(String::into_bytes),
    ]) {
        prop_assert!(caller(&bytes).is_err());
    }
}

#[test]
fn a_token_without_an_end_or_without_a_signature_is_refused() {
    let caller = |token: &str| caller(format!("Bearer {token}").as_bytes());
    assert!(caller(&signed(&json!({"sub": "1"}))).is_err());
    // {"alg":"none"} and {"sub":"1","exp":9999999999}.
    let claims = "eyJzdWIiOiIxIiwiZXhwIjo5OTk5OTk5OTk5fQ";
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOT05FIn0", "e30"] {
        assert!(caller(&format!("{header}.{claims}.")).is_err());
        assert!(caller(&format!("{header}.{claims}")).is_err());
    }
}

#[test]
fn a_token_that_was_verified_is_known_by_its_bytes_alone() {
    let settings = settings();
    let key =
        DecodingKey::from_secret(settings.jwt_secret.as_ref().unwrap().expose_secret().as_bytes());
    let keys = KeySet::new(vec![Key::new(None, key, Algorithm::HS256, &settings)], Vec::new());
    let token = mint(&settings, Some(AccountId::new(7).unwrap()), false, HOUR).unwrap();
    assert_eq!(keys.known_identity(&token), None);
    let identity = keys.identity(None, &token).unwrap();
    assert_eq!(identity.caller, Caller::Holder(AccountId::new(7).unwrap()));
    assert!(identity.valid_until.is_some_and(|until| until > SystemTime::now()));
    assert_eq!(keys.known_identity(&token), Some(identity));
    let forged = format!("{token}A");
    assert!(keys.identity(None, &forged).is_err());
    assert_eq!(keys.known_identity(&forged), None);
}
