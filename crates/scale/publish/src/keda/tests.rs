use super::*;
use crate::board::tests::{Known, variant, wanting};
use crate::decisions::Published;
use futures::StreamExt as _;
use tonic::Code;

fn asked(variant: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "so".to_owned(),
        namespace: "shop".to_owned(),
        scaler_metadata: [("variantName".to_owned(), variant.to_owned())].into(),
    }
}

fn scaler(known: &Arc<Known>, stop: &CancellationToken) -> Scaler {
    Scaler::new(
        Arc::new(Board::new(known.clone(), Duration::from_secs(60))),
        stop.clone(),
    )
}

fn active(variant: Published, active: bool) -> Published {
    Published { active, ..variant }
}

#[test]
fn the_value_is_the_replicas_wanted_and_the_target_one() {
    let now = Instant::now();
    let known = Known::new(vec![active(wanting("shop", "llama", 7, now), true)]);
    let scaler = scaler(&known, &CancellationToken::new());
    assert!(scaler.is_active(&asked("llama")).unwrap().result);
    let request = GetMetricsRequest {
        scaled_object_ref: Some(asked("llama")),
        metric_name: METRIC.to_owned(),
    };
    let values = scaler.metrics(&request).unwrap().metric_values;
    assert_eq!((values[0].metric_value, values[0].metric_value_float), (7, 7.0));
    let spec = metric_spec(&asked("llama")).unwrap().metric_specs.remove(0);
    assert_eq!(
        (spec.metric_name.as_str(), spec.target_size, spec.target_size_float),
        (METRIC, 1, 1.0)
    );
    let mut half = asked("llama");
    half.scaler_metadata.insert("targetValue".to_owned(), "0.5".to_owned());
    let spec = metric_spec(&half).unwrap().metric_specs.remove(0);
    assert_eq!((spec.target_size, spec.target_size_float), (1, 0.5));
}

#[test]
fn what_may_not_be_acted_on_is_an_error_and_never_a_number() {
    let old = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
    let known = Known::new(vec![
        active(variant("shop", "new"), true),
        wanting("shop", "old", 4, old),
        variant("other", "llama"),
    ]);
    let scaler = scaler(&known, &CancellationToken::new());
    for (name, code, said) in [
        ("new", Code::Unavailable, "no decision yet"),
        ("old", Code::Unavailable, "90 s ago"),
        ("llama", Code::NotFound, "no variant shop/llama"),
        ("", Code::InvalidArgument, "scalerMetadata.variantName"),
    ] {
        let request = |metric: &str| GetMetricsRequest {
            scaled_object_ref: Some(asked(name)),
            metric_name: metric.to_owned(),
        };
        for error in [
            scaler.is_active(&asked(name)).unwrap_err(),
            scaler.metrics(&request(METRIC)).unwrap_err(),
        ] {
            assert!(
                error.code() == code && error.message().contains(said),
                "{name}: {error}"
            );
        }
        let other = scaler.metrics(&request("other")).unwrap_err();
        assert_eq!(other.code(), Code::InvalidArgument);
    }
    let without = scaler.metrics(&GetMetricsRequest::default()).unwrap_err();
    assert_eq!(without.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn work_is_pushed_at_once_and_its_absence_only_by_a_decision_that_holds() {
    let stop = CancellationToken::new();
    let idle = || variant("shop", "llama");
    let old = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
    let known = Known::new(vec![idle()]);
    let scaler = scaler(&known, &stop);
    let mut pushes = std::pin::pin!(scaler.stream(&asked("llama")).unwrap().into_inner());
    for (now, pushed) in [
        // What is not known is told by silence.
        (vec![idle()], None),
        (vec![active(idle(), true)], Some(true)),
        (vec![active(idle(), true)], None),
        (vec![idle()], None),
        (vec![], None),
        (vec![wanting("shop", "llama", 1, old)], None),
        (vec![wanting("shop", "llama", 0, Instant::now())], Some(false)),
        (vec![wanting("shop", "llama", 0, Instant::now())], None),
        (vec![active(wanting("shop", "llama", 0, old), true)], Some(true)),
        (vec![active(wanting("shop", "llama", 1, Instant::now()), true)], None),
    ] {
        known.set(now.clone());
        let seen = match futures::poll!(pushes.next()) {
            std::task::Poll::Ready(Some(seen)) => Some(seen.unwrap().result),
            std::task::Poll::Ready(None) => panic!("the stream ended at {now:?}"),
            std::task::Poll::Pending => None,
        };
        assert_eq!(seen, pushed, "{now:?}");
    }
    stop.cancel();
    assert!(pushes.next().await.is_none());
}

#[tokio::test]
async fn a_new_stream_begins_with_what_holds() {
    let known = Known::new(vec![wanting("shop", "llama", 0, Instant::now())]);
    let scaler = scaler(&known, &CancellationToken::new());
    let mut pushes = std::pin::pin!(scaler.stream(&asked("llama")).unwrap().into_inner());
    assert!(!pushes.next().await.unwrap().unwrap().result);
    let refused = scaler.stream(&asked("")).err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

/// The gRPC status of the answer to a body; the HTTP status if there is none.
fn answered(method: &str, kind: &str, body: Vec<u8>) -> Result<String, u16> {
    let known = Known::new(vec![active(wanting("shop", "llama", 7, Instant::now()), true)]);
    let scaler = Arc::new(scaler(&known, &CancellationToken::new()));
    let request = Request::post(format!("/externalscaler.ExternalScaler/{method}"))
        .header(CONTENT_TYPE, kind)
        .body(http_body_util::Full::new(Bytes::from(body)))
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let response = runtime.block_on(scaler.respond(request));
    let status = response.headers().get("grpc-status");
    status
        .map(|status| status.to_str().unwrap().to_owned())
        .ok_or(response.status().as_u16())
}

#[test]
fn what_is_no_call_of_the_service_is_refused() {
    assert_eq!(answered("IsActive", "application/json", Vec::new()), Err(415));
    let unimplemented = (Code::Unimplemented as i32).to_string();
    assert_eq!(answered("Other", "application/grpc", Vec::new()), Ok(unimplemented));
    // One frame that says it is compressed, one that is cut off.
    for body in [vec![1, 0, 0, 0, 1, 0], vec![0, 0, 0, 0, 9, 10]] {
        let status = answered("IsActive", "application/grpc+proto", body.clone());
        assert!(
            status.as_ref().is_ok_and(|status| status != "0"),
            "{body:?}: {status:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_message_makes_it_panic(message in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
        let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        body.extend(message);
        for method in ["IsActive", "GetMetrics", "GetMetricSpec", "StreamIsActive"] {
            let _ = answered(method, "application/grpc", body.clone());
        }
    }
}
