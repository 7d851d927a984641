//! Bodies that were answered before they had arrived.
//!
//! The web framework lets the rest of such a body arrive, and closes the connection a second later. But
//! where the body comes in chunks and its reader has gone, it waits for the last one for ever: a client
//! that never sends it would keep its connection. So a chunked body is kept until its answer is written.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures_core::Stream;

/// A request's body, for its reader and for its answer.
#[derive(Clone)]
pub(super) struct Kept(Rc<RefCell<Payload>>);

impl Kept {
    /// The body of a request, if it comes in chunks.
    pub fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !request.headers().contains_key(TRANSFER_ENCODING) {
            return None;
        }
        let body = Self(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(body.clone()) });
        Some(body)
    }

    /// Keeps it until the answer is written.
    pub fn kept_by(self, answer: ServiceResponse) -> ServiceResponse {
        answer.map_body(|_, answer| BoxBody::new(Keeper { answer, _request: self }))
    }
}

impl Stream for Kept {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

/// An answer that keeps what it answers.
struct Keeper {
    answer: BoxBody,
    _request: Kept,
}

impl MessageBody for Keeper {
    type Error = Box<dyn StdError>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(cx)
    }
}
