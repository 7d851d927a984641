//! `GET /playground/cluster` and `POST /playground/failover`: who leads the cluster, and its loss on demand, to see
//! what holds. They work from the cluster's directory: its processes belong to the program that started it.

use std::sync::Arc;

use anyhow::Result;
use local_postgres::cluster::Members;
use payonce::http::{AddedAnswer, AddedProblems, AddedRoute, Answering};
use payonce::service::Refusal;
use serde::Serialize;
use tokio::task::spawn_blocking;
use utoipa::{OpenApi, ToSchema};

use crate::cluster::RESTART_PAUSE;

const ONE_SERVER: &str =
    "The ledger is on one server: `make cluster` starts three, of which one may be lost.";

const NOBODY_LEADS: &str =
    "None of the servers leads at the moment. One will within half a minute: try again then.";

/// The servers of the ledger's database.
#[derive(Serialize, ToSchema)]
struct Cluster {
    /// Their names; none where the ledger is on one alone.
    #[schema(value_type = Vec<String>)]
    servers: Vec<&'static str>,
    /// The one that takes writes, if one does.
    #[schema(value_type = Option<String>)]
    leader: Option<&'static str>,
    /// Why the leader is not to be lost now, in a sentence; null where the others are in step with it.
    obstacle: Option<String>,
}

/// The loss of the server that led.
#[derive(Serialize, ToSchema)]
struct Failover {
    /// Its name; null where nothing was killed.
    #[schema(value_type = Option<String>)]
    killed: Option<&'static str>,
    /// Why nothing was killed, in a sentence.
    obstacle: Option<String>,
}

#[derive(OpenApi)]
#[openapi(paths(read, fail_over))]
struct Document;

/// Tells who leads the cluster, and whether the leader can be lost.
///
/// For operators, and only on the private ledger of `make run` or `make cluster`: what is deployed has no such route.
#[utoipa::path(
    get,
    path = "/playground/cluster",
    tag = "playground",
    operation_id = "cluster",
    security(("bearer" = [])),
    responses((status = 200, description = "The servers.", body = Cluster), AddedProblems)
)]
#[expect(dead_code, reason = "for the document; `routes` has what answers")]
fn read() {}

/// Kills the server that leads, with its Patroni, as if its machine were gone.
///
/// For operators, and only on the private ledger of `make run` or `make cluster`: what is deployed has no such route.
/// Nothing is killed where the others are not in step with it, or where there is one server alone. After some
/// 20 s another one leads, and the one that was killed is started again.
#[utoipa::path(
    post,
    path = "/playground/failover",
    tag = "playground",
    operation_id = "failover",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What was killed, or why nothing was.", body = Failover),
        AddedProblems,
    )
)]
#[expect(dead_code, reason = "for the document; `routes` has what answers")]
fn fail_over() {}

/// The routes' part of the API document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The routes; without `members` the ledger is on one server.
pub(crate) fn routes(members: Option<Members>) -> Vec<AddedRoute> {
    let members = members.map(Arc::new);
    vec![
        AddedRoute {
            path: "/playground/cluster",
            answer: AddedAnswer::Get(answering(members.clone(), |it| Ok(look(it)))),
        },
        AddedRoute {
            path: "/playground/failover",
            answer: AddedAnswer::Post(answering(members, kill_leader)),
        },
    ]
}

/// Does some work for each request, on a thread of its own: Patroni's answers and the end of processes are awaited there.
fn answering<T: Serialize + 'static>(
    members: Option<Arc<Members>>,
    work: fn(Option<&Members>) -> Result<T>,
) -> Arc<dyn Fn() -> Answering + Send + Sync> {
    Arc::new(move || {
        let members = members.clone();
        Box::pin(async move {
            let done = spawn_blocking(move || {
                anyhow::Ok(serde_json::to_string(&work(members.as_deref())?)?)
            });
            match done.await.map_err(anyhow::Error::from).flatten() {
                Ok(text) => Ok(text),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "an experiment failed");
                    Err(Refusal::Internal)
                }
            }
        })
    })
}

fn look(members: Option<&Members>) -> Cluster {
    let Some(members) = members else {
        return Cluster {
            servers: Vec::new(),
            leader: None,
            obstacle: Some(ONE_SERVER.to_owned()),
        };
    };
    let leader = members.leader();
    Cluster {
        servers: (0..members.size()).map(|node| members.name(node)).collect(),
        leader: leader.map(|leader| members.name(leader)),
        obstacle: obstacle(members, leader),
    }
}

fn kill_leader(members: Option<&Members>) -> Result<Failover> {
    let Some(members) = members else {
        return Ok(Failover { killed: None, obstacle: Some(ONE_SERVER.to_owned()) });
    };
    let leader = members.leader();
    let obstacle = obstacle(members, leader);
    let killed = leader.filter(|_| obstacle.is_none());
    if let Some(leader) = killed {
        members.kill(leader)?;
    }
    Ok(Failover { killed: killed.map(|leader| members.name(leader)), obstacle })
}

/// Why the leader is not to be lost now.
fn obstacle(members: &Members, leader: Option<usize>) -> Option<String> {
    let Some(leader) = leader else {
        return Some(NOBODY_LEADS.to_owned());
    };
    (!members.all_follow(leader)).then(|| {
        format!(
            "Not all servers are in step, so {} must not be lost now. A server that was killed is started again \
             after {} s, and follows soon after: try again then.",
            members.name(leader),
            RESTART_PAUSE.as_secs()
        )
    })
}
