//! Routes that a program adds to those of the service.

use std::pin::Pin;
use std::sync::Arc;

use actix_web::{Handler, HttpRequest, HttpResponse, Route, web};
use utoipa::openapi::OpenApi;

use super::auth::{Authenticated, require};
use super::body::{Json, NoBody, idempotency_key};
use super::error::ApiError;
use super::get;
use super::payments::{SendPayment, allowed_intent};
use super::shapes::problems;
use crate::domain::Intent;
use crate::service::Refusal;

/// Routes for operators. They ask of a request what every route asks: who sends it, and what its body may be.
#[derive(Clone)]
pub struct Added {
    /// Their part of the API document.
    pub document: OpenApi,
    pub routes: Vec<AddedRoute>,
}

/// A path, and what answers there.
#[derive(Clone)]
pub struct AddedRoute {
    pub path: &'static str,
    pub answer: AddedAnswer,
}

/// The answer to the one method that an added path takes.
#[derive(Clone)]
pub enum AddedAnswer {
    /// To `GET`, and `HEAD`.
    Get(Arc<dyn Fn() -> Answering + Send + Sync>),
    /// To `POST` without a body.
    Post(Arc<dyn Fn() -> Answering + Send + Sync>),
    /// To `POST` with the body of a payment.
    PostPayment(Arc<dyn Fn(Intent) -> Answering + Send + Sync>),
}

/// The outcome of a request: the body of an answer with status 200, as JSON.
pub type Answering = Pin<Box<dyn Future<Output = Result<String, Refusal>> + Send>>;

problems!(pub AddedProblems: WITH_CALLER, WITH_BODY);

impl AddedRoute {
    /// What it takes, and its handler.
    pub(super) fn route(&self) -> (&'static str, Route) {
        match &self.answer {
            AddedAnswer::Get(answer) => ("GET, HEAD", get().to(without_body(answer))),
            AddedAnswer::Post(answer) => ("POST", web::post().to(without_body(answer))),
            AddedAnswer::PostPayment(answer) => ("POST", web::post().to(of_payment(answer))),
        }
    }
}

fn without_body(
    answer: &Arc<dyn Fn() -> Answering + Send + Sync>,
) -> impl Handler<(Authenticated, NoBody), Output = Result<HttpResponse, ApiError>> {
    let answer = Arc::clone(answer);
    move |Authenticated(identity): Authenticated, _: NoBody| {
        let answer = Arc::clone(&answer);
        async move {
            require(identity.caller.may_use_added_routes())?;
            Ok(json(answer().await?))
        }
    }
}

fn of_payment(
    answer: &Arc<dyn Fn(Intent) -> Answering + Send + Sync>,
) -> impl Handler<(Authenticated, HttpRequest, Json<SendPayment>), Output = Result<HttpResponse, ApiError>>
{
    let answer = Arc::clone(answer);
    move |Authenticated(identity): Authenticated,
          request: HttpRequest,
          Json(body): Json<SendPayment>| {
        let answer = Arc::clone(&answer);
        async move {
            require(identity.caller.may_use_added_routes())?;
            let key = |key| idempotency_key(&request, key);
            Ok(json(answer(allowed_intent(&identity, body, key)?).await?))
        }
    }
}

fn json(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(text)
}
