//! A Postgres server of a test's own, which it may set as it likes.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use local_postgres::{LocalPostgres, Purpose, Source};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::harness::{ALLOW_LOST_COMMITS, Database, SERVICE_ROLE, command, eventually};

pub struct Server {
    pub postgres: LocalPostgres,
    directory: TempDir,
}

impl Server {
    /// One as Postgres is shipped, with an empty database and the service's role.
    pub async fn start() -> Self {
        let directory = local_postgres::directory("payonce-test-").unwrap();
        let home = directory.path().join("home");
        let postgres = LocalPostgres::start(&home, &Source::Auto, Purpose::Playground).unwrap();
        let server = Self { postgres, directory };
        server.database().execute(&testbed::make_role(SERVICE_ROLE)).await;
        server
    }

    pub fn database(&self) -> Database {
        Database::at(self.postgres.url())
    }

    /// The program, as one would run it for money.
    pub fn command(&self) -> Command {
        let mut command = command(&self.database());
        command.env_remove(ALLOW_LOST_COMMITS);
        command
    }

    /// A script that finds the server's programs.
    pub fn shell(&self, script: impl AsRef<OsStr>) -> Command {
        let mut shell = testbed::command(script);
        let path = std::env::var_os("PATH").unwrap();
        let dirs = std::iter::once(self.postgres.binaries().to_owned());
        let dirs = dirs.chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(dirs).unwrap());
        shell
    }

    /// Changes a setting of the running server.
    pub async fn set(&self, name: &str, value: &str) {
        let database = self.database();
        database.execute(&format!("ALTER SYSTEM SET {name} = {value}")).await;
        database.execute("SELECT pg_reload_conf()").await;
        database.until(&format!("SELECT current_setting('{name}') = '{value}'")).await;
    }

    /// A directory of the user who runs it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        self.give(&path);
        path
    }

    /// A file that only the user who runs it may read.
    pub fn write(&self, path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        self.give(path);
    }

    fn give(&self, path: &Path) {
        let owner = std::fs::metadata(self.postgres.cluster()).unwrap();
        chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// Ends it and starts it anew, so that it also listens on 127.0.0.1 and `[::1]`.
    pub async fn listen(self) -> Listening {
        self.pg_ctl(&["stop", "--mode=fast"]);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let sockets = self.postgres.socket_dir().to_str().unwrap();
        let mut postgres = self.postgres.command("postgres");
        postgres.arg("-D").arg(self.postgres.cluster());
        for setting in [
            "listen_addresses=127.0.0.1,::1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={sockets}"),
        ] {
            postgres.arg("-c").arg(setting);
        }
        let silent = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = silent.spawn().unwrap();
        let url = format!("{}&port={port}", self.postgres.url());
        let listening = Listening { server: self, process, port, database: Database::at(url) };
        eventually("Postgres listens", async || {
            PgConnection::connect(&listening.database.url).await.is_ok()
        })
        .await;
        listening
    }

    fn pg_ctl(&self, args: &[&str]) {
        let mut pg_ctl = self.postgres.command("pg_ctl");
        pg_ctl.args(args).args(["--wait", "--silent", "--pgdata"]).arg(self.postgres.cluster());
        assert!(pg_ctl.status().unwrap().success());
    }
}

/// A server that listens on addresses, too.
pub struct Listening {
    pub server: Server,
    process: Child,
    pub port: u16,
    pub database: Database,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.server.pg_ctl(&["stop", "--mode=immediate"]);
        let _ = self.process.wait();
    }
}
