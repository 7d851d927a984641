#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use actix_web::test::TestRequest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

const PEER: &str = "198.51.100.1:4711";

fn address_of(lines: &[Vec<u8>], trusted_proxies: usize) -> IpAddr {
    let mut request = TestRequest::default().peer_addr(PEER.parse().unwrap());
    for line in lines {
        let value = HeaderValue::from_bytes(line).unwrap();
        request = request.append_header((X_FORWARDED_FOR, value));
    }
    client_address(&request.to_srv_request(), trusted_proxies).unwrap()
}

/// Whatever a client can put into a header.
fn claim() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b','),
        Just(b'1'),
        Just(b'.'),
        Just(b':'),
        Just(b'['),
        32..=126_u8,
        128..=255_u8,
        Just(b'\t')
    ];
    prop::collection::vec(byte, 0..30)
}

/// As proxies write an address.
fn entry(address: IpAddr, style: u8) -> String {
    let port = SocketAddr::new(address, 80);
    match style % 4 {
        0 => address.to_string(),
        1 => port.to_string(),
        2 => format!(" {address} "),
        _ => format!("\t{port}"),
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(8),
        ..Config::default()
    })]

    #[test]
    fn what_a_client_claims_changes_nothing_of_what_our_proxies_saw(
        claims in prop::collection::vec(claim(), 0..4),
        proxies in prop::collection::vec((any::<IpAddr>(), any::<u8>(), any::<bool>()), 1..4),
    ) {
        let mut lines = claims;
        for (address, style, is_on_its_own) in &proxies {
            let entry = entry(*address, *style).into_bytes();
            match lines.last_mut().filter(|_| !is_on_its_own) {
                Some(line) => {
                    line.push(b',');
                    line.extend(entry);
                }
                None => lines.push(entry),
            }
        }
        prop_assert_eq!(address_of(&lines, proxies.len()), proxies.first().unwrap().0);
    }

    #[test]
    fn any_header_gives_the_address_of_the_connection_or_one_that_it_names(
        lines in prop::collection::vec(claim(), 0..4),
        trusted_proxies in 0..4_usize,
    ) {
        let peer: SocketAddr = PEER.parse().unwrap();
        let address = address_of(&lines, trusted_proxies);
        let all: Vec<u8> = lines.join(&b',');
        let mut named = all.split(|byte| *byte == b',').filter_map(|text| {
            parse_address(std::str::from_utf8(text.trim_ascii()).ok()?)
        });
        let is_named = trusted_proxies > 0 && named.any(|named| named == address);
        prop_assert!(address == peer.ip() || is_named);
    }

    #[test]
    fn an_address_reads_as_itself_and_shares_its_network(address: IpAddr, port: u16, text in ".{0,30}") {
        prop_assert_eq!(parse_address(&address.to_string()), Some(address));
        prop_assert_eq!(parse_address(&SocketAddr::new(address, port).to_string()), Some(address));
        prop_assert_eq!(Network::of(address), Network::of(Network::of(address).0));
        let _ = parse_address(&text);
    }
}
