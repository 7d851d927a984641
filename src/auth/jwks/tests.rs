#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Value, json};

use super::*;

/// The keys of a document, by their ids.
fn keys(document: &[u8]) -> Result<Vec<Option<String>>> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), document)?;
    let source = Source::new(file.path().to_str().unwrap(), &config::Auth::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let keys = runtime.block_on(source.fetch())?;
    Ok(keys.keys.iter().map(|key| key.id.clone()).collect())
}

/// The public keys of RFC 8037, appendix A.2, and RFC 7517, appendix A.1.
fn sound_keys() -> [Value; 2] {
    [
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed",
               "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig",
               "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
               "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}),
    ]
}

fn junk() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "OKP", "EC", "RSA", "oct", "Ed25519", "P-256", "sig", "enc", "RS256", "HS256", "AQAB",
            ""
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let value = prop_oneof![
        word.prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null)
    ];
    let name = prop::sample::select(vec![
        "kty", "crv", "x", "y", "n", "e", "use", "alg", "key_ops", "k", "d",
    ]);
    prop_oneof![
        prop::collection::hash_map(name, value.clone(), 0..8).prop_map(|members| json!(members)),
        value,
    ]
}

proptest! {
    #![proptest_config(Config {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(12),
        ..Config::default()
    })]

    #[test]
    fn keys_that_nobody_understands_disturb_no_other(
        before in prop::collection::vec(junk(), 0..4),
        after in prop::collection::vec(junk(), 0..4),
    ) {
        let all: Vec<Value> = before.into_iter().chain(sound_keys()).chain(after).collect();
        let document = json!({"keys": all, "else": 1}).to_string();
        let found = keys(document.as_bytes()).unwrap();
        for kid in ["ed", "ec"] {
            prop_assert!(found.contains(&Some(kid.to_owned())), "{}", document);
        }
    }

    #[test]
    fn any_document_is_keys_or_an_error(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            prop::collection::vec(junk(), 0..4).prop_map(|keys| json!({"keys": keys}).to_string().into_bytes()),
            junk().prop_map(|junk| json!({"keys": junk}).to_string().into_bytes()),
        ],
    ) {
        prop_assert!(keys(&bytes).is_ok_and(|keys| !keys.is_empty()) || keys(&bytes).is_err());
    }

    #[test]
    fn a_key_with_one_character_changed_is_a_key_or_left_out(
        is_first: bool,
        at: prop::sample::Index,
        with in "[!-~]",
    ) {
        let [first, second] = sound_keys();
        let (key, other) = if is_first { (first, second) } else { (second, first) };
        let key = key.to_string();
        let at = at.index(key.len());
        let changed: String = key.chars().enumerate()
            .map(|(n, char)| if n == at { with.clone() } else { char.to_string() })
            .collect();
        let document = format!("{{\"keys\":[{changed},{other}]}}");
        // Where it is no JSON any more, the whole document is refused.
        if serde_json::from_str::<Value>(&document).is_ok() {
            prop_assert!(keys(document.as_bytes()).is_ok(), "{}", document);
        }
    }
}

#[test]
fn a_secret_is_no_public_key() {
    let secret = json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "k"});
    assert!(keys(json!({"keys": [secret]}).to_string().as_bytes()).is_err());
}

#[test]
fn the_same_document_again_is_the_same_key_set() {
    let set = |document: &[u8]| KeySet::new(Vec::new(), document.to_vec());
    assert!(set(b"a").is_same_as(&set(b"a")));
    assert!(!set(b"a").is_same_as(&set(b"b")));
}
