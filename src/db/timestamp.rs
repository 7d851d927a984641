//! Timestamps as Postgres sends and takes them (`timestamptz`, binary): microseconds since 2000, which
//! need no calendar on the way.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Decode, Encode, Postgres, Type};

use crate::domain::Timestamp;

/// 2000-01-01T00:00:00Z as Unix time.
const EPOCH_UNIX_US: i64 = 946_684_800_000_000;

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        OffsetDateTime::type_info()
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        OffsetDateTime::array_type_info()
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // It cannot overflow: a timestamp is in the years 1 to 9999.
        let us = self.unix_us().saturating_sub(EPOCH_UNIX_US);
        Encode::<Postgres>::encode(us, buffer)
    }

    fn size_hint(&self) -> usize {
        size_of::<i64>()
    }
}

impl Decode<'_, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let us: i64 = Decode::<Postgres>::decode(value)?;
        let unix_us = us.checked_add(EPOCH_UNIX_US).and_then(Self::from_unix_us);
        unix_us.ok_or_else(|| "a time is not in the years 1 to 9999".into())
    }
}
