//! Unpacks `sqlx-data.json` for the query macros, so that a checkout compiles without a database
//! and a query that is not in the file does not. `make sqlx` brings the file up to date; it sets
//! `SQLX_OFFLINE=false`, and the macros then ask the database at `DATABASE_URL`.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=sqlx-data.json");
    println!("cargo:rerun-if-env-changed=SQLX_OFFLINE");
    if env::var("SQLX_OFFLINE").is_ok_and(|value| value == "false") {
        return Ok(());
    }
    let dir = Path::new(&env::var("OUT_DIR")?).join("sqlx");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let queries: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string("sqlx-data.json")?)?;
    for query in queries {
        let hash =
            query.get("hash").and_then(|hash| hash.as_str()).ok_or("a query without a hash")?;
        fs::write(dir.join(format!("query-{hash}.json")), query.to_string())?;
    }
    println!("cargo:rustc-env=SQLX_OFFLINE=true");
    println!("cargo:rustc-env=SQLX_OFFLINE_DIR={}", dir.display());
    Ok(())
}
