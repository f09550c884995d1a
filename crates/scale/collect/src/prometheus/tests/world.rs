//! A Prometheus in virtual time, and the source that asks it.

use super::{endpoints, key, signals_of};
use crate::cache::CacheStats;
use crate::{Answering, Clock, Found, MetricsSource, PrometheusConfig, PrometheusSource, Transport, by_model};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use units::Signal;

pub(super) const START: u64 = 1_700_000_000;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a series counts or shows after so many seconds.
pub(super) type Curve = fn(f64) -> f64;

/// A page that is scraped: its labels, and its series.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) labels: &'static str,
    pub(super) series: Vec<(&'static str, Curve)>,
}

/// A replica with 3 requests inside, 100 tokens and 2 requests a second.
fn target(labels: &'static str) -> Target {
    Target {
        labels,
        series: vec![
            ("vllm:num_requests_running", |_| 3.0),
            ("vllm:num_requests_waiting", |_| 0.0),
            ("vllm:kv_cache_usage_perc", |_| 0.5),
            ("vllm:generation_tokens_total", |second| 100.0 * second),
            ("vllm:request_success_total", |second| 2.0 * second),
        ],
    }
}

/// How the server behaves.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) targets: Vec<Target>,
    pub(super) scrape_every: u64,
    /// It has not scraped since so many seconds after the start.
    pub(super) scraped_until: u64,
    /// Seconds its clock is ahead.
    pub(super) ahead: i64,
    pub(super) hangs: bool,
    /// It answers so.
    pub(super) fails: Option<(u16, &'static str)>,
    /// It finds nothing by questions that contain this.
    pub(super) blind_to: Option<&'static str>,
}

pub(super) struct Scene {
    pub(super) clock: Clock,
    pub(super) server: Arc<Mutex<Server>>,
    pub(super) questions: Arc<Mutex<Vec<String>>>,
    pub(super) source: PrometheusSource,
}

impl Server {
    pub(super) fn of(targets: &[&'static str]) -> Self {
        Self {
            targets: targets.iter().map(|labels| target(labels)).collect(),
            scrape_every: 5,
            scraped_until: u64::MAX,
            ahead: 0,
            hangs: false,
            fails: None,
            blind_to: None,
        }
    }

    /// The samples of the last minute, on the server's clock.
    fn matrix(&self, elapsed: f64) -> String {
        let last = (elapsed as u64).min(self.scraped_until) / self.scrape_every * self.scrape_every;
        let times: Vec<u64> = (0..=last)
            .rev()
            .step_by(usize::try_from(self.scrape_every).unwrap())
            .take_while(|at| elapsed - *at as f64 <= 60.0)
            .collect();
        let mut all = Vec::new();
        for target in &self.targets {
            for (name, curve) in &target.series {
                let samples: Vec<String> = times
                    .iter()
                    .rev()
                    .map(|at| {
                        format!(
                            "[{},\"{}\"]",
                            (START + at).saturating_add_signed(self.ahead),
                            curve(*at as f64)
                        )
                    })
                    .collect();
                if !samples.is_empty() {
                    all.push(format!(
                        "{{\"metric\":{{\"__name__\":\"{name}\",{}}},\"values\":[{}]}}",
                        target.labels,
                        samples.join(",")
                    ));
                }
            }
        }
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}}}",
            all.join(",")
        )
    }

    fn answer(&self, question: &str, now: Duration) -> http::Response<Bytes> {
        let there = std::time::UNIX_EPOCH + now;
        let ahead = seconds(self.ahead.unsigned_abs());
        let there = if self.ahead < 0 { there - ahead } else { there + ahead };
        let (status, body) = match self.fails {
            Some((status, body)) => (status, body.to_owned()),
            None if question.contains("cache_config_info") || self.blind_to.is_some_and(|to| question.contains(to)) => {
                (200, Self::of(&[]).matrix(0.0))
            }
            None => (200, self.matrix(now.as_secs_f64() - START as f64)),
        };
        http::Response::builder()
            .status(status)
            .header("date", httpdate::fmt_http_date(there))
            .body(Bytes::from(body))
            .unwrap()
    }
}

impl Scene {
    /// The server, asked about `pods` by a source that `change`s its settings.
    pub(super) fn new(server: Server, pods: &[&str], change: impl FnOnce(&mut PrometheusConfig)) -> Self {
        let clock = Clock::start_at(seconds(START));
        let server = Arc::new(Mutex::new(server));
        let questions = Arc::new(Mutex::new(Vec::new()));
        let (answering, asked) = (server.clone(), questions.clone());
        let answer = move |question: http::Request<Bytes>| -> Answering {
            let form = form_urlencoded::parse(question.body());
            let question = form.map(|(_, value)| value.into_owned()).collect::<String>();
            asked.lock().push(question.clone());
            let server = answering.lock().clone();
            Box::pin(async move {
                if server.hangs {
                    std::future::pending::<()>().await;
                }
                Ok(server.answer(&question, clock.wall()))
            })
        };
        let mut config = PrometheusConfig {
            transport: Transport::InProcess(Arc::new(answer)),
            ..PrometheusConfig::new("https://prometheus:9090")
        };
        change(&mut config);
        let source = PrometheusSource::start(config, clock, CancellationToken::new()).unwrap();
        source.track(&by_model(endpoints(pods)));
        Self {
            clock,
            server,
            questions,
            source,
        }
    }

    pub(super) fn found(&self) -> Found {
        self.source.availability(&key()).found
    }

    pub(super) fn says(&self) -> String {
        let said = self.source.availability(&key());
        format!("{}: {}", said.found.as_str(), said.message)
    }

    /// How many questions for samples there were.
    pub(super) fn asked(&self) -> usize {
        let questions = self.questions.lock();
        questions
            .iter()
            .filter(|question| question.contains("__name__=~"))
            .count()
    }

    pub(super) fn cache(&self) -> CacheStats {
        self.source.health().cache.unwrap()
    }

    pub(super) fn kv(&self, pod: &str) -> Signal<f64> {
        signals_of(&self.source, pod).unwrap().kv
    }

    /// The age of a Pod's KV share, seconds.
    pub(super) fn age(&self, pod: &str) -> Option<u64> {
        self.kv(pod)
            .last()
            .map(|seen| self.clock.now().since(seen.at).as_secs())
    }
}

pub(super) const A: &str =
    "\"model_name\":\"m\",\"namespace\":\"n\",\"pod\":\"a\",\"job\":\"j\",\"instance\":\"10.0.0.1:8000\"";
pub(super) const B: &str =
    "\"model_name\":\"m\",\"namespace\":\"n\",\"pod\":\"b\",\"job\":\"j\",\"instance\":\"10.0.0.2:8000\"";
