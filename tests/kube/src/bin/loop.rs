//! Loop suite.
fn main() {}
