//! The layers of the house: `http -> service -> {db, domain}`, `db -> domain`, `domain ->` nothing.

use std::collections::{BTreeMap, BTreeSet};
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
    let begins = |text: &str| {
        text.contains(".begin(") || text.contains("begin_with") || text.contains(".commit(")
    };
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

/// The files of `src` as modules, by their paths: `["http", "gate"]` is `src/http/gate.rs`. Their tests
/// are left out, as they are inside what they test.
fn modules() -> BTreeMap<Vec<String>, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files_under(&src).into_iter().filter(|path| {
        !path
            .components()
            .any(|part| ["tests", "tests.rs"].iter().any(|it| part.as_os_str() == *it))
    });
    let module = |path: PathBuf| {
        let name = path.strip_prefix(&src).unwrap().with_extension("");
        let name = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        (name, code_of(&fs::read_to_string(&path).unwrap()))
    };
    files.map(module).collect()
}

/// A text without its comments.
fn code_of(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths in a text, with the braces of `use` declarations resolved. What it only makes visible to others
/// (`pub use`) is not among them, nor are the parts that it is made of (`mod`).
fn paths_of(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut lines = code.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line.starts_with("use ") || line.starts_with("pub") && line.contains(" use ") {
            let mut statement = line.to_owned();
            while !statement.ends_with(';') {
                statement.push_str(lines.next().unwrap());
            }
            if let Some(tree) = statement.strip_prefix("use ") {
                expand(&[], tree.trim_end_matches(';'), &mut paths);
            }
        } else {
            let named = line.split(|c| !is_of_path(c)).filter(|it| it.contains("::"));
            paths.extend(named.map(names));
        }
    }
    paths
}

fn names(path: &str) -> Vec<String> {
    path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Resolves `a::{b, c::{d, e}}` into its paths.
fn expand(before: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let Some((path, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        paths.push([before, &names(path)].concat());
        return;
    };
    let before = [before, &names(path)].concat();
    let inner = rest.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner.get(begin..at).unwrap().trim();
                if !part.is_empty() {
                    expand(&before, part, paths);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// Which modules each names. A path is that of the module which it leads to, or of the one that has what it
/// leads to. A module that only shows its parts to others does not name them, so what all of them need may stand
/// in it.
fn imports() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules = modules();
    let resolve = |from: &[String], path: &[String]| -> Option<Vec<String>> {
        let mut base = from.to_vec();
        let mut names = path;
        match names.first()?.as_str() {
            "crate" => {
                base.clear();
                names = &names[1..];
            }
            "self" => names = &names[1..],
            "super" => {}
            child => {
                let child = [from, &[child.to_owned()]].concat();
                modules.contains_key(&child).then_some(())?;
            }
        }
        while names.first().is_some_and(|name| name == "super") {
            base.pop();
            names = &names[1..];
        }
        let whole = [&*base, names].concat();
        (1..=whole.len())
            .rev()
            .map(|length| whole[..length].to_vec())
            .find(|it| modules.contains_key(it))
    };
    let of = |(name, code): (&Vec<String>, &String)| {
        let paths = paths_of(code);
        let named = paths.iter().filter_map(|path| resolve(name, path)).filter(|it| it != name);
        (name.clone(), named.collect())
    };
    modules.iter().map(of).collect()
}

#[test]
fn no_file_imports_itself_through_others() {
    let imports = imports();
    assert!(imports[&names("http::gate")].contains(&names("http::error")));
    // Files that import nothing that is left are taken away, until only circles and files that lead to them are left.
    let mut left = imports.clone();
    loop {
        let done: Vec<_> = left
            .iter()
            .filter(|(_, named)| named.iter().all(|it| !left.contains_key(it)))
            .map(|(name, _)| name.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        left.retain(|name, _| !done.contains(name));
    }
    // The same from the other side.
    loop {
        let named: BTreeSet<_> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|name, _| named.contains(name));
        if left.len() == before {
            break;
        }
    }
    let circles: Vec<String> = left
        .iter()
        .flat_map(|(name, named)| named.iter().map(move |it| (name, it)))
        .filter(|(_, it)| left.contains_key(*it))
        .map(|(name, it)| format!("{} -> {}", name.join("::"), it.join("::")))
        .collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn the_routes_and_the_document_name_the_same_handlers() {
    let text = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        fs::read_to_string(path).unwrap()
    };
    let (http, openapi) = (text("http.rs"), text("http/openapi.rs"));
    let routes: BTreeSet<&str> = http
        .split(".to(")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|handler| handler.contains("::"))
        .collect();
    let listed = openapi.split("    paths(").nth(1).unwrap().split(')').next().unwrap();
    let listed: BTreeSet<&str> =
        listed.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    assert!(routes.len() > 10, "{routes:?}");
    // Beside the page of documentation stand its parts.
    let parts = BTreeSet::from(["docs::docs_part"]);
    assert_eq!(routes.symmetric_difference(&listed).copied().collect::<BTreeSet<_>>(), parts);
}
