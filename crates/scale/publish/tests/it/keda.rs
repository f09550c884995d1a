//! The external scaler over gRPC, by messages written down here a second
//! time: a wrong field number cannot agree with itself.

use crate::client::{Authority, Grpc, tls};
use crate::shop::{SOON, Shop, open, wanting};
use publish::{Config, Keda};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Clone, prost::Message)]
struct Reference {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[derive(Clone, prost::Message)]
struct Activity {
    #[prost(bool, tag = "1")]
    result: bool,
}

#[derive(Clone, prost::Message)]
struct Question {
    #[prost(message, optional, tag = "1")]
    reference: Option<Reference>,
    #[prost(string, tag = "2")]
    metric: String,
}

/// `GetMetricSpecResponse` and `GetMetricsResponse` have the same shape.
#[derive(Clone, prost::Message)]
struct Numbers {
    #[prost(message, repeated, tag = "1")]
    numbers: Vec<Number>,
}

#[derive(Clone, prost::Message)]
struct Number {
    #[prost(string, tag = "1")]
    metric: String,
    #[prost(int64, tag = "2")]
    whole: i64,
    #[prost(double, tag = "3")]
    exact: f64,
}

const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const UNIMPLEMENTED: i32 = 12;
const UNAVAILABLE: i32 = 14;

fn reference(metadata: &[(&str, &str)]) -> Reference {
    Reference {
        name: "so".to_owned(),
        namespace: "shop".to_owned(),
        metadata: metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn config(keda: Keda) -> Config {
    Config {
        keda: Some(keda),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_scaled_object_learns_what_is_wanted_and_is_refused_what_is_not_known() {
    let shop = Shop::new(vec![
        wanting("llama", Some(4), true),
        wanting("idle", Some(0), false),
        wanting("new", None, true),
    ]);
    let (running, _stop) = open(config(Keda::on(loopback())), &shop).await;
    let grpc = Grpc::plain(running.keda.unwrap()).await;
    let llama = reference(&[("variantName", "llama"), ("scalerAddress", "tidegate:9090")]);

    let active: Activity = grpc.unary("IsActive", &llama).await.unwrap();
    assert!(active.result);
    let idle: Activity = grpc
        .unary("IsActive", &reference(&[("variantName", "idle")]))
        .await
        .unwrap();
    assert!(!idle.result);
    let spec: Numbers = grpc.unary("GetMetricSpec", &llama).await.unwrap();
    let spec = &spec.numbers[0];
    assert_eq!(
        (spec.metric.as_str(), spec.whole, spec.exact),
        ("wva_desired_replicas", 1, 1.0)
    );
    let question = |reference: Reference| Question {
        metric: spec.metric.clone(),
        reference: Some(reference),
    };
    let values: Numbers = grpc.unary("GetMetrics", &question(llama)).await.unwrap();
    assert_eq!((values.numbers[0].whole, values.numbers[0].exact), (4, 4.0));

    for (metadata, code, said) in [
        (vec![("variantName", "new")], UNAVAILABLE, "no%20decision%20yet"),
        (vec![("variantName", "gone")], NOT_FOUND, "shop/gone"),
        (vec![], INVALID_ARGUMENT, "variantName"),
        (
            vec![("variantName", "llama"), ("typo", "x")],
            INVALID_ARGUMENT,
            "scalerMetadata.typo",
        ),
    ] {
        let reference = reference(&metadata);
        let refused = [
            grpc.unary::<Activity>("IsActive", &reference).await.unwrap_err(),
            grpc.unary::<Numbers>("GetMetrics", &question(reference))
                .await
                .unwrap_err(),
        ];
        for (status, message) in refused {
            assert_eq!(status, code, "{metadata:?}: {message}");
            assert!(message.contains(said), "{message}");
        }
    }
    let other = grpc
        .unary::<Activity>("StreamMetricSpec", &reference(&[]))
        .await
        .unwrap_err();
    assert_eq!(other.0, UNIMPLEMENTED);
    let mut large = reference(&[("variantName", "llama")]);
    large.name = "x".repeat(100_000);
    assert!(grpc.unary::<Activity>("IsActive", &large).await.is_err());
}

#[tokio::test]
async fn work_for_a_variant_at_zero_is_pushed_within_fifty_milliseconds() {
    let shop = Shop::new(vec![wanting("llama", Some(0), false)]);
    let (running, stop) = open(config(Keda::on(loopback())), &shop).await;
    let grpc = Grpc::plain(running.keda.unwrap()).await;
    let mut stream = grpc
        .call("StreamIsActive", &reference(&[("variantName", "llama")]))
        .await
        .unwrap();
    assert!(!stream.next::<Activity>().await.unwrap().result);
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        shop.set(vec![wanting("llama", None, true)]);
        assert!(stream.next::<Activity>().await.unwrap().result);
        best = best.min(began.elapsed());
        shop.set(vec![wanting("llama", Some(0), false)]);
        assert!(!stream.next::<Activity>().await.unwrap().result);
    }
    // The best of ten: the machine that runs a test may be busy with others.
    assert!(best < Duration::from_millis(50), "{best:?}");
    stop.cancel();
    assert!(stream.next::<Activity>().await.is_none());
    assert_eq!(stream.ended, Some((0, String::new())));
    tokio::time::timeout(SOON, running.stopped()).await.unwrap();
}

#[tokio::test]
async fn a_thousand_streams_share_a_connection_and_all_hear_of_a_change() {
    let names: Vec<String> = (0..1000).map(|number| format!("v{number}")).collect();
    let variants = |active| names.iter().map(|name| wanting(name, Some(0), active)).collect();
    let shop = Shop::new(variants(false));
    let (running, _stop) = open(config(Keda::on(loopback())), &shop).await;
    let grpc = Grpc::plain(running.keda.unwrap()).await;
    let mut streams = Vec::new();
    for name in &names {
        let asked = reference(&[("variantName", name)]);
        let mut stream = grpc.call("StreamIsActive", &asked).await.unwrap();
        assert!(!stream.next::<Activity>().await.unwrap().result);
        streams.push(stream);
    }
    shop.set(variants(true));
    for mut stream in streams {
        assert!(stream.next::<Activity>().await.unwrap().result);
    }
}

#[tokio::test]
async fn over_tls_a_client_without_the_certificate_asked_for_is_not_served() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let keda = Keda {
        certificate: Some(authority.sign("tidegate").write(folder.path())),
        client_authority: Some(authority.write(&folder.path().join("ca.crt"))),
        ..Keda::on(loopback())
    };
    let shop = Shop::new(vec![wanting("llama", Some(4), true)]);
    let (running, _stop) = open(config(keda), &shop).await;
    let address = running.keda.unwrap();
    let asked = reference(&[("variantName", "llama")]);

    let known = authority.sign("keda");
    let stream = tls(address, authority.client(Some(&known), b"h2")).await.unwrap();
    let grpc = Grpc::over(stream).await.unwrap();
    assert!(grpc.unary::<Activity>("IsActive", &asked).await.unwrap().result);

    // TLS 1.3 refuses a client after the client's own handshake.
    let served = async {
        let stream = tls(address, authority.client(None, b"h2")).await?;
        Grpc::over(stream).await?.call("IsActive", &asked).await
    };
    assert!(served.await.is_err());
}
