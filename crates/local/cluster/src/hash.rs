//! Short stable names from content.

use sha2::{Digest, Sha256};

/// Letters and digits that spell no word by accident, as Kubernetes uses them.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `length` safe characters (at most 16) that depend on `content` alone.
pub(crate) fn short(content: &[u8], length: usize) -> String {
    let digest = Sha256::digest(content);
    digest
        .iter()
        .take(length.min(16))
        .map(|byte| char::from(SAFE[usize::from(*byte) % SAFE.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn depends_on_content_alone() {
        assert_eq!(short(b"a", 10), short(b"a", 10));
        assert_ne!(short(b"a", 10), short(b"b", 10));
        assert_eq!(short(b"a", 5).len(), 5);
    }
}
