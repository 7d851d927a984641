//! The form of `database.url`: libpq's connection URIs (Postgres manual, 34.1.1), for one server or several of one
//! cluster. What is wrong with one is told without a word of it: a password may stand anywhere.

use std::fs::File;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Where a database is, and as who it is used: by the same role, at each of its servers.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// By libpq's names, each once. Those of [`OF_SERVERS`] are lists.
    parameters: Vec<(String, String)>,
}

/// Why a text is none. It names parameters at the most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Parameters of a URL, by libpq's name, and the other names that were taken so far.
const PARAMETERS: [(&str, &[&str]); 14] = [
    ("host", &[]),
    ("hostaddr", &[]),
    ("port", &[]),
    ("dbname", &[]),
    ("user", &[]),
    ("password", &[]),
    ("application_name", &[]),
    ("options", &[]),
    ("sslmode", &["ssl-mode"]),
    ("sslrootcert", &["ssl-root-cert", "ssl-ca"]),
    ("sslcert", &["ssl-cert"]),
    ("sslkey", &["ssl-key"]),
    ("statement-cache-capacity", &[]),
    (SESSION_ATTRS, &[]),
];

/// The parameters that may name several servers, separated by commas.
const OF_SERVERS: [&str; 3] = ["host", "hostaddr", "port"];

/// How many servers one names at the most.
const SERVERS_MAX: usize = 16;

/// libpq's word for which server is wanted. Here it is always the one that takes writes.
const SESSION_ATTRS: &str = "target_session_attrs";

/// The parameters that name files.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// libpq's word for the authorities that the machine trusts, which are taken in any case.
const SYSTEM_ROOTS: &str = "system";

const TO_BE_ENCODED: &str = "(characters such as @ / : ? # in a name or a password are written as %40 \
                             %2F %3A %3F %23)";

fn malformed(what: impl Into<String>) -> Malformed {
    Malformed(what.into())
}

impl FromStr for DatabaseUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rest = SCHEMES
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(|| malformed("it does not begin with postgres:// or postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if database.contains('@') {
            return Err(malformed(format!("there is an @ behind a / {TO_BE_ENCODED}")));
        }
        let mut url = Self { parameters: Vec::new() };
        let servers = match authority.rsplit_once('@') {
            Some((who, servers)) => {
                let (user, password) = who.split_once(':').unwrap_or((who, ""));
                url.set("user", user)?;
                url.set("password", password)?;
                servers
            }
            None => authority,
        };
        url.set_servers(servers)?;
        url.set("dbname", database)?;
        url.set_all(query)?;
        url.check()?;
        Ok(url)
    }
}

impl DatabaseUrl {
    /// Servers, separated by commas.
    fn set_servers(&mut self, servers: &str) -> Result<(), Malformed> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for server in servers.split(',') {
            let (host, port) = Self::host_and_port(server)?;
            hosts.push(host);
            ports.push(port);
        }
        self.set("host", &hosts.join(","))?;
        self.set("port", &ports.join(","))
    }

    /// Of `host`, `host:port`, `[address]:port`, or nothing.
    fn host_and_port(server: &str) -> Result<(&str, &str), Malformed> {
        Ok(match server.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest
                    .split_once(']')
                    .ok_or_else(|| malformed("the address in [brackets] does not end"))?;
                if !address.parse().is_ok_and(|address: IpAddr| address.is_ipv6()) {
                    return Err(malformed("there is no IPv6 address in its [brackets]"));
                }
                let port = match port.strip_prefix(':') {
                    Some(port) => port,
                    None if port.is_empty() => port,
                    None => return Err(malformed("behind its [brackets] there is no :port")),
                };
                (address, port)
            }
            None => server.split_once(':').unwrap_or((server, "")),
        })
    }

    fn set_all(&mut self, query: &str) -> Result<(), Malformed> {
        let mut seen = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| {
                malformed(format!("a parameter behind the ? has no = {TO_BE_ENCODED}"))
            })?;
            let option = name.strip_prefix("options[").and_then(|it| it.strip_suffix(']'));
            if let Some(option) = option.filter(|option| is_word(option)) {
                let option = format!("options[{option}]");
                self.parameters.push((option, decoded(value)?));
                continue;
            }
            let known = PARAMETERS.iter().map(|(known, others)| (*known, *others));
            let known = known.filter(|(known, others)| *known == name || others.contains(&name));
            let Some((known, _)) = known.into_iter().next() else {
                // Where there is an @ it may be the rest of a password.
                let name = if is_word(name) && !query.contains('@') { name } else { "a parameter" };
                return Err(malformed(format!(
                    "{name} is not known: what may stand behind the ? is {}",
                    PARAMETERS.map(|(name, _)| name).join(", ")
                )));
            };
            if seen.contains(&known) {
                return Err(malformed(format!("{known} is there twice")));
            }
            seen.push(known);
            self.set(known, value)?;
        }
        Ok(())
    }

    /// Later parameters count, as with libpq; an empty one is none.
    fn set(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        let value = decoded(value)?;
        if !value.is_empty() {
            self.parameters.retain(|(known, _)| known != name);
            self.parameters.push((name.to_owned(), value));
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn check(&self) -> Result<(), Malformed> {
        let count = self.server_count();
        if count > SERVERS_MAX {
            return Err(malformed(format!("it names more than {SERVERS_MAX} servers")));
        }
        if ["host", "hostaddr"].iter().any(|it| self.get(it).is_some() && self.items(it) != count) {
            return Err(malformed("it has not as many hosts as addresses (hostaddr)"));
        }
        // One port may be that of all.
        if ![1, count].contains(&self.items("port")) {
            return Err(malformed("it has not as many ports as servers"));
        }
        if !self.all("port", |port| port.parse().is_ok_and(|port: u16| port > 0)) {
            return Err(malformed(format!(
                "its port is no number from 1 to 65535 {TO_BE_ENCODED}"
            )));
        }
        if !self.all("hostaddr", |address| address.parse::<IpAddr>().is_ok()) {
            return Err(malformed("its hostaddr is no IP address"));
        }
        if self.get(SESSION_ATTRS).is_some_and(|it| !["read-write", "primary"].contains(&it)) {
            return Err(malformed(
                "its target_session_attrs is neither read-write nor primary, and payments need the server that \
                 takes writes",
            ));
        }
        if self.get("sslmode").is_some_and(|mode| mode.parse::<PgSslMode>().is_err()) {
            return Err(malformed(
                "its sslmode is none of disable, allow, prefer, require, verify-ca and verify-full",
            ));
        }
        if self.get("sslcert").is_some() != self.get("sslkey").is_some() {
            return Err(malformed("sslcert and sslkey belong together"));
        }
        let capacity = self.get("statement-cache-capacity");
        if capacity.is_some_and(|capacity| capacity.parse::<u16>().is_err()) {
            return Err(malformed("its statement-cache-capacity is no number"));
        }
        Ok(())
    }

    /// The servers that it names, in its order, and one at least.
    fn server_count(&self) -> usize {
        self.items("host").max(self.items("hostaddr"))
    }

    /// How many items a list has.
    fn items(&self, name: &str) -> usize {
        self.get(name).map_or(1, |list| list.split(',').count())
    }

    /// Whether something holds for all items of a list that say anything.
    fn all(&self, name: &str, holds: impl Fn(&str) -> bool) -> bool {
        let mut items = self.get(name).into_iter().flat_map(|list| list.split(','));
        items.all(|item| item.is_empty() || holds(item))
    }

    /// The same for sqlx: each server by itself. What it does not say comes from where libpq takes it (`PGHOST` and
    /// its like, the file of passwords).
    ///
    /// # Errors
    /// A file that it names cannot be read.
    pub fn servers(&self) -> Result<Vec<PgConnectOptions>, Malformed> {
        for name in FILES {
            if let Some(path) = self.get(name).filter(|path| *path != SYSTEM_ROOTS) {
                File::open(path).map_err(|error| {
                    malformed(format!("the file of its {name}, {path:?}, cannot be read: {error}"))
                })?;
            }
        }
        (0..self.server_count()).map(|place| self.server(place)).collect()
    }

    fn server(&self, place: usize) -> Result<PgConnectOptions, Malformed> {
        let wrong = |_| malformed("it cannot be read");
        let mut url = Url::parse("postgres:///").map_err(|_| malformed("it cannot be read"))?;
        let said = self.parameters.iter().filter_map(|(name, value)| {
            let value = match value.split_once(',') {
                Some(_) if OF_SERVERS.contains(&name.as_str()) => value.split(',').nth(place)?,
                _ => value,
            };
            let is_said = !value.is_empty() && value != SYSTEM_ROOTS && name != SESSION_ATTRS;
            is_said.then_some((name, value))
        });
        url.query_pairs_mut().extend_pairs(said);
        Ok(PgConnectOptions::from_url(&url).map_err(wrong)?.disable_statement_logging())
    }
}

/// A password is in it.
impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

/// The form of a parameter's name.
fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=63).contains(&text.len()) && text.bytes().all(fits)
}

/// Resolves percent-encoding. A `+` stays one, as with libpq.
fn decoded(text: &str) -> Result<String, Malformed> {
    let wrong =
        || malformed("a % in it is not followed by the two digits of a character (%25 is a %)");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().ok_or_else(wrong)?, rest.next().ok_or_else(wrong)?];
        let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
    if text.contains(char::is_control) {
        return Err(malformed("there is a control character in it"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
