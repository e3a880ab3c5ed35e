//! The `mos-bench` command.
fn main() {}
