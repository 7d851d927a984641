//! As much of Postgres' frontend/backend protocol (version 3.0) as it takes to see a transaction
//! being committed.

/// The longest body that is looked into.
const BODY_BYTES_MAX: usize = 64;

/// Reads one direction of a connection and finds one message in it.
pub struct Watch {
    wanted: (u8, &'static [u8]),
    /// The frontend's first message has no type.
    in_startup: bool,
    head: Vec<u8>,
    body: Vec<u8>,
    body_left: usize,
    in_body: bool,
}

impl Watch {
    /// The frontend's: finds the query `COMMIT`.
    #[must_use]
    pub fn for_commits() -> Self {
        Self::new((b'Q', b"COMMIT\0"), true)
    }

    /// The backend's: finds `CommandComplete` of a `COMMIT`.
    #[must_use]
    pub fn for_answers_to_commits() -> Self {
        Self::new((b'C', b"COMMIT\0"), false)
    }

    fn new(wanted: (u8, &'static [u8]), in_startup: bool) -> Self {
        let (head, body) = (Vec::new(), Vec::new());
        Self { wanted, in_startup, head, body, body_left: 0, in_body: false }
    }

    /// Reads on. Returns how many of these bytes belong to it and to what was before, where the
    /// message that is wanted ends among them.
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut found = None;
        for (place, byte) in bytes.iter().enumerate() {
            if self.step(*byte) && found.is_none() {
                found = Some(place + 1);
            }
        }
        found
    }

    /// Whether the byte is the last one of the message that is wanted.
    fn step(&mut self, byte: u8) -> bool {
        if self.in_body {
            if self.body.len() < BODY_BYTES_MAX {
                self.body.push(byte);
            }
            self.body_left = self.body_left.saturating_sub(1);
        } else {
            self.head.push(byte);
            let length_at = usize::from(!self.in_startup);
            let Some(length) = self.head.get(length_at..length_at + 4) else {
                return false;
            };
            let length = length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            // It counts itself.
            self.body_left = length.saturating_sub(4);
            self.in_body = true;
        }
        if self.body_left > 0 {
            return false;
        }
        let kind = if self.in_startup { 0 } else { self.head[0] };
        let is_wanted = (kind, self.body.as_slice()) == self.wanted;
        self.in_startup = false;
        self.in_body = false;
        self.head.clear();
        self.body.clear();
        is_wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTUP: &[u8] = b"\0\0\0\x0c\0\x03\0\0abc\0";

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    #[test]
    fn a_commit_is_found_where_it_ends() {
        let mut watch = Watch::for_commits();
        let bytes = [
            STARTUP,
            &message(b'Q', b"BEGIN\0"),
            &message(b'S', b""),
            &message(b'Q', b"COMMIT\0"),
            b"Q",
        ]
        .concat();
        assert_eq!(watch.read(&bytes), Some(bytes.len() - 1));
    }

    #[test]
    fn a_commit_in_pieces_is_found() {
        let mut watch = Watch::for_answers_to_commits();
        let bytes = [message(b'C', b"INSERT 0 1\0"), message(b'C', b"COMMIT\0")].concat();
        let found: Vec<Option<usize>> =
            bytes.iter().map(|byte| watch.read(std::slice::from_ref(byte))).collect();
        let last = bytes.len() - 1;
        assert!(found[..last].iter().all(Option::is_none));
        assert_eq!(found[last], Some(1));
    }

    #[test]
    fn what_only_contains_a_commit_is_none() {
        let mut watch = Watch::for_commits();
        let bytes = [STARTUP, &message(b'P', b"Q\0\0\0\x0bCOMMIT\0"), &message(b'Q', b"COMMITS\0")];
        assert_eq!(watch.read(&bytes.concat()), None);
    }
}
