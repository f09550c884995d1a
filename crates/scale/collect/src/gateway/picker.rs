//! Asks endpoint pickers (EPP) of the field: their flow control holds requests
//! while no replica can take them, and their metrics tell how many.

mod book;
mod page;

use super::{GatewayReader, GatewaySource, Instance, Kind};
use crate::Clock;
use crate::bearer::Bearer;
use crate::get::Getter;
use crate::transport::Transport;
use crate::trust;
use book::Book;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
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

/// One endpoint picker, and the namespace of the pool it picks for: its metrics
/// do not tell that. Written `NAMESPACE=URL`, where the URL is of its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picker {
    namespace: String,
    url: String,
    encrypted: bool,
    /// Whether the URL is of this host.
    here: bool,
}

/// The pickers to ask, and how.
#[derive(Clone, Debug, Default)]
pub struct Pickers {
    /// All of them.
    pub all: Vec<Picker>,
    /// What they are asked with.
    pub token: PickerToken,
    /// How questions reach them.
    pub transport: Transport,
}

/// What pickers are asked with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PickerToken {
    /// The token itself; goes before the file.
    pub token: Option<String>,
    /// A file with the token, read anew for every question.
    pub path: Option<PathBuf>,
    /// Whether it may be sent to other hosts in plain text.
    pub in_the_clear: bool,
    /// Authorities of pickers that are asked by https; else the system's.
    pub authority: Option<PathBuf>,
}

/// Everything but the token.
impl fmt::Debug for PickerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PickerToken")
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("path", &self.path)
            .field("in_the_clear", &self.in_the_clear)
            .field("authority", &self.authority)
            .finish()
    }
}

/// Why pickers cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PickerError {
    /// Not `NAMESPACE=URL`.
    #[error("picker {0}: {1}; write NAMESPACE=URL, for instance shop=http://llama-epp.shop.svc:9090/metrics")]
    Format(String, &'static str),
    /// Twice the same.
    #[error("picker {0} is there twice, and its requests would count twice: take one out")]
    Twice(String),
    /// A secret would cross hosts for everybody to read.
    #[error(
        "picker {0} is http on another host, where the token could be read on the way: give it a certificate and ask by \
         https, or allow it with --picker-token-in-the-clear"
    )]
    InTheClear(String),
    /// The token cannot be sent.
    #[error("the token for pickers {0}")]
    Token(String),
    /// The authority's certificate cannot be used.
    #[error("--picker-ca-cert {0}")]
    Authority(String),
}

impl FromStr for Picker {
    type Err = PickerError;

    fn from_str(text: &str) -> Result<Self, PickerError> {
        let wrong = |why| PickerError::Format(crate::without_user(text), why);
        let (namespace, url) = text.split_once('=').ok_or_else(|| wrong("it names no namespace"))?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if namespace.is_empty() || !namespace.chars().all(|c| plain(c) || c == '-') {
            return Err(wrong("a namespace has small letters, digits and `-`"));
        }
        let uri: http::Uri = url.parse().map_err(|_| wrong("that is no URL"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("a URL begins with http:// or https://")),
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(wrong("a user has no place in it: a token says who asks"));
        }
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("the URL names no host"))?;
        let address = host.trim_matches(['[', ']']).parse();
        let here = host == "localhost" || address.is_ok_and(|ip: IpAddr| ip.is_loopback());
        // Who gives an address alone means the usual page there.
        let url = if uri.path() == "/" && uri.query().is_none() {
            format!("{}/metrics", url.trim_end_matches('/'))
        } else {
            url.to_owned()
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            url,
            encrypted,
            here,
        })
    }
}

/// As it is written on the command line.
impl fmt::Display for Picker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.namespace, self.url)
    }
}

impl GatewayReader {
    /// Starts asking `pickers`, until `stop`. A request that is held where none
    /// was, or twice as many, notifies `urgent`.
    ///
    /// # Errors
    /// A picker that is there twice, a token that cannot be sent or would be in
    /// the clear, a certificate that cannot be used.
    pub fn of_pickers(
        pickers: Pickers,
        clock: Clock,
        urgent: &Arc<Notify>,
        stop: &CancellationToken,
    ) -> Result<Self, PickerError> {
        let Pickers {
            all: pickers,
            token,
            transport,
        } = pickers;
        for (i, picker) in pickers.iter().enumerate() {
            if pickers[..i].iter().any(|before| before.url == picker.url) {
                return Err(PickerError::Twice(picker.to_string()));
            }
        }
        let bearer = Bearer::new(token.token.as_deref(), token.path.as_deref()).map_err(PickerError::Token)?;
        let exposed = pickers.iter().find(|picker| !picker.encrypted && !picker.here);
        if let Some(picker) = exposed.filter(|_| !bearer.is_none() && !token.in_the_clear) {
            return Err(PickerError::InTheClear(picker.to_string()));
        }
        let instance = |picker: &Picker| Instance::new(picker.url.clone(), Some(picker.namespace.clone()));
        let instances: Vec<Instance> = pickers.iter().map(instance).collect();
        let reader = Self::over(Kind::Picker, GatewaySource::None, instances, clock);
        if pickers.is_empty() {
            return Ok(reader);
        }
        let roots = trust::roots(token.authority.as_deref()).map_err(PickerError::Authority)?;
        let getter = Getter::secure(roots, bearer, transport, DEADLINE, MAX_BODY);
        let getter = getter.map_err(PickerError::Authority)?;
        for (i, picker) in pickers.into_iter().enumerate() {
            let asking = Asking {
                reader: reader.clone(),
                i,
                book: Book::new(picker.namespace),
                url: picker.url,
                getter: getter.clone(),
                urgent: urgent.clone(),
            };
            tokio::spawn(asking.run(stop.clone()));
        }
        Ok(reader)
    }
}

/// Asks one picker.
struct Asking {
    reader: GatewayReader,
    i: usize,
    book: Book,
    url: String,
    getter: Getter<HttpsConnector<HttpConnector>>,
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
            Err(error) => Err(format!("{error}{}", remedy(&error))),
        };
        let (answer, urgent, pause) = match answer {
            Ok((told, bytes)) => {
                let pause = clock.now().since(asked) * PAUSES;
                (Ok((told.signals, bytes)), told.urgent, pause.clamp(SHORTEST, LONGEST))
            }
            Err(why) => (Err(why), false, LONGEST),
        };
        let woken = urgent.then_some(&*self.urgent);
        self.reader.heard(self.i, answer, (asked, asked), woken);
        pause
    }
}

/// What to do about an answer that is none.
fn remedy(error: &crate::get::GetError) -> &'static str {
    use crate::get::GetError;
    use http::StatusCode;
    match error {
        GetError::Status(_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            ": give it a token that may GET /metrics, by EPP_METRIC_READER_BEARER_TOKEN or --picker-token-path"
        }
        GetError::Status(_, StatusCode::NOT_FOUND) => ": is that the address of its metrics, path included?",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
