//! Asks endpoint pickers (EPP) of the field: their flow control holds requests
//! while no replica can take them, and their metrics tell how many.

mod book;
mod named;
mod page;

pub use named::{Picker, PickerError, PickerToken, Pickers};

use super::past::Instance;
use super::{GatewayReader, GatewaySource, Kind};
use crate::Clock;
use crate::bearer::Bearer;
use crate::get::Getter;
use crate::transport::Transport;
use crate::trust;
use book::Book;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Least time between two questions: a request that is held for a model without
/// replicas is to be known within 300 ms.
const SHORTEST: Duration = Duration::from_millis(150);
/// Longest; after a failure too.
const LONGEST: Duration = Duration::from_secs(1);
/// The pause is so many times what an answer took: a page that is large is not
/// asked for all the time.
const PAUSES: u32 = 10;
const DEADLINE: Duration = Duration::from_secs(1);
const MAX_BODY: usize = 8 << 20;

/// The pickers that are asked: those that somebody named, and those that are
/// found, which come and go. Their answers are read by its [`GatewayReader`].
#[derive(Debug)]
pub struct PickerSource {
    reader: GatewayReader,
    /// Namespaces whose pickers are named: none is looked for there, or its
    /// requests could count twice.
    named: BTreeSet<String>,
    find: bool,
    found: BTreeMap<Picker, (u64, CancellationToken)>,
    next_id: u64,
    /// Absent while there is none to ask.
    with: Option<With>,
    /// Whether a token may be sent to other hosts in plain text.
    in_the_clear: bool,
    urgent: Arc<Notify>,
    stop: CancellationToken,
}

type Secure = Getter<HttpsConnector<HttpConnector>>;

/// What questions go out with.
#[derive(Clone, Debug)]
struct With {
    token: Secure,
    /// For those that would have it in plain text.
    nothing: Secure,
    has_token: bool,
}

impl With {
    fn new(token: &PickerToken, transport: &Transport) -> Result<Self, PickerError> {
        let bearer = Bearer::new(token.token.as_deref(), token.path.as_deref()).map_err(PickerError::Token)?;
        let roots = trust::roots(token.authority.as_deref()).map_err(PickerError::Authority)?;
        let getter = |bearer| {
            let getter = Getter::secure(roots.clone(), bearer, transport.clone(), DEADLINE, MAX_BODY);
            getter.map_err(PickerError::Authority)
        };
        Ok(Self {
            has_token: !bearer.is_none(),
            nothing: getter(Bearer::None)?,
            token: getter(bearer)?,
        })
    }
}

impl PickerSource {
    /// Starts asking `pickers`, until `stop`. A request that is held where none
    /// was, or twice as many, notifies `urgent`.
    ///
    /// # Errors
    /// A picker that is there twice, a token that cannot be sent or would be in
    /// the clear, a certificate that cannot be used.
    pub fn start(
        pickers: Pickers,
        clock: Clock,
        urgent: &Arc<Notify>,
        stop: &CancellationToken,
    ) -> Result<Self, PickerError> {
        let Pickers {
            all,
            token,
            transport,
            find,
        } = pickers;
        for (i, picker) in all.iter().enumerate() {
            if all[..i].iter().any(|before| before.url == picker.url) {
                return Err(PickerError::Twice(picker.to_string()));
            }
        }
        let with = (find || !all.is_empty()).then(|| With::new(&token, &transport));
        let mut source = Self {
            reader: GatewayReader::over(Kind::Picker, GatewaySource::None, Vec::new(), clock),
            named: all.iter().map(|picker| picker.namespace.clone()).collect(),
            find,
            found: BTreeMap::new(),
            next_id: 0,
            with: with.transpose()?,
            in_the_clear: token.in_the_clear,
            urgent: urgent.clone(),
            stop: stop.clone(),
        };
        if let Some(with) = &source.with {
            let exposed = all
                .iter()
                .find(|picker| with.has_token && !source.may_have_token(picker));
            if let Some(picker) = exposed {
                return Err(PickerError::InTheClear(picker.to_string()));
            }
        }
        for picker in all {
            source.ask(picker, false, stop.clone());
        }
        Ok(source)
    }

    /// Whether there is, or may come, anybody to ask.
    #[must_use]
    pub const fn configured(&self) -> bool {
        self.with.is_some()
    }

    /// Reads what they said.
    #[must_use]
    pub const fn reader(&self) -> &GatewayReader {
        &self.reader
    }

    /// Whether pickers are to be found by their InferencePools.
    #[must_use]
    pub const fn finds(&self) -> bool {
        self.find
    }

    /// Whether pickers of the namespace are named, so that none is looked for.
    #[must_use]
    pub fn names_those_of(&self, namespace: &str) -> bool {
        self.named.contains(namespace)
    }

    /// Asks the pickers that were found, and those that were named; what was
    /// found before and is not any more is forgotten. A token is shown to those
    /// alone that it may be shown to.
    pub fn follow(&mut self, found: &BTreeSet<Picker>) {
        let gone: Vec<Picker> = self
            .found
            .keys()
            .filter(|picker| !found.contains(*picker))
            .cloned()
            .collect();
        for picker in gone {
            if let Some((id, asking)) = self.found.remove(&picker) {
                asking.cancel();
                self.reader.instances.lock().retain(|instance| instance.id != id);
                tracing::info!(%picker, "endpoint picker is not asked any more");
            }
        }
        for picker in found {
            if self.named.contains(&picker.namespace) || self.found.contains_key(picker) {
                continue;
            }
            tracing::info!(%picker, "endpoint picker found");
            let stop = self.stop.child_token();
            let id = self.next_id;
            self.ask(picker.clone(), true, stop.clone());
            self.found.insert(picker.clone(), (id, stop));
        }
    }

    fn may_have_token(&self, picker: &Picker) -> bool {
        picker.encrypted || picker.here || self.in_the_clear
    }

    fn ask(&mut self, picker: Picker, found: bool, stop: CancellationToken) {
        let Some(with) = &self.with else { return };
        let id = self.next_id;
        self.next_id += 1;
        let shown = self.may_have_token(&picker);
        let instance = Instance {
            found,
            ..Instance::new(id, picker.url.clone(), Some(picker.namespace.clone()))
        };
        self.reader.instances.lock().push(instance);
        let asking = Asking {
            reader: self.reader.clone(),
            id,
            book: Book::new(picker.namespace),
            url: picker.url,
            getter: if shown {
                with.token.clone()
            } else {
                with.nothing.clone()
            },
            withheld: with.has_token && !shown,
            answers: None,
            urgent: self.urgent.clone(),
        };
        tokio::spawn(asking.run(stop));
    }
}

/// Asks one picker.
struct Asking {
    reader: GatewayReader,
    id: u64,
    book: Book,
    url: String,
    getter: Secure,
    /// There is a token, and it is not shown to this one.
    withheld: bool,
    /// Whether it answered when it was last asked.
    answers: Option<bool>,
    urgent: Arc<Notify>,
}

impl Asking {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                pause = self.once() => pause,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks once; says how long to wait before the next time.
    async fn once(&mut self) -> Duration {
        let clock = self.reader.clock;
        // What is read was true no later than when it was asked for.
        let asked = clock.now();
        let answer = match self.getter.get(&self.url).await {
            Ok(body) => {
                let told = self.book.take_in(&body, asked);
                told.map(|told| (told, body.len()))
                    .map_err(|error| format!("{}: {error}", self.url))
            }
            Err(error) => Err(format!("{error}{}", remedy(&error, self.withheld))),
        };
        self.log(answer.as_ref().err());
        let (answer, urgent, pause) = match answer {
            Ok((told, bytes)) => {
                let pause = clock.now().since(asked) * PAUSES;
                (Ok((told.signals, bytes)), told.urgent, pause.clamp(SHORTEST, LONGEST))
            }
            Err(why) => (Err(why), false, LONGEST),
        };
        let woken = urgent.then_some(&*self.urgent);
        self.reader.heard(self.id, answer, (asked, asked), woken);
        pause
    }

    /// Says once that it does not answer, and once that it does again.
    fn log(&mut self, why: Option<&String>) {
        let before = self.answers.replace(why.is_none());
        match why {
            Some(why) if before != Some(false) => {
                tracing::warn!(
                    url = self.url,
                    why,
                    "endpoint picker does not tell what it holds; asking again"
                );
            }
            None if before == Some(false) => tracing::info!(url = self.url, "endpoint picker answers again"),
            _ => {}
        }
    }
}

/// What to do about an answer that is none.
fn remedy(error: &crate::get::GetError, withheld: bool) -> &'static str {
    use crate::get::GetError;
    use http::StatusCode;
    match error {
        GetError::Status(_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if withheld => {
            ": it asks for the token, which would cross hosts in plain text: allow that with --picker-token-in-the-clear, \
             or name it with an https address by --picker"
        }
        GetError::Status(_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            ": give it a token that may GET /metrics, by EPP_METRIC_READER_BEARER_TOKEN or --picker-token-path"
        }
        GetError::Status(_, StatusCode::NOT_FOUND) => ": is that the address of its metrics, path included?",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
