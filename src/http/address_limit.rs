//! How often an address may ask.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderValue;

use super::headers::X_FORWARDED_FOR;
use super::quota::{Exceeded, Limit, QuotaState};
use crate::config::Settings;

/// The limit for each address.
pub(super) struct AddressLimit {
    limit: Limit<Network>,
    trusted_proxies: usize,
}

impl AddressLimit {
    /// `None`: there is no limit.
    pub fn of(settings: &Settings) -> Option<Self> {
        let limits = &settings.rate_limit;
        let limit = Limit::new("address", limits.address_per_minute, limits.address_burst)?;
        Some(Self { limit, trusted_proxies: settings.server.trusted_proxies.get() })
    }

    /// Takes a request out of its address' bucket, unless it watches the service.
    pub fn check(&self, request: &ServiceRequest) -> Result<Option<QuotaState>, Exceeded> {
        if is_watching(request.path()) {
            return Ok(None);
        }
        let address = client_address(request, self.trusted_proxies);
        address.map(|address| self.limit.check(&Network::of(address))).transpose()
    }
}

/// Who shares a bucket: an IPv4 address, or a network of IPv6, of which one subscriber has 2^64
/// addresses (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

fn is_watching(path: &str) -> bool {
    path.starts_with("/health/") || path == "/metrics"
}

/// The client's address: that of the connection, or what the outermost of our own proxies saw.
/// Further to the left of `X-Forwarded-For` stands what the client itself has claimed.
fn client_address(request: &ServiceRequest, trusted_proxies: usize) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|address| address.ip());
    let headers: Vec<&HeaderValue> = request.headers().get_all(X_FORWARDED_FOR).collect();
    // As bytes, so that nothing that a client puts to the left can spoil what stands on the right.
    let seen = headers.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let seen = seen.map(<[u8]>::trim_ascii).filter(|address| !address.is_empty());
    let trusted = seen.take(trusted_proxies).last();
    trusted.and_then(|text| parse_address(std::str::from_utf8(text).ok()?)).or(peer)
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests;
