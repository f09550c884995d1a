//! Chunked framing, followed byte by byte without taking it apart.

/// Longest chunk extension and longest trailer section, bytes.
const MOST_EXTRA: usize = 8 << 10;

/// A place in a chunked body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes left in the present chunk, or its size while that is read.
    left: u64,
    /// Bytes of extensions and trailers seen.
    extra: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Size { digits: 0 },
            left: 0,
            extra: 0,
        }
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Follows the framing through `bytes`, shows each piece of payload, and
    /// gives how many bytes belong to this body: fewer than all only at its end.
    pub(crate) fn advance(&mut self, bytes: &[u8], mut payload: impl FnMut(&[u8])) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let rest = bytes.len() - at;
                let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                payload(&bytes[at..at + take]);
                at += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size { digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == 15 {
                    return Err("a chunk size has more than 15 digits");
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = (self.left << 4) | u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 0 }, _) => return Err("a chunk size is missing"),
            (State::Size { .. }, b'\r') | (State::Extension, b'\r') => State::SizeEnd,
            (State::Size { .. }, b';' | b' ' | b'\t') => State::Extension,
            (State::Size { .. }, _) => return Err("a chunk size is not hexadecimal"),
            (State::Extension, b'\n') => return Err("a bare line feed in a chunk extension"),
            (State::Extension, _) => {
                self.count_extra()?;
                State::Extension
            }
            (State::SizeEnd, b'\n') if self.left == 0 => State::LineStart,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::LineStart, b'\r') => State::LastLf,
            (State::LineStart | State::Trailer, b'\n') => return Err("a bare line feed in the trailers"),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::LineStart | State::Trailer, _) => {
                self.count_extra()?;
                State::Trailer
            }
            (State::TrailerLf, b'\n') => State::LineStart,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err("a line end is missing after a chunk"),
        })
    }

    fn count_extra(&mut self) -> Result<(), &'static str> {
        self.extra += 1;
        if self.extra > MOST_EXTRA {
            Err("extensions and trailers are too long")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), &'static str> {
        let mut chunks = Chunks::new();
        let mut body = Vec::new();
        let mut used = 0;
        for part in parts {
            used += chunks.advance(part, |piece| body.extend_from_slice(piece))?;
        }
        Ok((body, used, chunks.is_done()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let bytes = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\nGET /";
        assert_eq!(read(&[bytes]), Ok((b"hello world".to_vec(), bytes.len() - 5, true)));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let cases: [&[u8]; 8] = [
            b"\r\n",
            b"x\r\n",
            b"5\nhello",
            b"-1\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"0\r\n\n",
            b"1000000000000000\r\n",
        ];
        for case in cases {
            assert!(read(&[case]).is_err(), "{}", String::from_utf8_lossy(case));
        }
    }

    #[test]
    fn extensions_are_bounded() {
        let long = [&b"1;"[..], &[b'x'; MOST_EXTRA + 1]].concat();
        assert!(read(&[&long]).is_err());
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6), cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let cut = cut.index(bytes.len());
            prop_assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), Ok((pieces.concat(), bytes.len(), true)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read(&[&bytes]);
        }
    }
}
