//! Addresses: where payments may be delivered to. Somebody who may add a webhook is not to reach through it what only
//! the service's own network reaches.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::Invalid;

const CHARACTERS_MAX: usize = 2_000;

/// The URL of a webhook: `https:`, without a user and a fragment, and of no address that is not public. A name may
/// still lead to such an address: that is looked at whenever a connection is made ([`PublicAddresses`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// # Errors
    /// It is none.
    pub fn new(text: &str, may_be_private: bool) -> Result<Self, Invalid> {
        let invalid = |why: &str| Err(Invalid::value(format!("url: {why}")));
        if text.chars().count() > CHARACTERS_MAX {
            return invalid(&format!("has at most {CHARACTERS_MAX} characters"));
        }
        let Ok(url) = Url::parse(text) else {
            return invalid("is a URL, as https://receiver.example/payments");
        };
        match url.scheme() {
            "https" => {}
            "http" if may_be_private => {}
            "http" => {
                return invalid(
                    "begins with https: (http is for tests: see webhooks.allow_private_addresses)",
                );
            }
            _ => return invalid("begins with https:"),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return invalid("has no user, no password and no fragment");
        }
        let Some(host) = url.host_str() else {
            return invalid("names a host");
        };
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        if literal.is_ok_and(|address| !may_be_private && !is_public(address)) {
            return invalid("its address is not a public one (webhooks.allow_private_addresses)");
        }
        // As it was given, it may be longer when it is written out.
        if url.as_str().len() > CHARACTERS_MAX {
            return invalid(&format!("has at most {CHARACTERS_MAX} characters"));
        }
        Ok(Self(url))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }
}

/// A name that leads to no address that is public.
#[derive(Debug, thiserror::Error)]
#[error("its name leads to no public address")]
pub(super) struct NotPublic;

/// Finds the public addresses of names. These are the ones that are connected to, so no second answer of a name
/// server can put another in their place.
pub(super) struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            let public: Vec<SocketAddr> =
                found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is one of the Internet's hosts (the special-purpose registries of IANA, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        // This network, and what is reserved; protocols; relays; benchmarks.
        [0 | 240..=255, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        // Between a provider and its customers.
        [100, second, ..] => (64..128).contains(&second),
        _ => false,
    };
    !(is_special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // An address of IPv4 behind a translator (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // For protocols; documentation; tunnels that have an address of IPv4 in theirs; documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..0x1000, ..] => false,
        // Global unicast.
        [0x2000..0x4000, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
