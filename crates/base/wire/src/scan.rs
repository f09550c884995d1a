//! One pass over the bytes of a request for the few fields routing needs.
//!
//! No tree is built: the whole body is checked to be JSON with an object on
//! top, and of its top level only the model, the streaming options and the
//! token limits are kept. Where a key stands twice the last one counts, as in
//! Python, so that gateway and model server never read two different requests
//! out of the same bytes. Values of the wrong type are the model server's to
//! refuse, except the model, without which there is no route.

use std::borrow::Cow;
use std::ops::Range;
use thiserror::Error;

mod cursor;

use cursor::Cursor;

/// Deepest nesting that is still read; deeper bodies are refused.
pub const MAX_DEPTH: usize = 128;

/// What routing needs to know of a request body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The model asked for; `None` when the key is absent or null.
    pub model: Option<Model<'a>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// Most tokens to generate: `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<u64>,
    /// Answers asked for.
    pub n: Option<u64>,
}

/// A model name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model<'a> {
    /// The name with escapes resolved; borrowed where there are none.
    pub name: Cow<'a, str>,
    /// The bytes of the string literal, quotes included: what to replace to
    /// send the request under another name.
    pub range: Range<usize>,
}

/// Why a body cannot be forwarded, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem} at byte {offset}{}", in_field(.field.as_deref()))]
pub struct ScanError {
    /// Zero-based byte of the body at which reading stopped.
    pub offset: usize,
    /// The top-level field being read, if one was.
    pub field: Option<String>,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// The body ends in the middle of a value.
    #[error("the JSON ends too early")]
    Truncated,
    /// A byte that JSON does not allow at its place.
    #[error("unexpected byte {0:#04x}: not valid JSON")]
    Unexpected(u8),
    /// The top level is not an object.
    #[error("a JSON object is expected")]
    NotAnObject,
    /// Something follows the object.
    #[error("nothing may follow the JSON object, but something does")]
    Trailing,
    /// Deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The body is not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// `model` is there but not a string.
    #[error("`model` must be a string")]
    ModelNotAString,
}

fn in_field(field: Option<&str>) -> String {
    field.map(|name| format!(" (in field `{name}`)")).unwrap_or_default()
}

/// Reads the routing fields of `body`.
///
/// # Errors
/// [`ScanError`] names the byte and the top-level field at which `body` stops
/// being a JSON object.
pub fn fields(body: &[u8]) -> Result<Fields<'_>, ScanError> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(ScanError {
            offset: error.valid_up_to(),
            field: None,
            problem: Problem::NotUtf8,
        });
    }
    let mut reader = Reader {
        cursor: Cursor::new(body),
        field: None,
        seen: Seen::default(),
    };
    match reader.object_on_top() {
        Ok(()) => reader.seen.into_fields(),
        Err((offset, problem)) => {
            let field = reader.field.map(|key| cursor::unescape(&body[key]).into_owned());
            Err(ScanError {
                offset,
                field: field.map(shortened),
                problem,
            })
        }
    }
}

/// A field name fit for an error message.
fn shortened(name: String) -> String {
    if name.chars().count() <= 64 {
        name
    } else {
        name.chars().take(64).chain(['…']).collect()
    }
}

/// The last value seen of each field.
#[derive(Default)]
struct Seen<'a> {
    model: Option<Result<Model<'a>, usize>>,
    stream: bool,
    include_usage: bool,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
}

impl<'a> Seen<'a> {
    fn into_fields(self) -> Result<Fields<'a>, ScanError> {
        let model = self.model.transpose().map_err(|offset| ScanError {
            offset,
            field: Some("model".to_owned()),
            problem: Problem::ModelNotAString,
        })?;
        Ok(Fields {
            model,
            stream: self.stream,
            include_usage: self.include_usage,
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            n: self.n,
        })
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    /// The range of the top-level key being read, without its quotes.
    field: Option<Range<usize>>,
    seen: Seen<'a>,
}

type Step<T> = Result<T, (usize, Problem)>;

impl<'a> Reader<'a> {
    fn object_on_top(&mut self) -> Step<()> {
        self.cursor.white();
        if self.cursor.peek().is_some_and(|byte| byte != b'{') {
            return Err((self.cursor.at(), Problem::NotAnObject));
        }
        self.cursor.expect(b'{')?;
        self.members(|reader, key| {
            reader.field = Some(key.clone());
            reader.top_level(&key)?;
            reader.field = None;
            Ok(())
        })?;
        self.cursor.white();
        if self.cursor.peek().is_some() {
            Err((self.cursor.at(), Problem::Trailing))
        } else {
            Ok(())
        }
    }

    /// The members of an object whose `{` is read, up to and with its `}`.
    fn members(&mut self, mut value: impl FnMut(&mut Self, Range<usize>) -> Step<()>) -> Step<()> {
        self.cursor.white();
        if self.cursor.take(b'}') {
            return Ok(());
        }
        loop {
            self.cursor.white();
            let key = self.cursor.string()?;
            self.cursor.white();
            self.cursor.expect(b':')?;
            self.cursor.white();
            value(self, key)?;
            self.cursor.white();
            if self.cursor.take(b'}') {
                return Ok(());
            }
            self.cursor.expect(b',')?;
        }
    }

    fn top_level(&mut self, key: &Range<usize>) -> Step<()> {
        match self.key(key).as_ref() {
            "model" => self.seen.model = self.model()?,
            "stream" => self.seen.stream = self.boolean()?,
            "stream_options" => self.seen.include_usage = self.stream_options()?,
            "max_tokens" => self.seen.max_tokens = self.unsigned()?,
            "max_completion_tokens" => self.seen.max_completion_tokens = self.unsigned()?,
            "n" => self.seen.n = self.unsigned()?,
            _ => self.cursor.skip_value(1)?,
        }
        Ok(())
    }

    fn key(&self, range: &Range<usize>) -> Cow<'a, str> {
        cursor::unescape(&self.cursor.bytes()[range.clone()])
    }

    fn model(&mut self) -> Step<Option<Result<Model<'a>, usize>>> {
        let start = self.cursor.at();
        match self.cursor.peek() {
            Some(b'"') => {
                let inner = self.cursor.string()?;
                Ok(Some(Ok(Model {
                    name: self.key(&inner),
                    range: start..self.cursor.at(),
                })))
            }
            Some(b'n') => self.cursor.skip_value(1).map(|()| None),
            _ => self.cursor.skip_value(1).map(|()| Some(Err(start))),
        }
    }

    fn boolean(&mut self) -> Step<bool> {
        let is_true = self.cursor.peek() == Some(b't');
        self.cursor.skip_value(1)?;
        Ok(is_true)
    }

    fn unsigned(&mut self) -> Step<Option<u64>> {
        let start = self.cursor.at();
        self.cursor.skip_value(1)?;
        let literal = &self.cursor.bytes()[start..self.cursor.at()];
        Ok(std::str::from_utf8(literal).ok().and_then(|digits| digits.parse().ok()))
    }

    fn stream_options(&mut self) -> Step<bool> {
        if !self.cursor.take(b'{') {
            self.cursor.skip_value(1)?;
            return Ok(false);
        }
        let mut include = false;
        self.members(|reader, key| {
            if reader.key(&key) == "include_usage" {
                include = reader.boolean_nested()?;
                Ok(())
            } else {
                reader.cursor.skip_value(2)
            }
        })?;
        Ok(include)
    }

    fn boolean_nested(&mut self) -> Step<bool> {
        let is_true = self.cursor.peek() == Some(b't');
        self.cursor.skip_value(2)?;
        Ok(is_true)
    }
}

#[cfg(test)]
mod tests;
