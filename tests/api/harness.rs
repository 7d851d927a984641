//! Databases, processes and clients for the tests.
//!
//! Each test gets a database of its own and as many processes of the service as it asks for. They end
//! with the test, whatever its outcome. `testbed` finds the Postgres, or starts one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::{Ledger, Service};

pub use testbed::SERVICE_ROLE;

pub const BINARY: &str = env!("CARGO_BIN_EXE_payonce");

/// How long a condition is awaited before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A database of this test's own.
#[derive(Clone)]
pub struct Database {
    /// Of the role that owns everything in it.
    pub url: String,
    /// Dropped with the last of those who use it.
    _ledger: Option<Arc<Ledger>>,
}

impl Database {
    /// A migrated ledger, empty but for the bank.
    pub async fn new() -> Self {
        let migrate = |url: &str| {
            let mut migrate = command(&Self::at(url));
            migrate.arg("migrate");
            migrate
        };
        let ledger = Ledger::new(migrate).await.unwrap();
        Self { url: ledger.url.clone(), _ledger: Some(Arc::new(ledger)) }
    }

    /// One that somebody else has made.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), _ledger: None }
    }

    pub fn name(&self) -> &str {
        self.url.split(['/', '?']).nth(3).unwrap()
    }

    /// Another database of its server.
    pub fn beside(&self, name: &str) -> Self {
        Self::at(self.url.replacen(self.name(), name, 1))
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

    /// The feed ends at an earlier position, as where a copy of the ledger of that moment takes its place.
    pub async fn go_back_to(&self, position: i64) {
        let set = "UPDATE feed_state SET settled_position = 0, settled_batch = 0, last_position =";
        self.execute(&format!("{set} {position}")).await;
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
    testbed::until(what, PATIENCE, async || Ok(holds().await)).await.unwrap();
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
    let mut command = testbed::command(program);
    command.env("PORT", "0");
    command
}

/// Whether a variable says how to reach package registries.
fn is_of_registries(name: &str) -> bool {
    let name = name.to_lowercase();
    ["_proxy", "_ca_bundle", "ssl_cert_file"].iter().any(|end| name.ends_with(end))
        || name.starts_with("pip_")
}

/// A directory for the playground's private Postgres; whatever still runs there is stopped at the end.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(local_postgres::directory("payonce-test-").unwrap())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub fn command(&self) -> Command {
        let mut command = bare(&playground());
        command.env("PAYONCE_DATA_DIR", self.data_dir());
        // Where the system has no Postgres it is installed.
        command.envs(std::env::vars().filter(|(name, _)| is_of_registries(name)));
        command
    }

    pub fn start(&self) -> App {
        // Its database is its own business.
        App::spawn(self.command(), Database::at(""))
    }

    pub fn postgres_runs(&self) -> bool {
        is_running(&self.data_dir())
    }

    pub fn audit(&self) -> bool {
        self.command().arg("audit").stdout(Stdio::null()).status().unwrap().success()
    }
}

/// What the tokens are signed with, where a service asks for them.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The settings of a service that asks for tokens.
pub const WITH_TOKENS: [(&str, &str); 2] =
    [("PAYONCE_AUTH__MODE", "jwt"), ("PAYONCE_AUTH__JWT_SECRET", SECRET)];

/// The seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A token that says so.
pub fn hs256(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// The token of an account's owner.
pub fn owner_of(account: i64) -> String {
    hs256(&json!({"sub": account.to_string(), "exp": now() + 600}))
}

pub fn operator() -> String {
    operator_called("night-shift")
}

/// The token of an operator with this `sub`.
pub fn operator_called(sub: &str) -> String {
    hs256(&json!({"sub": sub, "scope": "read operator", "exp": now() + 600}))
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
    service: Service,
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

    /// One process that asks for tokens, with accounts 1 to `accounts` of 1,000 cents each.
    pub async fn start_with_tokens(accounts: i64) -> Self {
        let app = Self::start_with(&WITH_TOKENS).await;
        for id in 1..=accounts {
            let opening = json!({"id": id, "opening_balance": 1_000});
            let opened = app.ask(Some(&operator()), "POST", "/accounts", Some(&opening)).await;
            assert_eq!(opened.status, 201, "{}", opened.text);
        }
        app
    }

    /// One more process.
    pub fn start_on(database: &Database, env: &[(&str, &str)]) -> Self {
        let mut command = command(database);
        command.envs(env.iter().copied());
        Self::spawn(command, database.clone())
    }

    pub fn spawn(command: Command, database: Database) -> Self {
        let service = Service::start(command, tempfile::tempfile().unwrap()).unwrap();
        let (base, admin) = (service.origin.clone(), service.admin.clone());
        Self { base, admin, database, service, client: reqwest::Client::new() }
    }

    pub fn pid(&self) -> rustix::process::Pid {
        self.service.pid()
    }

    /// Its log, but for the lines that tell of requests, and that it is a test.
    pub fn log(&self) -> String {
        let is_other = |line: &&str| {
            let expected =
                ["\"target\":\"payonce::requests\"", "database.allow_lost_commits is on"];
            !expected.iter().any(|words| line.contains(words))
        };
        self.whole_log().split_inclusive('\n').filter(is_other).collect()
    }

    /// Its log until now, but for the lines that tell of requests. Lines are written in their
    /// order, a little later: so one that comes after all others is awaited.
    pub async fn settled_log(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("last-line-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Answer::of(self.request("GET", "/health/live").header("x-request-id", &id)).await;
        eventually("the log is written", async || self.whole_log().contains(&id)).await;
        self.log()
    }

    pub fn whole_log(&self) -> String {
        self.service.log().unwrap()
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
        self.service.kill().unwrap();
    }

    /// Sends a signal and waits for the end.
    pub fn stop(&mut self, signal: rustix::process::Signal) -> std::process::ExitStatus {
        self.service.stop(signal).unwrap()
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

    pub async fn send_payments(&self, bodies: &[Value]) -> Answer {
        Answer::of(self.request("PUT", "/send_payments").json(&json!({"payments": bodies}))).await
    }

    /// Asks `from` for money: the open request.
    pub async fn ask_for_money(&self, from: i64, to: i64, amount: i64) -> Value {
        let answer = self.post("/payment_requests", &request_for_money(from, to, amount)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json
    }

    /// Declines or cancels a request, without a body.
    pub async fn close(&self, request: &Value, how: &str) -> Answer {
        let path = format!("/payment_requests/{}/{how}", id_of(request));
        Answer::of(self.request("POST", &path)).await
    }

    /// A request as it is now.
    pub async fn request_now(&self, request: &Value) -> Value {
        let answer = self.get(&format!("/payment_requests/{}", id_of(request))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }

    /// Settles a key for ever.
    pub async fn void(&self, from: i64, key: &str) -> Answer {
        let body = json!({"from": from, "idempotency_key": key});
        Answer::of(self.request("PUT", "/voided_keys").json(&body)).await
    }

    /// The payment under a key, if there is one.
    pub async fn outcome(&self, from: i64, key: &str) -> Answer {
        self.get(&format!("/payments?from={from}&idempotency_key={key}")).await
    }

    pub async fn set_status(&self, id: i64, status: &str) -> Answer {
        let path = format!("/accounts/{id}/status");
        Answer::of(self.request("PUT", &path).json(&json!({"status": status}))).await
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
        let _ = self.service.kill();
        if std::thread::panicking() {
            eprintln!("the service logged:\n{}", self.log());
        }
    }
}

pub fn payment(from: i64, to: i64, amount: i64, key: &str) -> Value {
    json!({"from": from, "to": to, "amount": amount, "idempotency_key": key})
}

/// The body that gives back so much of a payment.
pub fn refund(of: &Value, amount: i64, key: &str) -> Value {
    json!({"from": of["to_id"], "to": of["from_id"], "amount": amount, "idempotency_key": key,
           "refund_of": of["id"]})
}

/// The body with which `to` asks `from` for money.
pub fn request_for_money(from: i64, to: i64, amount: i64) -> Value {
    json!({"from": from, "to": to, "amount": amount})
}

/// The body that pays a request, without a key.
pub fn payment_of(request: &Value) -> Value {
    json!({"from": request["from_id"], "to": request["to_id"], "amount": request["amount"],
           "payment_request_id": request["id"]})
}

/// The body that pays a request under a key.
pub fn payment_of_under(request: &Value, key: &str) -> Value {
    let mut body = payment_of(request);
    body["idempotency_key"] = json!(key);
    body
}

/// The id of a payment, or of a request for money.
pub fn id_of(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

/// Runs so many rounds of a race, some of them at once, and collects what each came to.
pub async fn rounds<T>(count: usize, round: impl AsyncFn(usize) -> T) -> Vec<T> {
    const AT_ONCE: usize = 16;
    let round = &round;
    stream::iter(0..count).map(move |n| round(n)).buffered(AT_ONCE).collect().await
}

/// The processes that a round of a race goes to: different ones twice, and once the same.
pub fn rivals(apps: &[App; 2], round: usize) -> (&App, &App) {
    let (one, two) = [(0, 1), (1, 0), (round / 3 % 2, round / 3 % 2)][round % 3];
    (&apps[one], &apps[two])
}

/// Two requests at once. Rounds take turns in which is sent first.
pub async fn at_once(
    round: usize,
    one: impl Future<Output = Answer>,
    two: impl Future<Output = Answer>,
) -> (Answer, Answer) {
    if (round / 6).is_multiple_of(2) {
        tokio::join!(one, two)
    } else {
        let (two, one) = tokio::join!(two, one);
        (one, two)
    }
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
