//! Endpoint pickers as they are named or found, and what they are asked with.

use crate::transport::Transport;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// One endpoint picker, and the namespace of the pool it picks for: its metrics
/// do not tell that. Written `NAMESPACE=URL`, where the URL is of its metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picker {
    pub(super) namespace: String,
    pub(super) url: String,
    pub(super) encrypted: bool,
    /// Whether the URL is of this host.
    pub(super) here: bool,
}

/// The pickers to ask, and how.
#[derive(Clone, Debug, Default)]
pub struct Pickers {
    /// Those that somebody named.
    pub all: Vec<Picker>,
    /// Whether others are to be found by their InferencePools.
    pub find: bool,
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

impl Picker {
    /// The picker of a namespace whose metrics are at an address of the
    /// cluster, in plain text at the usual path.
    #[must_use]
    pub fn at(namespace: &str, address: SocketAddr) -> Self {
        Self {
            namespace: namespace.to_owned(),
            url: format!("http://{address}/metrics"),
            encrypted: false,
            here: address.ip().is_loopback(),
        }
    }

    /// The namespace of the pool it picks for.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
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
