//! Times and random names, as they stand in objects.

use jiff::Timestamp;
use uuid::Uuid;

/// Now, in whole seconds, as Kubernetes writes it.
pub(crate) fn now() -> String {
    at(Timestamp::now())
}

pub(crate) fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `text` moved by some seconds; now when it is no time.
pub(crate) fn moved(text: &str, seconds: i64) -> String {
    let from = text.parse().unwrap_or_else(|_| Timestamp::now());
    at(from
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(from))
}

pub(crate) fn uid() -> String {
    Uuid::new_v4().to_string()
}

/// Letters and digits that spell no words and are not mistaken for one another.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters that are added to `generateName`.
const SUFFIX: usize = 5;
/// Characters of a generated name at most.
const LONGEST: usize = 63;

/// `base` and five random characters.
pub(crate) fn random_name(base: &str) -> String {
    let mut end = base.len().min(LONGEST - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let suffix = Uuid::new_v4();
    let suffix = suffix
        .as_bytes()
        .iter()
        .take(SUFFIX)
        .map(|byte| char::from(SAFE[usize::from(*byte) % SAFE.len()]));
    base[..end].chars().chain(suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds_and_can_be_moved() {
        assert_eq!(moved("2026-01-01T00:00:00Z", 30), "2026-01-01T00:00:30Z");
        assert_eq!(now().len(), "2026-01-01T00:00:00Z".len());
    }

    #[test]
    fn random_names_are_short_enough_and_differ() {
        let base = "x".repeat(100);
        assert_eq!(random_name(&base).len(), 63);
        assert_ne!(random_name("a-"), random_name("a-"));
    }
}
