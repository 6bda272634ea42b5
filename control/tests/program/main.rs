//! The real program: killed in the middle of its work, on a full disk, backed up while it writes, with a thousand watchers
//! that all come back at once, told to listen where it must not.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

mod backups;
mod disk;
mod ends;
mod harness;
mod herd;
mod kills;
mod openapi;
mod units;

use std::process::Command;

#[test]
fn another_address_than_loopback_is_refused_with_what_to_do() {
    let refused =
        Command::new(env!("CARGO_BIN_EXE_bellhop-control")).arg("--listen=0.0.0.0:0").output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{message}");
    assert!(message.contains("--insecure") && message.contains("127.0.0.1"), "{message}");
}
