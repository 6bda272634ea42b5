//! bellhop-control.
fn main() {}
