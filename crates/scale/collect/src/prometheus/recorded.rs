//! Raw samples put together again as the pages they came from.

use crate::Endpoint;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use units::Instant;
use wire::prom::parse::{Page, Sample};

/// Most foreign namespaces that are named.
const MOST_ELSEWHERE: usize = 4;

/// An address whose newest sample is further behind its Pod's is not scraped any more.
const LIVE: Duration = Duration::from_secs(30);

/// The labels of a series, `__name__` among them.
pub(super) type Labels = Arc<BTreeMap<String, String>>;

/// A series: its labels, and its samples by time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) samples: Vec<(Instant, f64)>,
}

impl Series {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Who has looked: a scrape job, of one Prometheus where several have the same jobs.
    fn observer(&self) -> Observer<'_> {
        ["job", "prometheus", "prometheus_replica"].map(|name| self.label(name))
    }

    fn newest(&self) -> Option<Instant> {
        self.samples.iter().map(|(at, _)| *at).max()
    }
}

type Observer<'a> = [&'a str; 3];

/// One page of one address at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RecordedPage {
    samples: Vec<(Labels, f64)>,
}

impl RecordedPage {
    /// The page, as if it had been scraped.
    pub(super) fn as_page(&self) -> Page<'_> {
        let samples = self
            .samples
            .iter()
            .map(|(labels, value)| Sample {
                name: labels.get("__name__").map_or("", String::as_str),
                labels: labels
                    .iter()
                    .filter(|(name, _)| *name != "__name__")
                    .map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str())))
                    .collect(),
                value: *value,
                timestamp_ms: None,
            })
            .collect();
        Page {
            samples,
            types: Vec::new(),
        }
    }
}

/// Pages by Pod and by the address they were scraped at, each address' by time
/// (on Prometheus' clock). A Pod has several where each rank has its own.
pub(super) type Pages = BTreeMap<String, BTreeMap<String, Vec<(Instant, RecordedPage)>>>;

/// What one question brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recording {
    pub(super) pages: Pages,
    pub(super) bytes: usize,
    /// Where there are such series of Pods that are not asked for.
    pub(super) elsewhere: Vec<String>,
    /// Which ways of looking found something, by their place in [`super::query::matchers`].
    pub(super) ways: Vec<usize>,
}

/// Series by the address they were scraped at.
type Addresses<'a> = BTreeMap<&'a str, Vec<&'a Series>>;

impl Recording {
    /// Sorts series by the Pod they are of, by address and by time.
    ///
    /// Several addresses of a Pod are its ranks, and all count. Where two
    /// observers look at one Pod, the one that sees more of it counts, then the
    /// one with the freshest sample: taken together they would count everything
    /// twice.
    pub(super) fn of(series: &[Series], endpoints: &[Endpoint], elsewhere: &mut Vec<String>) -> Self {
        let mut seen: BTreeMap<&str, BTreeMap<Observer<'_>, Addresses<'_>>> = BTreeMap::new();
        for series in series {
            match pod_of(series, endpoints) {
                Some(pod) => seen
                    .entry(pod)
                    .or_default()
                    .entry(series.observer())
                    .or_default()
                    .entry(series.label("instance"))
                    .or_default()
                    .push(series),
                None => {
                    let place = format!("namespace {:?}", series.label("namespace"));
                    if elsewhere.len() < MOST_ELSEWHERE && !elsewhere.contains(&place) {
                        elsewhere.push(place);
                    }
                }
            }
        }
        let mut pages = Pages::new();
        for (pod, observers) in seen {
            let ranks: BTreeMap<String, Vec<(Instant, RecordedPage)>> = best(observers)
                .into_iter()
                .map(|(address, series)| (address.to_owned(), by_time(&series)))
                .filter(|(_, pages)| !pages.is_empty())
                .collect();
            if !ranks.is_empty() {
                pages.insert(pod.to_owned(), ranks);
            }
        }
        Self {
            pages,
            ..Self::default()
        }
    }

    /// Puts info series onto every page of the address they are of. Each
    /// engine's counts once, whoever has looked.
    pub(super) fn with_info(mut self, info: &[Series], endpoints: &[Endpoint]) -> Self {
        let mut told: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
        for series in info {
            let Some(pod) = pod_of(series, endpoints) else { continue };
            let Some(ranks) = self.pages.get_mut(pod) else { continue };
            let address = series.label("instance");
            let pages = match ranks.len() {
                // The only address there is, even where labels call it otherwise.
                1 => ranks.first_entry().map(|only| only.into_mut()),
                _ => ranks.get_mut(address),
            };
            let Some(pages) = pages else { continue };
            if !told.insert((pod, address, series.label("engine"))) {
                continue;
            }
            for (_, page) in pages {
                page.samples.push((series.labels.clone(), 1.0));
            }
        }
        self
    }
}

/// What the best observer has seen.
fn best<'a>(observers: BTreeMap<Observer<'a>, Addresses<'a>>) -> Addresses<'a> {
    let newest_of = |series: &[&Series]| series.iter().filter_map(|series| series.newest()).max();
    let newest = observers
        .values()
        .flat_map(BTreeMap::values)
        .filter_map(|of| newest_of(of))
        .max();
    let live = |addresses: &Addresses<'_>| {
        let is_live = |of: &Vec<&Series>| {
            let behind = newest.zip(newest_of(of)).map(|(newest, of)| newest.since(of));
            behind.is_some_and(|behind| behind <= LIVE)
        };
        addresses.values().filter(|of| is_live(of)).count()
    };
    observers
        .into_iter()
        .max_by_key(|(observer, addresses)| {
            let newest = addresses.values().filter_map(|of| newest_of(of)).max();
            (live(addresses), newest, Reverse(*observer))
        })
        .map(|(_, addresses)| addresses)
        .unwrap_or_default()
}

/// The pages of one address. A series that stands twice counts once, the one
/// with the newer sample; so does a sample.
fn by_time(series: &[&Series]) -> Vec<(Instant, RecordedPage)> {
    let mut distinct: BTreeMap<&Labels, &Series> = BTreeMap::new();
    for series in series {
        let kept = distinct.entry(&series.labels).or_insert(series);
        if series.newest() > kept.newest() {
            *kept = series;
        }
    }
    let mut pages: BTreeMap<Instant, RecordedPage> = BTreeMap::new();
    for (labels, series) in distinct {
        let samples: BTreeMap<Instant, f64> = series.samples.iter().copied().collect();
        for (at, value) in samples {
            pages.entry(at).or_default().samples.push((labels.clone(), value));
        }
    }
    pages.into_iter().collect()
}

/// The Pod of a series: by its label, else by the address that was scraped.
/// Pods of two namespaces may have one name (those of StatefulSets do), so a
/// series that says it is of another namespace counts by its address alone.
fn pod_of<'a>(series: &Series, endpoints: &'a [Endpoint]) -> Option<&'a str> {
    let label = |name: &str| series.labels.get(name).map(String::as_str);
    let by_name = ["pod", "pod_name", "exported_pod"]
        .into_iter()
        .filter_map(label)
        .find_map(|name| {
            let namespace = label("exported_namespace").or_else(|| label("namespace"));
            let of_name = |endpoint: &&Endpoint| match endpoint.pod.split_once('/') {
                Some((here, pod)) => pod == name && namespace.is_none_or(|said| said == here),
                None => endpoint.pod == name,
            };
            endpoints.iter().find(of_name)
        });
    let by_address = || {
        let (host, port) = label("instance")?.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']);
        let port: u16 = port.parse().ok()?;
        endpoints
            .iter()
            .find(|endpoint| endpoint.address == host && endpoint.port == port)
    };
    by_name.or_else(by_address).map(|endpoint| endpoint.pod.as_str())
}

/// The usual time between two scrapes: the median of all gaps.
pub(super) fn interval(pages: &Pages) -> Option<Duration> {
    let mut gaps: Vec<Duration> = pages
        .values()
        .flat_map(BTreeMap::values)
        .flat_map(|pages| pages.windows(2).map(|pair| pair[1].0.since(pair[0].0)))
        .filter(|gap| !gap.is_zero())
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families;

    fn endpoint(pod: &str, address: &str) -> Endpoint {
        Endpoint {
            pod: pod.to_owned(),
            address: address.to_owned(),
            port: 8000,
            path: None,
            more_ports: std::sync::Arc::default(),
            model: Some("m".to_owned()),
        }
    }

    fn series(name: &str, labels: &[(&str, &str)], samples: &[(u64, f64)]) -> Series {
        let usual = [("__name__", name), ("model_name", "m")];
        let all = labels.iter().chain(&usual);
        Series {
            labels: Arc::new(
                all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            samples: samples
                .iter()
                .map(|(at, value)| (Instant::from_secs(*at), *value))
                .collect(),
        }
    }

    /// The newest page of a Pod at an address.
    fn page<'a>(recording: &'a Recording, pod: &str, address: &str) -> &'a (Instant, RecordedPage) {
        recording.pages[pod][address].last().unwrap()
    }

    #[test]
    fn samples_become_the_pages_they_came_from() {
        let endpoints = [endpoint("n/a", "10.0.0.1"), endpoint("n/b", "10.0.0.2")];
        let all = [
            series(
                "vllm:num_requests_running",
                &[("pod", "a"), ("engine", "0")],
                &[(10, 1.0), (20, 2.0)],
            ),
            series(
                "vllm:num_requests_running",
                &[("pod", "a"), ("engine", "1")],
                &[(10, 4.0), (20, 4.0)],
            ),
            series(
                "vllm:kv_cache_usage_perc",
                &[("pod", "a"), ("engine", "0")],
                &[(10, 0.1), (20, 0.2)],
            ),
            series(
                "vllm:num_requests_running",
                &[("instance", "10.0.0.2:8000")],
                &[(12, 7.0)],
            ),
            series(
                "vllm:num_requests_running",
                &[("pod", "stranger"), ("namespace", "x")],
                &[(12, 9.0)],
            ),
        ];
        let mut elsewhere = Vec::new();
        let recording = Recording::of(&all, &endpoints, &mut elsewhere);
        assert_eq!(recording.pages.keys().collect::<Vec<_>>(), ["n/a", "n/b"]);
        assert_eq!(elsewhere, ["namespace \"x\""]);
        let (at, page) = page(&recording, "n/a", "");
        let read = families::read(&page.as_page(), Some("m")).unwrap();
        assert_eq!((*at, read.running, read.kv), (Instant::from_secs(20), Ok(6.0), Ok(0.2)));
        assert_eq!(interval(&recording.pages), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_pod_scraped_twice_counts_once_and_by_the_fresher_job() {
        let endpoints = [endpoint("n/a", "10.0.0.1")];
        let all = [
            series(
                "vllm:num_requests_running",
                &[("pod", "a"), ("job", "old")],
                &[(10, 1.0), (20, 1.0)],
            ),
            series(
                "vllm:num_requests_running",
                &[("pod", "a"), ("job", "new")],
                &[(11, 2.0), (21, 2.0)],
            ),
        ];
        let recording = Recording::of(&all, &endpoints, &mut Vec::new());
        let (at, page) = page(&recording, "n/a", "");
        let read = families::read(&page.as_page(), Some("m")).unwrap();
        assert_eq!((*at, read.running), (Instant::from_secs(21), Ok(2.0)));
    }

    #[test]
    fn a_pod_of_that_name_in_another_namespace_is_another_pod() {
        let endpoints = [endpoint("n/llama-0", "10.0.0.1")];
        let of = |labels: &[(&str, &str)]| {
            let all = [series("vllm:num_requests_running", labels, &[(10, 1.0)])];
            !Recording::of(&all, &endpoints, &mut Vec::new()).pages.is_empty()
        };
        assert!(of(&[("pod", "llama-0"), ("namespace", "n")]));
        assert!(of(&[("pod", "llama-0")]));
        assert!(!of(&[("pod", "llama-0"), ("namespace", "other")]));
        // The namespace of the scrape job, and the Pod's own under another name.
        assert!(of(&[
            ("pod", "llama-0"),
            ("namespace", "monitoring"),
            ("exported_namespace", "n")
        ]));
        assert!(of(&[
            ("pod", "x"),
            ("namespace", "monitoring"),
            ("instance", "10.0.0.1:8000")
        ]));
    }

    #[test]
    fn an_info_series_without_a_model_joins_by_pod() {
        let endpoints = [endpoint("n/a", "10.0.0.1")];
        let all = [series("vllm:num_requests_running", &[("pod", "a")], &[(10, 1.0)])];
        let mut info = series(
            "vllm:cache_config_info",
            &[("pod", "a"), ("num_gpu_blocks", "100"), ("block_size", "16")],
            &[(10, 1.0)],
        );
        Arc::make_mut(&mut info.labels).remove("model_name");
        let recording = Recording::of(&all, &endpoints, &mut Vec::new()).with_info(&[info.clone(), info], &endpoints);
        let read = families::read(&page(&recording, "n/a", "").1.as_page(), Some("m")).unwrap();
        assert_eq!(read.kv_tokens, Ok(1600.0));
    }

    #[test]
    fn several_ports_of_a_pod_are_its_ranks_and_not_the_same_twice() {
        let endpoints = [endpoint("n/a", "10.0.0.1")];
        let of = |job: &'static str, port: &'static str, at: u64, running: f64| {
            series(
                "vllm:num_requests_running",
                &[("pod", "a"), ("job", job), ("instance", port)],
                &[(at, running)],
            )
        };
        let all = [
            of("dp", "10.0.0.1:8000", 20, 3.0),
            of("dp", "10.0.0.1:8001", 19, 4.0),
            of("again", "10.0.0.1:8000", 21, 3.0),
        ];
        let recording = Recording::of(&all, &endpoints, &mut Vec::new());
        let addresses: Vec<&String> = recording.pages["n/a"].keys().collect();
        assert_eq!(addresses, ["10.0.0.1:8000", "10.0.0.1:8001"], "the job that sees more");
        // A job that has seen more, and does so no longer, is not better.
        let all = [
            of("old", "10.0.0.1:8000", 20, 3.0),
            of("old", "10.0.0.1:8001", 20, 4.0),
            of("new", "10.0.0.1:8000", 60, 3.0),
        ];
        let recording = Recording::of(&all, &endpoints, &mut Vec::new());
        assert_eq!(recording.pages["n/a"].len(), 1);
    }

    #[test]
    fn the_same_series_or_sample_twice_counts_once() {
        let endpoints = [endpoint("n/a", "10.0.0.1")];
        let one = |samples: &[(u64, f64)]| series("vllm:num_requests_running", &[("pod", "a")], samples);
        let mut of_another = one(&[(20, 3.0)]);
        Arc::make_mut(&mut of_another.labels).insert("prometheus_replica".to_owned(), "prometheus-1".to_owned());
        let all = [one(&[(10, 3.0)]), one(&[(20, 3.0), (20, 3.0), (10, 3.0)]), of_another];
        let recording = Recording::of(&all, &endpoints, &mut Vec::new());
        let (at, page) = page(&recording, "n/a", "");
        let read = families::read(&page.as_page(), Some("m")).unwrap();
        assert_eq!((*at, read.running), (Instant::from_secs(20), Ok(3.0)));
        let times: Vec<Instant> = recording.pages["n/a"][""].iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [Instant::from_secs(10), Instant::from_secs(20)]);
    }

    #[test]
    fn the_caches_of_all_engines_of_a_replica_count() {
        let endpoints = [endpoint("n/a", "10.0.0.1")];
        let all = [series("vllm:num_requests_running", &[("pod", "a")], &[(10, 1.0)])];
        let info = |engine: &str, job: &str| {
            let labels = [
                ("pod", "a"),
                ("engine", engine),
                ("job", job),
                ("num_gpu_blocks", "100"),
                ("block_size", "16"),
            ];
            series("vllm:cache_config_info", &labels, &[(10, 1.0)])
        };
        let info = [info("0", "x"), info("1", "x"), info("0", "y"), info("1", "y")];
        let recording = Recording::of(&all, &endpoints, &mut Vec::new()).with_info(&info, &endpoints);
        let read = families::read(&page(&recording, "n/a", "").1.as_page(), Some("m")).unwrap();
        assert_eq!(read.kv_tokens, Ok(3200.0));
    }
}
