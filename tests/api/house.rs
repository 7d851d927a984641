//! The layers of the house: `http -> service -> {db, domain}`, `db -> domain`, `domain ->` nothing.

use std::fs;
use std::path::{Path, PathBuf};

fn files_under(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).map_or(Vec::new(), |it| it.flatten().collect());
    entries.iter().flat_map(|entry| files_under(&entry.path())).collect()
}

/// The source of a module: `src/name.rs` and everything in `src/name/`.
fn module(name: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files_under(&src.join(format!("{name}.rs")))
        .into_iter()
        .chain(files_under(&src.join(name)));
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn assert_absent(modules: &[&str], words: &[&str]) {
    for (path, text) in modules.iter().flat_map(|name| module(name)) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, word) in code.flat_map(|line| words.iter().map(move |word| (line, word))) {
            assert!(!line.contains(word), "{} names {word}: {line}", path.display());
        }
    }
}

#[test]
fn the_domain_uses_nothing_but_itself() {
    assert_absent(
        &["domain"],
        &[
            "sqlx",
            "actix",
            "tokio",
            "crate::db",
            "crate::service",
            "crate::http",
            "crate::config",
            "std::fs",
            "SystemTime",
            "now_utc",
        ],
    );
}

#[test]
fn the_database_layer_knows_the_domain_alone() {
    assert_absent(&["db"], &["actix", "crate::service", "crate::http", "crate::config"]);
}

#[test]
fn the_service_knows_nothing_of_http_and_writes_no_sql() {
    assert_absent(&["service"], &["actix", "crate::http", "StatusCode", "sqlx::query", "raw_sql"]);
}

#[test]
fn http_never_names_the_database() {
    assert_absent(&["http"], &["sqlx", "crate::db"]);
}

#[test]
fn only_http_names_actix() {
    assert_absent(&["auth", "config", "telemetry", "process", "commands", "main"], &["actix_web"]);
}

#[test]
fn the_playground_adds_to_the_service_through_its_http_alone() {
    let playground = Path::new(env!("CARGO_MANIFEST_DIR")).join("playground");
    let files = files_under(&playground.join("src"));
    assert!(files.len() > 3, "{files:?}");
    for path in files.iter().chain([&playground.join("Cargo.toml")]) {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains("actix"), "{} names actix", path.display());
    }
}

#[test]
fn only_a_writers_session_begins_and_commits() {
    let ours = ["transaction::begin(", "posting::begin_and_lock(", "transaction::commit("];
    let of_sqlx = ["begin_with", "sqlx::Acquire", "Connection::begin"];
    let begins = |text: &str| ours.iter().chain(&of_sqlx).any(|call| text.contains(call));
    let all: Vec<_> = ["main", "process", "commands", "http", "service", "db"]
        .iter()
        .flat_map(|name| module(name))
        .collect();
    let mut found: Vec<_> = all
        .iter()
        .filter(|(_, text)| begins(text))
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
        .collect();
    found.sort_unstable();
    // The audit's transaction is READ ONLY: one snapshot for all of its checks.
    assert_eq!(found, ["audit.rs", "session.rs"]);
}

#[test]
fn tokens_are_told_without_the_ledger() {
    assert_absent(&["auth"], &["sqlx", "crate::db", "crate::service", "crate::http"]);
}

#[test]
fn one_file_chooses_status_codes() {
    for (path, text) in module("http") {
        let chooses = text.contains("StatusCode::") || text.contains("S::");
        let is_the_one = path.ends_with("http/problem.rs") || path.ends_with("http/body.rs");
        assert!(!chooses || is_the_one, "{} chooses a status", path.display());
    }
}
