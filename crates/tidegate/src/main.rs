//! Tidegate: the control plane of an LLM inference fleet.

#[expect(dead_code, unused_imports, reason = "`up` opens it")]
mod dashboard;

fn main() {}
