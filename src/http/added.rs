//! A route that a program adds to those of the service.

use std::pin::Pin;
use std::sync::Arc;

use actix_web::{Handler, HttpRequest, HttpResponse};
use utoipa::openapi::OpenApi;

use super::auth::{Authenticated, require};
use super::body::{Json, idempotency_key};
use super::error::ApiError;
use super::payments::{SendPayment, allowed_intent};
use crate::domain::Intent;
use crate::service::Refusal;

/// `POST path` with the body of a payment, for operators. It asks of a request what every route asks:
/// who sends it, and what its body may be.
#[derive(Clone)]
pub struct AddedRoute {
    pub path: &'static str,
    /// Its part of the API document.
    pub document: OpenApi,
    pub answer: Arc<dyn Fn(Intent) -> Answering + Send + Sync>,
}

/// The outcome of a request: the body of an answer with status 200, as JSON.
pub type Answering = Pin<Box<dyn Future<Output = Result<String, Refusal>> + Send>>;

impl AddedRoute {
    pub(super) fn handler(
        &self,
    ) -> impl Handler<
        (Authenticated, HttpRequest, Json<SendPayment>),
        Output = Result<HttpResponse, ApiError>,
    > {
        let answer = Arc::clone(&self.answer);
        move |Authenticated(identity): Authenticated,
              request: HttpRequest,
              Json(body): Json<SendPayment>| {
            let answer = Arc::clone(&answer);
            async move {
                require(identity.caller.may_use_added_routes())?;
                let key = |key| idempotency_key(&request, key);
                let text = answer(allowed_intent(&identity, body, key)?).await?;
                Ok(HttpResponse::Ok().content_type("application/json").body(text))
            }
        }
    }
}
