//! A Prometheus: scrapes every server, remembers for a while, answers range
//! selectors; and does it badly when it is told to.

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Nobody listens.
    Down,
    /// It answers after any deadline.
    Slow,
    /// Every value is NaN.
    Nan,
    /// It knows of nothing.
    Empty,
    /// Two of it scrape the same Pods, and everything comes twice.
    Twice,
    /// It answers as it did when this began, whatever happened since.
    Old,
    /// It answers with an error of its own.
    Error,
}

/// Samples are kept this long, seconds.
const KEPT: f64 = 120.0;

type Labels = BTreeMap<String, String>;

/// The server and what it has recorded.
#[derive(Debug, Default)]
pub(crate) struct Prometheus {
    pub(crate) fault: Fault,
    /// How far its clock is ahead (or behind), seconds.
    pub(crate) ahead: f64,
    scrapes: VecDeque<(f64, Vec<(Labels, f64)>)>,
    /// When what is remembered was to be frozen.
    frozen: Option<f64>,
}

impl Prometheus {
    /// What is wrong from now on.
    pub(crate) fn set(&mut self, fault: Fault, now: f64) {
        self.fault = fault;
        self.frozen = (fault == Fault::Old).then_some(now);
    }

    /// Takes in the pages of all Pods that answer: namespace, Pod, address, text.
    pub(crate) fn scrape(&mut self, now: f64, pages: &[(String, String, String, String)]) {
        let mut samples = Vec::new();
        for (namespace, pod, address, text) in pages {
            let page = wire::prom::parse::parse(text.as_bytes()).unwrap();
            for sample in &page.samples {
                let more = [
                    ("__name__", sample.name),
                    ("namespace", namespace),
                    ("pod", pod),
                    ("instance", address),
                    ("job", "llm"),
                ];
                let own = sample.labels.iter().map(|(name, value)| (*name, value.as_ref()));
                let labels = own.chain(more).map(|(name, value)| (name.to_owned(), value.to_owned()));
                samples.push((labels.collect(), sample.value));
            }
        }
        self.scrapes.push_back((now, samples));
        while self.scrapes.front().is_some_and(|(at, _)| *at < now - KEPT) {
            self.scrapes.pop_front();
        }
    }

    /// How long it takes to answer.
    pub(crate) fn takes(&self) -> Duration {
        match self.fault {
            Fault::Slow => Duration::from_secs(40),
            _ => Duration::from_millis(5),
        }
    }

    /// The answer to a question at `now`, or why there is none.
    pub(crate) fn answer(&self, request: &Request<Bytes>, now: f64) -> Result<Response<Bytes>, String> {
        if self.fault == Fault::Down {
            return Err("Connection refused (os error 111)".to_owned());
        }
        let form = String::from_utf8_lossy(request.body());
        let (_, encoded) = form.split_once("query=").unwrap();
        let question = decoded(encoded);
        let (code, body) = match self.fault {
            Fault::Error => (
                503,
                json!({"status": "error", "errorType": "unavailable", "error": "TSDB not ready"}),
            ),
            _ => (
                200,
                json!({"status": "success", "data": self.select(&question, self.frozen.unwrap_or(now))}),
            ),
        };
        let date = Timestamp::from_second((now + self.ahead).floor() as i64).unwrap();
        let answer = Response::builder()
            .status(code)
            .header("date", date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        answer
            .body(Bytes::from(body.to_string()))
            .map_err(|error| error.to_string())
    }

    fn select(&self, question: &str, now: f64) -> Value {
        let (selector, window) = question.rsplit_once('}').unwrap();
        let window: Option<f64> = window
            .strip_prefix('[')
            .and_then(|window| window.strip_suffix("s]"))
            .map(|seconds| seconds.parse().unwrap());
        let exactly = |label: &str| -> Option<String> {
            let (_, rest) = selector.split_once(&format!("{label}=\""))?;
            Some(rest.split('"').next()?.to_owned())
        };
        let wanted: Vec<(&str, String)> = ["__name__", "model_name", "namespace"]
            .into_iter()
            .filter_map(|label| Some((label, exactly(label)?)))
            .collect();
        let matches = |labels: &Labels| {
            let info = labels["__name__"].ends_with("_info");
            info == window.is_none() && wanted.iter().all(|(label, value)| labels.get(*label) == Some(value))
        };
        let mut series: BTreeMap<&Labels, Vec<Value>> = BTreeMap::new();
        let from = now - window.unwrap_or(300.0);
        for (at, samples) in self.scrapes.iter().filter(|(at, _)| *at > from && *at <= now) {
            for (labels, value) in samples.iter().filter(|(labels, _)| matches(labels)) {
                let value = if self.fault == Fault::Nan { f64::NAN } else { *value };
                let value = json!([at + self.ahead, value.to_string()]);
                series.entry(labels).or_default().push(value);
            }
        }
        if self.fault == Fault::Empty {
            series.clear();
        }
        let mut result = Vec::new();
        for (labels, values) in series {
            let row = |labels: &Labels| match window {
                Some(_) => json!({"metric": labels, "values": values}),
                None => json!({"metric": labels, "value": values.last()}),
            };
            result.push(row(labels));
            if self.fault == Fault::Twice {
                // The same once more, and by another job.
                result.push(row(labels));
                let mut other = labels.clone();
                other.insert("job".to_owned(), "llm-too".to_owned());
                result.push(row(&other));
            }
        }
        let kind = if window.is_some() { "matrix" } else { "vector" };
        json!({"resultType": kind, "result": result})
    }
}

/// A value of a form, decoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8(digits).unwrap();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
