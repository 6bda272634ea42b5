//! How control is reached by those who measure it: in plain text, or by TLS with a token.

use std::{ffi::OsString, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_rustls::TlsConnector;

use crate::{
    control::{Api, Control},
    process::START_DEADLINE,
    stage::Stage,
};

/// Between two looks for certificates and token.
const LOOK: Duration = Duration::from_millis(5);

/// A connection, of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// See the module.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    secured: Option<Secured>,
}

#[derive(Clone)]
struct Secured {
    connector: TlsConnector,
    token: Arc<str>,
}

/// Starts a control process that keeps its objects in memory.
///
/// # Errors
/// Where it does not start.
pub(super) async fn start(stage: &Stage, tls: bool) -> anyhow::Result<(Control, Door)> {
    let program = stage.programs.control.as_ref().context("no bellhop-control")?;
    let seat = stage.proxy_seat();
    let mut args: Vec<OsString> = vec!["--store".into(), "memory".into()];
    // the stage's own directory takes it along
    let data = tempfile::tempdir_in(stage.dir())?.keep();
    if tls {
        let certs = data.join("certs");
        args.extend(["--dev-certs".into(), certs.into(), "--data-dir".into(), data.clone().into()]);
    }
    let mut control = Control::start_with(&seat, program, args, stage.dir()).await?;
    let mut secured = None;
    let begin = Instant::now();
    while tls && secured.is_none() {
        // the port is there before certificates and token are
        secured = match Secured::read(&data) {
            Err(error) if begin.elapsed() > START_DEADLINE => return Err(error),
            read => read.ok(),
        };
        control.process.alive()?;
        sleep(LOOK).await;
    }
    let door = Door { address: control.address, secured };
    Ok((control, door))
}

impl Secured {
    fn read(data: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data.join("certs/ca.pem"))?)?;
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let token = std::fs::read_to_string(data.join("bootstrap-token")).context("no first token")?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), token: token.trim().into() })
    }
}

impl Door {
    /// Connects.
    ///
    /// # Errors
    /// Where control does not accept, or TLS fails.
    pub(super) async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(secured) = &self.secured else { return Ok(Box::new(stream)) };
        let name = ServerName::from(self.address.ip());
        Ok(Box::new(secured.connector.connect(name, stream).await?))
    }

    /// Its API.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(super) async fn api(&self) -> anyhow::Result<Api> {
        let token = self.secured.as_ref().map(|secured| secured.token.to_string());
        Api::over(self.connect().await?, self.address, token).await
    }

    /// The lines of a head that every request has.
    pub(super) fn fields(&self) -> String {
        match &self.secured {
            None => format!("Host: {}\r\n", self.address),
            Some(secured) => {
                format!("Host: {}\r\nAuthorization: Bearer {}\r\n", self.address, secured.token)
            }
        }
    }
}
