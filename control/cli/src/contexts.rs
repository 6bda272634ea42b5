//! Contexts: which control plane, who one is there, and in which namespace; kept in a file for its owner alone.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bellhop_api::access::Secret;
use bellhop_client::{BaseUrl, Credentials, Source};
use serde::{Deserialize, Serialize};

use crate::{args::Global, exit::Failure};

/// Where control is if nobody says so.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";

/// One context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Context {
    /// Base URL of the control API.
    pub(crate) server: String,
    /// Namespace of objects that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// Authorities that vouch for control: in the context, or in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The token: in the context, or in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The client certificate and its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_cert_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_key_file: Option<PathBuf>,
}

/// All contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that counts where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// What a command works with, once flags, environment and context are put together.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) server: String,
    pub(crate) namespace: String,
    pub(crate) credentials: Credentials,
}

impl Contexts {
    /// Reads the file; none is an empty one.
    ///
    /// # Errors
    /// When it is there and cannot be read or understood.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let bad = |why: String| Failure::NoInput(format!("{}: {why}", path.display()));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(bad(error.to_string())),
        };
        // what the parser says may show a line of the file, and with it a token
        let contexts: Self = serde_norway::from_str(&text).map_err(|error| match error.location() {
            Some(at) => bad(format!("not understood at line {}, column {}", at.line(), at.column())),
            None => bad("not understood".to_owned()),
        })?;
        let open = fs::metadata(&path).is_ok_and(|data| data.mode() & 0o077 != 0);
        if open && contexts.contexts.values().any(|context| context.token.is_some()) {
            let path = path.display();
            let warning = format!("bellhop: others can read the tokens in {path}; say: chmod 600 {path}");
            // a warning that nobody reads is no reason to stop
            writeln!(io::stderr(), "{warning}").ok();
        }
        Ok(contexts)
    }

    /// Writes the file, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self) -> Result<PathBuf, Failure> {
        let path = path().ok_or_else(|| {
            Failure::Usage("there is no home directory; name a file in BELLHOP_CONFIG".to_owned())
        })?;
        let text = serde_norway::to_string(self)
            .map_err(|error| Failure::Refused(format!("contexts cannot be written: {error}")))?;
        put(&path, &text).map_err(|error| Failure::NoInput(format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// A context by its name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::Usage(format!("there is no context {name:?}; there are: {known}"))
        })
    }

    /// Puts flags, environment and a context together. A server that is named by itself gets nothing of the current
    /// context: its token is not for strangers.
    ///
    /// # Errors
    /// When a context is named that is not there, or whose token or certificate would go to another server than its own.
    pub(crate) fn choose(&self, global: &Global) -> Result<Chosen, Failure> {
        let context = match (&global.context, &global.server, &self.current_context) {
            (Some(name), _, _) => self.get(name)?.clone(),
            (None, None, Some(name)) => self.get(name)?.clone(),
            (None, _, _) => Context::default(),
        };
        context.stays_home(global)?;
        let server = global.server.clone().unwrap_or_else(|| context.home().to_owned());
        let namespace = global.namespace.as_ref().map(ToString::to_string).or(context.namespace.clone());
        Ok(Chosen {
            server,
            namespace: namespace.unwrap_or_else(|| bellhop_api::DEFAULT_NAMESPACE.to_owned()),
            credentials: context.credentials(global)?,
        })
    }
}

impl Context {
    /// The server that its token and certificate are for.
    fn home(&self) -> &str {
        if self.server.is_empty() { DEFAULT_SERVER } else { &self.server }
    }

    fn is_at(&self, server: &str) -> bool {
        match (server.parse::<BaseUrl>(), self.home().parse::<BaseUrl>()) {
            (Ok(server), Ok(home)) => server == home,
            _ => server == self.home(),
        }
    }

    /// Refuses to show its token or certificate to another server than its own.
    fn stays_home(&self, global: &Global) -> Result<(), Failure> {
        let Some(server) = global.server.as_deref().filter(|server| !self.is_at(server)) else {
            return Ok(());
        };
        let token = global.token_file.is_none() && (self.token.is_some() || self.token_file.is_some());
        let certificate = (global.client_cert_file.is_none() && self.client_cert_file.is_some())
            || (global.client_key_file.is_none() && self.client_key_file.is_some());
        if !token && !certificate {
            return Ok(());
        }
        let what = if token { "token" } else { "client certificate" };
        Err(Failure::Usage(format!(
            "the context's {what} is for its server {}, and --server (or BELLHOP_SERVER) says {server}; leave out one of \
             the context and the server, or log in there: bellhop login --server {server}",
            self.home()
        )))
    }

    /// Names another server; what was shown to the one before is not for it.
    pub(crate) fn move_to(&mut self, server: &BaseUrl) {
        if !self.is_at(server.as_str()) {
            (self.token, self.token_file) = (None, None);
            (self.client_cert_file, self.client_key_file) = (None, None);
        }
        self.server = server.to_string();
    }

    fn credentials(self, global: &Global) -> Result<Credentials, Failure> {
        let text = |text: Secret| Source::Text(text);
        let own_token = self.token.map(text).or(self.token_file.map(Source::File));
        let own_ca = self.ca.map(|ca| text(Secret::new(ca))).or(self.ca_file.map(Source::File));
        let certificate = global.client_cert_file.clone().or(self.client_cert_file);
        let key = global.client_key_file.clone().or(self.client_key_file);
        if certificate.is_some() != key.is_some() {
            let both = "--client-cert-file and --client-key-file: both are needed, or neither";
            return Err(Failure::Usage(both.to_owned()));
        }
        Ok(Credentials {
            token: global.token_file.clone().map(Source::File).or(own_token),
            ca: global.ca_file.clone().map(Source::File).or(own_ca),
            certificate: certificate.zip(key),
        })
    }

    /// The context as it may be shown.
    pub(crate) fn masked(&self) -> Self {
        let token = self.token.as_ref().map(|_| Secret::new("***"));
        Self { token, ..self.clone() }
    }
}

/// `BELLHOP_CONFIG`, or `bellhop/config.yaml` where XDG says that configuration belongs.
pub(crate) fn path() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named("BELLHOP_CONFIG") {
        return Some(path);
    }
    let directory = named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")));
    directory.map(|directory| directory.join("bellhop/config.yaml"))
}

/// Writes a file for its owner alone, aside, and moves it into place.
pub(crate) fn put(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        // it may not even be there
        fs::remove_file(&new).ok();
    }
    written
}
