//! MATRICES F19 as far as one process can show it: authorities rotated, certificates that have ended, over real sockets.

use std::{fs, path::Path};

use bellhop_api::access::{Secret, WhoAmI};
use bellhop_client::{Credentials, Reach, SendError, Source, Timing};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tempfile::TempDir;
use time::{Duration as Span, OffsetDateTime};

use super::*;
use crate::{
    app::{Running, start},
    config::Config,
};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        Self::until(name, Span::days(1))
    }

    fn until(name: &str, left: Span) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = OffsetDateTime::now_utc() - Span::days(2);
        params.not_after = OffsetDateTime::now_utc() + left;
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes a certificate and its key, good for so long from now.
    fn issue(&self, directory: &Path, name: &str, uri: Option<&str>, left: Span) {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = OffsetDateTime::now_utc() - Span::days(1);
        params.not_after = OffsetDateTime::now_utc() + left;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(directory.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    }
}

/// A control plane that speaks TLS, its files, and its first token.
struct Lab {
    files: TempDir,
    running: Running,
}

const IDENTITY: &str = "spiffe://example.org/ns/shop/sa/ci";

impl Lab {
    async fn start(server: &Authority, clients: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        server.issue(files.path(), "server", None, Span::hours(1));
        fs::write(files.path().join("client-ca.pem"), clients).unwrap();
        let running = start(Config::from_args(args(files.path())).unwrap()).await.unwrap();
        Self { files, running }
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.files.path().join(name), text).unwrap();
    }

    fn token(&self) -> Source {
        let token = fs::read_to_string(self.files.path().join("bootstrap-token")).unwrap();
        Source::Text(Secret::new(token.trim()))
    }

    /// A client that trusts what stands in `ca.pem`.
    fn client(&self, token: Option<Source>, certificate: Option<&str>) -> Reach {
        let file = |name: String| self.files.path().join(name);
        let credentials = Credentials {
            token,
            ca: Some(Source::File(file("ca.pem".into()))),
            certificate: certificate
                .map(|name| (file(format!("{name}.pem")), file(format!("{name}-key.pem")))),
        };
        let timing = Timing { connect: Duration::from_secs(5), idle: Duration::from_secs(5) };
        Reach::new(format!("https://{}", self.running.addr()).parse().unwrap(), credentials, timing)
    }
}

fn args(files: &Path) -> Vec<String> {
    let at = |flag: &str, name: &str| format!("--{flag}={}", files.join(name).display());
    vec![
        "--listen=127.0.0.1:0".into(),
        "--store=memory".into(),
        "--audit-log=off".into(),
        at("data-dir", ""),
        at("tls-cert-file", "server.pem"),
        at("tls-key-file", "server-key.pem"),
        at("client-ca-file", "client-ca.pem"),
        "--client-identity=spiffe://example.org/ns/*/sa/ci=developer:shop".into(),
    ]
}

async fn whoami(client: &Reach) -> Result<String, String> {
    let request = Request::get(format!("{}/v1/whoami", client.url())).body(Full::<Bytes>::default()).unwrap();
    let answer =
        tokio::time::timeout(Duration::from_secs(20), client.send(request)).await.expect("an answer");
    let answer = answer.map_err(|error| deepest(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(answer.status().to_string());
    }
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Ok(serde_json::from_slice::<WhoAmI>(&body).unwrap().name)
}

fn deepest(error: &SendError) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[tokio::test]
async fn with_tls_callers_must_say_who_they_are_by_a_token_or_a_certificate() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let lab = Lab::start(&servers, &clients.pem).await;
    lab.put("ca.pem", &servers.pem);
    clients.issue(lab.files.path(), "ci", Some(IDENTITY), Span::hours(1));
    clients.issue(lab.files.path(), "other", Some("spiffe://example.org/other"), Span::hours(1));
    assert_eq!(whoami(&lab.client(None, None)).await, Err("401 Unauthorized".into()));
    assert_eq!(whoami(&lab.client(Some(lab.token()), None)).await, Ok("token:bootstrap".into()));
    assert_eq!(whoami(&lab.client(None, Some("ci"))).await, Ok(format!("certificate:{IDENTITY}")));
    assert_eq!(whoami(&lab.client(None, Some("other"))).await, Err("403 Forbidden".into()));
    assert_eq!(
        whoami(&lab.client(Some(lab.token()), Some("ci"))).await,
        Ok("token:bootstrap".into()),
        "a token that is shown says more than the certificate"
    );
    // the listener's authority is none for clients
    servers.issue(lab.files.path(), "forged", Some(IDENTITY), Span::hours(1));
    let refused = whoami(&lab.client(None, Some("forged"))).await.unwrap_err();
    assert!(refused.contains("UnknownCA") || refused.contains("unknown"), "{refused}");
}

#[tokio::test]
async fn f19_the_old_and_the_new_authority_are_trusted_while_they_overlap_and_nobody_restarts() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let lab = Lab::start(&old, &old.pem).await;
    let files = lab.files.path();
    lab.put("ca.pem", &old.pem);
    for (authority, name) in [(&old, "by-old"), (&new, "by-new")] {
        authority.issue(files, name, Some(IDENTITY), Span::hours(1));
    }
    let (by_old, by_new) = (lab.client(None, Some("by-old")), lab.client(None, Some("by-new")));
    assert!(whoami(&by_old).await.is_ok());
    assert!(whoami(&by_new).await.is_err());
    // both sides learn of the new one first
    let both = format!("{}{}", new.pem, old.pem);
    lab.put("client-ca.pem", &both);
    lab.put("ca.pem", &both);
    lab.running.reload().await;
    assert!(whoami(&by_old).await.is_ok() && whoami(&by_new).await.is_ok());
    // then certificates change
    new.issue(files, "server", None, Span::hours(1));
    lab.running.reload().await;
    let (fresh_old, fresh_new) = (lab.client(None, Some("by-old")), lab.client(None, Some("by-new")));
    assert!(whoami(&fresh_old).await.is_ok() && whoami(&fresh_new).await.is_ok());
    // then the old one goes
    lab.put("client-ca.pem", &new.pem);
    lab.put("ca.pem", &new.pem);
    lab.running.reload().await;
    assert!(whoami(&by_new).await.is_ok(), "the very client of the beginning has followed");
    assert!(whoami(&by_old).await.is_err());
    lab.put("ca.pem", &old.pem);
    let refused = whoami(&by_new).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[tokio::test]
async fn f19_what_has_ended_is_refused_on_either_side_and_never_takes_the_place_of_what_serves() {
    let authority = Authority::new("all");
    let ended = Authority::until("ended", -Span::hours(1));
    let lab = Lab::start(&authority, &format!("{}{}", authority.pem, ended.pem)).await;
    let files = lab.files.path();
    lab.put("ca.pem", &authority.pem);
    authority.issue(files, "late", Some(IDENTITY), -Span::hours(1));
    let refused = whoami(&lab.client(None, Some("late"))).await.unwrap_err();
    assert!(refused.to_lowercase().contains("expired"), "{refused}");
    ended.issue(files, "of-ended", Some(IDENTITY), Span::hours(1));
    assert!(
        whoami(&lab.client(None, Some("of-ended"))).await.is_err(),
        "nor what an ended authority vouches for"
    );
    // a client judges the server's certificate by its own clock
    authority.issue(files, "ci", Some(IDENTITY), Span::hours(1));
    let client = lab.client(None, Some("ci"));
    assert!(whoami(&client).await.is_ok());
    for broken in ["ended", "garbage", "half"] {
        match broken {
            "ended" => authority.issue(files, "server", None, -Span::hours(1)),
            "garbage" => lab.put("server.pem", "garbage"),
            // certificate and key change one after the other
            _ => lab.put("server-key.pem", &KeyPair::generate().unwrap().serialize_pem()),
        }
        lab.running.reload().await;
        assert!(whoami(&lab.client(None, Some("ci"))).await.is_ok(), "{broken}: what serves goes on");
    }
    authority.issue(files, "server", None, -Span::hours(1));
    let refused = start(Config::from_args(args(files)).unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("server.pem") && refused.contains("has ended at"), "{refused}");
    authority.issue(files, "server", None, Span::hours(2));
    lab.running.reload().await;
    assert!(whoami(&lab.client(None, Some("ci"))).await.is_ok());
}

#[tokio::test]
async fn f19_an_authority_that_ends_while_control_runs_is_not_trusted_from_then_on_though_no_file_changes() {
    let (lasting, ending) = (Authority::new("lasting"), Authority::until("ending", Span::seconds(5)));
    let lab = Lab::start(&lasting, &format!("{}{}", lasting.pem, ending.pem)).await;
    lab.put("ca.pem", &lasting.pem);
    for (authority, name) in [(&lasting, "by-lasting"), (&ending, "by-ending")] {
        authority.issue(lab.files.path(), name, Some(IDENTITY), Span::hours(1));
    }
    assert!(whoami(&lab.client(None, Some("by-ending"))).await.is_ok());
    let begun = tokio::time::Instant::now();
    while whoami(&lab.client(None, Some("by-ending"))).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it ends after 5 s");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(whoami(&lab.client(None, Some("by-lasting"))).await.is_ok());
}

#[test]
fn f19_when_the_last_authority_has_ended_nobody_is_asked_for_a_certificate() {
    let (server, ending) = (Authority::new("server"), Authority::until("ending", Span::hours(1)));
    let files = tempfile::tempdir().unwrap();
    server.issue(files.path(), "server", None, Span::days(1));
    fs::write(files.path().join("client-ca.pem"), &ending.pem).unwrap();
    let config = Config::from_args(args(files.path())).unwrap().tls.unwrap();
    let now = Timestamp::now();
    let stamps = Stamps::of(super::files(&config));
    let mut current = Current::new(stamps, read(&config, now).unwrap(), now).unwrap();
    let ends = current.ends.unwrap();
    current.drop_ended(ends);
    assert!(current.material.authorities.is_none() && current.ends.is_none());
    assert!(matches!(read(&config, ends).and_then(|it| it.server(ends)), Err(TlsError::Authorities(_))));
}

#[test]
fn a_file_that_hangs_keeps_no_connection_waiting_and_counts_once_it_is_read() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = tempfile::tempdir().unwrap();
    let (next, file) = (files.path().join("next"), files.path().join("client-ca.pem"));
    old.issue(files.path(), "server", None, Span::hours(1));
    fs::write(&file, &old.pem).unwrap();
    let config = Config::from_args(args(files.path())).unwrap().tls.unwrap();
    let tls = Tls::load(config, Clock::System).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&next).status().unwrap();
    assert!(made.success());
    fs::rename(&next, &file).unwrap();
    std::thread::scope(|threads| {
        let reading = threads.spawn(|| tls.read_again());
        // opens once somebody reads there, who then waits for what it says
        let mut writer = fs::OpenOptions::new().write(true).open(&file).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let (tell, tls) = (tell, &tls);
        threads.spawn(move || tell.send(tls.acceptor()));
        let served = told.recv_timeout(Duration::from_secs(20));
        std::io::Write::write_all(&mut writer, new.pem.as_bytes()).unwrap();
        drop(writer);
        reading.join().unwrap();
        assert!(served.is_ok(), "a connection is served meanwhile");
    });
    let current = tls.current();
    let authority = &current.material.authorities.as_ref().unwrap()[0].certificate;
    assert_eq!(*authority, CertificateDer::from_pem_slice(new.pem.as_bytes()).unwrap());
}

#[tokio::test]
async fn certificates_for_a_trial_let_proxies_in_and_plain_http_is_not_answered() {
    let files = tempfile::tempdir().unwrap();
    let at = |flag: &str| format!("--{flag}={}", files.path().display());
    let args = [
        "--listen=127.0.0.1:0".into(),
        "--store=memory".into(),
        "--audit-log=off".into(),
        at("data-dir"),
        at("dev-certs"),
    ];
    let running = start(Config::from_args(args).unwrap()).await.unwrap();
    let lab = Lab { files, running };
    let proxy = whoami(&lab.client(None, Some("proxy"))).await;
    assert_eq!(proxy, Ok(format!("certificate:{}", trial::PROXY)));
    assert_eq!(whoami(&lab.client(Some(lab.token()), None)).await, Ok("token:bootstrap".into()));
    // neither TLS nor anything else
    let mut silent = tokio::net::TcpStream::connect(lab.running.addr()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut silent, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("it is cut").ok();
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP is not answered");
}
