-- Shared by the other files: the money that each account starts with, how payments get their ids, and what
-- their keys keep.
\set cents 1000000

-- The name-based UUID (version 8, SHA-256) of payer and key that the audit expects.
CREATE FUNCTION pg_temp.payment_id(payer bigint, key text) RETURNS uuid
LANGUAGE sql IMMUTABLE
RETURN (
    SELECT encode(set_byte(set_byte(substring(hash FROM 1 FOR 16),
                                    6, (get_byte(hash, 6) & 15) | 128),
                           8, (get_byte(hash, 8) & 63) | 128), 'hex')::uuid
    FROM sha256('\x6f1d8c0e52b44c579a3e0b7d94f261aa' || convert_to(payer || '/' || key, 'UTF8'))
         AS hash
);

-- The response of a payment, as its key keeps it.
CREATE FUNCTION pg_temp.receipt(id uuid, from_id bigint, to_id bigint, amount bigint,
                                created_at timestamptz, balance_after bigint) RETURNS json
LANGUAGE sql STABLE
RETURN format(
    '{"id":"%s","from_id":%s,"to_id":%s,"amount":%s,"note":null,"created_at":"%s","requested_at":null,"balance_after":%s}',
    id, from_id, to_id, amount,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), balance_after)::json;
