//! Tidegate: the control plane of an LLM inference fleet.
fn main() {}
