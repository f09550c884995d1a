//! Recorded traffic: when requests came, and how long prompt and answer were.
//!
//! Two published formats are read, told apart by the first line:
//! - Azure's LLM inference traces: CSV with the header
//!   `TIMESTAMP,ContextTokens,GeneratedTokens`, times as `2023-11-16 18:17:03.9799600`;
//! - Mooncake's: JSON lines with `timestamp` (milliseconds since the start),
//!   `input_length` and `output_length`.

use serde::Deserialize;
use thiserror::Error;

/// One recorded request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Seconds since the first request of the trace.
    pub at_s: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub generated_tokens: u32,
}

/// Why a trace cannot be read, with the line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TraceError {
    /// No line of it holds a request.
    #[error("the trace has no request")]
    Empty,
    /// It begins like neither format.
    #[error(
        "line 1 is neither the header TIMESTAMP,ContextTokens,GeneratedTokens of an Azure trace nor a JSON object with \
         timestamp, input_length and output_length of a Mooncake trace"
    )]
    Unknown,
    /// A line is not a request.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a trace; its requests come in the order of their times.
///
/// # Errors
/// A trace without requests, of another format, or with a line that is none.
pub fn parse(text: &str) -> Result<Vec<Request>, TraceError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, first)) = lines.clone().next() else {
        return Err(TraceError::Empty);
    };
    let reader: fn(&str) -> Result<Request, String> = if first.trim_start().starts_with('{') {
        mooncake
    } else if is_azure_header(first) {
        lines.next();
        azure
    } else {
        return Err(TraceError::Unknown);
    };
    let mut requests = Vec::new();
    for (index, line) in lines {
        let request = reader(line.trim()).map_err(|why| TraceError::Line { line: index + 1, why })?;
        requests.push(request);
    }
    requests.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let Some(start) = requests.first().map(|request| request.at_s) else {
        return Err(TraceError::Empty);
    };
    for request in &mut requests {
        request.at_s -= start;
    }
    Ok(requests)
}

fn is_azure_header(line: &str) -> bool {
    let mut names = line.split(',').map(str::trim);
    names.next() == Some("TIMESTAMP")
        && names.next() == Some("ContextTokens")
        && names.next() == Some("GeneratedTokens")
}

fn azure(line: &str) -> Result<Request, String> {
    let mut fields = line.split(',').map(str::trim);
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("{name} is missing"));
    let (time, prompt, generated) = (field("TIMESTAMP")?, field("ContextTokens")?, field("GeneratedTokens")?);
    // A comma within a number makes two of one: what is read would be wrong, not just more.
    if let Some(extra) = fields.find(|extra| !extra.is_empty()) {
        return Err(format!("{extra:?} is one field too many after GeneratedTokens"));
    }
    let tokens = |name: &str, text: &str| {
        let number: Result<u32, _> = text.parse();
        number.map_err(|_| format!("{name} is {text:?}, not a whole number of tokens"))
    };
    Ok(Request {
        at_s: seconds(time).ok_or_else(|| format!("TIMESTAMP is {time:?}, not a time like 2023-11-16 18:17:03.97"))?,
        prompt_tokens: tokens("ContextTokens", prompt)?,
        generated_tokens: tokens("GeneratedTokens", generated)?,
    })
}

/// Seconds of `2023-11-16 18:17:03.9799600` (a `T` for the space, an offset or
/// `Z` at the end are taken, too) since some midnight: only differences count.
fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], offset_s(&time[at..])?),
        None => (time, 0.0),
    };
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = time.split(':');
    let (hours, minutes) = (clock.next()?.parse::<u32>().ok()?, clock.next()?.parse::<u32>().ok()?);
    let seconds = clock.next()?.parse::<f64>().ok()?;
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && (0.0..61.0).contains(&seconds)
        && clock.next().is_none()
        && date.next().is_none();
    let days = days_from_civil(year, month, day);
    sound.then(|| days as f64 * 86_400.0 + f64::from(hours) * 3_600.0 + f64::from(minutes) * 60.0 + seconds - offset)
}

/// Seconds that `Z`, `+02:00` or `-05:00` is ahead of UTC; no place is further
/// ahead than 14 hours.
fn offset_s(text: &str) -> Option<f64> {
    if text == "Z" {
        return Some(0.0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text[1..].split_once(':')?;
    // Digits alone: `parse` would take a second sign.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes < 60).then(|| f64::from(sign * (hours * 3_600 + minutes * 60)))
}

/// Days since 1970-01-01 in the Gregorian calendar: years begin in March, so
/// that the leap day is their last.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The fields of a Mooncake line that matter here; others (`hash_ids`) are passed over.
#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

fn mooncake(line: &str) -> Result<Request, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| {
        // Within a line, every line is the first.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let why = error.to_string();
        format!(
            "{} (column {})",
            why.strip_suffix(&place).unwrap_or(&why),
            error.column()
        )
    })?;
    if line.timestamp.is_finite() && line.timestamp >= 0.0 {
        Ok(Request {
            at_s: line.timestamp / 1_000.0,
            prompt_tokens: line.input_length,
            generated_tokens: line.output_length,
        })
    } else {
        Err(format!("timestamp is {}, not milliseconds from 0 on", line.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_azure_trace_is_read_across_midnight_in_the_order_of_time() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                    2024-02-29 00:00:01.5000000,20,2\r\n\
                    2024-02-28 23:59:59.5000000,10,1\n\n\
                    2024-03-01T00:00:00Z,30,3";
        let requests = parse(text).unwrap();
        let times: Vec<f64> = requests.iter().map(|request| request.at_s).collect();
        assert_eq!(times, [0.0, 2.0, 86_400.5]);
        assert_eq!((requests[0].prompt_tokens, requests[2].generated_tokens), (10, 3));
    }

    #[test]
    fn a_mooncake_trace_is_read() {
        let text = r#"{"timestamp": 500, "input_length": 40160, "output_length": 6, "hash_ids": [0, 1]}
{"timestamp": 1500, "input_length": 7, "output_length": 8, "hash_ids": []}"#;
        let requests = parse(text).unwrap();
        assert_eq!((requests[0].at_s, requests[1].at_s), (0.0, 1.0));
        assert_eq!((requests[0].prompt_tokens, requests[1].generated_tokens), (40_160, 8));
    }

    #[test]
    fn what_is_no_trace_says_where_and_why() {
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let cases = [
            (String::new(), "no request"),
            (header.to_owned(), "no request"),
            ("time,in,out\n1,2,3".to_owned(), "line 1 is neither"),
            (format!("{header}2024-13-01 00:00:00,1,2"), "line 2: TIMESTAMP"),
            (
                format!("{header}2024-01-01 00:00:00,1.5,2"),
                "line 2: ContextTokens is \"1.5\"",
            ),
            (
                format!("{header}2024-01-01 00:00:00,1"),
                "line 2: GeneratedTokens is missing",
            ),
            (
                format!("{header}2024-01-01 00:00:00,1,2\n2024-01-01 00:00:01,1,2,3"),
                "line 3: \"3\" is one field too many",
            ),
            ("{\"timestamp\": 0}".to_owned(), "line 1: missing field `input_length`"),
            (
                "{\"timestamp\": 0, \"input_length\": -1, \"output_length\": 1}".to_owned(),
                "line 1: invalid value: integer `-1`, expected u32 (column 35)",
            ),
            (
                "{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}".to_owned(),
                "line 1: timestamp is -1",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_offset_is_one_that_a_place_has() {
        let of = |offset: &str| {
            let header = "TIMESTAMP,ContextTokens,GeneratedTokens";
            let text = format!("{header}\n2024-01-01 00:00:00Z,1,2\n2024-01-02 00:00:00{offset},1,2");
            parse(&text).map(|requests| requests[1].at_s / 3_600.0)
        };
        // (offset, hours after midnight UTC of the day before)
        let taken = [
            ("Z", 24.0),
            ("+00:00", 24.0),
            ("+02:00", 22.0),
            ("-05:00", 29.0),
            ("+14:00", 10.0),
            ("+05:45", 18.25),
            ("+5:30", 18.5),
        ];
        for (offset, hours) in taken {
            assert_eq!(of(offset), Ok(hours), "{offset}");
        }
        let refused = [
            "+nan:00",
            "+inf:00",
            "+9999:00",
            "+15:00",
            "-24:00",
            "+02:60",
            "+02:nan",
            "+1e3:00",
            "+1.5:00",
            "+-2:00",
            "++2:00",
            "+02",
            "+0200",
            "+:",
            "+02:00:00",
            "z",
            "Z+01:00",
        ];
        for offset in refused {
            let error = of(offset).unwrap_err().to_string();
            assert!(error.starts_with("line 3: TIMESTAMP is"), "{offset}: {error}");
        }
    }

    #[test]
    fn empty_fields_at_the_end_of_a_row_are_passed_over() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1,2,, ";
        assert_eq!(parse(text).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}", line in "[0-9TZ:. ,+-]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{line}"));
        }
    }
}
