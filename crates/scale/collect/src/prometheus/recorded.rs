//! Raw samples put together again as the pages they came from.

use super::Skew;
use crate::Endpoint;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use units::Instant;
use wire::prom::parse::{Page, Sample};

/// Most foreign namespaces that are named.
const MOST_ELSEWHERE: usize = 4;

/// A series: its labels, `__name__` among them, and its samples by time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) samples: Vec<(Instant, f64)>,
}

/// One replica's page at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RecordedPage {
    samples: Vec<(BTreeMap<String, String>, f64)>,
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

/// Pages by Pod, each Pod's by time.
pub(super) type Pages = BTreeMap<String, Vec<(Instant, RecordedPage)>>;

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

impl Recording {
    /// Sorts series by the Pod they are of and by time. Where two scrape jobs
    /// look at one Pod, the one with the freshest sample counts: taken together
    /// they would count everything twice.
    pub(super) fn of(series: &[Series], endpoints: &[Endpoint], elsewhere: &mut Vec<String>) -> Self {
        type Target<'a> = (&'a str, &'a str);
        let mut targets: BTreeMap<&str, BTreeMap<Target<'_>, Vec<&Series>>> = BTreeMap::new();
        for series in series {
            let label = |name: &str| series.labels.get(name).map_or("", String::as_str);
            match pod_of(series, endpoints) {
                Some(pod) => targets
                    .entry(pod)
                    .or_default()
                    .entry((label("job"), label("instance")))
                    .or_default()
                    .push(series),
                None => {
                    let place = format!("namespace {:?}", label("namespace"));
                    if elsewhere.len() < MOST_ELSEWHERE && !elsewhere.contains(&place) {
                        elsewhere.push(place);
                    }
                }
            }
        }
        let newest = |of: &[&Series]| {
            of.iter()
                .filter_map(|series| series.samples.last())
                .map(|(at, _)| *at)
                .max()
        };
        let mut pages = Pages::new();
        for (pod, targets) in targets {
            let freshest = targets.into_values().max_by_key(|of| newest(of));
            let mut by_time: BTreeMap<Instant, RecordedPage> = BTreeMap::new();
            for series in freshest.into_iter().flatten() {
                for (at, value) in &series.samples {
                    let page = by_time.entry(*at).or_default();
                    page.samples.push((series.labels.clone(), *value));
                }
            }
            if !by_time.is_empty() {
                pages.insert(pod.to_owned(), by_time.into_iter().collect());
            }
        }
        Self {
            pages,
            ..Self::default()
        }
    }

    /// Puts info series onto every page of their Pod.
    pub(super) fn with_info(mut self, info: &[Series], endpoints: &[Endpoint]) -> Self {
        let mut told: Vec<&str> = Vec::new();
        for series in info {
            let Some(pod) = pod_of(series, endpoints) else { continue };
            // One scrape job's is enough.
            if told.contains(&pod) {
                continue;
            }
            told.push(pod);
            for (_, page) in self.pages.get_mut(pod).into_iter().flatten() {
                page.samples.push((series.labels.clone(), 1.0));
            }
        }
        self
    }

    /// The same on our clock.
    pub(super) fn shifted(mut self, skew: Skew) -> Self {
        let shift = |at: Instant| match skew {
            Skew::None => at,
            Skew::Ahead(by) => at - by,
            Skew::Behind(by) => at + by,
        };
        for (at, _) in self.pages.values_mut().flatten() {
            *at = shift(*at);
        }
        self
    }
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
            model: Some("m".to_owned()),
        }
    }

    fn series(name: &str, labels: &[(&str, &str)], samples: &[(u64, f64)]) -> Series {
        let usual = [("__name__", name), ("model_name", "m")];
        let all = labels.iter().chain(&usual);
        Series {
            labels: all
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            samples: samples
                .iter()
                .map(|(at, value)| (Instant::from_secs(*at), *value))
                .collect(),
        }
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
        let (at, page) = recording.pages["n/a"].last().unwrap();
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
        let (at, page) = recording.pages["n/a"].last().unwrap();
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
        info.labels.remove("model_name");
        let recording = Recording::of(&all, &endpoints, &mut Vec::new()).with_info(&[info.clone(), info], &endpoints);
        let read = families::read(&recording.pages["n/a"][0].1.as_page(), Some("m")).unwrap();
        assert_eq!(read.kv_tokens, Ok(1600.0));
    }
}
