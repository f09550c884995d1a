//! HTTP/1.1, as little of it as a gateway needs and as strictly as two parties
//! that must read the same bytes alike require.

mod answer;
mod chunked;
pub(crate) mod client;
mod exchange;
pub(crate) mod head;
pub(crate) mod problem;
mod proxy;
mod relay;
pub(crate) mod serve;

pub(crate) use answer::Answer;
