//! The search for the server that a session is to be with, among those that a URL names.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::fitness::{self, Standing};
use super::servers::Servers;
use super::target::{Purpose, Target};
use super::unfit::Unfit;
use crate::db::Error;

/// How long the server that was the primary has for itself to open a session, before the others are asked, too.
const HEAD_START: Duration = Duration::from_millis(250);

/// How long the others are waited for where one is found that takes writes: one of them may be its successor. A process
/// that has seen none before has only their word for it, and waits longer.
const LAST_WORD: Duration = Duration::from_millis(250);
const FIRST_WORD: Duration = Duration::from_secs(1);

/// A session with one of several servers, and the server's standing.
struct Answer {
    conn: PgConnection,
    standing: Standing,
}

/// The answers of servers, by their places in the list.
type Answers = Vec<(usize, Result<Answer, Error>)>;

/// Opens a session with the server that takes writes, and returns it with the term that it belongs to; for some
/// purposes with a standby, where there is no other.
pub(super) async fn open(target: &Target, purpose: Purpose) -> Result<(PgConnection, u32), Error> {
    #[expect(clippy::arithmetic_side_effects, reason = "the limit is seconds")]
    let limit = Instant::now() + target.connect_timeout;
    let servers = target.servers.as_ref();
    if let [only] = servers.list() {
        let opened = timeout_at(limit, open_with(only, target, purpose)).await;
        return Ok((opened.unwrap_or_else(|_| Err(timed_out()))?, servers.term()));
    }
    let ask = |(place, server)| async move {
        let answer = timeout_at(limit, ask(server, target, purpose)).await;
        (place, answer.unwrap_or_else(|_| Err(timed_out())))
    };
    let known = servers.seen().primary;
    let (first, others): (Vec<_>, Vec<_>) =
        servers.list().iter().enumerate().partition(|(place, _)| Some(*place) == known);
    let mut asked: FuturesUnordered<_> = first.into_iter().map(ask).collect();
    let mut answers = Answers::new();
    if let Ok(answer) = timeout(HEAD_START, asked.next()).await {
        answers.extend(answer);
        if let Some(found) = take_primary(servers, &mut answers) {
            return Ok(found);
        }
    }
    asked.extend(others.into_iter().map(ask));
    let word = if known.is_some() { LAST_WORD } else { FIRST_WORD };
    let mut patience = None;
    loop {
        let next = match patience {
            Some(until) => timeout_at(until, asked.next()).await.unwrap_or(None),
            None => asked.next().await,
        };
        let Some(answer) = next else {
            break;
        };
        if answer.1.as_ref().is_ok_and(|it| !it.standing.is_recovering()) {
            #[expect(clippy::arithmetic_side_effects, reason = "the pause is short")]
            patience.get_or_insert_with(|| Instant::now() + word);
        }
        answers.push(answer);
    }
    refuse_two_clusters(servers, &answers)?;
    if let Some(found) = take_primary(servers, &mut answers) {
        return Ok(found);
    }
    if !purpose.needs_primary()
        && let Some(conn) = take_standby(servers, &mut answers)
    {
        return Ok((conn, servers.term()));
    }
    Err(none_of(servers, answers))
}

/// Opens a session with the replica at a place of the list, and returns it with the term.
pub(super) async fn open_replica(
    target: &Target,
    purpose: Purpose,
    place: usize,
) -> Result<(PgConnection, u32), Error> {
    let servers = target.servers.as_ref();
    let term = servers.term();
    let server = servers.list().get(place).ok_or(Unfit::NoReplica)?;
    let answer = timeout(target.connect_timeout, ask(server, target, purpose)).await;
    let Answer { conn, standing } = answer.unwrap_or_else(|_| Err(timed_out()))?;
    if !standing.is_recovering() {
        return Err(Unfit::NoReplica.into());
    }
    // Before the primary was found nobody knows which cluster is meant.
    if servers.seen().system != Some(standing.system) {
        return Err(Unfit::OtherCluster.into());
    }
    Ok((conn, term))
}

/// Opens a session with one of several servers. Of a standby no more is asked where the primary is needed.
async fn ask(
    server: &PgConnectOptions,
    target: &Target,
    purpose: Purpose,
) -> Result<Answer, Error> {
    let mark = Uuid::new_v4();
    let mut conn = connect(server, target, purpose, mark).await?;
    let standing = fitness::standing(&mut conn).await?;
    if !(standing.is_recovering() && purpose.needs_primary()) {
        fitness::check(&mut conn, target, purpose, mark).await?;
    }
    Ok(Answer { conn, standing })
}

/// Opens a session with the only server.
async fn open_with(
    server: &PgConnectOptions,
    target: &Target,
    purpose: Purpose,
) -> Result<PgConnection, Error> {
    let mark = Uuid::new_v4();
    let mut conn = connect(server, target, purpose, mark).await?;
    fitness::check(&mut conn, target, purpose, mark).await?;
    Ok(conn)
}

async fn connect(
    server: &PgConnectOptions,
    target: &Target,
    purpose: Purpose,
    mark: Uuid,
) -> Result<PgConnection, Error> {
    target.options(server, purpose, mark).connect().await.map_err(Error::Connect)
}

/// Takes the session with the primary out of the answers: the server of the newest timeline that is not in
/// recovery. One that is of an older timeline than was ever seen was overtaken while it was away.
fn take_primary(servers: &Servers, answers: &mut Answers) -> Option<(PgConnection, u32)> {
    loop {
        let primaries = answers.iter().enumerate().filter_map(|(index, (_, answer))| {
            let timeline = answer.as_ref().ok()?.standing.timeline?;
            Some((timeline, index))
        });
        let (timeline, index) = primaries.max()?;
        let (place, Ok(answer)) = answers.swap_remove(index) else {
            return None;
        };
        match servers.accept(place, timeline, answer.standing.system) {
            Ok(term) => {
                tell_of_strangers(servers, answers);
                return Some((answer.conn, term));
            }
            Err(unfit) => answers.push((place, Err(unfit.into()))),
        }
    }
}

/// Takes out the session with the standby that the list names first.
fn take_standby(servers: &Servers, answers: &mut Answers) -> Option<PgConnection> {
    let system = servers.seen().system;
    answers.sort_by_key(|(place, _)| *place);
    let index = answers.iter().position(|(_, answer)| {
        answer.as_ref().is_ok_and(|it| {
            it.standing.is_recovering() && system.is_none_or(|seen| seen == it.standing.system)
        })
    })?;
    Some(answers.swap_remove(index).1.ok()?.conn)
}

/// Before a server of the list was ever used none of two clusters is the right one.
fn refuse_two_clusters(servers: &Servers, answers: &Answers) -> Result<(), Unfit> {
    if servers.seen().system.is_some() {
        return Ok(());
    }
    let mut systems = answers
        .iter()
        .filter_map(|(place, answer)| Some((*place, answer.as_ref().ok()?.standing.system)));
    let Some((first, system)) = systems.next() else {
        return Ok(());
    };
    match systems.find(|(_, other)| *other != system) {
        Some((other, _)) => Err(Unfit::TwoClusters(servers.name(first), servers.name(other))),
        None => Ok(()),
    }
}

/// Later the one that was used is, and a server of another cluster is none of ours.
fn tell_of_strangers(servers: &Servers, answers: &Answers) {
    let system = servers.seen().system;
    for (place, answer) in answers {
        let is_stranger = match answer {
            Ok(answer) => Some(answer.standing.system) != system,
            Err(error) => error.unfit() == Some(&Unfit::OtherCluster),
        };
        if is_stranger {
            let server = servers.name(*place);
            tracing::error!(server, error = %Unfit::OtherCluster, "a server is passed over");
        }
    }
}

/// The error where none will do: the cause of each.
fn none_of(servers: &Servers, mut answers: Answers) -> Error {
    answers.sort_by_key(|(place, _)| *place);
    let mut told = Vec::new();
    let mut unfit = None;
    for (place, answer) in answers {
        let error = answer.err().unwrap_or_else(|| Unfit::InRecovery.into());
        told.push(format!("{}: {}", servers.name(place), error.cause()));
        if let Error::Unfit(why) = error {
            // A standby is as it is to be: its fault is told where there is no other.
            if why != Unfit::InRecovery || unfit.is_none() {
                unfit = Some(why);
            }
        }
    }
    Error::NoServer { told: told.join("; "), unfit }
}

fn timed_out() -> Error {
    Error::Connect(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
