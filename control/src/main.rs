//! bellhop-control.

use std::process::ExitCode;

fn main() -> ExitCode {
    bellhop_control::app::main_from(std::env::args_os())
}
