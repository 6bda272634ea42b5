//! bellhop.
fn main() {}
