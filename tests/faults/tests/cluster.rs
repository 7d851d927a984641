//! What is shipped for a cluster is what the suite's cluster runs with.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use payonce_faults::cluster::Cluster;
use payonce_faults::postgres::{Files, OWNER_ROLE, Servers as _};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

async fn show(session: &mut PgConnection, name: &str) -> String {
    let show = AssertSqlSafe(format!("SHOW {name}"));
    sqlx::query_scalar(show).fetch_one(session).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_runs_with_the_settings_that_are_shipped() {
    let shipped = include_str!("../../../deploy/cluster/cluster.yml");
    let shipped: Value = serde_saphyr::from_str(shipped).unwrap();
    let shipped = &shipped["bootstrap"]["dcs"];
    let cluster = Cluster::new(&Files::InMemory).await.unwrap();
    assert_eq!(&cluster.nodes.shared_settings().unwrap(), shipped);
    for url in cluster.each_url(OWNER_ROLE) {
        let mut session = PgConnection::connect(&url).await.unwrap();
        for (name, value) in shipped["postgresql"]["parameters"].as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            assert_eq!(show(&mut session, name).await, value, "{name}");
        }
        assert_eq!(show(&mut session, "data_checksums").await, "on");
        assert_eq!(show(&mut session, "server_encoding").await, "UTF8");
    }
}
