#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use super::*;

fn parsed(text: &str) -> PgConnectOptions {
    let url: DatabaseUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let servers = url.servers().unwrap();
    assert_eq!(servers.len(), 1, "{text}");
    servers.into_iter().next().unwrap()
}

#[test]
fn what_libpq_takes_is_taken() {
    for (text, host, port, user, database) in [
        ("postgres://u@db.example/ledger", "db.example", 5432, "u", "ledger"),
        ("postgresql://u:p@db.example:5433/ledger", "db.example", 5433, "u", "ledger"),
        ("postgres://u@[::1]:5433/ledger", "::1", 5433, "u", "ledger"),
        ("postgres://u@[2001:db8::7]/ledger", "2001:db8::7", 5432, "u", "ledger"),
        ("postgres://u%40x:p%2Fq@h/a%20b", "h", 5432, "u@x", "a b"),
        ("postgres://u:p@ss@h/db", "h", 5432, "u", "db"),
        ("postgres:///db?host=h&user=u&port=1", "h", 1, "u", "db"),
        ("postgres://u@h/db?dbname=other", "h", 5432, "u", "other"),
        ("postgres://u@h/db?hostaddr=10.0.0.1", "10.0.0.1", 5432, "u", "db"),
    ] {
        let options = parsed(text);
        assert_eq!(
            (options.get_host(), options.get_port(), options.get_username()),
            (host, port, user),
            "{text}"
        );
        assert_eq!(options.get_database(), Some(database), "{text}");
    }
}

#[test]
fn a_socket_may_stand_in_the_place_of_a_host() {
    for text in [
        "postgres://u@/db?host=/run/postgres",
        "postgres:///db?host=/run/postgres&user=u",
        "postgres://u@%2Frun%2Fpostgres/db",
        "postgres://u@elsewhere/db?host=/run/postgres",
        "postgres://u@/db?host=%2Frun%2Fpostgres",
    ] {
        let socket = parsed(text).get_socket().unwrap().clone();
        assert_eq!(socket.to_str(), Some("/run/postgres"), "{text}");
    }
}

#[test]
fn several_servers_are_taken_as_libpq_takes_them() {
    for (text, servers) in [
        ("postgres://u:p@a:1,b:2/db", &["a:1", "b:2"][..]),
        ("postgres://u:p@a,b:2,c/db", &["a:5432", "b:2", "c:5432"]),
        ("postgres://u:p@a,b/db?target_session_attrs=read-write", &["a:5432", "b:5432"]),
        ("postgres://u:p@[::1]:1,[2001:db8::7],c/db", &["::1:1", "2001:db8::7:5432", "c:5432"]),
        ("postgres:///db?host=a,b&port=1,2&user=u&password=p", &["a:1", "b:2"]),
        ("postgres:///db?host=a,b&port=7&user=u&password=p", &["a:7", "b:7"]),
        ("postgres:///db?host=a,b&port=,7&user=u&password=p", &["a:5432", "b:7"]),
        ("postgres://u:p@a%2Cb/db", &["a:5432", "b:5432"]),
        ("postgres://u:p@a,b/db?hostaddr=10.0.0.1,10.0.0.2", &["10.0.0.1:5432", "10.0.0.2:5432"]),
        ("postgres:///db?host=/run/a,/run/b&port=1&user=u&password=p", &["/run/a:1", "/run/b:1"]),
    ] {
        let url: DatabaseUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<String> = url
            .servers()
            .unwrap()
            .iter()
            .map(|it| {
                assert_eq!((it.get_username(), it.get_database()), ("u", Some("db")), "{text}");
                let socket = it.get_socket().map(|it| it.display().to_string());
                format!("{}:{}", socket.unwrap_or(it.get_host().to_owned()), it.get_port())
            })
            .collect();
        assert_eq!(found, servers, "{text}");
    }
}

#[test]
fn without_a_host_the_usual_one_is_meant() {
    let usual = PgConnectOptions::new_without_pgpass().get_host().to_owned();
    assert_eq!(parsed("postgres:///db?user=u").get_host(), usual);
    assert_eq!(parsed("postgres://u:p@/db").get_host(), usual);
}

#[test]
fn what_is_wrong_is_named_and_nothing_else_is_told() {
    for (text, named) in [
        ("mysql://u:SECRET@h/db", "postgres://"),
        ("svc:SECRET@h/db", "postgres://"),
        ("SECRET", "postgres://"),
        ("", "postgres://"),
        ("postgres:u:SECRET@h/db", "postgres://"),
        ("postgres://u:SECRET/x@h/db", "%2F"),
        ("postgres://u:SECRET?x@h/db", "%3F"),
        ("postgres://u:SECRET?SECRET=x@h/db", "not known"),
        ("postgres://u:12/SECRET@h/db", "%2F"),
        ("postgres://u:SECRET%zz@h/db", "%25"),
        ("postgres://u:SECRET%4@h/db", "%25"),
        ("postgres://u:SECRET%00@h/db", "control"),
        ("postgres://u:SECRET%ff@h/db", "UTF-8"),
        ("postgres://u:SECRET@h:0/db", "port"),
        ("postgres://u:SECRET@h:65536/db", "port"),
        ("postgres://u:SECRET@h:x/db", "port"),
        ("postgres://u:SECRET@::1/db", "port"),
        ("postgres://u:SECRET@[::1/db", "brackets"),
        ("postgres://u:SECRET@[db]/db", "brackets"),
        ("postgres://u:SECRET@[::1]x/db", "brackets"),
        ("postgres://u:SECRET@a:1,b:x/db", "port"),
        ("postgres://u:SECRET@a,b,c/db?port=1,2", "as many ports"),
        ("postgres://u:SECRET@a/db?port=1,2", "as many ports"),
        ("postgres://u:SECRET@a,b/db?hostaddr=10.0.0.1", "hostaddr"),
        ("postgres://u:SECRET@a,b/db?hostaddr=10.0.0.1,b", "hostaddr"),
        ("postgres://u:SECRET@a,b/db?target_session_attrs=any", "target_session_attrs"),
        ("postgres://u:SECRET@a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q/db", "16 servers"),
        ("postgres://u:SECRET@h/db?sslmode=on", "sslmode"),
        ("postgres://u:SECRET@h/db?sslmod=require", "sslmod is"),
        ("postgres://u:SECRET@h/db?sslpassword=SECRET", "sslpassword"),
        ("postgres://u:SECRET@h/db?sslmode=require&sslmode=disable", "twice"),
        ("postgres://u:SECRET@h/db?sslmode=require&ssl-mode=disable", "twice"),
        ("postgres://u:SECRET@h/db?sslcert=/a", "sslkey"),
        ("postgres://u:SECRET@h/db?hostaddr=h", "hostaddr"),
        ("postgres://u:SECRET@h/db?sslmode", "no ="),
    ] {
        let told = text.parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(told.contains(named) && !told.contains("SECRET"), "{text}: {told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_parameter() {
    let url: DatabaseUrl = "postgres://u:SECRET@h/db?sslrootcert=/no/such/file".parse().unwrap();
    let told = url.servers().unwrap_err().to_string();
    assert!(told.contains("sslrootcert") && told.contains("/no/such/file"), "{told}");
    let of_the_system = "postgres://u@h/db?sslmode=verify-full&sslrootcert=system";
    of_the_system.parse::<DatabaseUrl>().unwrap().servers().unwrap();
}

#[test]
fn what_is_printed_of_one_for_debugging_holds_no_password() {
    let url: DatabaseUrl = "postgres://u:SECRET@h/db".parse().unwrap();
    assert!(!format!("{url:?}").contains("SECRET"));
}
