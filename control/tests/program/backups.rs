//! Backups of a program that runs and of one that does not, put back elsewhere; files of other versions.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::harness::{Control, list, names, put, send};

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

fn bellhop_control(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bellhop-control")).args(args).output().unwrap()
}

fn done(args: &[&str]) -> String {
    let output = bellhop_control(args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {told}");
    told
}

fn refused(args: &[&str]) -> String {
    let output = bellhop_control(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn epoch(control: &Control) -> String {
    let get = "GET /v1/routes HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = send(control.address, get).unwrap();
    let list: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    list["position"]["epoch"].as_str().or(list["epoch"].as_str()).unwrap().to_owned()
}

#[test]
fn a_backup_taken_while_writes_go_on_is_one_moment_of_the_store_and_can_be_put_back_elsewhere() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("bellhop.backup");
    let control = Control::start(data.path());
    let (address, server) = (control.address, format!("http://{}", control.address));
    let enough = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let each = |n: usize| put(address, &format!("s-{n}")).filter(|answer| answer.contains(" 201 "));
            (0..).take_while(|n| !enough.load(Ordering::Relaxed) && each(*n).is_some()).count()
        });
        while names(address).len() < 50 {
            thread::yield_now();
        }
        let told = done(&["backup", "--server", &server, text(&file)]);
        enough.store(true, Ordering::Relaxed);
        assert!(told.contains("sandboxes"), "{told}");
        writer.join().unwrap()
    });
    assert!(written >= 50);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(done(&["restore", "--check", text(&file)]).contains("whole"));

    let restored = other.path().join("data");
    done(&["restore", "--data-dir", text(&restored), text(&file)]);
    let again = Control::start(&restored);
    let held = names(again.address);
    // one writer, one after the other: a moment of the store is a beginning of the sequence
    assert!(held.len() >= 50);
    assert!((0..held.len()).all(|n| held.contains(&format!("s-{n}"))), "a gap in {held:?}");
    let before: Vec<_> = list(address)
        .into_iter()
        .filter(|item| held.iter().any(|name| item["metadata"]["name"] == **name))
        .collect();
    let after = list(again.address);
    for field in
        ["/spec", "/status/expiresAt", "/status/phase", "/metadata/uid", "/metadata/creationTimestamp"]
    {
        let same = before.iter().zip(&after).all(|(a, b)| a.pointer(field) == b.pointer(field));
        assert!(same && before[0].pointer(field).is_some(), "{field} is as before");
    }
    assert_ne!(epoch(&again), epoch(&control), "proxies are told that this is another life of the store");
    assert!(put(again.address, "later").unwrap().contains(" 201 "));
}

#[test]
fn a_backup_by_tls_needs_the_authority_and_an_admins_token_which_the_restored_store_still_honours() {
    let other = tempfile::tempdir().unwrap();
    let (data, restored) = (other.path().join("data"), other.path().join("restored"));
    let (certificates, file) = (other.path().join("certificates"), other.path().join("bellhop.backup"));
    let start = |data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop-control"));
        command.arg("--dev-certs").arg(&certificates).arg("--audit-log=off");
        Control::run(command, data)
    };
    let control = start(&data);
    let (ca, token) = (certificates.join("ca.pem"), data.join("bootstrap-token"));
    let wrong = other.path().join("wrong-token");
    fs::write(&wrong, "bellhop_wrong\n").unwrap();
    let server = format!("https://{}", control.address);
    let (ca, token) = (["--ca-file", text(&ca)], ["--token-file", text(&token)]);
    let backup = |server: &str, more: &[&[&str]]| -> Vec<String> {
        let args = [&["backup", "--server", server, text(&file)][..], &more.concat()].concat();
        args.iter().map(|arg| (*arg).to_owned()).collect()
    };
    let refusal = |more: &[&[&str]]| {
        let args = backup(&server, more);
        let told = refused(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!file.exists(), "{told}");
        told
    };
    assert!(refusal(&[&token]).contains("certificate"), "nobody vouches for it");
    assert!(refusal(&[&ca]).contains("401"));
    assert!(refusal(&[&ca, &["--token-file", text(&wrong)]]).contains("401"));
    let taken = |server: &str| {
        let args = backup(server, &[&ca, &token]);
        done(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(taken(&server).contains("1 records"), "the token");
    done(&["restore", "--data-dir", text(&restored), text(&file)]);
    fs::remove_file(&file).unwrap();
    let again = start(&restored);
    assert!(!restored.join("bootstrap-token").exists(), "an admin's token is there");
    assert!(taken(&format!("https://{}", again.address)).contains("1 records"));
}

#[test]
fn a_store_that_holds_something_or_is_in_use_is_not_overwritten_by_chance() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("bellhop.backup");
    let control = Control::start(data.path());
    put(control.address, "first");
    let in_use = refused(&["backup", "--data-dir", text(data.path()), text(&file)]);
    assert!(in_use.contains("in use") && in_use.contains("--server"), "{in_use}");
    drop(control);
    done(&["backup", "--data-dir", text(data.path()), text(&file)]);

    let control = Control::start(data.path());
    put(control.address, "second");
    assert!(
        refused(&["restore", "--replace", "--data-dir", text(data.path()), text(&file)]).contains("in use")
    );
    drop(control);
    let kept = refused(&["restore", "--data-dir", text(data.path()), text(&file)]);
    assert!(kept.contains("2 records") && kept.contains("--replace"), "{kept}");
    assert_eq!(names(Control::start(data.path()).address), ["first", "second"]);
    done(&["restore", "--replace", "--data-dir", text(data.path()), text(&file)]);
    assert_eq!(names(Control::start(data.path()).address), ["first"]);
}

#[test]
fn a_backup_that_is_not_whole_is_refused_and_one_that_fails_leaves_no_file() {
    let other = tempfile::tempdir().unwrap();
    let (file, data) = (other.path().join("cut"), other.path().join("data"));
    fs::write(&file, "{\"bellhop_backup\":1,\"schema\":1,\"epoch\":\"e\",\"revision\":1,\"taken_at\":\"2026-01-01T00:00:00Z\"}\n").unwrap();
    let cut = refused(&["restore", "--data-dir", text(&data), text(&file)]);
    assert!(cut.contains("cut off") && !data.exists(), "{cut}");
    let nobody = other.path().join("nobody");
    let told = refused(&["backup", "--server", "http://127.0.0.1:1", text(&nobody)]);
    assert!(told.contains("does not answer") && told.contains("--data-dir"), "{told}");
    assert!(refused(&["backup", "--data-dir", text(&data), text(&nobody)]).contains("no store"));
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "only the file of this test is there");
}

#[test]
fn what_the_environment_says_of_a_replicas_etcd_keeps_nobody_from_another_backup_and_a_flag_in_vain_does() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("bellhop.backup");
    let control = Control::start(data.path());
    put(control.address, "first");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop-control"));
        command.env("BELLHOP_STORE", "etcd://127.0.0.1:1/bellhop").env("BELLHOP_ETCD_CA_FILE", "system");
        command.env("BELLHOP_ETCD_USER", "replica").env("BELLHOP_ETCD_PASSWORD_FILE", "password");
        let output = command.args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let server = format!("http://{}", control.address);
    let (code, told) = run(&["backup", "--server", &server, text(&file)]);
    assert_eq!(code, Some(0), "{told}");
    drop(control);
    let (code, told) = run(&["backup", "--data-dir", text(data.path()), text(&file)]);
    assert_eq!(code, Some(0), "{told}");
    let restored = other.path().join("restored");
    let (code, told) = run(&["restore", "--data-dir", text(&restored), text(&file)]);
    assert_eq!(code, Some(0), "{told}");
    fs::remove_file(&file).unwrap();
    for flag in [
        "--etcd-ca-file=x",
        "--etcd-cert-file=x",
        "--etcd-key-file=x",
        "--etcd-user=x",
        "--etcd-password-file=x",
    ] {
        let (code, told) = run(&["backup", flag, "--data-dir", text(data.path()), text(&file)]);
        let name = flag.trim_end_matches("=x");
        assert!(code == Some(64) && told.contains(&format!("{name}: goes with")), "{code:?} {told}");
        assert_eq!(told.matches("goes with").count(), 1, "what the environment says is no fault: {told}");
        assert!(!file.exists());
    }
}

/// What a file says of its form, as an earlier or a later version would have left it.
fn say_form(data: &Path, form: Option<&str>) {
    let database = Database::open(data.join("bellhop.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        match form {
            Some(form) => drop(meta.insert("schema", form).unwrap()),
            None => drop(meta.remove("schema").unwrap()),
        }
    }
    transaction.commit().unwrap();
}

fn form(file: &Path) -> Option<String> {
    let database = Database::open(file).unwrap();
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    meta.get("schema").unwrap().map(|value| value.value().to_owned())
}

#[test]
fn a_file_of_an_earlier_form_is_migrated_and_kept_and_one_of_a_later_form_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("bellhop.redb");
    put(Control::start(data.path()).address, "a");
    assert_eq!(form(&file).as_deref(), Some("1"));

    say_form(data.path(), None);
    assert_eq!(names(Control::start(data.path()).address), ["a"]);
    assert_eq!(form(&file).as_deref(), Some("1"));
    let kept = data.path().join("bellhop.redb.form-0");
    assert_eq!(form(&kept), None, "the file as it was is kept");
    fs::copy(&kept, &file).unwrap();
    assert_eq!(names(Control::start(data.path()).address), ["a"], "and is whole");

    say_form(data.path(), Some("2"));
    let later = refused(&["--listen=127.0.0.1:0", "--data-dir", text(data.path())]);
    assert!(later.contains("form 2") && later.contains("later version"), "{later}");
    assert_eq!(form(&file).as_deref(), Some("2"));
}
