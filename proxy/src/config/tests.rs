use std::time::Duration;

use super::{AccessLog, AdminAddress, Config, ProxyStatus};

fn config(line: &str) -> Config {
    Config::from_args(line.split_whitespace()).unwrap_or_else(|faults| panic!("{line}: {faults}"))
}

fn faults(line: &str) -> String {
    Config::from_args(line.split_whitespace()).expect_err(line).to_string()
}

#[test]
fn defaults_are_those_of_the_design() {
    let config = config("");
    let limits = &config.limits;
    assert_eq!((limits.max_headers, limits.max_header_bytes, limits.max_uri_bytes), (100, 65_536, 16_384));
    assert_eq!(limits.header_timeout, Duration::from_secs(10));
    assert_eq!(
        (limits.max_concurrent_streams, limits.stream_window, limits.connection_window),
        (100, 65_536, 1_048_576)
    );
    assert_eq!((limits.connect_timeout, limits.request_timeout), (Duration::from_secs(1), None));
    assert_eq!((limits.idle_timeout, limits.max_connections), (Duration::from_secs(3600), None));
    assert_eq!((limits.max_baggage_bytes, limits.max_baggage_members), (8192, 64));
    assert_eq!(config.process.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.admin.admin.to_string(), "127.0.0.1:15000");
    assert!(config.listeners.fixed.is_empty() && config.listeners.outbound.is_empty());
}

/// DESIGN §5: each limit has a flag that says why, and stands in the documents with the same default.
#[test]
fn limits_say_their_reason_and_are_documented_with_their_defaults() {
    let operating = include_str!("../../OPERATING.md");
    let flags = <super::Flags as clap::Args>::augment_args(clap::Command::new(""));
    let limits = flags
        .get_arguments()
        .filter(|flag| flag.get_help_heading() == Some("Limits") || flag.get_id() == "drain_timeout");
    let mut seen = 0;
    for flag in limits {
        let name = flag.get_long().unwrap();
        let help = flag.get_help().unwrap().to_string();
        let (reason, default) = help.trim_end_matches(']').split_once(" [default: ").expect(name);
        let default = default.split(':').next().unwrap();
        assert!(reason.len() > 40, "--{name} says no reason: {reason}");
        assert!(operating.contains(&format!("| `--{name}` | {default} |")), "--{name}, {default}");
        seen += 1;
    }
    assert_eq!(seen, 17);
}

#[test]
fn pairs_of_listeners_and_upstreams_are_matched_by_order() {
    let config = config(
        "--listen 127.0.0.1:1 --upstream a:80 --destination a:80 --listen [::1]:2 --upstream [fd00::7]:8080 \
         --destination b.shop:8080",
    );
    let told: Vec<_> = config
        .listeners
        .fixed
        .iter()
        .map(|pair| format!("{} {} {}", pair.listen, pair.upstream, pair.destination.as_ref().unwrap()))
        .collect();
    assert_eq!(told, ["127.0.0.1:1 a:80 a.default:80", "[::1]:2 [fd00::7]:8080 b.shop:8080"]);
}

#[test]
fn lists_take_commas_or_repetition() {
    let one = config("--inbound-ports 80,81 --outbound 127.0.0.1:1,[::1]:1");
    let other = config("--inbound-ports 80 --inbound-ports 81 --outbound 127.0.0.1:1 --outbound [::1]:1");
    assert_eq!(one.listeners.inbound_ports, [80, 81]);
    assert_eq!(one.listeners.inbound_ports, other.listeners.inbound_ports);
    assert_eq!(one.listeners.outbound, other.listeners.outbound);
}

#[test]
fn intercepted_opens_both_families_unless_told() {
    let told = |line: &str| {
        let listeners = config(line).listeners;
        format!("{:?} {:?}", listeners.outbound, listeners.inbound)
    };
    assert_eq!(told("--intercepted"), "[127.0.0.1:15001, [::1]:15001] [0.0.0.0:15006, [::]:15006]");
    assert_eq!(told("--intercepted=false"), "[] []");
    assert_eq!(told("--intercepted --outbound 127.0.0.1:9"), "[127.0.0.1:9] [0.0.0.0:15006, [::]:15006]");
}

#[test]
fn all_faults_are_told_at_once_each_with_flag_value_and_what_is_allowed() {
    let told = faults(
        "--listen here --upstream route --workers 0 --drain-timeout 30 --max-headers many --max-uri-bytes 1GiB \
         --admin 10.0.0.1:1 --proxy-status loud --access-log some --inbound-ports 0,http --allow-from ten \
         --max-header-bytes 1KB --intercepted=maybe --log-level chatty --max-connections 0 --carriers baggage,pigeon \
         --request-timeout 0s",
    );
    for (flag, value, allowed) in [
        ("listen", "here", "IP:PORT"),
        ("upstream", "route", "HOST:PORT"),
        ("workers", "0", "1 to 1024"),
        ("drain-timeout", "30", "unit"),
        ("max-headers", "many", "1 to 10000"),
        ("max-uri-bytes", "1GiB", "KiB or MiB"),
        ("admin", "10.0.0.1:1", "loopback"),
        ("proxy-status", "loud", "full, reason, errors"),
        ("access-log", "some", "off, keyed, all"),
        ("inbound-ports", "0", "1 to 65535"),
        ("inbound-ports", "http", "1 to 65535"),
        ("allow-from", "ten", "CIDR"),
        ("max-header-bytes", "1KB", "KiB or MiB"),
        ("intercepted", "maybe", "true, false"),
        ("log-level", "chatty", "debug"),
        ("max-connections", "0", "1 to 1000000"),
        ("request-timeout", "0s", "above zero"),
        ("carriers", "pigeon", "baggage"),
    ] {
        let line = told.lines().find(|line| line.starts_with(&format!("--{flag} {value:?}: ")));
        assert!(line.is_some_and(|line| line.contains(allowed)), "--{flag} {value:?}: {told}");
    }
    assert_eq!(told.lines().count(), 18, "{told}");
}

#[test]
fn a_listener_without_its_upstream_is_a_fault() {
    assert!(faults("--listen 127.0.0.1:1").contains("each --listen takes one --upstream"));
    assert!(faults("--upstream a:1").contains("each --listen takes one --upstream"));
    assert!(
        faults("--listen 127.0.0.1:1 --upstream a:1 --destination a:1 --destination b:1")
            .contains("at most one")
    );
    assert!(faults("--no-such-flag").contains("--no-such-flag"));
}

/// B21: an outbound or explicit listener lends the proxy's position in the network.
#[test]
fn outbound_and_explicit_listeners_stay_on_loopback_unless_callers_are_named() {
    for flag in ["outbound", "explicit"] {
        assert!(faults(&format!("--{flag} 0.0.0.0:1")).contains("loopback"), "{flag}");
        let open = config(&format!("--{flag} 0.0.0.0:1 --allow-from 10.0.0.0/8,fd00::/8")).listeners;
        for (caller, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("127.0.0.1", true),
            ("11.0.0.1", false),
        ] {
            assert_eq!(open.allows(caller.parse().unwrap()), allowed, "{caller}");
        }
    }
    config("--inbound 0.0.0.0:1");
}

#[test]
fn values_are_read_with_their_units() {
    let config = config(
        "--max-header-bytes 32KiB --max-uri-bytes 2048 --connection-window 2MiB --header-timeout 500ms \
         --idle-timeout 2h --request-timeout 200ms --proxy-status reason --access-log all --admin unix:/run/b.sock",
    );
    assert_eq!((config.limits.max_header_bytes, config.limits.max_uri_bytes), (32_768, 2048));
    assert_eq!(config.limits.connection_window, 2_097_152);
    assert_eq!(config.limits.header_timeout, Duration::from_millis(500));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(7200));
    assert_eq!(config.limits.request_timeout, Some(Duration::from_millis(200)));
    assert_eq!(self::config("--request-timeout off").limits.request_timeout, None);
    assert_eq!(
        (config.telemetry.proxy_status, config.telemetry.access_log),
        (ProxyStatus::Reason, AccessLog::All)
    );
    assert_eq!(config.admin.admin, AdminAddress::Unix("/run/b.sock".into()));
    super::Config::from_args(["--admin", "off"]).unwrap();
}

/// Every flag has its variable, and every flag its reason in `--help`.
#[test]
fn every_flag_can_be_given_by_the_environment_variable_of_its_name() {
    use clap::CommandFactory as _;
    #[derive(clap::Parser)]
    struct All {
        #[command(flatten)]
        _flags: super::Flags,
    }
    for flag in All::command().get_arguments().filter(|flag| flag.get_id() != "help") {
        let long = flag.get_long().unwrap();
        let wanted = match long {
            // OpenTelemetry's own names: they are set for the applications of a host anyway.
            "otlp-endpoint" => "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            "service-name" | "resource-attributes" => {
                format!("OTEL_{}", long.to_ascii_uppercase().replace('-', "_"))
            }
            _ => format!("BELLHOP_{}", long.to_ascii_uppercase().replace('-', "_")),
        };
        assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(wanted.as_str()), "--{long}");
        assert!(flag.get_help().is_some() && flag.get_help_heading().is_some(), "--{long}");
    }
}

#[test]
fn a_token_goes_over_tls_or_to_loopback_alone_and_certificate_and_key_come_together() {
    for url in ["https://control.example.org", "http://127.0.0.1:7070"] {
        let routing = config(&format!("--control {url} --token-file /t --ca-file /c")).routing;
        assert_eq!(routing.control.unwrap().as_str(), url);
        assert_eq!(routing.token_file, Some("/t".into()));
    }
    let readable = faults("--control http://control.example.org --token-file /t");
    assert!(readable.contains("--token-file") && readable.contains("https://"), "{readable}");
    for half in ["--client-cert-file /c", "--client-key-file /k"] {
        assert!(faults(&format!("--control https://a {half}")).contains("needs both"), "{half}");
    }
    let bad = faults("--control https://a/path");
    assert!(bad.contains("https://HOST[:PORT]"), "{bad}");
}
