//! The commands, one file for each family; this file only knows which is which.

mod access;
mod apply;
mod create;
mod explain;
mod inform;
mod objects;
mod status;
mod together;
mod wait;

pub(crate) use self::wait::still_open;

use crate::{
    args::{Cli, Command, Format, GroupCommand, SandboxCommand, ServiceCommand},
    client::Client,
    contexts::{Chosen, Contexts},
    exit::Failure,
    output::{self, Paint},
};

/// What every command that speaks to control works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) output: Format,
    pub(crate) paint: Paint,
    pub(crate) quiet: bool,
}

impl Session {
    fn new(cli: &Cli) -> Result<Self, Failure> {
        let Chosen { server, namespace, credentials } = Contexts::read()?.choose(&cli.global)?;
        Ok(Self {
            client: Client::new(&server, credentials)?,
            namespace,
            output: cli.global.output,
            paint: Paint::new(cli.global.color),
            quiet: cli.global.quiet,
        })
    }

    /// Says a sentence to people: none beside JSON or YAML.
    fn say(&self, text: &str) {
        if !self.quiet && self.output.is_for_people() {
            output::line(text);
        }
    }
}

/// Runs one command.
///
/// # Errors
/// What kept it from doing what it was told.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    match &cli.command {
        // these need no control plane, and are not to fail for the address of one
        Command::Header { keys, member } => inform::header(cli.global.output, keys, member),
        Command::Completion { shell } => {
            output::line(inform::completion(*shell).trim_end());
            Ok(())
        }
        Command::Login => access::login(&cli.global).await,
        Command::Config(what) => access::config(&cli.global, what),
        Command::Demo { keep } => crate::demo::run(*keep, Paint::new(cli.global.color)).await,
        _ => run_with_control(cli).await,
    }
}

async fn run_with_control(cli: Cli) -> Result<(), Failure> {
    use bellhop_api::Kind;

    let session = Session::new(&cli)?;
    let session = &session;
    match cli.command {
        Command::Apply(what) => apply::apply(session, &what).await,
        Command::Delete(what) => apply::delete(session, &what).await,
        Command::Sandbox(SandboxCommand::Create(what)) => create::sandbox(session, &what).await,
        Command::Sandbox(SandboxCommand::Any(what)) => objects::run(session, Kind::Sandbox, what).await,
        Command::Sandbox(SandboxCommand::Renew(what)) => objects::renew(session, Kind::Sandbox, &what).await,
        Command::Sandbox(SandboxCommand::Wait(what)) => wait::object(session, Kind::Sandbox, &what).await,
        Command::Group(GroupCommand::Create(what)) => create::group(session, &what).await,
        Command::Group(GroupCommand::Any(what)) => objects::run(session, Kind::SandboxGroup, what).await,
        Command::Group(GroupCommand::Renew(what)) => objects::renew(session, Kind::SandboxGroup, &what).await,
        Command::Group(GroupCommand::Wait(what)) => wait::object(session, Kind::SandboxGroup, &what).await,
        Command::Service(ServiceCommand::Any(what)) => objects::run(session, Kind::Service, what).await,
        Command::Status => status::status(session).await,
        Command::Proxies => inform::proxies(session).await,
        Command::Routes { watch } => inform::routes(session, watch).await,
        Command::Explain { keys, to } => explain::explain(session, &keys, &to).await,
        Command::Version => inform::version(session).await,
        Command::Token(what) => access::token(session, &what).await,
        Command::Whoami => access::whoami(session).await,
        Command::Header { .. }
        | Command::Completion { .. }
        | Command::Demo { .. }
        | Command::Login
        | Command::Config(_)
        | Command::Proxy { .. }
        | Command::Control { .. } => {
            Err(Failure::Usage("this command speaks to no control plane".to_owned()))
        }
    }
}
