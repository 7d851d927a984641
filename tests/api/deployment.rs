//! What is deployed with the service: containers, the database's roles, alerts and a dashboard. Only
//! what needs a container engine or Grafana itself is left to people: `docs/operating.md` lists it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::harness::{Answer, App, Database, bare_command, eventually, payment};
use crate::server::Server;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The elements of a list or of an object.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(items) => items.values().collect(),
        _ => panic!("{value} holds nothing"),
    }
}

fn strings(value: &Value) -> Vec<&str> {
    items(value).into_iter().map(|item| item.as_str().unwrap()).collect()
}

fn compose() -> Value {
    yaml("docker-compose.yml")
}

fn promtool(args: &[&str]) {
    let output = Command::new("promtool")
        .args(args)
        .current_dir(root().join("deploy/prometheus"))
        .output()
        .expect("promtool is missing: install it (Debian: apt-get install prometheus)");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn prometheus_takes_its_settings_and_the_alerts() {
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn alerts_fire_when_they_are_to_and_not_before() {
    promtool(&["test", "rules", "alerts_test.yml", "alerts_days_test.yml"]);
}

fn alerts() -> Vec<Value> {
    let rules = yaml("deploy/prometheus/alerts.yml");
    let rules = items(&rules["groups"]).into_iter().flat_map(|group| items(&group["rules"]));
    rules.cloned().collect()
}

#[test]
fn every_alert_is_seen_to_fire_in_a_test() {
    let tests = ["alerts_test.yml", "alerts_days_test.yml"]
        .map(|file| yaml(&format!("deploy/prometheus/{file}")));
    let evaluations: Vec<&Value> = tests
        .iter()
        .flat_map(|file| items(&file["tests"]))
        .flat_map(|test| items(&test["alert_rule_test"]))
        .collect();
    for alert in alerts() {
        let fires = evaluations.iter().any(|evaluation| {
            evaluation["alertname"] == alert["alert"]
                && !items(&evaluation["exp_alerts"]).is_empty()
        });
        assert!(fires, "no test sees {} fire", alert["alert"]);
    }
}

/// As sites make them: small letters, and hyphens for spaces.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let words = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    words
        .map(|words| {
            let kept = words.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_alert_has_a_section_that_says_what_to_do() {
    let sections = anchors(&text("docs/operating.md"));
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let runbook = alert["annotations"]["runbook"].as_str().unwrap();
        let anchor = runbook.strip_prefix("docs/operating.md#").unwrap();
        assert_eq!(anchor, name.to_lowercase());
        assert!(sections.contains(anchor), "docs/operating.md has no section {name}");
    }
}

#[test]
fn a_cluster_acknowledges_nothing_that_one_server_alone_has() {
    let shared = &yaml("deploy/cluster/cluster.yml")["bootstrap"];
    let settings = &shared["dcs"];
    assert_eq!(settings["synchronous_mode"], true);
    assert_eq!(settings["synchronous_mode_strict"], true);
    assert_eq!(settings["failsafe_mode"], false);
    let parameters = &settings["postgresql"]["parameters"];
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(parameters[name], "on", "{name}");
    }
    assert!(items(&shared["initdb"]).contains(&&Value::from("data-checksums")));
    // Else Patroni changes them to what fits.
    let seconds = |name: &str| settings[name].as_u64().unwrap();
    assert!(seconds("loop_wait") + 2 * seconds("retry_timeout") <= seconds("ttl"));
}

#[test]
fn a_node_of_a_cluster_differs_from_others_in_what_is_its_own() {
    let (shared, own) = (yaml("deploy/cluster/cluster.yml"), yaml("deploy/cluster/node.yml"));
    // Patroni reads the files in the order of their names, and the later one is right.
    for name in own.as_object().unwrap().keys() {
        assert!(shared[name].is_null(), "{name} is in both");
    }
    for unit in ["payonce-patroni.service", "payonce-etcd.service"] {
        let unit = text(&format!("deploy/cluster/{unit}"));
        assert!(unit.contains("Restart=always"));
    }
    let operating = text("docs/operating.md");
    for path in ["/opt/payonce/patroni", "/etc/payonce/cluster", "/etc/payonce/etcd.env"] {
        assert!(operating.contains(path), "docs/operating.md does not say what is in {path}");
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/dashboards/payonce.json")).unwrap()
}

/// The queries of alerts and panels.
fn queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels = items(&dashboard["panels"]).into_iter().filter(|panel| panel["type"] != "row");
    let of_panels = panels
        .flat_map(|panel| items(&panel["targets"]))
        .map(|target| target["expr"].as_str().unwrap().to_owned());
    let alerts = alerts();
    let of_alerts = alerts.iter().map(|alert| alert["expr"].as_str().unwrap().to_owned());
    of_panels.chain(of_alerts).collect()
}

fn is_of_a_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The metrics of a query, each with the labels that it is asked for.
fn selectors(query: &str) -> Vec<(String, Vec<&str>)> {
    let begins = ["payonce_", "process_"].into_iter().flat_map(|it| query.match_indices(it));
    let begins = begins.map(|(at, _)| query.split_at(at));
    let names = begins.filter(|(before, _)| !before.ends_with(is_of_a_name)).map(|(_, it)| it);
    names
        .map(|text| {
            let name: String = text.chars().take_while(|it| is_of_a_name(*it)).collect();
            let inside = text.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('{'));
            // Values are quoted, and may hold braces; a label stands before each.
            let labels = inside.unwrap_or("}").split('"').step_by(2);
            let labels = labels.take_while(|it| !it.trim_start().starts_with('}'));
            (name, labels.map(|it| it.trim_matches([',', ' ', '=', '~', '!'])).collect())
        })
        .collect()
}

#[test]
fn the_metrics_and_labels_of_a_query_are_found() {
    let query = r#"a(payonce_x_total{route="/a/{b}", status=~"5.."}[5m]) / process_y or payonce_z"#;
    let found = selectors(query);
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["payonce_x_total", "payonce_z", "process_y"]);
    assert_eq!(found[0].1, ["route", "status"]);
    assert!(found[1].1.is_empty());
}

/// The names of `/metrics`, each with its labels.
async fn measured(app: &App) -> BTreeMap<String, BTreeSet<String>> {
    let answer = app.get("/metrics").await;
    let mut measured: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in answer.text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split('"').step_by(2).map(|it| it.trim_matches([',', '=', '}']));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        measured.entry(name.to_owned()).or_default().extend(labels);
    }
    measured
}

#[tokio::test]
async fn what_alerts_and_panels_ask_for_is_measured() {
    let app = App::start_with(&[("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "10")]).await;
    app.open_many(2, 1_000).await;
    app.get("/payment_history/1").await;
    // A batch that is posted again.
    let outside = app.database.lock_accounts("2").await;
    let body = payment(1, 2, 1, "k");
    let paying = tokio::spawn(Answer::of(app.request("PUT", "/send_payment").json(&body)));
    eventually("it is posted again", async || {
        measured(&app).await.contains_key("payonce_reposts_total")
    })
    .await;
    outside.release().await;
    paying.await.unwrap().assert_paid();

    let measured = measured(&app).await;
    // Labels that Prometheus adds by itself.
    let given = ["job", "instance"];
    for query in queries() {
        for (name, labels) in selectors(&query) {
            let known = measured.get(&name).unwrap_or_else(|| panic!("{name} is not measured"));
            for label in labels {
                let is_known = known.contains(label) || given.contains(&label);
                assert!(is_known, "{name} has no label {label:?}: {query}");
            }
        }
    }
}

/// The values that queries compare a label with.
fn asked_values(label: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for query in queries() {
        let parts: Vec<_> = query.split('"').collect();
        for pair in parts.chunks_exact(2) {
            let before = pair[0].trim_end_matches(['=', '~', '!']);
            let is_it = before.strip_suffix(label).is_some_and(|it| !it.ends_with(is_of_a_name));
            if is_it && pair[0].ends_with(['=', '~']) {
                values.extend(pair[1].split('|').map(str::to_owned));
            }
        }
    }
    values
}

#[tokio::test]
async fn outcomes_and_routes_that_alerts_and_panels_ask_for_exist() {
    let app = App::start().await;
    let outcomes = asked_values("outcome");
    assert!(outcomes.contains("overloaded"), "{outcomes:?}");
    for outcome in outcomes.iter().filter(|&it| it != "paid" && it != "replayed") {
        let explained = app.get(&format!("/problems/{outcome}")).await;
        assert_eq!(explained.status, 200, "no payment has the outcome {outcome}");
    }
    let document = app.get("/openapi.json").await.json;
    let routes = asked_values("route");
    assert!(routes.contains("/send_payment"), "{routes:?}");
    for route in routes.iter().filter(|route| !route.contains(".*")) {
        assert!(document["paths"][route].is_object(), "there is no route {route}");
    }
    let code = text("src/service/payments/writer.rs");
    for cause in asked_values("cause") {
        assert!(code.contains(&format!("\"{cause}\"")), "no batch is posted again for {cause}");
    }
}

#[test]
fn the_dashboard_reads_from_what_grafana_is_given() {
    let sources = yaml("deploy/grafana/provisioning/datasources/datasources.yml");
    let known: Vec<_> = items(&sources["datasources"]).iter().map(|it| it["uid"].clone()).collect();
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in items(&dashboard["panels"]) {
        assert!(
            ids.insert(panel["id"].as_i64().unwrap()),
            "two panels have the id {}",
            panel["id"]
        );
        if panel["type"] == "row" {
            continue;
        }
        for target in items(&panel["targets"]) {
            assert!(known.contains(&target["datasource"]["uid"]), "{}", panel["title"]);
        }
    }
    // Both are read from where docker-compose.yml puts them.
    let compose = compose();
    let mounts = strings(&compose["services"]["grafana"]["volumes"]);
    let provider = yaml("deploy/grafana/provisioning/dashboards/dashboards.yml");
    let path = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(mounts.contains(&&*format!("./deploy/grafana/dashboards:{path}:ro")), "{mounts:?}");
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let target = prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str();
    let service = &compose["services"]["payonce"];
    let port = service["environment"]["PAYONCE_SERVER__ADMIN_PORT"].as_str().unwrap();
    assert_eq!(target, Some(&*format!("payonce:{port}")));
    let published = strings(&service["ports"]);
    assert!(published.iter().all(|it| !it.contains(port)), "{published:?}");
}

/// Every setting of `src/config/settings.rs`, as `writer.batch_max`.
pub fn settings() -> BTreeSet<String> {
    let mut structs: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut current = None;
    for line in text("src/config/settings.rs").lines() {
        if let Some(name) = line.strip_prefix("pub struct ") {
            current = name.strip_suffix(" {").map(str::to_owned);
        } else if line == "}" {
            current = None;
        } else if let (Some(name), Some(field)) = (&current, line.trim().strip_prefix("pub ")) {
            let (field, kind) = field.trim_end_matches(',').split_once(": ").unwrap();
            structs.entry(name.clone()).or_default().push((field.to_owned(), kind.to_owned()));
        }
    }
    let sections = structs["Settings"].iter().flat_map(|(section, kind)| match structs.get(kind) {
        Some(fields) => fields.iter().map(|(field, _)| format!("{section}.{field}")).collect(),
        None => vec![section.clone()],
    });
    sections.collect()
}

#[test]
fn every_setting_is_explained() {
    let settings = settings();
    assert!(settings.len() > 40 && settings.contains("writer.batch_max"), "{settings:?}");
    let rows: String = text("README.md").lines().filter(|line| line.starts_with('|')).collect();
    for setting in settings {
        assert!(rows.contains(&format!("`{setting}`")), "README.md does not explain {setting}");
    }
}

#[test]
fn containers_and_documents_use_settings_that_exist() {
    let settings = settings();
    for path in ["docker-compose.yml", "Dockerfile", "docs/operating.md"] {
        for after in text(path).split("PAYONCE_").skip(1) {
            let name: String = after.chars().take_while(|it| is_of_a_name(*it)).collect();
            // `PAYONCE_` alone is how all of them begin.
            let setting = name.to_lowercase().replacen("__", ".", 1);
            let is_known = name.is_empty() || settings.contains(&setting);
            assert!(is_known, "{path} sets {setting}, which does not exist");
        }
    }
}

/// A setting that is given to one command alone is gone with the next one, which makes the container
/// anew.
#[test]
fn settings_of_containers_are_written_down_and_not_given_to_one_command() {
    for path in ["docker-compose.yml", "README.md", "SECURITY.md", "docs/operating.md"] {
        for line in text(path).lines() {
            for (at, _) in line.match_indices("docker compose") {
                let before = line.split_at(at).0.trim_end().rsplit([' ', '`']).next();
                assert!(!before.is_some_and(|word| word.contains('=')), "{path}: {line}");
            }
        }
    }
    let documents = text("docs/operating.md");
    for (name, value) in compose()["services"]["payonce"]["environment"].as_object().unwrap() {
        if value.as_str().is_some_and(|value| value.starts_with("${")) {
            assert!(documents.contains(&format!("{name}=")), "nobody is told of {name}");
        }
    }
}

#[test]
fn containers_can_do_no_more_than_they_have_to() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(strings(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}");
        assert!(service["logging"]["options"]["max-file"].is_string(), "{name}");
        for limit in ["cpus", "memory", "pids"] {
            let limits = &service["deploy"]["resources"]["limits"];
            assert!(!limits[limit].is_null(), "{name} has no limit of {limit}");
        }
        // Jaeger's traces may be lost, and nothing waits for it.
        assert!(service["healthcheck"]["test"].is_array() || name == "jaeger", "{name}");
        if let Value::Array(ports) = &service["ports"] {
            for port in ports {
                assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port}");
            }
        }
        // The service's own user is in its image.
        let user =
            service["user"].as_str().unwrap_or(if name == "payonce" { "10001" } else { "0" });
        let id: u32 = user.split(':').next().unwrap().parse().unwrap();
        assert_ne!(id, 0, "{name} runs as root");
    }
    assert!(text("Dockerfile").contains("\nUSER 10001:10001\n"));
    assert_eq!(compose["networks"]["database"]["internal"], true);
    let on_database = |service: &Value| strings(&service["networks"]).contains(&"database");
    let services = compose["services"].as_object().unwrap();
    let with_database: Vec<_> = services.iter().filter(|(_, it)| on_database(it)).collect();
    assert_eq!(with_database.len(), 2, "the service's and Postgres' own");
}

/// A setting of the systemd unit in `docs/operating.md`.
fn of_the_unit(name: &str) -> String {
    let documents = text("docs/operating.md");
    let value = documents.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit has no {name}")).to_owned()
}

/// The whole numbers of a text, in their order.
fn numbers(text: &str) -> Vec<u64> {
    let words = text.split(|it: char| !it.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_service_has_the_files_threads_and_memory_that_it_needs_in_a_container_and_without() {
    const MIB: u64 = 1 << 20;
    let compose = compose();
    let service = &compose["services"]["payonce"];
    let limits = &service["deploy"]["resources"]["limits"];
    let server = payonce::config::Settings::default().server;
    let connections = u64::try_from(server.connections_max.get()).unwrap();
    let files = service["ulimits"]["nofile"].as_u64().unwrap();
    assert!(files > connections, "{files} files for {connections} connections");
    assert_eq!(of_the_unit("LimitNOFILE"), files.to_string());
    assert_eq!(of_the_unit("TasksMax"), limits["pids"].as_u64().unwrap().to_string());

    let documents = text("docs/operating.md");
    let row = documents.lines().find(|line| line.starts_with("| memory of the service ")).unwrap();
    // MiB of its own, and KiB for a connection that is idle and for one that asks: see `limits.rs`.
    let [own, idle, asks] = numbers(row)[..] else { panic!("{row}") };
    assert!(idle < asks, "{row}");
    let needed = own * MIB + connections * (asks << 10);
    let memory = limits["memory"].as_str().unwrap();
    assert_eq!(of_the_unit("MemoryMax"), memory.to_uppercase());
    let allowed = numbers(memory)[0] * MIB;
    let alert = alerts().into_iter().find(|alert| alert["alert"] == "PayonceMemory").unwrap();
    let [told, kib, bytes] = numbers(alert["expr"].as_str().unwrap())[..] else {
        panic!("{alert}")
    };
    let told = told * kib * bytes;
    assert!(needed < told && told < allowed, "{needed} needed, {told} told, {allowed} allowed");
}

/// As in `5s`.
fn seconds(text: &Value) -> u64 {
    text.as_str().and_then(|text| text.strip_suffix('s')).unwrap().parse().unwrap()
}

#[test]
fn a_container_has_longer_to_stop_than_the_service_takes() {
    // To send the last traces, and to write the last lines of the log.
    const TRACES_AND_LOG_SECONDS: u64 = 3 + 1;
    let compose = compose();
    let service = &compose["services"]["payonce"];
    let server = payonce::config::Settings::default().server;
    let rounded_up = |milliseconds: u32| u64::from(milliseconds.div_ceil(1_000));
    let (delay, timeout) = (server.stop_delay_ms.get(), server.shutdown_timeout_ms.get());
    let as_shipped = rounded_up(delay) + rounded_up(timeout) + TRACES_AND_LOG_SECONDS;
    let documented = format!("| together | {as_shipped} s |");
    assert!(text("docs/operating.md").contains(&documented), "{documented}");
    let grace: u64 = of_the_unit("TimeoutStopSec").parse().unwrap();
    assert!(grace > as_shipped, "{grace} s for {as_shipped} s");

    let set = |setting: &str, default: u32| {
        let given = service["environment"][format!("PAYONCE_SERVER__{setting}")].as_str();
        rounded_up(given.map_or(default, |given| given.parse().unwrap()))
    };
    let in_compose = set("STOP_DELAY_MS", delay) + set("SHUTDOWN_TIMEOUT_MS", timeout);
    let in_compose = in_compose + TRACES_AND_LOG_SECONDS;
    let grace = seconds(&service["stop_grace_period"]);
    assert!(grace > in_compose, "{grace} s for {in_compose} s");
}

#[test]
fn a_health_check_waits_longer_than_the_command_that_it_runs() {
    // `payonce health` gives up by itself, and says why.
    const COMMAND_SECONDS: u64 = 3;
    let check = &compose()["services"]["payonce"]["healthcheck"];
    assert!(seconds(&check["timeout"]) > COMMAND_SECONDS, "{check}");
    let same = format!("--timeout={}s ", seconds(&check["timeout"]));
    assert!(text("Dockerfile").contains(&same), "{same}");
}

#[test]
fn images_are_pinned_by_their_version() {
    let compose = compose();
    let from_compose = items(&compose["services"]).into_iter().map(|it| it["image"].clone());
    let dockerfile = text("Dockerfile");
    let from = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let from = from.map(|line| Value::from(line.split(' ').next().unwrap()));
    for image in from_compose.chain(from) {
        let image = image.as_str().unwrap();
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        let version = tag.trim_start_matches('v');
        let numbers = version.split(['.', '-']).take_while(|it| it.parse::<u32>().is_ok());
        assert!(numbers.count() >= 2, "{image} may become another one");
    }
    let own = concat!("payonce:", env!("CARGO_PKG_VERSION"));
    assert_eq!(compose["services"]["payonce"]["image"], own);
}

#[test]
fn what_compose_mounts_is_there_and_its_secrets_are_made_once() {
    let compose = compose();
    for service in items(&compose["services"]) {
        if let Value::Array(volumes) = &service["volumes"] {
            for volume in volumes.iter().map(|it| it.as_str().unwrap()) {
                let source = volume.split(':').next().unwrap();
                let is_there = match source.strip_prefix("./") {
                    Some(path) => root().join(path).exists(),
                    None => compose["volumes"].as_object().unwrap().contains_key(source),
                };
                assert!(is_there, "{volume}");
            }
        }
        if let Value::Array(secrets) = &service["secrets"] {
            secrets
                .iter()
                .for_each(|name| assert!(compose["secrets"][name.as_str().unwrap()].is_object()));
        }
    }

    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().join("secrets");
    let make = || {
        let made = Command::new(root().join("scripts/secrets")).arg(&secrets).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let all = compose["secrets"].as_object().unwrap().iter().map(|(name, secret)| {
            assert_eq!(secret["file"], format!("./secrets/{name}"));
            std::fs::read_to_string(secrets.join(name)).unwrap_or_else(|it| panic!("{name}: {it}"))
        });
        all.collect::<Vec<_>>()
    };
    let first = make();
    assert!(first.iter().all(|secret| secret.len() >= 64), "they are long");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len(), "and different");
    assert_eq!(make(), first, "nothing is overwritten");
    let mode = std::os::unix::fs::PermissionsExt::mode(&secrets.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    for name in ["secrets", ".env"] {
        let is_ignored = text(".gitignore").lines().any(|line| line.trim_matches('/') == name);
        assert!(is_ignored, ".gitignore lacks {name}");
    }
}

/// What the image is made of: the files that builds may see, and those that they take.
#[test]
fn the_image_is_made_of_what_the_program_and_the_page_need_and_of_nothing_else() {
    let ignored = text(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "all is left out but for what is named");
    let seen: Vec<_> = rules.filter_map(|rule| rule.strip_prefix('!')).collect();
    let is_seen = |path: &str| {
        seen.iter().any(|rule| match rule.split_once('*') {
            Some((begin, end)) => path.starts_with(begin) && path.ends_with(end),
            None => path == *rule || path.strip_prefix(rule).is_some_and(|it| it.starts_with('/')),
        })
    };
    for path in ["secrets/jwt_secret", ".env", ".git/config", "README.md", "tests/api/main.rs"] {
        assert!(!is_seen(path), "{path} is not for the image");
    }
    let dockerfile = text("Dockerfile");
    let copied: Vec<_> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from="))
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' '))
        .collect();
    for path in &copied {
        assert!(is_seen(path) && root().join(path).exists(), "{path}");
    }
    // Cargo wants to see every member of the workspace.
    let workspace = text("Cargo.toml");
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(copied.contains(&&*format!("{member}/Cargo.toml")), "{member}");
    }
}

/// Cargo takes what it finds in its cache for current where that is younger than the sources.
#[test]
fn builds_of_the_image_share_what_is_of_registries_alone() {
    let dockerfile = text("Dockerfile");
    let target = dockerfile.lines().find(|line| line.contains("target=/payonce/target")).unwrap();
    assert!(target.contains("sharing=locked"), "{target}");
    let (_, after) = dockerfile.split_once(target).unwrap();
    let (before, _) = after.split_once("cargo build ").unwrap();
    assert!(before.contains("cargo clean --release --locked --package payonce "), "{before}");
}

/// Somebody's checkout may be for his eyes only, and containers run as others.
#[test]
fn containers_can_read_what_they_are_given_of_a_checkout_of_whatever_umask() {
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let checkout = tempfile::tempdir().unwrap();
    for part in ["deploy", "scripts"] {
        let mut copy = Command::new("cp");
        let copied = copy.arg("-R").arg(root().join(part)).arg(checkout.path()).status();
        assert!(copied.unwrap().success());
    }
    let mounted = ["deploy/postgres/roles.sh", "deploy/prometheus/alerts.yml", "deploy/grafana"];
    let mounted = mounted.map(|path| checkout.path().join(path));
    for path in &mounted {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let made = Command::new(checkout.path().join("scripts/secrets")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for path in &mounted {
        let needed = if path.is_dir() { 0o555 } else { 0o444 };
        let given = metadata(path).unwrap().permissions().mode();
        assert_eq!(given & needed, needed, "{}", path.display());
    }
    let compose = compose();
    for service in items(&compose["services"]) {
        if let Value::Array(volumes) = &service["volumes"] {
            let given = volumes.iter().filter_map(|it| it.as_str().unwrap().strip_prefix("./"));
            for path in given {
                assert!(text("scripts/secrets").contains(&parent(path)), "{path}");
            }
        }
    }
}

/// The directory of `deploy/` that something mounted is in.
fn parent(volume: &str) -> String {
    let path = volume.split(':').next().unwrap();
    path.split('/').take(2).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_roles_of_the_containers_are_enough_to_migrate_and_to_pay() {
    let own = Server::start().await;
    let server = own.database();
    let directory = tempfile::tempdir().unwrap();
    // Characters that a shell or SQL would take apart.
    let (owner_password, service_password) = ("o'w \"$n\"er\\", "s3cret");
    std::fs::write(directory.path().join("owner_password"), owner_password).unwrap();
    std::fs::write(directory.path().join("service_password"), service_password).unwrap();
    let roles = |script: &Path| {
        let output = own
            .shell("bash")
            .arg(script)
            .env("SECRETS", directory.path())
            .env("PGHOST", own.postgres.socket_dir())
            .env("POSTGRES_USER", "payonce")
            .env("LEDGER_DATABASE", "deployed_ledger")
            .env("OWNER_ROLE", "deployed_owner")
            .env("SERVICE_ROLE", "deployed_service")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // As the health check of Compose asks, but for the names.
    let compose = compose();
    let check = strings(&compose["services"]["postgres"]["healthcheck"]["test"]);
    let is_healthy = || {
        let [_, program, args @ ..] = &check[..] else { panic!("{check:?}") };
        let args = args.iter().map(|arg| match arg.split_once('=') {
            Some(("--host", _)) => format!("--host={}", own.postgres.socket_dir().display()),
            Some(("--username", "payonce_service")) => "--username=deployed_service".to_owned(),
            Some(("--dbname", "payonce")) => "--dbname=deployed_ledger".to_owned(),
            _ => (*arg).to_owned(),
        });
        own.shell(program).args(args).output().unwrap().status.success()
    };
    assert!(!is_healthy(), "there is no ledger yet");
    // A start that ends before the script does.
    let whole = text("deploy/postgres/roles.sh");
    let statements: Vec<_> = whole.lines().filter(|line| line.ends_with(';')).collect();
    let last = statements.last().unwrap();
    let part = directory.path().join("part.sh");
    std::fs::write(&part, whole.replace(last, "")).unwrap();
    roles(&part);
    assert!(!is_healthy(), "it is not whole: {last} was not done");
    server.execute("DROP DATABASE deployed_ledger").await;
    server.execute("DROP ROLE deployed_owner, deployed_service").await;
    roles(&root().join("deploy/postgres/roles.sh"));
    assert!(is_healthy());
    let salted = "SELECT count(*) FROM pg_authid
                  WHERE rolname LIKE 'deployed\\_%' AND rolpassword LIKE 'SCRAM-SHA-256$%'
                  AND NOT rolsuper AND NOT rolcreatedb AND NOT rolcreaterole";
    assert_eq!(server.count(salted).await, 2);

    let url = |role: &str| {
        let (_, query) = server.url.split_once('?').unwrap();
        let query = query.replacen("user=payonce", &format!("user={role}"), 1);
        format!("postgres:///deployed_ledger?{query}")
    };
    let ledger = Database::at(url("deployed_owner"));
    let mut serve = bare_command();
    serve.env("DATABASE_URL", url("deployed_service"));
    serve.env("PAYONCE_DATABASE__MIGRATE_URL", url("deployed_owner"));
    let app = App::spawn(serve, ledger);
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    assert!(app.pay(1, 2, 10, "k").await.is_replay());
    crate::rights::assert_harmless(&url("deployed_service")).await;

    server.execute("CREATE ROLE deployed_stranger LOGIN").await;
    let refused = PgConnection::connect(&url("deployed_stranger")).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied for database"));
}
