//! A disk that is full.

use std::{io::Write as _, path::Path, process::Command};

use crate::harness::{Control, names, put};

/// A small disk of its own for the program alone, which needs a mount namespace and so root.
#[test]
fn f21_a_full_disk_refuses_writes_clearly_while_reads_go_on_and_writes_resume_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run, and needs root");
        println!("skipped: mounting a small disk needs root");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=3m tmpfs \"$6\" && exec \"$0\" \"$@\"";
    command.args([
        "--mount",
        "sh",
        "-c",
        mount,
        env!("CARGO_BIN_EXE_bellhop-control"),
        "--store=embedded",
        "--resolve-interval=1h",
    ]);
    let control = Control::run(command, data.path());
    let created =
        |answer: &Option<String>| answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 201"));
    assert!(created(&put(control.address, "before")));

    // the program's own view of that directory; writing there fills its disk, and no other
    let disk = Path::new("/proc")
        .join(control.child.id().to_string())
        .join("root")
        .join(data.path().strip_prefix("/").unwrap());
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let mut refused = None;
    for n in 0..500 {
        refused =
            put(control.address, &format!("full-{n}")).filter(|answer| answer.starts_with("HTTP/1.1 503"));
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("a full disk refuses");
    assert!(refused.contains("application/problem+json") && refused.contains("No space left"), "{refused}");
    assert!(names(control.address).contains(&"before".to_owned()), "reads go on");

    std::fs::remove_file(&filler).unwrap();
    assert!(created(&put(control.address, "after")), "and so do writes, once there is room");
    let held = names(control.address);
    assert!(held.contains(&"before".to_owned()) && held.contains(&"after".to_owned()));
}
