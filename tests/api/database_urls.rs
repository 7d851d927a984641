//! What `database.url` may look like, against a real server with a certificate; and that what is told of
//! one that is wrong says what to do, and never a password.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::bare_command;
use crate::server::{Listening, Server};

/// A name's certificate with its key, by an authority whose own certificate is in a file.
struct Certificates {
    key: KeyPair,
    /// For `localhost`, by the authority.
    issued: Certificate,
    /// For `localhost`, by itself.
    of_its_own: Certificate,
    /// The same as `openssl req -x509` makes it: it says of itself that it may sign others.
    of_an_authority: Certificate,
    authority_file: PathBuf,
    own_file: PathBuf,
}

impl Certificates {
    fn new(directory: &Path) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let issued = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        let of_its_own = params.self_signed(&key).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let of_an_authority = params.self_signed(&key).unwrap();
        let authority_file = directory.join("authority.pem");
        std::fs::write(&authority_file, authority_certificate.pem()).unwrap();
        let own_file = directory.join("own.pem");
        std::fs::write(&own_file, of_its_own.pem()).unwrap();
        Self { key, issued, of_its_own, of_an_authority, authority_file, own_file }
    }
}

/// Has the server show a certificate.
async fn show(listening: &Listening, certificates: &Certificates, certificate: &Certificate) {
    let server = &listening.server;
    let cluster = server.postgres.cluster();
    server.write(&cluster.join("server.crt"), &certificate.pem());
    server.write(&cluster.join("server.key"), &certificates.key.serialize_pem());
    let database = &listening.database;
    for sql in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        database.try_execute(sql).await.expect("a Postgres that has TLS (Debian: postgresql)");
    }
    // Each session has the certificate that was there when it began.
    database.until("SELECT current_setting('ssl') = 'on'").await;
}

/// The answer of `payonce audit` to a URL: nothing where the ledger was found.
fn ask(url: &str) -> Option<String> {
    let output = bare_command().env("DATABASE_URL", url).arg("audit").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("SECRET") && !told.contains("panicked"), "{url}: {told}");
    (!output.status.success()).then_some(told)
}

#[tokio::test]
async fn a_url_leads_to_the_ledger_or_to_a_word_about_what_to_do() {
    let server = Server::start().await;
    assert!(server.command().arg("migrate").status().unwrap().success());
    let certificates = Certificates::new(&server.directory("certificates"));
    let listening = server.listen().await;
    let Listening { port, server, .. } = &listening;
    let socket = server.postgres.socket_dir().display();
    let without_tls = format!("postgres://payonce:SECRET@localhost:{port}/payonce?sslmode=require");
    assert!(ask(&without_tls).unwrap().contains("does not support TLS"));

    show(&listening, &certificates, &certificates.issued).await;
    let root = format!("sslrootcert={}", certificates.authority_file.display());
    let (at, db) = (format!("payonce:SECRET@localhost:{port}"), "payonce");
    for url in [
        format!("postgres://{at}/{db}"),
        format!("postgresql://{at}/{db}"),
        format!("postgres://{at}/{db}?sslmode=disable"),
        format!("postgres://{at}/{db}?sslmode=prefer"),
        format!("postgres://{at}/{db}?sslmode=require"),
        format!("postgres://{at}/{db}?sslmode=verify-ca&{root}"),
        format!("postgres://{at}/{db}?sslmode=verify-full&{root}"),
        format!("postgres://payonce@127.0.0.1:{port}/{db}?sslmode=verify-ca&{root}"),
        format!("postgres://payonce@127.0.0.1:{port}/{db}"),
        format!("postgres://payonce@[::1]:{port}/{db}"),
        format!("postgres://payonce@[::1]:{port}/{db}?sslmode=verify-ca&{root}"),
        format!("postgres:///{db}?host=localhost&port={port}&user=payonce&password=SECRET"),
        format!("postgres://payonce:SECRET@:{port}/{db}?host={socket}"),
        format!("postgres://payonce@/{db}?host={socket}&port={port}"),
        format!("postgres:///{db}?host={socket}&port={port}&user=payonce"),
    ] {
        assert_eq!(ask(&url), None, "{url}");
    }
    for (url, named) in [
        (format!("postgres://{at}/{db}?sslmode=verify-ca"), "sslrootcert"),
        (format!("postgres://{at}/{db}?sslmode=verify-full"), "sslrootcert"),
        (
            format!("postgres://payonce:SECRET@127.0.0.1:{port}/{db}?sslmode=verify-full&{root}"),
            "another name",
        ),
        (format!("postgres://{at}/{db}?sslmode=verify-full&sslrootcert=/no/file"), "/no/file"),
        (format!("mysql://{at}/{db}"), "postgres://"),
        (format!("{at}/{db}"), "postgres://"),
        (format!("postgres://{at}/{db}?sslmode=verify_full"), "sslmode"),
        (format!("postgres://{at}/{db}?sslmod=verify-full"), "sslmod is not known"),
        (format!("postgres://payonce:SEC/RET@localhost:{port}/{db}"), "%2F"),
    ] {
        let told = ask(&url).unwrap_or_else(|| panic!("{url} was taken"));
        assert!(told.contains(named), "{url}: {told}");
        assert_eq!(told.trim().lines().count(), 1, "{told}");
    }

    show(&listening, &certificates, &certificates.of_its_own).await;
    let unknown = ask(&format!("postgres://{at}/{db}?sslmode=verify-full")).unwrap();
    assert!(unknown.contains("sslrootcert") && unknown.contains("sslmode=require"), "{unknown}");
    let own = format!("sslrootcert={}", certificates.own_file.display());
    assert_eq!(ask(&format!("postgres://{at}/{db}?sslmode=verify-full&{own}")), None);
    assert_eq!(ask(&format!("postgres://{at}/{db}?sslmode=require")), None);

    show(&listening, &certificates, &certificates.of_an_authority).await;
    let told = ask(&format!("postgres://{at}/{db}?sslmode=verify-full")).unwrap();
    assert!(told.contains("CA:FALSE") && told.contains("sslmode=require"), "{told}");
}
