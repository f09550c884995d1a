//! KEDA's external scaler over gRPC: `IsActive`, `StreamIsActive`,
//! `GetMetricSpec` and `GetMetrics` of `externalscaler.ExternalScaler`.

mod messages;
mod trigger;

use crate::board::Board;
use bytes::Bytes;
use futures::Stream;
use http::{Method, Request, Response as HttpResponse, StatusCode, header::CONTENT_TYPE};
use http_body::Body as HttpBody;
use messages::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request as Call, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;
use trigger::Trigger;

/// The name of the one metric; KEDA puts the trigger's number in front of it.
const METRIC: &str = "wva_desired_replicas";
/// Largest request read, bytes: metadata of a trigger is a few lines.
const LARGEST: usize = 64 * 1024;
/// Most streams at once, over all connections.
const STREAMS: usize = 16 * 1024;
/// Time for the body of a request.
const BODY: Duration = Duration::from_secs(5);

/// The service.
pub(crate) struct Scaler {
    board: Arc<Board>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Scaler {
    pub(crate) fn new(board: Arc<Board>, stop: CancellationToken) -> Self {
        Self {
            board,
            streams: Arc::new(Semaphore::new(STREAMS)),
            stop,
        }
    }

    /// The answer to one gRPC request.
    pub(crate) async fn respond<B>(self: Arc<Self>, request: Request<B>) -> HttpResponse<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        if request.method() != Method::POST || !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            let mut refused = HttpResponse::new(Body::empty());
            *refused.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return refused;
        }
        let method = request.uri().path().strip_prefix("/externalscaler.ExternalScaler/");
        match method {
            Some("IsActive") => unary(request, move |asked| self.is_active(&asked)).await,
            Some("GetMetricSpec") => unary(request, |asked| metric_spec(&asked)).await,
            Some("GetMetrics") => unary(request, move |asked| self.metrics(&asked)).await,
            Some("StreamIsActive") => {
                let open = service_fn(|call: Call<ScaledObjectRef>| ready(self.stream(&call.into_inner())));
                timely(grpc().server_streaming(open, request)).await
            }
            // KEDA asks StreamMetricSpec too and is content that there is none:
            // the target of a trigger changes only with the trigger.
            _ => Status::unimplemented(format!("{} is not served", request.uri().path())).into_http(),
        }
    }

    fn is_active(&self, asked: &ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let trigger = read(asked)?;
        let (_, active) = self.standing(&trigger)?;
        Ok(IsActiveResponse { result: active })
    }

    fn metrics(&self, asked: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let reference = asked
            .scaled_object_ref
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("scaledObjectRef is missing"))?;
        let trigger = read(reference)?;
        if asked.metric_name != METRIC {
            let why = format!("metricName is {:?}; there is {METRIC}", asked.metric_name);
            return Err(Status::invalid_argument(why));
        }
        let (replicas, _) = self.standing(&trigger)?;
        Ok(GetMetricsResponse {
            metric_values: vec![MetricValue {
                metric_name: METRIC.to_owned(),
                metric_value: i64::from(replicas),
                metric_value_float: f64::from(replicas),
            }],
        })
    }

    /// Replicas wanted and whether there is work, from a decision that holds.
    fn standing(&self, trigger: &Trigger) -> Result<(u32, bool), Status> {
        let Trigger { namespace, variant, .. } = trigger;
        let index = self.board.index();
        let found = index
            .find(namespace, variant)
            .ok_or_else(|| Status::not_found(format!("there is no variant {namespace}/{variant}")))?;
        let decided = self.board.decided(found, Instant::now());
        let decided = decided.map_err(|why| Status::unavailable(why.to_string()))?;
        Ok((decided.replicas, found.active))
    }

    /// What is pushed for a variant: work that came is told whether or not
    /// there is a decision, as a variant at zero waits for nothing else; that
    /// there is none is told only by a decision that holds, for KEDA goes to
    /// zero by it. Otherwise nothing.
    fn activity(&self, trigger: &Trigger) -> Option<bool> {
        let index = self.board.index();
        let variant = index.find(&trigger.namespace, &trigger.variant)?;
        if variant.active {
            return Some(true);
        }
        self.board.decided(variant, Instant::now()).is_ok().then_some(false)
    }

    fn stream(
        &self,
        asked: &ScaledObjectRef,
    ) -> Result<Response<impl Stream<Item = Result<IsActiveResponse, Status>> + Send + use<>>, Status> {
        let trigger = read(asked)?;
        let place = self.streams.clone().try_acquire_owned();
        let place =
            place.map_err(|_| Status::resource_exhausted(format!("there are {STREAMS} streams already, the most")))?;
        let pusher = Pusher {
            trigger,
            scaler: Self {
                board: self.board.clone(),
                streams: self.streams.clone(),
                stop: self.stop.clone(),
            },
            changes: self.board.changes(),
            told: None,
            _place: place,
        };
        let pushes = futures::stream::unfold(pusher, async |mut pusher| {
            let result = pusher.next().await?;
            Some((Ok(IsActiveResponse { result }), pusher))
        });
        Ok(Response::new(pushes))
    }
}

/// One open `StreamIsActive`.
struct Pusher {
    trigger: Trigger,
    scaler: Scaler,
    changes: watch::Receiver<u64>,
    told: Option<bool>,
    _place: OwnedSemaphorePermit,
}

impl Pusher {
    /// The next thing to tell; none when everything stops.
    async fn next(&mut self) -> Option<bool> {
        loop {
            if self.scaler.stop.is_cancelled() {
                return None;
            }
            // Seen before it is read: a change in between wakes once more.
            self.changes.mark_unchanged();
            let activity = self.scaler.activity(&self.trigger);
            if activity.is_some() && activity != self.told {
                self.told = activity;
                return activity;
            }
            tokio::select! {
                () = self.scaler.stop.cancelled() => return None,
                changed = self.changes.changed() => changed.ok()?,
            }
        }
    }
}

fn metric_spec(asked: &ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
    let target = read(asked)?.target;
    // Rounded up: a target of 0 would be none.
    #[expect(clippy::cast_possible_truncation, reason = "a trigger's target is at most a million")]
    let whole = target.ceil() as i64;
    Ok(GetMetricSpecResponse {
        metric_specs: vec![MetricSpec {
            metric_name: METRIC.to_owned(),
            target_size: whole,
            target_size_float: target,
        }],
    })
}

fn read(asked: &ScaledObjectRef) -> Result<Trigger, Status> {
    Trigger::read(asked).map_err(Status::invalid_argument)
}

fn grpc<A, Q>() -> Grpc<ProstCodec<A, Q>>
where
    A: prost::Message + Send + 'static,
    Q: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(LARGEST)
}

/// One question, one answer.
async fn unary<Q, A, B>(
    request: Request<B>,
    answer: impl FnOnce(Q) -> Result<A, Status> + Clone + Send,
) -> HttpResponse<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let call = service_fn(|call: Call<Q>| ready((answer.clone())(call.into_inner()).map(Response::new)));
    timely(grpc().unary(call, request)).await
}

/// Lets a request whose body does not come run into a deadline.
async fn timely(answered: impl Future<Output = HttpResponse<Body>>) -> HttpResponse<Body> {
    match tokio::time::timeout(BODY, answered).await {
        Ok(response) => response,
        Err(_) => Status::deadline_exceeded("the request did not come to its end").into_http(),
    }
}

#[cfg(test)]
mod tests;
