//! Server-sent events: a decoder that may be fed any split of the bytes, and
//! a light scanner for proxies that only want to know what passes by.

mod decode;
mod glance;

pub use decode::{Decoder, Event, TooLong};
pub use glance::{Glance, Seen, Usage, usage_in};
