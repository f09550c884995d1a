//! A tokenizer that needs no vocabulary file.
//!
//! A token is up to eight bytes of a word with the space before it, a run of
//! other white space, or one sign. English comes out near four bytes a token,
//! as with real vocabularies. Ids are hashes, so there is no way back.

use engine::chain_hash;

/// Bytes of a word in one token at most, the space before it aside.
const WORD: usize = 8;

/// The pieces of `text`, whose concatenation is `text`.
pub(crate) fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text }
}

#[derive(Clone, Debug)]
pub(crate) struct Pieces<'a> {
    rest: &'a str,
}

const fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        let start = usize::from(first == b' ' && bytes.get(1).is_some_and(|&next| in_word(next)));
        let mut end = start;
        if in_word(bytes[start]) {
            while end < bytes.len() && end - start < WORD && in_word(bytes[end]) {
                end += 1;
            }
            while !self.rest.is_char_boundary(end) {
                end += 1;
            }
        } else if first.is_ascii_whitespace() {
            while end < bytes.len() && bytes[end].is_ascii_whitespace() {
                end += 1;
            }
            // The last space belongs to the word it stands before.
            if end > 1 && bytes[end - 1] == b' ' && bytes.get(end).is_some_and(|&next| in_word(next)) {
                end -= 1;
            }
        } else {
            end = 1;
        }
        let (piece, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(piece)
    }
}

/// The id of a piece in a vocabulary of `vocab` entries.
pub(crate) fn id_of(piece: &str, vocab: u32) -> u32 {
    let hash = piece.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % vocab.max(1)
}

/// A prompt as the engine sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// How many tokens it has.
    pub(crate) tokens: u32,
    /// Chained hashes of its full blocks.
    pub(crate) prefix: Vec<u64>,
    /// A hash of all of it.
    pub(crate) hash: u64,
}

/// Builds a [`Prompt`] token by token.
#[derive(Debug)]
pub(crate) struct PromptBuilder {
    block_size: usize,
    vocab: u32,
    block: Vec<u32>,
    prompt: Prompt,
    /// Every id, if they are wanted.
    pub(crate) ids: Option<Vec<u32>>,
}

impl PromptBuilder {
    pub(crate) fn new(block_size: u32, vocab: u32) -> Self {
        Self {
            block_size: block_size.max(1) as usize,
            vocab,
            block: Vec::new(),
            prompt: Prompt::default(),
            ids: None,
        }
    }

    pub(crate) fn token(&mut self, id: u32) {
        self.prompt.tokens = self.prompt.tokens.saturating_add(1);
        self.block.push(id);
        if let Some(ids) = &mut self.ids {
            ids.push(id);
        }
        if self.block.len() == self.block_size {
            let parent = self.prompt.prefix.last().copied().unwrap_or(0);
            self.prompt.prefix.push(chain_hash(parent, &self.block));
            self.block.clear();
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        for piece in pieces(text) {
            self.token(id_of(piece, self.vocab));
        }
    }

    pub(crate) fn finish(mut self) -> (Prompt, Option<Vec<u32>>) {
        let parent = self.prompt.prefix.last().copied().unwrap_or(0);
        self.prompt.hash = chain_hash(parent, &self.block);
        (self.prompt, self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_cut_into_words_with_their_space() {
        for (text, wanted) in [
            ("", &[][..]),
            ("Hello world.", &["Hello", " world", "."]),
            ("a  b", &["a", " ", " b"]),
            (" \n\t x", &[" \n\t", " x"]),
            ("incomprehensible", &["incompre", "hensible"]),
            ("žluťoučký kůň", &["žluťou", "čký", " kůň"]),
            ("日本語です", &["日本語", "です"]),
            (" ", &[" "]),
            ("!?", &["!", "?"]),
        ] {
            assert_eq!(pieces(text).collect::<Vec<_>>(), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_the_sum_of_its_pieces(text in any::<String>(), words in "[ a-zé\u{1F600}.\n]{0,60}") {
            for text in [text, words] {
                prop_assert_eq!(pieces(&text).collect::<String>(), text.as_str());
                prop_assert!(pieces(&text).all(|piece| !piece.is_empty()));
            }
        }
    }

    #[test]
    fn prompts_with_one_beginning_share_their_chain() {
        let build = |text: &str| {
            let mut builder = PromptBuilder::new(2, 1000);
            builder.text(text);
            builder.finish().0
        };
        let (one, two) = (build("a b c d e"), build("a b c x"));
        assert_eq!((one.tokens, one.prefix.len()), (5, 2));
        assert_eq!(one.prefix[0], two.prefix[0]);
        assert_ne!(one.prefix[1], two.prefix[1]);
        assert_ne!(one.hash, two.hash);
        assert_eq!(one, build("a b c d e"));
    }
}
