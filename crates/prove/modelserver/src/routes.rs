//! What each path answers.

use crate::answer::{Heading, plan, whole};
use crate::driver::Driver;
use crate::metrics;
use crate::params::{Api, Generation, Refusal, object, tokenize};
use crate::prose::mix;
use crate::settings::Settings;
use crate::sse::Stream;
use bytes::Bytes;
use engine::{AddError, SleepLevel, WakeTags};
use futures::future::Either;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use wire::prom::write::Writer;
use wire::vllm::Version;

/// Time a client gets to send a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer: whole, or as it comes.
pub(crate) type Body = http_body_util::Either<Full<Bytes>, Stream>;

/// What all requests share.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) driver: Arc<Driver>,
    /// When the server began, unix seconds.
    pub(crate) created: f64,
    arrivals: AtomicU64,
    in_flight: Arc<AtomicU64>,
    /// Sleep and wake happen one at a time.
    sleeping: Mutex<()>,
}

/// One of the requests that `/load` counts, until it is dropped.
pub(crate) struct InFlight(Arc<AtomicU64>);

impl InFlight {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl App {
    pub(crate) fn new(settings: Settings, driver: Arc<Driver>) -> Self {
        Self {
            settings,
            driver,
            created: unix_time(),
            arrivals: AtomicU64::new(0),
            in_flight: Arc::default(),
            sleeping: Mutex::new(()),
        }
    }

    fn started(&self) -> bool {
        self.driver.now().since(units::Instant::ZERO) >= self.settings.startup
    }

    /// Answers one request; never fails.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        Ok(self.route(request).await.unwrap_or_else(|refusal| refused(&refusal)))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let allowed = match path.as_str() {
            "/v1/chat/completions" | "/v1/completions" | "/tokenize" | "/sleep" | "/wake_up" => &[Method::POST][..],
            "/ping" => &[Method::GET, Method::POST][..],
            "/v1/models" | "/health" | "/load" | "/version" | "/metrics" | "/is_sleeping" => &[Method::GET][..],
            _ => return Err(Refusal::new(404, format!("there is nothing at {path}"), None)),
        };
        if !allowed.contains(request.method()) {
            let message = format!("{} is not allowed at {path}; use {}", request.method(), allowed[0]);
            return Err(Refusal::new(405, message, None));
        }
        if path == "/version" {
            return Ok(reply(&json!({"version": self.settings.version.release()})));
        }
        if !self.started() {
            return Err(Refusal::new(
                503,
                "the model is loading; ask /health until it says 200",
                None,
            ));
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        match path.as_str() {
            "/health" | "/ping" => Ok(empty()),
            "/v1/models" => Ok(reply(&self.models())),
            "/load" => Ok(reply(&json!({"server_load": self.in_flight.load(Ordering::Relaxed)}))),
            "/metrics" => {
                let page = metrics::page(&self.settings, &self.driver.snapshot(), self.created);
                Ok(full(StatusCode::OK, Writer::CONTENT_TYPE, page.into_bytes()))
            }
            "/is_sleeping" => Ok(reply(
                &json!({"is_sleeping": self.driver.gauges().resident.asleep.is_some()}),
            )),
            "/sleep" => self.sleep(&query).await,
            "/wake_up" => self.wake_up(&query).await,
            "/tokenize" => {
                let body = self.body(request).await?;
                let ids = tokenize(&object(&body)?, &self.settings)?;
                let most = self.settings.engine.max_model_len;
                Ok(reply(
                    &json!({"count": ids.len(), "max_model_len": most, "tokens": ids, "token_strs": null}),
                ))
            }
            "/v1/chat/completions" => self.generate(Api::Chat, request).await,
            _ => self.generate(Api::Completions, request).await,
        }
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        // As vLLM: a form's content type, which curl sends by itself, is refused.
        let kind = request.headers().get(header::CONTENT_TYPE);
        let media_type = kind.and_then(|kind| kind.to_str().ok()?.split(';').next());
        if !media_type.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            let message = "the content type must be application/json (curl: -H 'content-type: application/json')";
            return Err(Refusal::new(400, message, None));
        }
        let limit = self.settings.max_body_bytes;
        let too_large = || {
            Refusal::new(
                413,
                format!("the body is larger than {limit} bytes (--max-body-bytes)"),
                None,
            )
        };
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok());
        if announced
            .and_then(|length| length.parse::<u64>().ok())
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large());
        }
        let collecting = Limited::new(request.into_body(), limit).collect();
        let Ok(collected) = tokio::time::timeout(BODY_TIMEOUT, collecting).await else {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            return Err(Refusal::new(400, message, None));
        };
        match collected {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => Err(Refusal::new(400, format!("the body could not be read: {error}"), None)),
        }
    }

    async fn generate(&self, api: Api, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let arrived = self.driver.now();
        let in_flight = InFlight::new(&self.in_flight);
        let asked_id = request_id(request.headers());
        let body = self.body(request).await?;
        let mut generation = Generation::read(api, &object(&body)?, &self.settings)?;
        drop(body);
        let arrival = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let (wanted, plans) = plan(&mut generation, &self.settings, arrival);
        let random = || format!("{:016x}", mix(self.created.to_bits() ^ self.settings.seed, arrival));
        let prefix = if api == Api::Chat { "chatcmpl" } else { "cmpl" };
        let heading = Heading {
            id: format!("{prefix}-{}", asked_id.unwrap_or_else(random)),
            created: unix_time() as u64,
            model: generation.model,
            fingerprint: fingerprint(&self.settings),
            prompt_tokens: generation.prompts.iter().map(|prompt| u64::from(prompt.tokens)).sum(),
        };
        pause(self.settings.api_overhead).await;
        let answers = self.driver.submit(wanted, arrived).map_err(|error| match error {
            AddError::QueueFull { .. } => Refusal::new(
                503,
                "The engine is currently busy and cannot accept new requests. Please try again later or on a \
                 different instance.",
                None,
            ),
            error => Refusal::new(400, error.to_string(), None),
        })?;
        if generation.stream {
            let (include, continuous) = (generation.include_usage, generation.continuous_usage);
            let stream = Stream::new(api, heading, answers, plans, include, continuous, in_flight);
            let mut response = Response::new(Body::Right(stream));
            let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            return Ok(response);
        }
        let json = whole(api, &heading, answers, plans).await;
        drop(in_flight);
        Ok(full(StatusCode::OK, "application/json", json))
    }

    fn models(&self) -> Value {
        let created = self.created as u64;
        let models = self.settings.names.iter().map(|name| {
            json!({
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "vllm",
                "root": self.settings.root,
                "parent": null,
                "max_model_len": self.settings.engine.max_model_len,
                "permission": [],
            })
        });
        json!({"object": "list", "data": models.collect::<Vec<_>>()})
    }

    async fn sleep(&self, query: &str) -> Result<Response<Body>, Refusal> {
        let level = match query_values(query, "level").last() {
            None | Some("1") => SleepLevel::WeightsOffloaded,
            Some("0") => SleepLevel::Paused,
            Some("2") => SleepLevel::DiscardAll,
            Some(other) => {
                return Err(Refusal::new(
                    400,
                    format!("level must be 0, 1 or 2, got {other}"),
                    Some("level"),
                ));
            }
        };
        let _one_at_a_time = self.sleeping.lock().await;
        match query_values(query, "mode").last() {
            None | Some("abort") => {
                self.driver.abort_all();
                self.driver.sleep(level);
            }
            Some("wait") => self.driver.sleep_once_drained(level).await,
            Some("keep") => self.driver.sleep(level),
            Some(other) => {
                return Err(Refusal::new(
                    400,
                    format!("mode must be abort, wait or keep, got {other}"),
                    Some("mode"),
                ));
            }
        }
        if level != SleepLevel::Paused {
            pause(self.settings.sleep_time).await;
        }
        if self.settings.version < Version::V0_32 {
            return Ok(empty());
        }
        let level = match level {
            SleepLevel::Paused => 0,
            SleepLevel::WeightsOffloaded => 1,
            SleepLevel::DiscardAll => 2,
        };
        Ok(reply(&json!({"status": "sleeping", "level": level})))
    }

    async fn wake_up(&self, query: &str) -> Result<Response<Body>, Refusal> {
        let tags: Vec<&str> = query_values(query, "tags").collect();
        let mut wake = WakeTags {
            weights: tags.is_empty(),
            kv_cache: tags.is_empty(),
        };
        for tag in &tags {
            match *tag {
                "weights" => wake.weights = true,
                "kv_cache" => wake.kv_cache = true,
                "scheduling" => {}
                other => {
                    let message = format!("tags must be weights, kv_cache or scheduling, got {other}");
                    return Err(Refusal::new(400, message, Some("tags")));
                }
            }
        }
        let _one_at_a_time = self.sleeping.lock().await;
        if !self.driver.gauges().resident.all() {
            pause(self.settings.wake_time).await;
        }
        let awake = self.driver.wake(wake);
        if self.settings.version < Version::V0_32 {
            return Ok(empty());
        }
        let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
        Ok(reply(
            &json!({"status": if awake { "awake" } else { "sleeping" }, "tags": tags}),
        ))
    }
}

/// The values of `name` in a query string. The values asked for are plain
/// words, so that nothing needs to be decoded.
fn query_values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The client's own request id, if it is short and printable.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 128).then(|| id.to_owned())
}

fn fingerprint(settings: &Settings) -> Option<String> {
    if settings.version < Version::V0_32 {
        return None;
    }
    let hash = settings
        .root
        .bytes()
        .fold(settings.seed, |hash, byte| mix(hash, u64::from(byte)));
    Some(format!("vllm-{}-{:08x}", settings.version.release(), hash >> 32))
}

fn unix_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

/// Waits for `time`, without a timer if there is nothing to wait for.
async fn pause(time: Duration) {
    let wait = if time.is_zero() {
        Either::Left(std::future::ready(()))
    } else {
        Either::Right(tokio::time::sleep(time))
    };
    wait.await;
}

fn full(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn reply(value: &Value) -> Response<Body> {
    full(StatusCode::OK, "application/json", value.to_string().into_bytes())
}

fn empty() -> Response<Body> {
    Response::new(Body::Left(Full::default()))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    full(status, "application/json", refusal.body().to_json())
}
