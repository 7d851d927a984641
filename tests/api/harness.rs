//! Databases, processes and clients for the tests.
//!
//! Needs a Postgres that may be thrown away, whose URL stands in `TEST_POSTGRES_URL`: `make test`
//! starts one. Each test gets a database of its own, copied from a migrated template, and as many
//! processes of the service as it asks for. They end with the test, whatever its outcome.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::sync::OnceCell;

pub const BINARY: &str = env!("CARGO_BIN_EXE_payonce");

/// How long a condition is awaited before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

fn server_url() -> String {
    std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL is not set: run `make test`, or one test with \
         `make test TEST=name_of_the_test`",
    )
}

/// A database of this test's own.
#[derive(Clone)]
pub struct Database {
    /// Of the role that owns everything in it.
    pub url: String,
}

/// The role that the service has in the tests: one with no more rights than it needs.
pub const SERVICE_ROLE: &str = "service_of_the_tests";

impl Database {
    /// A migrated ledger, empty but for the bank.
    pub async fn new() -> Self {
        static TEMPLATE: OnceCell<()> = OnceCell::const_new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        TEMPLATE
            .get_or_init(async || {
                let template = Self::create("template_ledger", "template0").await;
                template.execute(&format!("CREATE ROLE {SERVICE_ROLE} LOGIN")).await;
                let mut command = command(&template);
                let output = command.arg("migrate").output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            })
            .await;
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::create(&name, "template_ledger").await
    }

    async fn create(name: &str, template: &str) -> Self {
        let url = server_url();
        let options: PgConnectOptions = url.parse().unwrap();
        let mut conn = options.connect().await.unwrap();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        Self { url: url.replacen("/payonce?", &format!("/{name}?"), 1) }
    }

    /// The URL with which the service is started.
    pub fn service_url(&self) -> String {
        self.url.replacen("user=payonce", &format!("user={SERVICE_ROLE}"), 1)
    }

    /// Where its server's Unix socket is.
    pub fn socket_directory(&self) -> PathBuf {
        let with_host = self.url.replacen("postgres:///", "postgres://localhost/", 1);
        let url = reqwest::Url::parse(&with_host).unwrap();
        let host = url.query_pairs().find(|(name, _)| name == "host").unwrap().1.into_owned();
        host.into()
    }

    /// A session beside the service's.
    pub async fn session(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap();
    }

    pub async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut conn = self.session().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.map(|_| ())
    }

    /// Locks the rows of accounts, as somebody else than the service. `ids` are separated by commas.
    pub async fn lock_accounts(&self, ids: &str) -> OutsideLock {
        let mut session = self.session().await;
        let sql = format!("BEGIN; SELECT FROM accounts WHERE id IN ({ids}) ORDER BY id FOR UPDATE");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
        OutsideLock(session)
    }

    /// Lets Postgres look for deadlocks before a wait for a lock is given up.
    pub async fn find_deadlocks_early(&self) {
        self.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 5',
                                        current_database()); END $$",
        )
        .await;
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let mut conn = self.session().await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.unwrap()
    }

    pub async fn payments(&self) -> i64 {
        self.count("SELECT count(*) FROM payments WHERE from_id <> 0").await
    }

    /// Awaits that a query of one boolean is true.
    pub async fn until(&self, sql: &str) {
        let mut conn = self.session().await;
        let sql = sql.to_owned();
        eventually(&sql.clone(), async || {
            sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql.clone()))
                .fetch_one(&mut conn)
                .await
                .unwrap()
        })
        .await;
    }

    /// Runs `payonce audit`: whether the ledger is sound, and the report.
    pub fn audit(&self) -> (bool, Value) {
        let output = command(self).args(["audit", "--json"]).output().unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.success(), report)
    }

    pub fn assert_sound(&self) {
        let (ok, report) = self.audit();
        assert!(ok, "{report:#}");
    }
}

/// True while a writer of the service waits for a lock.
pub const A_WRITER_WAITS: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
     AND application_name = 'payonce writer' AND wait_event_type = 'Lock')";

/// Row locks of a session that is not the service's.
pub struct OutsideLock(PgConnection);

impl OutsideLock {
    pub async fn release(mut self) {
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.unwrap();
    }
}

/// Awaits a condition.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// The setting with which a server will do whose crash can lose what was acknowledged.
pub const ALLOW_LOST_COMMITS: &str = "PAYONCE_DATABASE__ALLOW_LOST_COMMITS";

/// The program, with no settings but the database's.
pub fn command(database: &Database) -> Command {
    let mut command = bare_command();
    command.env("DATABASE_URL", database.service_url());
    command.env("PAYONCE_DATABASE__MIGRATE_URL", &database.url);
    // The tests' server does not wait for the disk.
    command.env(ALLOW_LOST_COMMITS, "true");
    command
}

/// The program, with no setting.
pub fn bare_command() -> Command {
    bare(Path::new(BINARY))
}

/// The program of the playground, which is built beside it.
pub fn playground() -> PathBuf {
    let program = Path::new(BINARY).with_file_name("payonce-playground");
    assert!(program.exists(), "build the whole workspace first: cargo build --workspace --bins");
    program
}

fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        let prefixes = ["PAYONCE_", "OTEL_"];
        if prefixes.iter().any(|prefix| name.starts_with(prefix))
            || ["HOST", "PORT", "DATABASE_URL"].contains(&name.as_str())
        {
            command.env_remove(name);
        }
    }
    command.env("PORT", "0");
    command
}

/// A directory for the playground's private Postgres; whatever still runs there is stopped at the end.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        Self(tempfile::Builder::new().permissions(open_to_all).tempdir().unwrap())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub fn command(&self) -> Command {
        let mut command = bare(&playground());
        command.env("PAYONCE_DATA_DIR", self.data_dir());
        command
    }

    pub fn start(&self) -> App {
        // Its database is its own business.
        App::spawn(self.command(), Database { url: String::new() })
    }

    pub fn postgres_runs(&self) -> bool {
        is_running(&self.data_dir())
    }

    pub fn audit(&self) -> bool {
        self.command().arg("audit").stdout(Stdio::null()).status().unwrap().success()
    }
}

fn is_running(data_dir: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(data_dir.join("socket/.s.PGSQL.5432")).is_ok()
}

impl Drop for Home {
    fn drop(&mut self) {
        // The audit is a user of the server like any other: as the last one out it stops it.
        if self.postgres_runs() {
            self.audit();
        }
    }
}

/// A running service.
pub struct App {
    pub base: String,
    /// Where it is watched, if not there too.
    pub admin: Option<String>,
    pub database: Database,
    log: Arc<Mutex<String>>,
    child: Child,
    client: reqwest::Client,
}

impl App {
    /// One process on a new database.
    pub async fn start() -> Self {
        Self::start_on(&Database::new().await, &[])
    }

    /// One process on a new database, with settings from the environment.
    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        Self::start_on(&Database::new().await, env)
    }

    /// Two processes on one new database.
    pub async fn start_two() -> [Self; 2] {
        let database = Database::new().await;
        [Self::start_on(&database, &[]), Self::start_on(&database, &[])]
    }

    /// One more process.
    pub fn start_on(database: &Database, env: &[(&str, &str)]) -> Self {
        let mut command = command(database);
        command.envs(env.iter().copied());
        Self::spawn(command, database.clone())
    }

    pub fn spawn(mut command: Command, database: Database) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let writing = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                writing.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut admin = None;
        let base = loop {
            let mut line = String::new();
            let bytes = stdout.read_line(&mut line).unwrap();
            assert!(bytes > 0, "the service did not start: {}", log.lock().unwrap());
            if let Some(watched) = line.trim().strip_prefix("payonce is watched at ") {
                admin.get_or_insert(watched.to_owned());
            }
            if let Some(base) = line.trim().strip_prefix("payonce listens on ") {
                break base.to_owned();
            }
        };
        // Nobody reads the rest, but the service must be able to write it.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Self { base, admin, database, log, child, client: reqwest::Client::new() }
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// What it logged, but for the lines that tell of requests, and that it is a test.
    pub fn log(&self) -> String {
        let is_other = |line: &&str| {
            let expected =
                ["\"target\":\"payonce::requests\"", "database.allow_lost_commits is on"];
            !expected.iter().any(|words| line.contains(words))
        };
        self.whole_log().split_inclusive('\n').filter(is_other).collect()
    }

    /// What it has logged until now, but for the lines that tell of requests. Lines are written in their
    /// order, a little later: so one that comes after all others is awaited.
    pub async fn settled_log(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("last-line-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Answer::of(self.request("GET", "/health/live").header("x-request-id", &id)).await;
        eventually("the log is written", async || self.whole_log().contains(&id)).await;
        self.log()
    }

    pub fn whole_log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The lines that tell of requests, as JSON. They are written a little later than the answers.
    pub fn requests(&self) -> Vec<Value> {
        let log = self.whole_log();
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["target"] == "payonce::requests")
            .collect()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal and waits for the end.
    pub fn stop(&mut self, signal: rustix::process::Signal) -> std::process::ExitStatus {
        rustix::process::kill_process(self.pid(), signal).unwrap();
        self.child.wait().unwrap()
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.base))
    }

    /// A request of somebody with a token, or of somebody without.
    pub async fn ask(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.request(method, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request("POST", path).json(body)).await
    }

    pub async fn send_payment(&self, body: &Value) -> Answer {
        Answer::of(self.request("PUT", "/send_payment").json(body)).await
    }

    pub async fn pay(&self, from: i64, to: i64, amount: i64, key: &str) -> Answer {
        self.send_payment(&payment(from, to, amount, key)).await
    }

    /// Opens account `id` with `cents`.
    pub async fn open(&self, id: i64, cents: i64) {
        let answer = self.post("/accounts", &json!({"id": id, "opening_balance": cents})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    /// Opens accounts 1 to `count` with `cents` each.
    pub async fn open_many(&self, count: i64, cents: i64) {
        for id in 1..=count {
            self.open(id, cents).await;
        }
    }

    pub async fn balance(&self, id: i64) -> i64 {
        self.get(&format!("/accounts/{id}")).await.json["balance"].as_i64().unwrap()
    }

    /// The whole history, by following the links.
    pub async fn history(&self, id: i64) -> Vec<Value> {
        let mut path = format!("/payment_history/{id}");
        let mut all = Vec::new();
        loop {
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{}", page.text);
            all.extend(page.json.as_array().unwrap().clone());
            assert!(all.len() < 100_000, "a history without an end");
            match page.next_link() {
                Some(next) => path = next,
                None => return all,
            }
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the service logged:\n{}", self.log());
        }
    }
}

pub fn payment(from: i64, to: i64, amount: i64, key: &str) -> Value {
    json!({"from": from, "to": to, "amount": amount, "idempotency_key": key})
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body, or null where it is not JSON.
    pub json: Value,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap()
    }

    /// An answer, or how the connection broke.
    pub async fn try_of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { status, headers, text, json })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn is_replay(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }

    /// The path of the next page.
    pub fn next_link(&self) -> Option<String> {
        let link = self.header("link")?;
        let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        Some(path.to_owned())
    }

    /// Asserts that it is a problem of this kind, well formed.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.json["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("/problems/{code}"));
        for member in ["title", "detail"] {
            assert!(
                self.json[member].as_str().is_some_and(|text| !text.is_empty()),
                "{}",
                self.text
            );
        }
        assert_eq!(self.json["retryable"] == true, self.header("retry-after").is_some());
    }

    #[track_caller]
    pub fn assert_paid(&self) {
        assert_eq!(self.status, 200, "{}", self.text);
    }
}

/// The commands, or the settings, that `docs/operating.md` gives after the comment
/// `<!-- tested: name -->`.
pub fn documented(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, after) = text
        .split_once(&format!("<!-- tested: {name} -->\n\n```"))
        .unwrap_or_else(|| panic!("docs/operating.md has no block {name}"));
    let (_language, after) = after.split_once('\n').unwrap();
    after.split_once("```").unwrap().0.to_owned()
}
