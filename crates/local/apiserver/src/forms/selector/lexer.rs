//! The tokens of a label selector.

/// What a piece of a selector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Word,
    In,
    NotIn,
    Not,
    Equal,
    DoubleEqual,
    NotEqual,
    Greater,
    Less,
    Comma,
    Open,
    Close,
    Unknown,
    End,
}

fn is_special(c: u8) -> bool {
    matches!(c, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

fn special(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEqual,
        "=" => Token::Equal,
        ">" => Token::Greater,
        "<" => Token::Less,
        "!=" => Token::NotEqual,
        "(" => Token::Open,
        _ => return None,
    })
}

/// Cuts a selector into tokens; the last one is `End`. A zero byte ends the text.
pub(super) fn scan(text: &str) -> Vec<(Token, String)> {
    let text = text.split('\0').next().unwrap_or_default();
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && is_blank(bytes[at]) {
            at += 1;
        }
        if at >= bytes.len() {
            tokens.push((Token::End, String::new()));
            return tokens;
        }
        let start = at;
        if is_special(bytes[at]) {
            at += 1;
            // Every special character is a token by itself; only `=` can follow one to make a longer.
            if bytes.get(at) == Some(&b'=') && special(&text[start..=at]).is_some() {
                at += 1;
            }
            let piece = &text[start..at];
            tokens.push((special(piece).unwrap_or(Token::Unknown), piece.to_owned()));
        } else {
            while at < bytes.len() && !is_special(bytes[at]) && !is_blank(bytes[at]) {
                at += 1;
            }
            let token = match &text[start..at] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Word,
            };
            tokens.push((token, text[start..at].to_owned()));
        }
    }
}
