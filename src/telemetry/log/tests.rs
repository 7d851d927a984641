use super::*;

/// Takes three bytes at a time, or says what it is told to.
struct Reluctant {
    says: Vec<ErrorKind>,
    taken: Vec<u8>,
}

impl Write for Reluctant {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.says.pop() {
            return Err(kind.into());
        }
        let taken = bytes.get(..bytes.len().min(3)).unwrap_or_default();
        self.taken.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_written_whole_where_standard_error_does_not_wait() {
    let says = vec![ErrorKind::WouldBlock, ErrorKind::Interrupted];
    let mut out = Reluctant { says, taken: Vec::new() };
    assert_eq!(write_whole(&mut out, b"one\ntwo\n"), 0);
    assert_eq!(out.taken, b"one\ntwo\n");
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let mut out = Reluctant { says: vec![ErrorKind::BrokenPipe], taken: Vec::new() };
    assert_eq!(write_whole(&mut out, b"one\ntwo\n"), 2);
}
