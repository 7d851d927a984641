-- What the other files share: what each account starts with, and how payments get their ids.
\set cents 1000000

-- The name-based UUID (version 8, SHA-256) of payer and key that the audit expects.
CREATE FUNCTION pg_temp.payment_id(payer bigint, key text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT encode(set_byte(set_byte(substring(hash FROM 1 FOR 16),
                                    6, (get_byte(hash, 6) & 15) | 128),
                           8, (get_byte(hash, 8) & 63) | 128), 'hex')::uuid
    FROM sha256('\x6f1d8c0e52b44c579a3e0b7d94f261aa' || convert_to(payer || '/' || key, 'UTF8'))
         AS hash
);
