//! How questions leave the process: over the network, or not at all.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// The body of an answer, from wherever it comes.
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(String);

/// An answer on its way: a response, or why there is none.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send>>;

/// How questions reach those who are asked.
#[derive(Clone, Default)]
pub enum Transport {
    /// By the connections that the URL asks for.
    #[default]
    Network,
    /// By somebody in this process. A world in virtual time needs it: that
    /// time would run on while a socket is waited for.
    InProcess(Arc<dyn Fn(Request<Bytes>) -> Answering + Send + Sync>),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "Network",
            Self::InProcess(_) => "InProcess",
        })
    }
}

/// Two are the same when whoever answers is.
impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network, Self::Network) => true,
            (Self::InProcess(mine), Self::InProcess(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }
}

impl Eq for Transport {}

impl Transport {
    /// Sends a question; `client` is for the network. An error is the last
    /// cause, in words.
    pub(crate) async fn send<C>(
        &self,
        client: &Client<C, Full<Bytes>>,
        question: Request<Bytes>,
    ) -> Result<Response<Body>, String>
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        match self {
            Self::Network => {
                let answer = client.request(question.map(Full::new)).await;
                let answer = answer.map_err(|error| innermost(&error))?;
                Ok(answer.map(|body| body.map_err(|error| Broken(error.to_string())).boxed_unsync()))
            }
            Self::InProcess(answer) => {
                let answer = answer(question).await?;
                Ok(answer.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync()))
            }
        }
    }
}

/// The last cause says what happened (`Connection refused`); those above it
/// only say that something did.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
