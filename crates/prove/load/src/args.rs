use crate::schedule::{Arrivals, Shape};
use std::path::PathBuf;
use std::time::Duration;

/// Sends load to an OpenAI-compatible server and says what came back.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Server, up to and including /v1
    #[arg(long, default_value = "http://127.0.0.1:8080/v1", value_name = "URL")]
    pub url: String,
    /// Model to ask for [default: the first one that /models names]
    #[arg(long)]
    pub model: Option<String>,
    /// Open loop: requests per second, whatever the server does
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "concurrency")]
    pub rate: Option<f64>,
    /// Closed loop: requests in flight, a new one whenever one ends
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Gaps between requests of an open loop
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Arrivals,
    /// How long to send: 30s, 2m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after this many requests
    #[arg(long, value_name = "N")]
    pub requests: Option<u64>,
    /// Mean prompt length in tokens
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    pub prompt_tokens: u32,
    /// Standard deviation of the prompt length
    #[arg(long, default_value_t = 128, value_name = "TOKENS")]
    pub prompt_spread: u32,
    /// Mean answer length in tokens
    #[arg(long, default_value_t = 128, value_name = "TOKENS")]
    pub output_tokens: u32,
    /// Standard deviation of the answer length
    #[arg(long, default_value_t = 32, value_name = "TOKENS")]
    pub output_spread: u32,
    /// Objective for the time to first token
    #[arg(long, default_value = "500ms", value_name = "DURATION", value_parser = duration)]
    pub slo_ttft: Duration,
    /// Objective for the gap between tokens
    #[arg(long, default_value = "50ms", value_name = "DURATION", value_parser = duration)]
    pub slo_itl: Duration,
    /// A request not answered by then counts as timed out
    #[arg(long, default_value = "120s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
    /// The same seed makes the same plan
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Use /completions instead of /chat/completions
    #[arg(long)]
    pub completions: bool,
    /// Do not stream answers (then there is no time to first token)
    #[arg(long)]
    pub no_stream: bool,
    /// A header for every request, `name: value` (repeatable)
    #[arg(long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// Write every request and the summary to this JSON file
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the summary as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What a run needs, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` to connect to.
    pub authority: String,
    /// Path in front of `/chat/completions`, `/v1` for most.
    pub base_path: String,
    /// Model, if the user named one.
    pub model: Option<String>,
    /// When requests are sent and how long they are.
    pub shape: Shape,
    /// Objective for the time to first token.
    pub slo_ttft: Duration,
    /// Objective for the gap between tokens.
    pub slo_itl: Duration,
    /// Longest wait for a whole answer.
    pub timeout: Duration,
    /// Chat or plain completions.
    pub chat: bool,
    /// Stream answers.
    pub stream: bool,
    /// Headers for every request.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Where every request is written.
    pub output: Option<PathBuf>,
    /// Print JSON.
    pub json: bool,
}

/// An argument that cannot be used; the text names the flag and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Longest plan that is kept in memory.
const MOST_REQUESTS: f64 = 5_000_000.0;

impl Args {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// Names the flag at fault and what to write instead.
    pub fn check(self) -> Result<Config, ConfigError> {
        let bad = |text: String| Err(ConfigError(text));
        let (authority, base_path) = split_url(&self.url)?;
        let arrivals = match (self.rate, self.concurrency) {
            (Some(rate), None) if rate > 0.0 && rate.is_finite() => Pace::Rate(rate),
            (Some(rate), None) => return bad(format!("--rate {rate}: a number of requests per second above 0")),
            (None, Some(n)) if (1..=20_000).contains(&n) => Pace::Concurrency(n),
            (None, Some(n)) => return bad(format!("--concurrency {n}: between 1 and 20000")),
            _ => return bad("say how much: --rate 40 (requests per second) or --concurrency 16".to_owned()),
        };
        let shape = match arrivals {
            Pace::Rate(rate) => {
                let planned = match (self.requests, self.duration) {
                    (Some(n), _) => n as f64,
                    (None, Some(duration)) => rate * duration.as_secs_f64(),
                    (None, None) => return bad("say how long: --for 2m or --requests 1000".to_owned()),
                };
                if planned > MOST_REQUESTS {
                    return bad(format!(
                        "--rate {rate} plans {planned:.0} requests; at most {MOST_REQUESTS:.0}"
                    ));
                }
                Shape::open(rate, self.arrivals)
            }
            Pace::Concurrency(n) => {
                if self.requests.is_none() && self.duration.is_none() {
                    return bad("say how long: --for 2m or --requests 1000".to_owned());
                }
                Shape::closed(n)
            }
        };
        if self.requests == Some(0) || self.duration == Some(Duration::ZERO) {
            return bad("--for and --requests must be above 0".to_owned());
        }
        if self.prompt_tokens == 0 || self.prompt_tokens > 1_000_000 || self.prompt_spread > 1_000_000 {
            return bad("--prompt-tokens: between 1 and 1000000".to_owned());
        }
        if self.output_tokens == 0 || self.output_tokens > 1_000_000 || self.output_spread > 1_000_000 {
            return bad("--output-tokens: between 1 and 1000000".to_owned());
        }
        if self.timeout.is_zero() {
            return bad("--timeout must be above 0".to_owned());
        }
        Ok(Config {
            authority,
            base_path,
            model: self.model,
            shape: Shape {
                requests: self.requests,
                duration: self.duration,
                prompt: (self.prompt_tokens, self.prompt_spread),
                output: (self.output_tokens, self.output_spread),
                seed: self.seed,
                ..shape
            },
            slo_ttft: self.slo_ttft,
            slo_itl: self.slo_itl,
            timeout: self.timeout,
            chat: !self.completions,
            stream: !self.no_stream,
            headers: self.header.iter().map(|line| header(line)).collect::<Result<_, _>>()?,
            output: self.output,
            json: self.json,
        })
    }
}

enum Pace {
    Rate(f64),
    Concurrency(u32),
}

fn split_url(url: &str) -> Result<(String, String), ConfigError> {
    let bad = |why: &str| ConfigError(format!("--url {url}: {why}, such as http://127.0.0.1:8080/v1"));
    let uri: http::Uri = url.parse().map_err(|_| bad("not an address"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("https is not spoken; use an http address")),
        _ => return Err(bad("an http address is needed")),
    }
    let host = uri.host().ok_or_else(|| bad("no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    Ok((format!("{host}:{port}"), uri.path().trim_end_matches('/').to_owned()))
}

fn header(line: &str) -> Result<(http::HeaderName, http::HeaderValue), ConfigError> {
    let bad = || ConfigError(format!("--header `{line}`: write it as `name: value`"));
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    Ok((
        name.trim().parse().map_err(|_| bad())?,
        value.trim().parse().map_err(|_| bad())?,
    ))
}

/// Reads `500ms`, `1.5s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 500ms, 30s, 2m or 1h");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let number: f64 = text[..split].parse().map_err(|_| wrong())?;
    let scale = match &text[split..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let seconds = number * scale;
    if seconds > 31_622_400.0 {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn check(line: &str) -> Result<Config, String> {
        let cli =
            Cli::try_parse_from(["load"].into_iter().chain(line.split_whitespace())).map_err(|e| e.to_string())?;
        cli.args.check().map_err(|e| e.to_string())
    }

    #[test]
    fn a_rate_and_a_time_are_enough() {
        let config = check("--rate 40 --for 2m").unwrap();
        assert_eq!(config.authority, "127.0.0.1:8080");
        assert_eq!(config.base_path, "/v1");
        assert_eq!(config.shape.duration, Some(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (line, word) in [
            ("--for 2m", "--rate 40"),
            ("--rate 40", "--for 2m"),
            ("--rate 0 --for 1s", "--rate 0"),
            ("--rate 4 --for soon", "not a duration"),
            ("--rate 4 --for 0s", "above 0"),
            ("--rate 1000000 --for 1h", "at most 5000000"),
            ("--rate 4 --concurrency 4 --for 1s", "cannot be used with"),
            ("--rate 4 --for 1s --url https://x/v1", "https is not spoken"),
            ("--rate 4 --for 1s --url nonsense", "an http address is needed"),
            ("--rate 4 --for 1s --header nonsense", "name: value"),
            ("--concurrency 0 --for 1s", "between 1 and 20000"),
        ] {
            let error = check(line).map(|_| ()).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
