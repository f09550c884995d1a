//! Asks the gateways for their ledger: true arrivals, queue, work in flight; and
//! endpoint pickers for as much of it as their metrics tell.

mod past;
mod picker;
mod poll;
mod reading;
mod source;

pub use picker::{Picker, PickerError, PickerSource, PickerToken, Pickers};
pub use reading::{EndpointLedger, GatewayReading, ModelDemand};

use crate::Clock;
use crate::health::Counters;
use crate::source::TrackedModels;
use parking_lot::Mutex;
use past::Instance;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use units::{Instant, Source};
use wire::signals::GatewaySignals;

/// Where the gateways are.
#[derive(Clone)]
pub enum GatewaySource {
    /// In this process: asked whenever a decision is taken.
    InProcess(Arc<dyn Fn() -> GatewaySignals + Send + Sync>),
    /// Base URLs of admin addresses; each is asked for `/signals`.
    Http(Vec<String>),
    /// Nowhere: only replicas tell the load.
    None,
}

impl fmt::Debug for GatewaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess(_) => f.write_str("InProcess"),
            Self::Http(urls) => f.debug_tuple("Http").field(urls).finish(),
            Self::None => f.write_str("None"),
        }
    }
}

/// Who counts the demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gateway,
    Picker,
}

impl Kind {
    const fn source(self) -> Source {
        match self {
            Self::Gateway => Source::Gateway,
            Self::Picker => Source::Picker,
        }
    }
}

/// The gateways as a source, or the endpoint pickers. Cloning shares it.
#[derive(Clone, Debug)]
pub struct GatewayReader {
    kind: Kind,
    source: GatewaySource,
    clock: Clock,
    instances: Arc<Mutex<Vec<Instance>>>,
    tracked: Arc<Mutex<TrackedModels>>,
    counters: Arc<Counters>,
}

impl GatewayReader {
    /// Starts asking those over HTTP, until `stop`. One that tells of a moment
    /// worth a decision at once notifies `urgent`.
    #[must_use]
    pub fn start(source: GatewaySource, clock: Clock, urgent: &Arc<Notify>, stop: &CancellationToken) -> Self {
        let names = match &source {
            GatewaySource::InProcess(_) => vec!["this process".to_owned()],
            GatewaySource::Http(urls) => urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
            GatewaySource::None => Vec::new(),
        };
        let instances = (0..).zip(&names);
        let instances = instances
            .map(|(id, name)| Instance::new(id, name.clone(), None))
            .collect();
        let reader = Self::over(Kind::Gateway, source, instances, clock);
        if matches!(reader.source, GatewaySource::Http(_)) {
            for (id, name) in (0..).zip(names) {
                let url = format!("{name}/signals");
                tokio::spawn(poll::poll(reader.clone(), id, url, urgent.clone(), stop.clone()));
            }
        }
        reader
    }

    fn over(kind: Kind, source: GatewaySource, instances: Vec<Instance>, clock: Clock) -> Self {
        Self {
            kind,
            source,
            clock,
            instances: Arc::new(Mutex::new(instances)),
            tracked: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// Takes in what the instance `id` answered when it was asked at
    /// `asked`: what was true at `at`, and how many bytes it took; or why not.
    /// Whoever is to be `woken` by it reads it: the notice comes after it.
    fn heard(
        &self,
        id: u64,
        answer: Result<(GatewaySignals, usize), String>,
        (asked, at): (Instant, Instant),
        woken: Option<&Notify>,
    ) {
        self.keep(id, answer, asked, at);
        if let Some(woken) = woken {
            woken.notify_one();
        }
    }

    fn keep(&self, id: u64, answer: Result<(GatewaySignals, usize), String>, asked: Instant, at: Instant) {
        let now = self.clock.now();
        let mut instances = self.instances.lock();
        let Some(instance) = instances.iter_mut().find(|instance| instance.id == id) else {
            return;
        };
        match answer {
            Ok((signals, bytes)) => {
                self.counters.answered(asked, now, bytes);
                instance.take_in(signals, at);
            }
            Err(why) => {
                self.counters.failed(asked, now);
                let since = instance.error.take().map_or(asked, |(since, _)| since);
                instance.error = Some((since, why));
            }
        }
    }

    /// Whether anybody is configured.
    #[must_use]
    pub fn configured(&self) -> bool {
        !self.instances.lock().is_empty()
    }

    /// Reads all gateways: the one in this process now, others as last heard.
    #[must_use]
    pub fn read(&self) -> GatewayReading {
        self.ask();
        self.reading()
    }

    /// All gateways as last heard.
    #[must_use]
    pub fn reading(&self) -> GatewayReading {
        GatewayReading {
            parts: vec![(self.kind, self.instances.clone())],
        }
    }

    /// Asks the gateway in this process, if there is one.
    fn ask(&self) {
        let GatewaySource::InProcess(ask) = &self.source else {
            return;
        };
        let asked = self.clock.now();
        let signals = ask();
        self.counters.answered(asked, self.clock.now(), 0);
        if let Some(instance) = self.instances.lock().first_mut() {
            instance.take_in(signals, asked);
        }
    }
}

#[cfg(test)]
mod tests;
