//! Reads the Prometheus text format, as engines and gateways serve it.
//!
//! One pass over the bytes, names and plain label values borrowed from them.
//! Strict where a wrong reading would become a wrong number (names, quotes,
//! escapes, values), lenient where pages differ harmlessly (blanks, a trailing
//! comma, comments of any kind, OpenMetrics exemplars, CRLF). What does not
//! parse is an error that names line and column; nothing is skipped silently.

use std::borrow::Cow;
use thiserror::Error;

/// How much of a page is read before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a page.
    pub bytes: usize,
    /// Most bytes of one line.
    pub line_bytes: usize,
    /// Most samples of a page.
    pub samples: usize,
    /// Most labels of one sample.
    pub labels: usize,
}

impl Default for Limits {
    /// 8 MiB, 64 KiB a line, 200 000 samples, 64 labels each: several times
    /// the largest page an engine serves.
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            line_bytes: 64 << 10,
            samples: 200_000,
            labels: 64,
        }
    }
}

/// A page that could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a page.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The page is larger than the limit.
    #[error("the page has {size} bytes, more than the {limit} that are read")]
    PageTooLarge {
        /// Bytes of the page.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A line is longer than the limit.
    #[error("the line has {size} bytes, more than the {limit} that are read")]
    LineTooLong {
        /// Bytes of the line.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// There are more samples than the limit.
    #[error("more than {0} samples")]
    TooManySamples(usize),
    /// A sample has more labels than the limit.
    #[error("more than {0} labels")]
    TooManyLabels(usize),
    /// The bytes are not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// A metric name was expected.
    #[error("expected a metric name (letters, digits, `_`, `:`, no digit first)")]
    MetricName,
    /// A label name was expected.
    #[error("expected a label name or `}}`")]
    LabelName,
    /// `=` was expected.
    #[error("expected `=` after the label name")]
    Equals,
    /// `"` was expected.
    #[error("expected `\"` before the label value")]
    OpeningQuote,
    /// A label value does not end.
    #[error("the label value has no closing `\"`")]
    ClosingQuote,
    /// An escape that the format does not have.
    #[error("unknown escape `\\{0}` (known: `\\\\`, `\\\"`, `\\n`)")]
    Escape(char),
    /// `,` or `}` was expected.
    #[error("expected `,` or `}}` after the label value")]
    LabelEnd,
    /// The same label twice.
    #[error("label `{0}` stands twice")]
    DuplicateLabel(String),
    /// No number where the value should be.
    #[error("expected a number, found `{0}`")]
    Value(String),
    /// No number where the timestamp should be.
    #[error("expected a timestamp, found `{0}`")]
    Timestamp(String),
    /// Text after the end of a sample.
    #[error("unexpected text after the sample: `{0}`")]
    Trailing(String),
}

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Metric name with its suffix (`_total`, `_bucket`), as it stands.
    pub name: &'a str,
    /// Labels in the order they stand.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The value; NaN and the infinities are values of the format.
    pub value: f64,
    /// The sample's own time, unix milliseconds, where the page gives one.
    pub timestamp_ms: Option<i64>,
}

impl Sample<'_> {
    /// The value of label `name`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(have, _)| *have == name)
            .map(|(_, value)| value.as_ref())
    }

    /// Whether the sample carries each of `wanted`.
    #[must_use]
    pub fn has_labels(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == Some(value))
    }
}

/// A page, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page<'a> {
    /// Every sample, in page order.
    pub samples: Vec<Sample<'a>>,
    /// `# TYPE` lines: family and type, in page order.
    pub types: Vec<(&'a str, &'a str)>,
}

impl<'a> Page<'a> {
    /// Adds what stands on `other`, after its own.
    pub fn append(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.types.extend(other.types);
    }

    /// Samples called exactly `name` that carry each of `labels`.
    pub fn select<'s>(
        &'s self,
        name: &'s str,
        labels: &'s [(&'s str, &'s str)],
    ) -> impl Iterator<Item = &'s Sample<'a>> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name && sample.has_labels(labels))
    }

    /// Whether a family of this name stands on the page, with or without samples.
    #[must_use]
    pub fn has_family(&self, name: &str) -> bool {
        self.types.iter().any(|(family, _)| *family == name) || self.samples.iter().any(|sample| sample.name == name)
    }
}

/// Reads a page within the default [`Limits`].
///
/// # Errors
/// The first line that cannot be read, with its place.
pub fn parse(page: &[u8]) -> Result<Page<'_>, ParseError> {
    parse_within(page, Limits::default())
}

/// Reads a page within `limits`.
///
/// # Errors
/// The first line that cannot be read or goes beyond a limit, with its place.
pub fn parse_within(page: &[u8], limits: Limits) -> Result<Page<'_>, ParseError> {
    if page.len() > limits.bytes {
        let problem = Problem::PageTooLarge {
            size: page.len(),
            limit: limits.bytes,
        };
        return Err(ParseError {
            line: 1,
            column: 1,
            problem,
        });
    }
    let mut read = Page::default();
    let mut rest = page;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let end = memchr::memchr(b'\n', rest);
        let (line, next) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = next;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        read_line(line, &mut read, limits).map_err(|(at, problem)| ParseError {
            line: number,
            column: column_of(line, at),
            problem,
        })?;
    }
    Ok(read)
}

/// A problem and the byte of its line where it stands.
type Misread = (usize, Problem);

fn column_of(line: &[u8], at: usize) -> usize {
    String::from_utf8_lossy(&line[..at.min(line.len())]).chars().count() + 1
}

fn read_line<'a>(line: &'a [u8], page: &mut Page<'a>, limits: Limits) -> Result<(), Misread> {
    if line.len() > limits.line_bytes {
        return Err((
            0,
            Problem::LineTooLong {
                size: line.len(),
                limit: limits.line_bytes,
            },
        ));
    }
    let line = std::str::from_utf8(line).map_err(|error| (error.valid_up_to(), Problem::NotUtf8))?;
    let mut cursor = Cursor { line, at: 0 };
    cursor.blanks();
    match cursor.peek() {
        None => Ok(()),
        Some(b'#') => {
            cursor.at += 1;
            read_comment(cursor, page);
            Ok(())
        }
        Some(_) => {
            if page.samples.len() == limits.samples {
                return Err((0, Problem::TooManySamples(limits.samples)));
            }
            let sample = read_sample(cursor, limits)?;
            page.samples.push(sample);
            Ok(())
        }
    }
}

/// Keeps `TYPE`, lets every other comment pass: the format asks for both.
fn read_comment<'a>(cursor: Cursor<'a>, page: &mut Page<'a>) {
    let mut words = cursor.rest().split_ascii_whitespace();
    if words.next() == Some("TYPE")
        && let (Some(family), Some(kind)) = (words.next(), words.next())
    {
        page.types.push((family, kind));
    }
}

fn read_sample(mut cursor: Cursor<'_>, limits: Limits) -> Result<Sample<'_>, Misread> {
    let name = cursor
        .word(is_metric_start, is_metric_part)
        .ok_or((cursor.at, Problem::MetricName))?;
    cursor.blanks();
    let labels = if cursor.eat(b'{') {
        read_labels(&mut cursor, limits)?
    } else {
        Vec::new()
    };
    cursor.blanks();

    let (at, text) = cursor.token();
    let value = text.parse::<f64>().map_err(|_| (at, Problem::Value(shortened(text))))?;
    cursor.blanks();

    let mut timestamp_ms = None;
    if !matches!(cursor.peek(), None | Some(b'#')) {
        let (at, text) = cursor.token();
        timestamp_ms = Some(read_timestamp(text).ok_or_else(|| (at, Problem::Timestamp(shortened(text))))?);
        cursor.blanks();
    }
    // What follows `#` is an OpenMetrics exemplar: known, and of no use here.
    match cursor.peek() {
        None | Some(b'#') => Ok(Sample {
            name,
            labels,
            value,
            timestamp_ms,
        }),
        Some(_) => Err((cursor.at, Problem::Trailing(shortened(cursor.rest())))),
    }
}

/// Integers are milliseconds, fractions are the seconds of OpenMetrics.
fn read_timestamp(text: &str) -> Option<i64> {
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis);
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?;
    Some((seconds * 1e3) as i64)
}

fn read_labels<'a>(cursor: &mut Cursor<'a>, limits: Limits) -> Result<Vec<(&'a str, Cow<'a, str>)>, Misread> {
    let mut labels: Vec<(&str, Cow<'_, str>)> = Vec::new();
    loop {
        cursor.blanks();
        if cursor.eat(b'}') {
            return Ok(labels);
        }
        let start = cursor.at;
        if labels.len() == limits.labels {
            return Err((start, Problem::TooManyLabels(limits.labels)));
        }
        let name = cursor
            .word(is_label_start, is_label_part)
            .ok_or((start, Problem::LabelName))?;
        if labels.iter().any(|(have, _)| *have == name) {
            return Err((start, Problem::DuplicateLabel(name.to_owned())));
        }
        cursor.blanks();
        if !cursor.eat(b'=') {
            return Err((cursor.at, Problem::Equals));
        }
        cursor.blanks();
        if !cursor.eat(b'"') {
            return Err((cursor.at, Problem::OpeningQuote));
        }
        let value = read_quoted(cursor)?;
        labels.push((name, value));
        cursor.blanks();
        if !cursor.eat(b',') && cursor.peek() != Some(b'}') {
            return Err((cursor.at, Problem::LabelEnd));
        }
    }
}

/// The value after an opening quote; borrowed unless it holds an escape.
fn read_quoted<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, Misread> {
    let opened = cursor.at;
    let mut unescaped: Option<String> = None;
    let mut plain_from = cursor.at;
    loop {
        let rest = cursor.rest();
        let Some(offset) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) else {
            return Err((opened, Problem::ClosingQuote));
        };
        let at = cursor.at + offset;
        let plain = &cursor.line[plain_from..at];
        if cursor.line.as_bytes()[at] == b'"' {
            cursor.at = at + 1;
            return Ok(match unescaped {
                None => Cow::Borrowed(plain),
                Some(text) => Cow::Owned(text + plain),
            });
        }
        let escaped = cursor.line[at + 1..]
            .chars()
            .next()
            .ok_or((opened, Problem::ClosingQuote))?;
        let text = unescaped.get_or_insert_default();
        text.push_str(plain);
        text.push(match escaped {
            '\\' => '\\',
            '"' => '"',
            'n' => '\n',
            other => return Err((at, Problem::Escape(other))),
        });
        cursor.at = at + 2;
        plain_from = cursor.at;
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

const fn is_metric_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b':'
}

const fn is_metric_part(byte: u8) -> bool {
    is_metric_start(byte) || byte.is_ascii_digit()
}

const fn is_label_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

const fn is_label_part(byte: u8) -> bool {
    is_label_start(byte) || byte.is_ascii_digit()
}

/// A place in a line. `at` always lies on a character boundary: it moves only
/// over ASCII bytes that were looked at.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, start: fn(u8) -> bool, part: fn(u8) -> bool) -> Option<&'a str> {
        if !self.peek().is_some_and(start) {
            return None;
        }
        let from = self.at;
        while self.peek().is_some_and(part) {
            self.at += 1;
        }
        Some(&self.line[from..self.at])
    }

    /// Everything up to the next blank, with where it began.
    fn token(&mut self) -> (usize, &'a str) {
        let from = self.at;
        let rest = self.rest();
        let length = rest.find([' ', '\t']).unwrap_or(rest.len());
        self.at += length;
        (from, &rest[..length])
    }
}

#[cfg(test)]
mod tests;
