//! Advice about a session that could not be had, where the error itself gives none.

use rustls::{CertificateError as Certificate, Error as Tls};
use sqlx::Error;

pub(super) const POOLER: &str = "a pooler such as PgBouncer stands between the service and Postgres. The \
     service pools its sessions itself, and depends on the settings that it opens them with: let \
     database.url lead to Postgres itself";

/// Words of poolers about parameters that they do not take: `PgBouncer` and Odyssey; Amazon's proxy.
const POOLERS_SAY: [&str; 3] =
    ["unsupported startup parameter", "unsupported startup option", "command-line options"];

/// A sentence to follow the error's own, or nothing.
pub(in crate::db) fn hint(error: &Error) -> String {
    let told = match error {
        Error::Database(refusal) => {
            // A new session knows no statement yet, and a used one may know others.
            let is_used =
                ["42P05", "26000"].iter().any(|it| refusal.code().as_deref() == Some(*it));
            let is_pooler =
                is_used || POOLERS_SAY.iter().any(|words| refusal.message().contains(words));
            is_pooler.then_some(POOLER)
        }
        Error::Io(error) => error.get_ref().and_then(|it| it.downcast_ref()).and_then(of_tls),
        _ => None,
    };
    told.map(|told| format!(": {told}")).unwrap_or_default()
}

fn of_tls(error: &Tls) -> Option<&'static str> {
    let Tls::InvalidCertificate(why) = error else {
        return None;
    };
    Some(match why {
        Certificate::UnknownIssuer => {
            "this machine does not know who issued the server's certificate. Name the file of the \
             issuer's certificate (of a self-signed one, its own) with sslrootcert=... in database.url; \
             sslmode=require encrypts without looking at certificates"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "the server's certificate is for another name than the one in database.url. Use a name that \
             it is for, or sslmode=verify-ca, which looks at the issuer alone"
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "the server's certificate has expired. Renew it"
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet. Look at the clocks"
        }
        // A self-signed certificate that says of itself that it may sign others.
        _ if why.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of an issuer as its own. Make one for the server that is \
             signed by it, or a self-signed one with CA:FALSE; sslmode=require encrypts without looking \
             at certificates"
        }
        _ => return None,
    })
}
