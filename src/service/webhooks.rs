//! Webhooks: what operators change about them. Payments are delivered by one process at a time ([`sender`]), which has
//! a task for each webhook ([`follower`]) that follows the feed from the webhook's own position.

mod address;
mod delivery;
mod follower;
mod lease;
mod pages;
mod secret;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use uuid::Uuid;

use super::feed::Feed;
use super::read_pool::ReadPool;
use super::refusal::Refusal;
use super::session::{End, Session};
use crate::config::{self, Settings, milliseconds};
use crate::db::{Error, PgConnection, Target, feed, webhooks};
use crate::domain::{FollowedAccounts, Invalid, Webhook, WebhookId, WebhookStatus};
pub use address::WebhookUrl;
pub use delivery::outcomes;
pub use sender::Sending;

/// For how long a secret that was rotated signs beside the new one.
const OLD_SECRET_VALID: Duration = Duration::from_hours(24);

/// Everything about webhooks.
pub struct Webhooks {
    target: Target,
    transaction_timeout: Duration,
    settings: config::Webhooks,
    read_pool: ReadPool,
    feed: Feed,
    /// Tells the task that sends, should it be this process', of a change at once.
    changed: Arc<Notify>,
}

/// A change by an operator; what is `None` stays.
#[derive(Default)]
pub struct WebhookChange {
    pub url: Option<WebhookUrl>,
    pub accounts: Option<FollowedAccounts>,
    pub status: Option<WebhookStatus>,
    /// For a new secret. The old one signs beside it for a day.
    pub rotate_secret: bool,
}

impl Webhooks {
    pub(super) fn new(
        target: &Target,
        settings: &Settings,
        read_pool: ReadPool,
        feed: Feed,
    ) -> Self {
        Self {
            target: target.clone(),
            transaction_timeout: milliseconds(settings.database.transaction_timeout_ms),
            settings: settings.webhooks.clone(),
            read_pool,
            feed,
            changed: Arc::default(),
        }
    }

    /// A URL that payments may be delivered to.
    ///
    /// # Errors
    /// It is none.
    pub fn url(&self, text: &str) -> Result<WebhookUrl, Invalid> {
        WebhookUrl::new(text, self.settings.allow_private_addresses)
    }

    /// Adds one, and returns its secret. It begins with the first payment that has no position at this moment.
    ///
    /// # Errors
    /// There are as many as there may be, or the database does not answer.
    pub async fn add(
        &self,
        url: &WebhookUrl,
        accounts: &FollowedAccounts,
    ) -> Result<(Webhook, SecretString), Refusal> {
        let (id, secret) = (WebhookId::from_uuid(Uuid::new_v4()), secret::generate()?);
        let max = self.settings.endpoints_max.get();
        let add = async |conn: &mut PgConnection| {
            webhooks::lock_number(conn).await?;
            if webhooks::number(conn).await? >= max {
                return Ok(End::RollBack(Err(Refusal::TooManyWebhooks(max))));
            }
            // While payments that are older than the feed get their positions, nobody knows where it ends.
            let Some(position) = feed::last_position(conn).await? else {
                return Ok(End::RollBack(Err(Refusal::DatabaseUnavailable)));
            };
            let secret = secret.expose_secret();
            let added =
                webhooks::insert(conn, id, url.as_str(), accounts, secret, position).await?;
            Ok(End::Commit(Ok(added)))
        };
        let added = self.write(add).await??;
        Ok((added, secret))
    }

    /// All, oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self) -> Result<Vec<Webhook>, Refusal> {
        self.read_pool.run(async |conn| webhooks::list(conn).await).await
    }

    /// Changes one, and returns its new secret, where it got one.
    ///
    /// # Errors
    /// There is no such webhook, or the database does not answer.
    pub async fn change(
        &self,
        id: WebhookId,
        change: &WebhookChange,
    ) -> Result<(Webhook, Option<SecretString>), Refusal> {
        let secret = change.rotate_secret.then(secret::generate).transpose()?;
        let columns = webhooks::Change {
            url: change.url.as_ref().map(WebhookUrl::as_str),
            accounts: change.accounts.as_ref(),
            status: change.status,
            secret: secret.as_ref().map(|it| (it.expose_secret(), OLD_SECRET_VALID)),
        };
        let change = async |conn: &mut PgConnection| {
            Ok(End::Commit(webhooks::change(conn, id, &columns).await?))
        };
        let changed = self.write(change).await?.ok_or(Refusal::WebhookNotFound)?;
        Ok((changed, secret))
    }

    /// Removes one.
    ///
    /// # Errors
    /// There is no such webhook, or the database does not answer.
    pub async fn remove(&self, id: WebhookId) -> Result<(), Refusal> {
        let remove =
            async |conn: &mut PgConnection| Ok(End::Commit(webhooks::delete(conn, id).await?));
        if self.write(remove).await? { Ok(()) } else { Err(Refusal::WebhookNotFound) }
    }

    /// Delivers payments, in turn with other processes.
    ///
    /// # Errors
    /// The client for HTTP cannot be built.
    pub fn start_sending(&self) -> anyhow::Result<Sending> {
        let context = sender::Context {
            target: self.target.clone(),
            step_timeout: self.transaction_timeout,
            read_pool: self.read_pool.clone(),
            feed: self.feed.clone(),
            changed: Arc::clone(&self.changed),
        };
        Sending::start(context, &self.settings)
    }

    /// Writes in a session of its own: operators change webhooks rarely.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<End<T>, Error>,
    ) -> Result<T, Refusal> {
        let mut session = Session::new(self.target.clone(), self.transaction_timeout);
        let written = session.transaction(work).await;
        self.changed.notify_one();
        written.map(|(value, _)| value).map_err(|error| {
            let refusal = Refusal::after(&error);
            if refusal == Refusal::Internal {
                tracing::error!(%error, "webhooks cannot be changed");
            } else {
                tracing::warn!(%error, "webhooks cannot be changed now");
            }
            refusal
        })
    }
}
