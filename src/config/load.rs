//! How settings are loaded: the defaults, then `payonce.toml`, then the environment, then files with secrets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use config::{Config, ConfigError, Environment, Map, Source, Value, ValueKind};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::range;
use super::settings::Settings;

/// The file, in the directory that the process is started in.
const FILE: &str = "payonce.toml";

/// So much is read of a file with a secret.
const SECRET_FILE_BYTES_MAX: u64 = 65_536;

impl Settings {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// Names the setting that is wrong, empty or unknown.
    pub fn load() -> Result<Self> {
        let (settings, NoneOfItsOwn {}) = Self::load_beside(&[])?;
        Ok(settings)
    }

    /// The same for a program that has settings beside these, which are named.
    ///
    /// # Errors
    /// Names the setting that is wrong, empty or unknown.
    pub fn load_beside<Own: DeserializeOwned>(own: &[&str]) -> Result<(Self, Own)> {
        check_variables()?;
        // A file that is there and cannot be read is not taken for absent.
        let is_there = Path::new(FILE).symlink_metadata().is_ok();
        let file = config::File::with_name(FILE).required(is_there);
        let in_file = file.collect().map_err(|error| wrong(&error))?;
        check_values(&Value::new(None, in_file), "")?;
        let var = |name: &str| std::env::var(name).ok();
        let otlp_endpoint = var("OTEL_EXPORTER_OTLP_ENDPOINT").filter(|value| !value.is_empty());
        let usual = Config::builder()
            .set_override_option("server.host", var("HOST"))?
            .set_override_option("server.port", var("PORT"))?
            .set_override_option("database.url", var("DATABASE_URL"))?
            .set_override_option("telemetry.otlp_endpoint", otlp_endpoint)?
            .build()?;
        // Values stay the text that they are until their type is known: a secret may look like a
        // number.
        let environment = Environment::with_prefix("PAYONCE").prefix_separator("_").separator("__");
        let all = Config::builder()
            .add_source(file)
            .add_source(usual)
            .add_source(environment)
            .build()
            .and_then(|all| all.collect())
            .map_err(|error| wrong(&error))?;
        let (own, all) = all.into_iter().partition(|(name, _)| own.contains(&&**name));
        let mut settings: Self = deserialized(all)?;
        let own: Own = deserialized(own)?;
        let Self { auth, database, .. } = &mut settings;
        for (name, secret, file) in [
            ("auth.jwt_secret", &mut auth.jwt_secret, &auth.jwt_secret_file),
            ("database.url", &mut database.url, &database.url_file),
            ("database.migrate_url", &mut database.migrate_url, &database.migrate_url_file),
        ] {
            read_secret(name, secret, file.as_deref())?;
        }
        settings.check()?;
        Ok((settings, own))
    }
}

/// The settings that a program has beside these, where it has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoneOfItsOwn {}

/// The usual names of some settings.
const USUAL_VARIABLES: [&str; 3] = ["HOST", "PORT", "DATABASE_URL"];

/// Refuses variables that are there and say nothing: a deployment that was to fill them in has failed, and
/// a default in their place would be something else than was meant. (`OTEL_EXPORTER_OTLP_ENDPOINT` is not
/// ours: OpenTelemetry wants it taken for absent when it is empty.)
fn check_variables() -> Result<()> {
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str() else {
            continue;
        };
        if !USUAL_VARIABLES.contains(&name) && !name.to_uppercase().starts_with("PAYONCE_") {
            continue;
        }
        // As the file would name it, too.
        let setting = match name.to_lowercase().strip_prefix("payonce_") {
            Some(setting) => format!(" ({})", setting.replace("__", ".")),
            None => String::new(),
        };
        match value.to_str() {
            None => bail!("the settings are wrong: {name}{setting} is not text in UTF-8"),
            Some(value) if value.trim().is_empty() => {
                bail!("the settings are wrong: {name}{setting} is there, but empty");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The same for the file; the empty list says something.
fn check_values(value: &Value, path: &str) -> Result<()> {
    match &value.kind {
        ValueKind::Table(table) => table.iter().try_for_each(|(name, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            check_values(value, &format!("{path}{dot}{name}"))
        }),
        ValueKind::Array(items) => items.iter().try_for_each(|item| check_values(item, path)),
        ValueKind::String(text) if text.trim().is_empty() => {
            bail!("the settings are wrong: {path} is there, but empty, in {FILE}");
        }
        _ => Ok(()),
    }
}

fn deserialized<T: DeserializeOwned>(table: Map<String, Value>) -> Result<T> {
    Value::new(None, table).try_deserialize().map_err(|error| wrong(&error))
}

fn wrong(error: &ConfigError) -> anyhow::Error {
    if let ConfigError::At { error, key: Some(name), .. } = error
        && let ConfigError::Message(text) = &**error
        && text.starts_with(range::IS)
    {
        return anyhow!("the settings are wrong: {name} {text}");
    }
    anyhow!("the settings are wrong: {}", unquoted(error))
}

/// Reads a secret that is kept in a file: containers are given theirs so.
fn read_secret(name: &str, secret: &mut Option<SecretString>, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    if secret.is_some() {
        bail!("the settings are wrong: {name} and {name}_file: one of the two");
    }
    let wrong = || format!("the settings are wrong: {name}_file: {}", file.display());
    // A pipe might keep the start waiting for ever.
    if !std::fs::metadata(file).with_context(wrong)?.is_file() {
        bail!("{} is not a regular file", wrong());
    }
    let mut text = String::new();
    let opened = File::open(file).with_context(wrong)?;
    opened.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text).with_context(wrong)?;
    let value = text.trim();
    if value.is_empty() || value.contains(char::is_control) {
        bail!("{} does not hold one line of text", wrong());
    }
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes >= SECRET_FILE_BYTES_MAX) {
        bail!("{} has {SECRET_FILE_BYTES_MAX} bytes or more", wrong());
    }
    *secret = Some(value.into());
    Ok(())
}

/// An error without the lines of the file and the texts that a parser quotes: a secret may stand there.
fn unquoted(error: &ConfigError) -> String {
    let text = error.to_string();
    let lines = text.lines().filter(|line| !line.contains('|'));
    let text = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    match text.split_once("string \"") {
        Some((before, quoted)) => {
            let after = quoted.rsplit_once('"').map_or("", |(_, after)| after);
            format!("{before}a text{after}")
        }
        None => text,
    }
}
