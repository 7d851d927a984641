//! Names that can only be this machine's.

use std::net::IpAddr;

/// Whether the host of a URL or of a request is `localhost` or a loopback address; IPv6 in brackets or without.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}
