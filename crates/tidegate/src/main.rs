//! Tidegate: the control plane of an LLM inference fleet.
mod fleet;
fn main() {}
