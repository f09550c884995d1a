use super::*;
use crate::{Endpoint, by_model};
use parking_lot::Mutex;
use std::time::Duration;
use units::{Instant, Signal, Source};

/// A source that says what it was told to.
#[derive(Debug)]
struct Says {
    at: Instant,
    source: Source,
    found: Found,
    refreshed: Mutex<u32>,
    tracked: Mutex<usize>,
}

fn says(found: Found, source: Source, at: u64) -> Arc<Says> {
    Arc::new(Says {
        at: Instant::from_secs(at),
        source,
        found,
        refreshed: Mutex::new(0),
        tracked: Mutex::new(0),
    })
}

impl Says {
    fn signal(&self) -> Signal<f64> {
        if self.found == Found::MetricsFound {
            Signal::observed(self.at.as_secs_f64(), self.at, self.source)
        } else {
            Signal::missing(self.at, "refused")
        }
    }
}

impl MetricsSource for Says {
    fn track(&self, models: &TrackedModels) {
        *self.tracked.lock() = models.len();
    }

    fn refresh(&self) -> Refresh<'_> {
        Box::pin(async {
            tokio::task::yield_now().await;
            *self.refreshed.lock() += 1;
        })
    }

    fn availability(&self, _: &TrackedModel) -> Availability {
        Availability::new(self.found, format!("{:?} at {}", self.source, self.at.as_secs_f64()))
    }

    fn model_metrics(&self, _: &TrackedModel) -> ModelSignals {
        ModelSignals {
            arrival_rate: self.signal(),
            ..ModelSignals::unknown(self.at, "not told")
        }
    }

    fn replica_metrics(&self, _: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
        let signals = ReplicaSignals {
            kv: self.signal(),
            ..ReplicaSignals::unknown(self.at, "not told")
        };
        let own = format!("n/{}", self.source.as_str());
        [("n/a".to_owned(), signals.clone()), (own, signals)].into()
    }

    fn health(&self) -> SourceHealth {
        SourceHealth {
            asked: 1,
            up: Some(self.found == Found::MetricsFound),
            ..SourceHealth::default()
        }
    }
}

fn key() -> TrackedModel {
    TrackedModel {
        namespace: "n".to_owned(),
        model: "m".to_owned(),
    }
}

fn of(sources: &[&Arc<Says>]) -> Composite {
    let named = |says: &&Arc<Says>| {
        (
            says.source.as_str().to_owned(),
            (**says).clone() as Arc<dyn MetricsSource>,
        )
    };
    Composite::new(sources.iter().map(named).collect())
}

#[test]
fn of_each_signal_the_freshest_counts_and_says_where_it_came_from() {
    let replica = says(Found::MetricsFound, Source::Replica, 10);
    let prometheus = says(Found::MetricsFound, Source::Prometheus, 20);
    for both in [of(&[&replica, &prometheus]), of(&[&prometheus, &replica])] {
        let replicas = both.replica_metrics(&key());
        let seen = |pod: &str| replicas[pod].kv.last().map(|seen| (seen.value, seen.source));
        assert_eq!(seen("n/a"), Some((20.0, Source::Prometheus)));
        assert_eq!(seen("n/replica"), Some((10.0, Source::Replica)), "only one knows it");
        let model = both.model_metrics(&key());
        assert_eq!(
            model.arrival_rate.last().map(|seen| seen.source),
            Some(Source::Prometheus)
        );
    }
}

#[test]
fn one_source_that_has_the_signals_is_enough_and_else_all_say_what_is_wrong() {
    let cases: [(Found, Found, Found, &str); 5] = [
        (
            Found::MetricsFound,
            Found::PrometheusError,
            Found::MetricsFound,
            "Replica at 1",
        ),
        (
            Found::MetricsMissing,
            Found::MetricsFound,
            Found::MetricsFound,
            "Prometheus at 2",
        ),
        (
            Found::MetricsMissing,
            Found::PrometheusError,
            Found::PrometheusError,
            "Replica at 1; Prometheus at 2",
        ),
        (
            Found::MetricsStale,
            Found::PrometheusError,
            Found::PrometheusError,
            "Replica at 1; Prometheus at 2",
        ),
        (
            Found::MetricsMissing,
            Found::MetricsStale,
            Found::MetricsStale,
            "Replica at 1; Prometheus at 2",
        ),
    ];
    for (one, other, found, message) in cases {
        let both = of(&[&says(one, Source::Replica, 1), &says(other, Source::Prometheus, 2)]);
        let said = both.availability(&key());
        assert_eq!((said.found, said.message.as_str()), (found, message));
    }
    let nobody = Composite::default().availability(&key());
    assert_eq!(nobody.found, Found::MetricsMissing);
    assert!(nobody.message.contains("PROMETHEUS_BASE_URL"), "{nobody:?}");
}

#[test]
fn a_source_that_does_not_count_is_not_asked() {
    let both = of(&[
        &says(Found::MetricsMissing, Source::Replica, 1),
        &says(Found::MetricsFound, Source::Gateway, 2),
    ]);
    assert_eq!(
        both.availability_of(&key(), |name| name != "gateway").found,
        Found::MetricsMissing
    );
}

#[tokio::test]
async fn all_are_told_whom_to_ask_and_brought_up_to_date() {
    let (one, other) = (
        says(Found::MetricsFound, Source::Replica, 1),
        says(Found::MetricsStale, Source::Gateway, 2),
    );
    let both = of(&[&one, &other]);
    both.track(&by_model([Endpoint {
        pod: "n/a".to_owned(),
        address: "10.0.0.1".to_owned(),
        port: 8000,
        path: None,
        more_ports: std::sync::Arc::default(),
        model: Some("m".to_owned()),
    }]));
    let refreshed = tokio::time::timeout(Duration::from_secs(10), both.refresh()).await;
    assert!(refreshed.is_ok());
    for says in [one, other] {
        assert_eq!((*says.refreshed.lock(), *says.tracked.lock()), (1, 1));
    }
    assert_eq!(both.names().collect::<Vec<_>>(), ["replica", "gateway"]);
    let health = both.health_by_source();
    assert_eq!((health["replica"].up, health["gateway"].up), (Some(true), Some(false)));
    assert_eq!((both.health().asked, both.health().up), (2, Some(true)));
}
