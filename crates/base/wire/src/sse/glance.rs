//! What passes by in a stream of completions, told without parsing it.
//!
//! A quote inside a JSON string is always escaped, so a needle such as
//! `"usage":` can only match a real key: searching bytes is enough.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Longest piece of an unfinished line that is kept; a longer line counts as
/// one token event and its usage goes unread.
const CARRY: usize = 64 << 10;

/// Token counts, as a model server states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
}

/// What one piece of a stream brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Events that carry generated text or tool calls.
    pub tokens: u32,
    /// The last usage stated.
    pub usage: Option<Usage>,
    /// `[DONE]` went by.
    pub done: bool,
}

/// Watches a stream of events pass by, fed any split of its bytes. Allocates
/// only when a line is split between two pieces.
#[derive(Debug, Default)]
pub struct Glance {
    carry: Vec<u8>,
    overlong: bool,
}

impl Glance {
    /// What `bytes`, the next piece of the stream, completes.
    pub fn at(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        if !self.carry.is_empty() || self.overlong {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.keep(bytes);
                return seen;
            };
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if std::mem::take(&mut self.overlong) {
                seen.tokens += 1;
            } else {
                line(&self.carry, &mut seen);
            }
            self.carry.clear();
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            line(&bytes[..end], &mut seen);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
        seen
    }

    fn keep(&mut self, part: &[u8]) {
        if self.overlong || self.carry.len() + part.len() > CARRY {
            self.overlong = true;
            self.carry.clear();
        } else {
            self.carry.extend_from_slice(part);
        }
    }
}

fn line(line: &[u8], seen: &mut Seen) {
    let Some(data) = line.strip_prefix(b"data:") else {
        return;
    };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        seen.done = true;
        return;
    }
    if has_token(data) {
        seen.tokens += 1;
    }
    if let Some(usage) = usage_in(data) {
        seen.usage = Some(usage);
    }
}

/// Keys that hold generated text; the value must be a string with something in it.
static TEXT_KEYS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| {
    [
        r#""content":"#,
        r#""text":"#,
        r#""reasoning_content":"#,
        r#""reasoning":"#,
        r#""arguments":"#,
        r#""delta":"#,
    ]
    .map(Finder::new)
});

fn has_token(data: &[u8]) -> bool {
    TEXT_KEYS.iter().any(|key| {
        key.find_iter(data).any(|at| {
            let value = data[at + key.needle().len()..].trim_ascii_start();
            value.first() == Some(&b'"') && value.get(1).is_some_and(|&byte| byte != b'"')
        })
    })
}

/// The last usage object in `json` that states both token counts (prompt only,
/// as embeddings have it, counts as nothing generated).
#[must_use]
pub fn usage_in(json: &[u8]) -> Option<Usage> {
    static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""usage":"#));
    let mut found = None;
    for at in USAGE.find_iter(json) {
        let object = json[at + USAGE.needle().len()..].trim_ascii_start();
        if object.first() != Some(&b'{') {
            continue;
        }
        let prompt =
            number_after(object, br#""prompt_tokens":"#).or_else(|| number_after(object, br#""input_tokens":"#));
        let Some(prompt_tokens) = prompt else { continue };
        let completion = number_after(object, br#""completion_tokens":"#)
            .or_else(|| number_after(object, br#""output_tokens":"#))
            .unwrap_or(0);
        found = Some(Usage {
            prompt_tokens,
            completion_tokens: completion,
        });
    }
    found
}

fn number_after(object: &[u8], key: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(object, key)?;
    let digits = object[at + key.len()..].trim_ascii_start();
    let len = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    std::str::from_utf8(&digits[..len]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHAT: &str = concat!(
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"say \\\"usage\\\":{\"}}]}\n\n",
        ": ping\r\n\r\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"{}\"}}]}}]}\r\n\r\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"text\": \"x\",\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"total_tokens\":14,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );

    fn whole(parts: &[&[u8]]) -> Seen {
        let mut glance = Glance::default();
        parts.iter().fold(Seen::default(), |mut all, part| {
            let seen = glance.at(part);
            all.tokens += seen.tokens;
            all.usage = seen.usage.or(all.usage);
            all.done |= seen.done;
            all
        })
    }

    #[test]
    fn tokens_usage_and_end_are_seen() {
        let usage = Some(Usage {
            prompt_tokens: 11,
            completion_tokens: 3,
        });
        assert_eq!(
            whole(&[CHAT.as_bytes()]),
            Seen {
                tokens: 3,
                usage,
                done: true
            }
        );
    }

    #[test]
    fn usage_of_a_json_answer() {
        let answer = br#"{"choices":[{"text":"no \"usage\":{\"prompt_tokens\":9}"}],"usage":{"prompt_tokens": 5,"completion_tokens":16}}"#;
        assert_eq!(
            usage_in(answer),
            Some(Usage {
                prompt_tokens: 5,
                completion_tokens: 16
            })
        );
        assert_eq!(
            usage_in(br#"{"usage":{"prompt_tokens":5,"total_tokens":5}}"#)
                .unwrap()
                .completion_tokens,
            0
        );
        assert_eq!(usage_in(br#"{"usage":null}"#), None);
    }

    #[test]
    fn an_endless_line_stays_bounded() {
        let mut glance = Glance::default();
        for _ in 0..100 {
            glance.at(&[b'x'; 4096]);
        }
        assert!(glance.carry.capacity() <= 2 * CARRY);
        assert_eq!(glance.at(b"\ndata: [DONE]\n").tokens, 1);
    }

    proptest! {
        #[test]
        fn any_split_shows_the_same(cuts in prop::collection::vec(0..CHAT.len(), 0..20)) {
            let mut places = cuts;
            places.sort_unstable();
            places.push(CHAT.len());
            let mut from = 0;
            let parts: Vec<&[u8]> = places.iter().map(|&to| { let part = &CHAT.as_bytes()[from..to]; from = to; part }).collect();
            prop_assert_eq!(whole(&parts), whole(&[CHAT.as_bytes()]));
        }
    }
}
