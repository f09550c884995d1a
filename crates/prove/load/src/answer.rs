//! Reads an answer as it arrives, and keeps only what is measured.

use memchr::{memchr, memmem};
use std::time::Duration;
use units::Instant;

/// Longest line of a stream that is kept while it is incomplete.
const LONGEST_LINE: usize = 1 << 20;

/// What an answer amounted to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// When the first chunk with content came.
    pub(crate) first_token: Option<Instant>,
    /// When the last chunk with content came.
    pub(crate) last_token: Option<Instant>,
    /// Chunks with content.
    pub(crate) chunks: u64,
    /// Tokens the server says it generated.
    pub(crate) usage_output: Option<u64>,
    /// Tokens the server says it read.
    pub(crate) usage_prompt: Option<u64>,
    /// The stream said `[DONE]`.
    pub(crate) done: bool,
    /// The server sent an error inside the stream.
    pub(crate) error: Option<String>,
}

impl Answer {
    /// Tokens generated: the server's count, else the chunks.
    pub(crate) fn output_tokens(&self) -> u64 {
        self.usage_output.unwrap_or(self.chunks)
    }
}

/// A streamed answer on its way.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    partial: Vec<u8>,
    /// What has been read so far.
    pub(crate) answer: Answer,
}

impl Stream {
    /// Takes the bytes that arrived at `now`, and calls `gap` with the time
    /// since the chunk before for every chunk with content but the first.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], now: Instant, mut gap: impl FnMut(Duration)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() {
                self.answer.line(line, now, &mut gap);
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                self.answer.line(&whole, now, &mut gap);
            }
            bytes = rest;
        }
        if self.partial.len() + bytes.len() > LONGEST_LINE {
            self.answer
                .error
                .get_or_insert_with(|| format!("a line of the stream is longer than {LONGEST_LINE} bytes"));
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

impl Answer {
    fn line(&mut self, line: &[u8], now: Instant, gap: &mut impl FnMut(Duration)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.trim_ascii_start();
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        if data.starts_with(br#"{"error""#) {
            self.error
                .get_or_insert_with(|| String::from_utf8_lossy(&data[..data.len().min(300)]).into_owned());
            return;
        }
        if memmem::find(data, br#""usage":{"#).is_some() {
            self.usage(data);
        }
        if !has_content(data) {
            return;
        }
        self.chunks += 1;
        if let Some(before) = self.last_token.replace(now) {
            gap(now.since(before));
        } else {
            self.first_token = Some(now);
        }
    }

    /// Takes the token counts of a `usage` object, if the JSON has one.
    pub(crate) fn usage(&mut self, json: &[u8]) {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else {
            return;
        };
        let count = |field: &str| value["usage"][field].as_u64();
        self.usage_output = count("completion_tokens").or(self.usage_output);
        self.usage_prompt = count("prompt_tokens").or(self.usage_prompt);
    }
}

/// Whether a chunk carries a token: a choice with text, or with a finish
/// reason behind at least one token. A role chunk and a usage chunk do not.
fn has_content(data: &[u8]) -> bool {
    if memmem::find(data, br#""choices":[]"#).is_some() || memmem::find(data, br#""role":"assistant""#).is_some() {
        return false;
    }
    for key in [
        &br#""content":"#[..],
        &br#""text":"#[..],
        &br#""reasoning_content":"#[..],
        &br#""reasoning":"#[..],
    ] {
        if let Some(at) = memmem::find(data, key) {
            let value = data[at + key.len()..].trim_ascii_start();
            if value.starts_with(b"\"") {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = concat!(
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" you\"},\"finish_reason\":\"stop\"}]}\r\n\r\n",
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    );

    fn read(pieces: &[&[u8]]) -> Answer {
        let mut stream = Stream::default();
        for piece in pieces {
            stream.feed(piece, Instant::from_millis(5), |_| {});
        }
        stream.answer
    }

    #[test]
    fn role_and_usage_chunks_are_not_tokens() {
        let answer = read(&[STREAM.as_bytes()]);
        assert_eq!(
            (answer.chunks, answer.usage_output, answer.usage_prompt),
            (2, Some(2), Some(7))
        );
        assert!(answer.done && answer.error.is_none());
    }

    #[test]
    fn the_gap_is_the_time_between_two_tokens() {
        let mut stream = Stream::default();
        let mut gaps = Vec::new();
        let token = b"data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
        for ms in [100, 120, 150] {
            stream.feed(token, Instant::from_millis(ms), |gap| gaps.push(gap.as_millis()));
        }
        assert_eq!(gaps, [20, 30]);
        assert_eq!(stream.answer.first_token, Some(Instant::from_millis(100)));
    }

    #[test]
    fn an_error_in_the_stream_is_kept() {
        let answer = read(&[b"data: {\"error\":{\"message\":\"engine died\"}}\n\n"]);
        assert!(answer.error.unwrap().contains("engine died"));
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_reads_the_same(cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&STREAM.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&STREAM.as_bytes()[from..]);
            prop_assert_eq!(read(&pieces), read(&[STREAM.as_bytes()]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&[&bytes]);
        }
    }
}
