//! Control's systemd unit: what it says is known to systemd, and to the program that it starts.

#[path = "../../../deploy/systemd/analyze.rs"]
mod analyze;

use std::{fs, path::Path, process::Command};

const UNIT: &str = "bellhop-control.service";
const PROGRAM: &str = env!("CARGO_BIN_EXE_bellhop-control");
/// Above it, in tenths, `systemd-analyze security` has something to say.
const EXPOSURE: &str = "20";

/// The unit with this build in the place of the installed program.
fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd").join(UNIT);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains("=/usr/bin/bellhop-control "), "{text}");
    text.replace("/usr/bin/bellhop-control", PROGRAM)
}

#[test]
fn every_flag_and_variable_that_the_unit_names_exists_and_its_directory_is_the_one_it_gets() {
    let unit = unit();
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut flags = start.split_whitespace().filter(|word| word.starts_with("--")).peekable();
    assert!(flags.peek().is_some(), "{start}");
    assert!(flags.all(|flag| help.contains(flag)), "{start}");
    let mut names = unit.split(|c: char| c != '_' && !c.is_ascii_uppercase());
    assert!(names.all(|name| !name.starts_with("BELLHOP_") || help.contains(name)), "{unit}");
    assert!(unit.contains("StateDirectory=bellhop\n") && start.contains("--data-dir /var/lib/bellhop"));
}

#[test]
fn systemd_finds_no_fault_with_the_unit() {
    analyze::finds_no_fault(&[(UNIT.to_owned(), unit())], &[(UNIT, EXPOSURE)]);
}
