//! The page's files, served as a web server would.

use std::fs;
use std::path::Path;

use crate::harness::{Answer, App, Database, command, eventually};

const HASHED: &str = "_next/static/chunks/a1b2.js";

/// The files that a web build leaves behind.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = site.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("index.html", "<title>send</title>");
    write("lab/index.html", "<title>lab</title>");
    write("404.html", "<title>nothing</title>");
    write(HASHED, "plain");
    // Not what a compressor would write, so that the test sees which file was sent.
    write(&format!("{HASHED}.br"), "brotli");
    write(&format!("{HASHED}.gz"), "gzip");
    site
}

async fn start(site: &Path) -> App {
    App::start_with(&[("PAYONCE_PAGE__DIR", site.to_str().unwrap())]).await
}

#[tokio::test]
async fn a_directory_is_its_index() {
    let site = site();
    let app = start(site.path()).await;
    let page = app.get("/").await;
    assert_eq!((page.status, &*page.text), (200, "<title>send</title>"));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    // The client follows the redirect to /lab/.
    assert_eq!(app.get("/lab").await.text, "<title>lab</title>");
    assert_eq!(app.get("/lab/").await.text, "<title>lab</title>");
}

#[tokio::test]
async fn files_with_a_hash_in_their_name_are_kept_and_others_asked_for_again() {
    let site = site();
    let app = start(site.path()).await;
    let hashed = app.get(&format!("/{HASHED}")).await;
    assert_eq!(hashed.headers["cache-control"], "public, max-age=31536000, immutable");
    let page = app.get("/").await;
    assert_eq!(page.headers["cache-control"], "no-cache");
    let again = app.request("GET", "/").header("if-none-match", &page.headers["etag"]);
    assert_eq!(Answer::of(again).await.status, 304);
    // A file that a newer page needs may be there in a moment.
    let missing = app.get("/_next/static/chunks/none.js").await;
    missing.assert_problem(404, "not_found");
    assert_eq!(missing.headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn what_the_build_compressed_is_sent_to_whoever_takes_it() {
    let site = site();
    let app = start(site.path()).await;
    for (accepted, encoding, text) in [
        ("gzip, br", Some("br"), "brotli"),
        ("gzip", Some("gzip"), "gzip"),
        ("identity", None, "plain"),
    ] {
        let request = app.request("GET", &format!("/{HASHED}")).header("accept-encoding", accepted);
        let answer = Answer::of(request).await;
        let sent = answer.headers.get("content-encoding").map(|it| it.to_str().unwrap().to_owned());
        assert_eq!((sent.as_deref(), &*answer.text), (encoding, text));
        let media_type = answer.headers["content-type"].to_str().unwrap();
        assert!(media_type.starts_with("text/javascript"), "{media_type}");
    }
}

#[tokio::test]
async fn the_api_stays_as_it_is_beside_the_page() {
    let site = site();
    fs::create_dir(site.path().join("accounts")).unwrap();
    fs::write(site.path().join("accounts/index.html"), "not this").unwrap();
    let app = start(site.path()).await;
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 5, "k").await.assert_paid();
    assert_eq!(app.get("/accounts?ids=1").await.json[0]["id"], 1);
    app.get("/nowhere").await.assert_problem(404, "not_found");
    Answer::of(app.request("POST", "/")).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn where_there_is_nothing_a_browser_gets_a_page_and_a_program_a_problem() {
    let site = site();
    let app = start(site.path()).await;
    let ask = async |path: &str, accepted: &str| {
        Answer::of(app.request("GET", path).header("accept", accepted)).await
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for path in
        ["/nowhere", "/lab/nowhere", "/.hidden", "/%2e%2e%5cindex.html", "/_next/static/no.js"]
    {
        for accepted in [browser, "text/HTML", "application/json, text/html;q=0.1"] {
            let page = ask(path, accepted).await;
            assert_eq!((page.status, &*page.text), (404, "<title>nothing</title>"), "{path}");
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(page.header("cache-control"), Some("no-cache"));
            assert!(page.header("vary").unwrap().contains("accept"));
        }
        for accepted in ["*/*", "application/json", "text/html;q=0", "text/plain"] {
            ask(path, accepted).await.assert_problem(404, "not_found");
        }
    }
    // The service's own paths are for programs.
    ask("/accounts/x", browser).await.assert_problem(400, "invalid_request");
    eventually("its code is in the log", async || {
        let lines = app.requests();
        lines.iter().any(|line| line["path"] == "/nowhere" && line["code"] == "not_found")
    })
    .await;
    fs::remove_file(site.path().join("404.html")).unwrap();
    ask("/nowhere", browser).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_file_takes_any_query_and_has_no_parts() {
    let site = site();
    let app = start(site.path()).await;
    for path in ["/?from=1", "/index.html?v=1&v=2", "/lab/?x", &format!("/{HASHED}?v=1")] {
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
    for (header, value) in [
        ("range", "bytes=100-200"),
        ("range", "nonsense"),
        ("if-match", "\"another\""),
        ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:01 GMT"),
    ] {
        let answer = Answer::of(app.request("GET", "/").header(header, value)).await;
        assert_eq!((answer.status, &*answer.text), (200, "<title>send</title>"), "{header}");
    }
}

#[tokio::test]
async fn nothing_outside_of_its_directory_is_served() {
    let site = site();
    let app = start(&site.path().join("lab")).await;
    for path in ["/../index.html", "/%2e%2e/index.html", "/..%2findex.html", "/%2e%2e%5cindex.html"]
    {
        let answer = app.get(path).await;
        assert_ne!(answer.text, "<title>send</title>", "{path}");
    }
}

#[tokio::test]
async fn without_a_directory_there_is_no_page() {
    let app = App::start().await;
    app.get("/").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_page_that_is_not_there_stops_the_start() {
    let database = Database::new().await;
    let empty = tempfile::tempdir().unwrap();
    let mut command = command(&database);
    let output = command.env("PAYONCE_PAGE__DIR", empty.path()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("page.dir") && said.contains("index.html"), "{said}");
}
