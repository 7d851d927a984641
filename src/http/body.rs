//! Bodies and headers of requests, read strictly: what is not understood is refused.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use actix_web::web::{Bytes, ThinData};
use actix_web::{FromRequest, HttpRequest};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::openapi::{
    KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::error::ApiError;
use super::headers::IDEMPOTENCY_KEY;
use super::problem;
use super::state::{BODY_BYTES_MAX, BodyBytesMax, HttpLimits};
use crate::domain::{IdempotencyKey, Invalid, Timestamp};
use crate::service::Refusal;

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let declared = declared(request.headers());
        let bytes = read(request, payload);
        Box::pin(async move {
            declared?;
            let bytes = bytes.await?;
            // serde would take an array for a struct, its elements in the order of the fields.
            if !is_object(&bytes) {
                return Err(ApiError::invalid_request("The body is not a JSON object.".to_owned()));
            }
            let parsed = serde_json::from_slice(&bytes);
            parsed
                .map(Self)
                .map_err(|error| ApiError::invalid_request(format!("The body: {error}.")))
        })
    }
}

/// Whether JSON is an object, if it is JSON.
pub(super) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// The absence of a body, or an empty object.
pub(super) struct NoBody;

impl FromRequest for NoBody {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}

        let bytes = read(request, payload);
        Box::pin(async move {
            let bytes = bytes.await?;
            let is_nothing = bytes.is_empty()
                || (is_object(&bytes) && serde_json::from_slice::<Nothing>(&bytes).is_ok());
            let refuse = || ApiError::invalid_request("This path takes no body.");
            if is_nothing { Ok(Self) } else { Err(refuse()) }
        })
    }
}

/// The bytes of a body, within the limits of their number and of time.
fn read(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, ApiError>> + 'static {
    let limits = request.app_data::<ThinData<HttpLimits>>().map(|limits| limits.0);
    let bytes_max = request.app_data::<BodyBytesMax>().map_or(BODY_BYTES_MAX, |it| it.0);
    let bytes = Bytes::from_request(request, payload);
    async move {
        let limits = limits.ok_or(Refusal::Internal)?;
        let read = tokio::time::timeout(limits.body_read_timeout, bytes).await;
        read.map_err(|_| ApiError::from(problem::REQUEST_TIMEOUT))?.map_err(|error| {
            match error.as_response_error().status_code() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    let detail = format!("The body may have {bytes_max} bytes.");
                    ApiError::new(problem::BODY_TOO_LARGE, detail)
                }
                _ => ApiError::invalid_request("The body cannot be read.".to_owned()),
            }
        })
    }
}

/// Whether a body is said to be JSON in UTF-8, as it is: nothing else is read as if it were.
fn declared(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings =
        headers.get_all(CONTENT_ENCODING).flat_map(|it| it.as_bytes().split(|byte| *byte == b','));
    let is_none = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    if !codings.all(is_none) {
        // RFC 9110, section 15.5.16.
        let error = ApiError::from(problem::UNSUPPORTED_MEDIA_TYPE);
        return Err(error.with(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    let mut types = headers.get_all(CONTENT_TYPE);
    let is_json = types.next().and_then(|it| it.to_str().ok()).is_some_and(is_json_in_utf8);
    if is_json && types.next().is_none() {
        Ok(())
    } else {
        Err(problem::UNSUPPORTED_MEDIA_TYPE.into())
    }
}

/// A media type (RFC 9110, section 8.3.1): spaces may stand around a semicolon, what is between two of
/// them may be missing, and names are of any case. No parameter but the charset means something here.
fn is_json_in_utf8(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|it| it.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                let value =
                    value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
            }
            Some((name, value)) => !name.is_empty() && !value.is_empty(),
            None => false,
        })
}

/// An integer literal of any length. One that is longer than 64 bits becomes the nearest that
/// fits, which is past every limit of ours: it is refused as too large, not as malformed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Integer(pub i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        integer(raw.get())
            .ok_or_else(|| D::Error::custom(format!("{} is not an integer", shown(raw))))
    }
}

pub(super) fn integer(literal: &str) -> Option<Integer> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    // Minus zero is no way to write the bank's number.
    if digits.is_empty() || literal == "-0" || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nearest = if literal.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(Integer(literal.parse().unwrap_or(nearest)))
}

/// The beginning of a value, for a message.
fn shown(raw: &RawValue) -> String {
    raw.get().chars().take(40).collect()
}

/// A client's time as it came: RFC 3339, or a Unix time in milliseconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct ClientTime(Box<RawValue>);

impl ClientTime {
    /// # Errors
    /// It is none; the text names `field`.
    pub fn read(&self, field: &str) -> Result<Timestamp, Invalid> {
        let time = match integer(self.0.get()) {
            Some(Integer(ms)) => Timestamp::from_unix_ms(ms),
            None => match serde_json::from_str::<String>(self.0.get()) {
                Ok(text) => Timestamp::parse(&text),
                Err(_) => Err(Invalid::Value(format!("{} is not a timestamp", shown(&self.0)))),
            },
        };
        time.map_err(|invalid| invalid.of(field))
    }
}

/// The shape of [`ClientTime`], or null.
pub(super) fn client_time() -> Schema {
    moment_schema().item(ObjectBuilder::new().schema_type(Type::Null)).build().into()
}

/// The same in a query string.
pub(super) struct Moment;

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        Schema::from(moment_schema().build()).into()
    }
}

impl ToSchema for Moment {}

fn moment_schema() -> OneOfBuilder {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    // The years 1 to 9999.
    let unix_ms = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(-62_135_596_800_000_i64))
        .maximum(Some(253_402_300_799_999_i64));
    OneOfBuilder::new()
        .item(text)
        .item(unix_ms)
        .description(Some("RFC 3339, or a Unix time in milliseconds."))
}

/// The request's key, from the header, the body, or both where they agree.
pub(super) fn idempotency_key(
    request: &HttpRequest,
    in_body: Option<String>,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut keys: Vec<String> = in_body.into_iter().collect();
    for value in request.headers().get_all(IDEMPOTENCY_KEY) {
        let text = value.to_str().map_err(|_| {
            ApiError::invalid_request("The header Idempotency-Key is not visible ASCII.".to_owned())
        })?;
        keys.push(unquoted(text.trim())?);
    }
    let Some(first) = keys.pop() else {
        return Ok(None);
    };
    if keys.iter().any(|key| *key != first) {
        return Err(ApiError::invalid_request(
            "The request names two different idempotency keys; name one.".to_owned(),
        ));
    }
    Ok(Some(IdempotencyKey::new(first)?))
}

/// A bare key, or a string of RFC 9651, section 3.3.3: in quotes, with `\"` and `\\` inside.
fn unquoted(value: &str) -> Result<String, ApiError> {
    let Some(rest) = value.strip_prefix('"') else {
        return Ok(value.to_owned());
    };
    let malformed =
        || ApiError::invalid_request("The header Idempotency-Key is not a string.".to_owned());
    let inner = rest.strip_suffix('"').ok_or_else(malformed)?;
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return Err(malformed()),
            '\\' => {
                key.push(chars.next().filter(|c| matches!(c, '"' | '\\')).ok_or_else(malformed)?);
            }
            _ => key.push(char),
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
