//! `login`, `config`, `token`, `whoami`: who one is, and who others are.

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use bellhop_api::access::{Secret, TokenCreated, TokenInfo, TokenList, TokenRequest, WhoAmI};
use bellhop_client::{BaseUrl, Credentials, Source};
use http::Method;

use super::{Session, objects::encode};
use crate::{
    args::{ConfigCommand, CreateToken, Format, Global, TokenCommand},
    client::Client,
    contexts::{self, Context, Contexts},
    exit::Failure,
    output,
};

/// Logs in: tries the token at the control plane, and keeps both as the current context.
pub(crate) async fn login(global: &Global) -> Result<(), Failure> {
    let mut all = Contexts::read()?;
    // one that is there may be given another server
    if let (Some(name), Some(server)) = (&global.context, &global.server)
        && let Some(context) = all.contexts.get_mut(name)
    {
        context.move_to(&url_of(server)?);
    }
    // a context that is not there yet is what a login makes
    let fresh = global.context.as_ref().is_some_and(|name| !all.contexts.contains_key(name));
    let chosen =
        if fresh { all.choose(&Global { context: None, ..global.clone() })? } else { all.choose(global)? };
    let url = url_of(&chosen.server)?;
    let name = global.context.clone().unwrap_or_else(|| host(&url));
    let token = match (&global.token_file, &chosen.credentials.certificate) {
        (Some(file), _) => Some(read(file)?),
        (None, Some(_)) => None,
        (None, None) => Some(ask_for_token(&url)?),
    };
    let token = token.map(|text| Secret::new(text.trim()));
    let credentials = Credentials { token: token.clone().map(Source::Text), ..chosen.credentials };
    let me: WhoAmI = Client::new(&chosen.server, credentials)?.get("/v1/whoami").await?;
    let mut held = all.contexts.get(&name).cloned().unwrap_or_default();
    held.move_to(&url);
    let ca = global.ca_file.as_ref().map(read).transpose()?;
    let context = Context {
        server: url.to_string(),
        namespace: global.namespace.as_ref().map(ToString::to_string).or(held.namespace),
        ca_file: held.ca_file.filter(|_| ca.is_none()),
        ca: ca.or(held.ca),
        token_file: None,
        token,
        client_cert_file: absolute(global.client_cert_file.as_ref())?.or(held.client_cert_file),
        client_key_file: absolute(global.client_key_file.as_ref())?.or(held.client_key_file),
    };
    all.contexts.insert(name.clone(), context);
    all.current_context = Some(name.clone());
    let file = all.write()?;
    if global.quiet && global.output.is_for_people() {
        return Ok(());
    }
    output::print(global.output, &me, |_| format!("{}; context {name} in {}", describe(&me), file.display()))
}

fn url_of(server: &str) -> Result<BaseUrl, Failure> {
    server.parse().map_err(|why| Failure::Usage(format!("--server {server:?}: {why}")))
}

fn host(url: &BaseUrl) -> String {
    url.as_str().split_once("://").map_or(url.as_str(), |(_, authority)| authority).to_owned()
}

fn describe(me: &WhoAmI) -> String {
    let wherein =
        if me.namespaces.is_empty() { String::new() } else { format!(" in {}", me.namespaces.join(", ")) };
    let until = me.expires_at.map(|at| format!(", until {at}")).unwrap_or_default();
    format!("{} is {}{wherein}{until}", me.name, me.role)
}

fn read(file: &PathBuf) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|why| Failure::NoInput(format!("{}: {why}", file.display())))
}

fn absolute(file: Option<&PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let absolute = |file: &PathBuf| {
        std::path::absolute(file).map_err(|why| Failure::NoInput(format!("{}: {why}", file.display())))
    };
    file.map(absolute).transpose()
}

/// Reads a token from standard input: in a pipe as it comes, on a terminal without showing it.
fn ask_for_token(url: &BaseUrl) -> Result<String, Failure> {
    let input = io::stdin();
    let failed = |why: io::Error| Failure::NoInput(format!("standard input: {why}"));
    let terminal = input.is_terminal();
    if terminal {
        write!(io::stderr(), "Token for {url}: ").map_err(failed)?;
    }
    let hidden = terminal.then(Hidden::begin).transpose().map_err(failed)?;
    let mut text = String::new();
    input.read_line(&mut text).map_err(failed)?;
    drop(hidden);
    if terminal {
        writeln!(io::stderr()).map_err(failed)?;
    }
    if text.trim().is_empty() {
        return Err(Failure::Usage(
            "no token; type one, pipe one in, or name a file with --token-file".to_owned(),
        ));
    }
    Ok(text)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // nothing can be done about a terminal that has gone
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}

/// `bellhop config`.
pub(crate) fn config(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    let mut all = Contexts::read()?;
    match command {
        ConfigCommand::GetContexts => {
            let rows = all.contexts.iter().map(|(name, context)| row(name, context, &all)).collect();
            let masked = masked(&all);
            return output::print(global.output, &masked, |_| {
                output::table(&["CURRENT", "NAME", "SERVER", "NAMESPACE", "AS"], rows)
            });
        }
        ConfigCommand::View => {
            let format = if global.output == Format::Json { Format::Json } else { Format::Yaml };
            return output::print(format, &masked(&all), |_| String::new());
        }
        ConfigCommand::UseContext { name } => {
            all.get(name)?;
            all.current_context = Some(name.clone());
        }
        ConfigCommand::SetContext { name } => set(&mut all, name, global)?,
        ConfigCommand::DeleteContext { name } => {
            all.get(name)?;
            all.contexts.remove(name);
            all.current_context = all.current_context.filter(|current| current != name);
        }
    }
    let file = all.write()?;
    if global.quiet && global.output.is_for_people() {
        return Ok(());
    }
    output::print(global.output, &masked(&all), |_| format!("written to {}", file.display()))
}

fn masked(all: &Contexts) -> Contexts {
    let contexts = all.contexts.iter().map(|(name, context)| (name.clone(), context.masked())).collect();
    Contexts { contexts, current_context: all.current_context.clone() }
}

fn row(name: &str, context: &Context, all: &Contexts) -> Vec<String> {
    let current = if all.current_context.as_deref() == Some(name) { "*" } else { "" };
    let namespace = context.namespace.as_deref().unwrap_or(bellhop_api::DEFAULT_NAMESPACE);
    let whoever = match context {
        Context { token: Some(_), .. } | Context { token_file: Some(_), .. } => "token",
        Context { client_cert_file: Some(_), .. } => "certificate",
        _ => "anonymous",
    };
    [current, name, &context.server, namespace, whoever].map(str::to_owned).to_vec()
}

fn set(all: &mut Contexts, name: &str, global: &Global) -> Result<(), Failure> {
    let context = all.contexts.entry(name.to_owned()).or_default();
    if let Some(server) = &global.server {
        context.move_to(&url_of(server)?);
    }
    if context.server.is_empty() {
        return Err(Failure::Usage("a context needs a --server".to_owned()));
    }
    if let Some(namespace) = &global.namespace {
        context.namespace = Some(namespace.to_string());
    }
    if let Some(file) = absolute(global.token_file.as_ref())? {
        (context.token, context.token_file) = (None, Some(file));
    }
    if let Some(file) = absolute(global.ca_file.as_ref())? {
        (context.ca, context.ca_file) = (None, Some(file));
    }
    if let Some(file) = absolute(global.client_cert_file.as_ref())? {
        context.client_cert_file = Some(file);
    }
    if let Some(file) = absolute(global.client_key_file.as_ref())? {
        context.client_key_file = Some(file);
    }
    Ok(())
}

/// `bellhop whoami`.
pub(super) async fn whoami(session: &Session) -> Result<(), Failure> {
    let me: WhoAmI = session.client.get("/v1/whoami").await?;
    output::print(session.output, &me, |_| describe(&me))
}

/// `bellhop token`.
pub(super) async fn token(session: &Session, command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(what) => create(session, what).await,
        TokenCommand::List => {
            let found: TokenList = session.client.get("/v1/tokens").await?;
            output::print(session.output, &found, |wide| tokens(&found, wide))
        }
        TokenCommand::Revoke { ids } => {
            let mut revoked = Vec::new();
            for id in ids {
                let path = format!("/v1/tokens/{}", encode(id));
                let gone: TokenInfo = session.client.send::<()>(Method::DELETE, &path, None).await?.json()?;
                session.say(&format!("token/{} revoked", gone.id));
                revoked.push(gone);
            }
            match revoked.as_slice() {
                _ if session.output.is_for_people() => Ok(()),
                [one] => output::print(session.output, one, |_| String::new()),
                _ => output::print(session.output, &TokenList { items: revoked }, |_| String::new()),
            }
        }
    }
}

async fn create(session: &Session, what: &CreateToken) -> Result<(), Failure> {
    let request = TokenRequest {
        role: what.role,
        namespaces: what.namespaces.clone(),
        ttl: what.ttl.clone(),
        description: what.description.clone(),
    };
    let made: TokenCreated = session.client.send(Method::POST, "/v1/tokens", Some(&request)).await?.json()?;
    let told = format!("token/{} is {}, until {}", made.info.id, made.info.role, made.info.expires_at);
    if let Some(file) = &what.out {
        let text = format!("{}\n", made.token.reveal());
        contexts::put(file, &text).map_err(|why| {
            Failure::NoInput(format!("{}: {why}\n{told}; revoke it, nobody has it", file.display()))
        })?;
        return output::print(session.output, &made.info, |_| format!("{told}, in {}", file.display()));
    }
    if !session.quiet && session.output.is_for_people() {
        // beside the token, so that the token alone goes into a pipe
        writeln!(io::stderr(), "{told}; it is told this once").ok();
    }
    output::print(session.output, &made, |_| made.token.reveal().to_owned())
}

fn tokens(found: &TokenList, wide: bool) -> String {
    let mut head = vec!["ID", "ROLE", "NAMESPACES", "EXPIRES", "DESCRIPTION"];
    if wide {
        head.extend(["CREATED", "BY"]);
    }
    let row = |token: &TokenInfo| {
        let namespaces =
            if token.namespaces.is_empty() { "-".to_owned() } else { token.namespaces.join(",") };
        let expires = token.expires_at.to_string();
        let mut row =
            vec![token.id.clone(), token.role.to_string(), namespaces, expires, token.description.clone()];
        if wide {
            row.extend([token.created_at.to_string(), token.created_by.clone()]);
        }
        row
    };
    output::table(&head, found.items.iter().map(row).collect())
}
