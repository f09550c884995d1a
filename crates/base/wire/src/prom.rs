//! Prometheus text: a writer that keeps a family's lines together, and a
//! parser that names the line it could not read.

pub mod parse;
pub mod write;
