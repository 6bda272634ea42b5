//! bellhop-bench.
fn main() {}
