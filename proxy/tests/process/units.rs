//! The proxy's systemd units in `deploy/systemd`: what they say is known to systemd, and to the program that they start.

#[path = "../../../deploy/systemd/analyze.rs"]
mod analyze;

use std::{fs, path::Path, process::Command};

use crate::harness::PROGRAM;

const INSTALLED: &str = "/usr/bin/bellhop-proxy";
/// Above it `systemd-analyze security` has something to say; the proxy's own unit stands at 1.4 of 10.
const EXPOSURE: [(&str, &str); 2] =
    [("bellhop-proxy.service", "20"), ("bellhop-proxy-intercept.service", "30")];

/// The units' texts, by name, with this build in the place of the installed program.
fn units() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let mut units = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "service" || extension == "socket") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("bellhop-proxy") {
                continue;
            }
            units.push((name, fs::read_to_string(path).unwrap().replace(INSTALLED, PROGRAM)));
        }
    }
    assert!(units.len() >= 5, "{units:?}");
    units
}

fn values<'a>(unit: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn every_flag_of_a_unit_exists() {
    let units = units();
    let mut looked = 0;
    for (name, unit) in &units {
        let unit = unit.replace("\\\n", " ");
        for line in
            values(&unit, "ExecStart").chain(values(&unit, "ExecStop")).chain(values(&unit, "ExecReload"))
        {
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            let task: Vec<_> = words.iter().take(1).filter(|word| !word.starts_with('-')).collect();
            let help = Command::new(PROGRAM).args(task).arg("--help").output().unwrap();
            let help = String::from_utf8(help.stdout).unwrap();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{name}: {flag}");
                looked += 1;
            }
        }
    }
    assert!(looked > 4, "{looked}");
}

/// Each socket is handed over under the name of a listener, and its addresses are those that the proxy is told.
#[test]
fn every_socket_fits_a_listener_of_the_service() {
    let units = units();
    let text = |name: &str| &units.iter().find(|unit| unit.0 == name).unwrap().1;
    let service = text("bellhop-proxy.service");
    let sockets: Vec<_> = values(service, "Sockets").flat_map(str::split_whitespace).collect();
    for name in &sockets {
        let unit = text(name);
        let kind = values(unit, "FileDescriptorName").next().unwrap();
        assert_eq!(values(unit, "Service").next(), Some("bellhop-proxy.service"));
        let addresses: Vec<_> = values(unit, "ListenStream").collect();
        let expected: &[&str] = match kind {
            "outbound" => &["127.0.0.1:15001", "[::1]:15001"],
            "inbound" => &["0.0.0.0:15006", "[::]:15006"],
            "status" => &["127.0.0.1:15020"],
            other => panic!("{name} is for {other:?}"),
        };
        assert_eq!(addresses, expected, "{name}");
    }
    let there = units.iter().filter(|unit| unit.0.ends_with(".socket")).count();
    assert_eq!(sockets.len(), there);
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    analyze::finds_no_fault(&units(), &EXPOSURE);
}
