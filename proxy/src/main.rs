//! The program `bellhop-proxy`.

use std::process::ExitCode;

/// Fragments less than the system's allocator under many short-lived buffers, which is what a proxy's memory is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bellhop_proxy::app::main_from(std::env::args_os())
}
