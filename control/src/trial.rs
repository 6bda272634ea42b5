//! An authority and certificates for a trial: made where there are none, renewed after 2/3 of their life.
//!
//! The authority's successor stands beside it in the same file until it has ended, so that certificates of both are
//! trusted meanwhile. Everything is written aside and moved into place; keys are their owner's alone. Not for lasting use:
//! the authority's key lies beside what it signs.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use x509_parser::{extensions::GeneralName, pem::Pem, prelude::X509Certificate};

use crate::config::TrialConfig;

/// The authorities, newest first.
pub(crate) const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
/// The listener's certificate and key.
pub(crate) const SERVER: &str = "control.pem";
pub(crate) const SERVER_KEY: &str = "control-key.pem";
/// A certificate for proxies, and its identity.
const CLIENT: &str = "proxy.pem";
const CLIENT_KEY: &str = "proxy-key.pem";
pub(crate) const PROXY: &str = "spiffe://bellhop.internal/proxy";
/// Everything begins that long before it was made: clocks differ, and are set back.
const BEFORE: SignedDuration = SignedDuration::from_hours(2);
/// The authority's life, in lives of certificates.
const CA_LIVES: u32 = 10;

/// Certificates for a trial cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A file cannot be written or read.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The clock shows a time that no certificate can have.
    #[error("cannot make a certificate for this time of the clock")]
    Clock,
}

/// What is known of a certificate that is there.
struct Found {
    pem: String,
    from: Timestamp,
    until: Timestamp,
    hosts: Vec<String>,
}

impl Found {
    /// The time to make its successor.
    fn due(&self) -> Timestamp {
        let made = self.from.saturating_add(BEFORE).unwrap_or(Timestamp::MAX);
        let life = self.until.duration_since(made);
        made.saturating_add(life * 2 / 3).unwrap_or(Timestamp::MAX)
    }
}

/// Makes and renews what is due. Returns the files that were written.
///
/// # Errors
/// When the directory cannot be used.
pub(crate) fn refresh(config: &TrialConfig, now: Timestamp) -> Result<Vec<&'static str>, TrialError> {
    let directory = &config.directory;
    fs::create_dir_all(directory).map_err(|source| TrialError::File { path: directory.clone(), source })?;
    let mut written = Vec::new();
    let mut authorities = found(&directory.join(CA));
    authorities.retain(|authority| authority.until > now);
    let key = fs::read_to_string(directory.join(CA_KEY)).ok().and_then(|text| KeyPair::from_pem(&text).ok());
    let (key, newest) = match (key, authorities.first()) {
        (Some(key), Some(newest)) if newest.due() > now => (key, newest.pem.clone()),
        _ => {
            let (key, pem) = authority(config, now)?;
            // the key last: an authority that signs nothing yet harms nobody
            let all = authorities.iter().map(|authority| authority.pem.as_str());
            let all: String = std::iter::once(pem.as_str()).chain(all).collect();
            put(directory, CA, &all, 0o644)?;
            put(directory, CA_KEY, &key.serialize_pem(), 0o600)?;
            written.extend([CA, CA_KEY]);
            (key, pem)
        }
    };
    let until = found_in(&newest).first().map_or(Timestamp::MAX, |authority| authority.until);
    let issuer = Issuer::from_ca_cert_pem(&newest, key)?;
    for leaf in [Leaf::Server, Leaf::Client] {
        let (file, key_file) = leaf.files();
        let held = found(&directory.join(file)).into_iter().next();
        let mut hosts = leaf.hosts(config);
        if let Some(held) = &held {
            let knows =
                hosts.iter().all(|host| held.hosts.contains(host)) && directory.join(key_file).exists();
            if knows && held.due() > now {
                continue;
            }
            // names that another run was told stay
            hosts.extend(held.hosts.iter().filter(|host| !leaf.hosts(config).contains(host)).cloned());
        }
        let (certificate, key) = leaf.make(hosts, now, until.min(end(now, config, 1)), &issuer)?;
        put(directory, key_file, &key, 0o600)?;
        put(directory, file, &certificate, 0o644)?;
        written.extend([file, key_file]);
    }
    Ok(written)
}

fn end(now: Timestamp, config: &TrialConfig, lives: u32) -> Timestamp {
    let life = SignedDuration::try_from(config.life.saturating_mul(lives)).unwrap_or(SignedDuration::MAX);
    now.saturating_add(life).unwrap_or(Timestamp::MAX)
}

#[derive(Clone, Copy)]
enum Leaf {
    Server,
    Client,
}

impl Leaf {
    fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Server => (SERVER, SERVER_KEY),
            Self::Client => (CLIENT, CLIENT_KEY),
        }
    }

    fn hosts(self, config: &TrialConfig) -> Vec<String> {
        match self {
            Self::Server => {
                let mut hosts: Vec<_> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
                hosts.extend(
                    config.hosts.iter().filter(|host| !hosts.contains(host)).cloned().collect::<Vec<_>>(),
                );
                hosts
            }
            Self::Client => Vec::new(),
        }
    }

    fn make(
        self,
        hosts: Vec<String>,
        now: Timestamp,
        until: Timestamp,
        issuer: &Issuer<'_, KeyPair>,
    ) -> Result<(String, String), TrialError> {
        let mut params = CertificateParams::new(hosts)?;
        let (name, usage) = match self {
            Self::Server => ("bellhop-control", ExtendedKeyUsagePurpose::ServerAuth),
            Self::Client => ("bellhop-proxy", ExtendedKeyUsagePurpose::ClientAuth),
        };
        if matches!(self, Self::Client) {
            params.subject_alt_names.push(SanType::URI(PROXY.try_into()?));
        }
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (before(now)?, date(until)?);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn authority(config: &TrialConfig, now: Timestamp) -> Result<(KeyPair, String), TrialError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // one name for each, so that nobody mistakes one for the other
    params.distinguished_name.push(DnType::CommonName, format!("Bellhop trial authority of {now}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (before(now)?, date(end(now, config, CA_LIVES))?);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((key, pem))
}

fn before(now: Timestamp) -> Result<time::OffsetDateTime, TrialError> {
    date(now.saturating_sub(BEFORE).unwrap_or(Timestamp::MIN))
}

fn date(at: Timestamp) -> Result<time::OffsetDateTime, TrialError> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| TrialError::Clock)
}

/// The certificates of a file, as far as there are any.
fn found(path: &Path) -> Vec<Found> {
    fs::read_to_string(path).map(|text| found_in(&text)).unwrap_or_default()
}

fn found_in(text: &str) -> Vec<Found> {
    Pem::iter_from_buffer(text.as_bytes()).map_while(Result::ok).filter_map(|pem| read(&pem)).collect()
}

fn read(pem: &Pem) -> Option<Found> {
    let certificate: X509Certificate<'_> = pem.parse_x509().ok()?;
    let second = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let validity = certificate.validity();
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let hosts = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            bytes => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    });
    let text = armour(&pem.contents);
    Some(Found {
        pem: text,
        from: second(validity.not_before)?,
        until: second(validity.not_after)?,
        hosts: hosts.collect(),
    })
}

fn armour(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out + "-----END CERTIFICATE-----\n"
}

/// Writes a file aside and moves it into place.
fn put(directory: &Path, name: &str, text: &str, mode: u32) -> Result<(), TrialError> {
    let path = directory.join(name);
    let new = directory.join(format!("{name}.new"));
    let written = (|| {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    })();
    written.map_err(|source| TrialError::File { path, source })
}

#[cfg(test)]
mod tests;
