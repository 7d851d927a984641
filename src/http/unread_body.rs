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

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use futures_core::Stream;

/// A request's body, for its reader and for whoever keeps it.
#[derive(Clone)]
struct Kept(Rc<RefCell<Payload>>);

impl Stream for Kept {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

/// An answer that keeps what it answers.
pub(super) struct Keeper {
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

/// Ends the connections of bodies that do not arrive.
pub(super) async fn closed<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, Keeper>>, Error> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let body = Kept(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream { payload: Box::pin(body.clone()) });
    let response = next.call(request).await?;
    Ok(response
        .map_body(|_, answer| EitherBody::right(Keeper { answer: answer.boxed(), _request: body })))
}
