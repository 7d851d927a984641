//! The page's files, served as a web server would.

use std::fs;
use std::path::Path;

use crate::harness::{Answer, App, Database, command};

const HASHED: &str = "_next/static/chunks/a1b2.js";

/// What a web build leaves behind.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = site.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("index.html", "<title>send</title>");
    write("lab/index.html", "<title>lab</title>");
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
