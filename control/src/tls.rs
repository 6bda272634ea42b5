//! The listener's side of TLS, made anew whenever its files have changed.
//!
//! A certificate that has ended, or files that cannot be read, do not take the place of what serves; at the start they
//! keep control from starting. Connections that stand stay as they are; sessions are not resumed, so that each new
//! connection is judged by the authorities of its moment: one that ends is not trusted from then on, whether or not a file
//! has changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellhop_client::Stamps;
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::{
    access::Identity,
    clock::Clock,
    config::{Certificates, TlsConfig},
    trial::{self, TrialError},
};

/// Files and clock are looked at this often.
const LOOK: Duration = Duration::from_secs(2);

/// TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM of the kind that it should be.
    #[error("{}: {why}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The certificate is not good (any more).
    #[error("{}: the certificate has ended at {until}", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
        /// When.
        until: Timestamp,
    },
    /// Certificate and key do not go together.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
    /// The client authorities cannot be used.
    #[error("authorities of client certificates cannot be used: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// Certificates for a trial cannot be made.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// See the module.
pub(crate) struct Tls {
    config: TlsConfig,
    clock: Clock,
    /// For as long as it takes to take a reference: each new connection waits for it.
    current: Mutex<Current>,
    /// One reads at a time, so that what was read first never takes the place of what was read later.
    reading: Mutex<()>,
}

struct Current {
    stamps: Stamps,
    material: Material,
    server: Arc<ServerConfig>,
    /// When the first of the authorities that it trusts ends.
    ends: Option<Timestamp>,
}

/// What the files hold.
struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Of client certificates; none where nobody is asked for one.
    authorities: Option<Vec<Authority>>,
}

struct Authority {
    certificate: CertificateDer<'static>,
    /// Its end; `None` where that cannot be read.
    until: Option<Timestamp>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files, and makes them first where they are for a trial.
    ///
    /// # Errors
    /// When they cannot be used now.
    pub(crate) fn load(config: TlsConfig, clock: Clock) -> Result<Self, TlsError> {
        if let Certificates::Trial(trial) = &config.certificates {
            trial::refresh(trial, clock.now())?;
        }
        let stamps = Stamps::of(files(&config));
        let current = Current::new(stamps, read(&config, clock.now())?, clock.now())?;
        Ok(Self { config, clock, current: Mutex::new(current), reading: Mutex::default() })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the next connection. Reads no file.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current();
        let now = self.clock.now();
        if current.ends.is_some_and(|ends| ends <= now) {
            current.drop_ended(now);
        }
        TlsAcceptor::from(Arc::clone(&current.server))
    }

    /// Renews what is control's own to renew, and takes files that have changed. A disk that hangs keeps this alone waiting:
    /// what serves goes on.
    pub(crate) async fn refresh(self: &Arc<Self>) {
        let tls = Arc::clone(self);
        if tokio::task::spawn_blocking(move || tls.read_again()).await.is_err() {
            tracing::error!("looking after the certificates failed");
        }
    }

    fn read_again(&self) {
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if let Certificates::Trial(config) = &self.config.certificates {
            match trial::refresh(config, now) {
                Ok(written) if written.is_empty() => {}
                Ok(written) => tracing::info!(?written, "certificates renewed"),
                Err(error) => tracing::error!(%error, "certificates cannot be renewed"),
            }
        }
        let stamps = Stamps::of(files(&self.config));
        if self.current().stamps == stamps {
            return;
        }
        match read(&self.config, now).and_then(|material| Current::new(stamps.clone(), material, now)) {
            Ok(new) => {
                tracing::info!("certificates have changed and are used from now on");
                *self.current() = new;
            }
            Err(error) => {
                tracing::error!(%error, "certificates have changed and cannot be used; those of before stay");
                self.current().stamps = stamps;
            }
        }
    }

    /// Looks after the files, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            self.refresh().await;
        }
    }
}

impl Current {
    fn new(stamps: Stamps, material: Material, now: Timestamp) -> Result<Self, TlsError> {
        let (server, ends) = material.server(now)?;
        Ok(Self { stamps, material, server: Arc::new(server), ends })
    }

    /// Goes on with the authorities that have not ended.
    fn drop_ended(&mut self, now: Timestamp) {
        tracing::warn!(until = ?self.ends, "an authority of client certificates has ended and is not trusted any more");
        let authorities = self.material.authorities.as_mut();
        let left = authorities.map(|all| {
            all.retain(|authority| !authority.has_ended(now));
            all.len()
        });
        if left == Some(0) {
            tracing::error!("no authority of client certificates is left: they are not asked for any more");
            self.material.authorities = None;
        }
        match self.material.server(now) {
            Ok((server, ends)) => (self.server, self.ends) = (Arc::new(server), ends),
            // what was made of it before was made of more
            Err(error) => tracing::error!(%error, "an authority that has ended stays trusted"),
        }
    }
}

impl Authority {
    fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Material {
    /// What serves with it, and when the first of its authorities ends.
    fn server(&self, now: Timestamp) -> Result<(ServerConfig, Option<Timestamp>), TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let trusted = self.authorities.iter().flatten().filter(|authority| !authority.has_ended(now));
        let verifier = match &self.authorities {
            Some(_) => verifier(trusted.clone(), provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let (chain, key) = (self.chain.clone(), self.key.clone_key());
        let mut server = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok((server, trusted.filter_map(|authority| authority.until).min()))
    }
}

/// Certificate and key.
fn pair(config: &TlsConfig) -> (PathBuf, PathBuf) {
    match &config.certificates {
        Certificates::Files { certificate, key } => (certificate.clone(), key.clone()),
        Certificates::Trial(trial) => {
            (trial.directory.join(trial::SERVER), trial.directory.join(trial::SERVER_KEY))
        }
    }
}

fn files(config: &TlsConfig) -> Vec<PathBuf> {
    let (certificate, key) = pair(config);
    [certificate, key].into_iter().chain(config.client_ca.clone()).collect()
}

fn read(config: &TlsConfig, now: Timestamp) -> Result<Material, TlsError> {
    let (certificate, key) = pair(config);
    let chain = certificates(&certificate)?;
    if let Some(identity) = chain.first().and_then(|first| Identity::of(first))
        && identity.until <= now
    {
        return Err(TlsError::Ended { path: certificate, until: identity.until });
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(&key)?)
        .map_err(|error| TlsError::Pem { path: key, why: format!("no private key: {error}") })?;
    let authorities = config.client_ca.as_deref().map(|file| authorities(file, now)).transpose()?;
    Ok(Material { chain, key, authorities })
}

fn authorities(file: &Path, now: Timestamp) -> Result<Vec<Authority>, TlsError> {
    let mut all = Vec::new();
    for certificate in certificates(file)? {
        // an anchor of trust is not asked for its times by anybody else (RFC 5280 §6.1.1)
        let until = Identity::of(&certificate).map(|it| it.until);
        let authority = Authority { certificate, until };
        if authority.has_ended(now) {
            tracing::warn!(file = %file.display(), ?until, "an authority has ended and is not trusted any more");
            continue;
        }
        let added = RootCertStore::empty().add(authority.certificate.clone());
        added.map_err(|error| TlsError::Pem { path: file.to_owned(), why: error.to_string() })?;
        all.push(authority);
    }
    Ok(all)
}

fn verifier<'a>(
    authorities: impl Iterator<Item = &'a Authority>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.certificate.clone())?;
    }
    // who shows none may show a token
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: String| TlsError::Pem { path: path.to_owned(), why };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(path)?).collect();
    match all {
        Ok(all) if all.is_empty() => Err(bad("it holds no certificate".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(bad(format!("no PEM: {error}"))),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
