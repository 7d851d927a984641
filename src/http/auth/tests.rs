#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use std::net::IpAddr;

use actix_web::test::TestRequest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

fn is_ours(host: &[u8]) -> bool {
    let value = HeaderValue::from_bytes(host).unwrap();
    names_this_machine(&TestRequest::default().insert_header((HOST, value)).to_http_request())
}

/// A port, as a client may add it.
fn port() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), any::<u16>().prop_map(|port| format!(":{port}"))]
}

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(9),
        ..Config::default()
    })]

    #[test]
    fn this_machine_has_its_names_with_and_without_a_port(
        name in prop_oneof![
            "[lL][oO][cC][aA][lL][hH][oO][sS][tT]",
            any::<[u8; 3]>().prop_map(|[a, b, c]| format!("127.{a}.{b}.{c}")),
            Just("[::1]".to_owned()),
            any::<[u8; 3]>().prop_map(|[a, b, c]| format!("[::ffff:127.{a}.{b}.{c}]")),
        ],
        port in port(),
    ) {
        let host = format!("{name}{port}");
        prop_assert!(is_ours(host.as_bytes()), "{}", host);
    }

    #[test]
    fn a_name_that_somebody_else_can_have_is_not_this_machine(
        name in prop_oneof!["[a-z0-9-]{1,9}(\\.[a-z0-9-]{1,9}){0,3}", Just("localhost".to_owned()),
            Just("127.0.0.1".to_owned())],
        domain in "\\.[a-z]{2,9}",
        port in port(),
    ) {
        let host = format!("{name}{domain}{port}");
        prop_assert!(!is_ours(host.as_bytes()), "{}", host);
    }

    #[test]
    fn any_address_is_this_machine_where_it_is_a_loopback_address(address: IpAddr, port in port()) {
        let host = match address {
            IpAddr::V4(address) => format!("{address}{port}"),
            IpAddr::V6(address) => format!("[{address}]{port}"),
        };
        prop_assert_eq!(is_ours(host.as_bytes()), address.to_canonical().is_loopback());
    }

    #[test]
    fn any_header_is_read(bytes in prop::collection::vec(prop_oneof![32..=126_u8, 128..=255_u8], 0..30)) {
        is_ours(&bytes);
    }
}

#[test]
fn what_only_looks_like_this_machine_is_not() {
    for host in [
        "",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "127.0.0.1.",
        "localhost.",
        "0.0.0.0",
        "[::]",
        "[::1",
        "local host",
        "localhost/",
        "localhost@evil.example",
    ] {
        assert!(!is_ours(host.as_bytes()), "{host}");
    }
}
