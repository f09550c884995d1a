//! The decoder of the HTML standard's event stream format.

use std::collections::VecDeque;
use thiserror::Error;

/// One dispatched event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field, empty when absent.
    pub event: String,
    /// The `data:` lines, joined by newlines.
    pub data: String,
    /// The last `id:` seen up to this event.
    pub id: String,
}

/// An event grew past the decoder's limit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a server-sent event is longer than the limit of {limit} bytes")]
pub struct TooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

/// Bytes in, events out; where the bytes are split makes no difference.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    line: Vec<u8>,
    pending: Event,
    has_data: bool,
    after_cr: bool,
    first_line: bool,
    ready: VecDeque<Event>,
}

impl Default for Decoder {
    /// A decoder for events of up to 16 MiB.
    fn default() -> Self {
        Self::with_limit(16 << 20)
    }
}

impl Decoder {
    /// A decoder that refuses events longer than `limit` bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            pending: Event::default(),
            has_data: false,
            after_cr: false,
            first_line: true,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next bytes of the stream; the events they complete wait in
    /// [`Decoder::next`].
    ///
    /// # Errors
    /// [`TooLong`] when an unfinished event outgrows the limit. The stream
    /// cannot be read on after that.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.append(&bytes[..end])?;
            self.end_line();
            let ended_by_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if ended_by_cr {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.append(bytes)
    }

    /// The next complete event.
    #[expect(
        clippy::should_implement_trait,
        reason = "None means not yet, not the end as an iterator's would"
    )]
    pub fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn append(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + part.len() + self.pending.data.len() > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if std::mem::take(&mut self.first_line) {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch();
        } else {
            self.field(text);
        }
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.pending.data.push('\n');
                }
                self.pending.data.push_str(&value);
            }
            b"event" => self.pending.event = value.into_owned(),
            b"id" if !value.contains('\0') => self.pending.id = value.into_owned(),
            // Comments (an empty name), `retry` and names the standard does not know.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let id = self.pending.id.clone();
        let event = std::mem::replace(&mut self.pending, Event { id, ..Event::default() });
        if std::mem::take(&mut self.has_data) {
            self.ready.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(parts: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for part in parts {
            decoder.feed(part).unwrap();
            events.extend(std::iter::from_fn(|| decoder.next()));
        }
        events
    }

    fn data(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.data.as_str()).collect()
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        let events = decode(&[b"\xef\xbb\xbfdata: a\n\ndata:b\r\n\r\ndata: c\r\rdata: d\ndata\n\n: note\n\ndata: cut"]);
        assert_eq!(data(&events), ["a", "b", "c", "d\n"]);
    }

    #[test]
    fn event_and_id_belong_to_their_event() {
        let events = decode(&[b"event: token\nid: 7\ndata: x\n\nretry: 3\ndata: y\n\n"]);
        assert_eq!(
            events[0],
            Event {
                event: "token".into(),
                data: "x".into(),
                id: "7".into()
            }
        );
        assert_eq!(
            events[1],
            Event {
                event: String::new(),
                data: "y".into(),
                id: "7".into()
            }
        );
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = Decoder::with_limit(100);
        assert!(decoder.feed(&[b'x'; 90]).is_ok());
        assert_eq!(decoder.feed(&[b'x'; 90]), Err(TooLong { limit: 100 }));
        let mut decoder = Decoder::with_limit(100);
        assert!((0..50).any(|_| decoder.feed(b"data: 12345\n").is_err()));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in "(data: ?[a-c\u{e9}\u{1f600}]{0,4}|:x|id: 1|event: e|\r|\n|\r\n|\n\n){0,30}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = stream.as_bytes();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for to in places.into_iter().chain([bytes.len()]) {
                parts.push(&bytes[from..to]);
                from = to;
            }
            prop_assert_eq!(decode(&parts), decode(&[bytes]));
        }
    }
}
