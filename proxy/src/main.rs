//! bellhop-proxy.
fn main() {}
