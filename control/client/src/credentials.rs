//! Whom one trusts and who one is, from files or texts, and when those files have changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bellhop_api::access::Secret;
use http::HeaderValue;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::Stamps;

/// Where something is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From a file, again whenever it changes.
    File(PathBuf),
    /// From here.
    Text(Secret),
}

/// Whom one trusts and who one is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The bearer token.
    pub token: Option<Source>,
    /// Authorities that are trusted, PEM, several in one file; absent, those of the machine.
    pub ca: Option<Source>,
    /// The client certificate, with the chain behind it, and its key; both PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What should be PEM is not.
    #[error("{of}: no PEM that can be used: {why}")]
    Pem {
        /// Which.
        of: String,
        /// Why.
        why: String,
    },
    /// A token is no word.
    #[error("{of}: a token is one word in one line")]
    Token {
        /// Which.
        of: String,
    },
    /// The client certificate and its key do not go together.
    #[error("client certificate: {0}")]
    Certificate(#[source] rustls::Error),
    /// The machine knows no authorities.
    #[error("this machine knows no certificate authorities; name some with --ca-file")]
    NoAuthorities,
}

impl Source {
    fn name(&self, what: &str) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => what.to_owned(),
        }
    }

    fn read(&self) -> Result<Secret, CredentialsError> {
        match self {
            Self::File(path) => read(path).and_then(|bytes| {
                let text = String::from_utf8(bytes);
                text.map(Secret::new).map_err(|_| pem(path.display(), "not UTF-8"))
            }),
            Self::Text(text) => Ok(text.clone()),
        }
    }
}

impl Credentials {
    /// How all files stand now; another answer later means that one has changed.
    pub(crate) fn stamps(&self) -> Stamps {
        let named = [&self.token, &self.ca].into_iter().flatten().filter_map(|source| match source {
            Source::File(path) => Some(path),
            Source::Text(_) => None,
        });
        let pair = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        Stamps::of(named.chain(pair))
    }

    /// The `Authorization` field.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, CredentialsError> {
        let Some(source) = &self.token else { return Ok(None) };
        let of = || source.name("the token");
        let text = source.read()?;
        let token = text.reveal().trim();
        let word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = word.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
        let mut value = value.ok_or_else(|| CredentialsError::Token { of: of() })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The client's side of TLS.
    pub(crate) fn tls(&self) -> Result<ClientConfig, CredentialsError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CredentialsError::Certificate)?
            .with_root_certificates(self.roots()?);
        let Some((certificate, key)) = &self.certificate else { return Ok(config.with_no_client_auth()) };
        let chain = certificates(&read(certificate)?, certificate.display())?;
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| pem(key.display(), error))?;
        config.with_client_auth_cert(chain, key).map_err(CredentialsError::Certificate)
    }

    fn roots(&self) -> Result<RootCertStore, CredentialsError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(source) => {
                let of = source.name("the authorities");
                for authority in certificates(source.read()?.reveal().as_bytes(), &of)? {
                    roots.add(authority).map_err(|error| pem(&of, error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(CredentialsError::NoAuthorities);
                }
            }
        }
        Ok(roots)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    fs::read(path).map_err(|source| CredentialsError::File { path: path.to_owned(), source })
}

fn certificates(
    text: &[u8],
    of: impl std::fmt::Display,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(pem(of, "it holds no certificate")),
        Ok(all) => Ok(all),
        Err(error) => Err(pem(of, error)),
    }
}

fn pem(of: impl std::fmt::Display, why: impl std::fmt::Display) -> CredentialsError {
    CredentialsError::Pem { of: of.to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_is_shown_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let credentials = Credentials { token: Some(Source::File(file.clone())), ..Credentials::default() };
        let missing = credentials.authorization().unwrap_err().to_string();
        assert!(missing.contains("token") && missing.contains("No such file"), "{missing}");
        fs::write(&file, "bh_secret\n").unwrap();
        let value = credentials.authorization().unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer bh_secret");
        assert!(!format!("{value:?}").contains("bh_secret"));
        for bad in ["", "\n", "two words", "two\nlines", "bh_\u{e9}"] {
            fs::write(&file, bad).unwrap();
            let error = credentials.authorization().unwrap_err().to_string();
            assert!(error.contains("one word"), "{bad:?}: {error}");
        }
        let text =
            Credentials { token: Some(Source::Text(Secret::new("bh_secret"))), ..Credentials::default() };
        assert!(!format!("{text:?}").contains("bh_secret"));
    }

    #[test]
    fn a_changed_file_and_one_that_took_its_place_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let credentials = Credentials { ca: Some(Source::File(file.clone())), ..Credentials::default() };
        let mut before = credentials.stamps();
        let mut changes = |what: &str| {
            let now = credentials.stamps();
            assert_ne!(now, before, "{what}");
            assert_eq!(credentials.stamps(), now, "and nothing else");
            before = now;
        };
        fs::write(&file, "a").unwrap();
        changes("made");
        fs::write(&file, "ab").unwrap();
        changes("changed");
        let other = directory.path().join("new");
        fs::write(&other, "ab").unwrap();
        fs::rename(&other, &file).unwrap();
        changes("replaced");
        let error = credentials.tls().unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("no certificate"), "{error}");
    }
}
