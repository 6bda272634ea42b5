//! What systemd itself says of units: shared by the tests of the programs that they start.

use std::{
    fs,
    process::{Command, Stdio},
};

const TOOL: &str = "systemd-analyze";

/// Asks systemd about units, by name and text, whose programs are there; and whether those of `exposure` stand below the
/// threshold beside them, in tenths, of `systemd-analyze security`.
pub(crate) fn finds_no_fault(units: &[(String, String)], exposure: &[(&str, &str)]) {
    if Command::new(TOOL).arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "{TOOL} is missing");
        eprintln!("skipped: {TOOL} is missing (Debian package systemd)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let paths = units.iter().map(|(name, text)| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let verified = Command::new(TOOL).args(["verify", "--man=no"]).args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.trim().is_empty(), "{said}");
    for (unit, threshold) in exposure {
        let mut command = Command::new(TOOL);
        command.args(["security", "--offline=yes", "--no-pager", "--threshold", threshold]);
        let judged = command.arg(directory.path().join(unit)).output().unwrap();
        assert!(judged.status.success(), "{unit}: {}", String::from_utf8_lossy(&judged.stdout));
    }
}
