//! What the user may type.

mod access;

use std::{path::PathBuf, time::Duration};

use bellhop_api::{Destination, RoutingKey};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::access::{ConfigCommand, CreateToken, TokenCommand};

/// Route each pull request's calls to its own sandbox, and everything else to the shared baseline.
#[derive(Debug, Parser)]
#[command(
    name = "bellhop",
    version,
    max_term_width = 110,
    after_help = "Try it without anything set up:   bellhop demo\n\
                  Exit codes: 0 done · 1 control refused, or the thing is not there · 64 wrong usage · 65 invalid manifest\n\
                  3 `status` found something wrong · 66 file not readable · 69 control not reachable\n\
                  75 --wait or `wait` ran out of time"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Base address of the control API [default: that of the context, else http://127.0.0.1:7070]
    #[arg(long, global = true, env = "BELLHOP_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Context to use, instead of the current one (see `bellhop config`); a --server that is given takes nothing of the
    /// current one, and gets the token of one that is named only if it is that one's server
    #[arg(long, global = true, env = "BELLHOP_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// File with the token that tells control who this is
    #[arg(long, global = true, env = "BELLHOP_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the authorities (PEM) that vouch for control [default: those that this machine trusts]
    #[arg(long, global = true, env = "BELLHOP_CA_FILE", value_name = "FILE", hide_env_values = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// File with a client certificate (PEM, its chain behind it), instead of a token
    #[arg(
        long,
        global = true,
        env = "BELLHOP_CLIENT_CERT_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub(crate) client_cert_file: Option<PathBuf>,
    /// File with the key of that certificate (PEM)
    #[arg(long, global = true, env = "BELLHOP_CLIENT_KEY_FILE", value_name = "FILE", hide_env_values = true)]
    pub(crate) client_key_file: Option<PathBuf>,
    /// Namespace of the objects named on the command line [default: that of the context, else default]
    #[arg(short = 'n', long, global = true, env = "BELLHOP_NAMESPACE", value_name = "NS")]
    pub(crate) namespace: Option<bellhop_api::DnsLabel>,
    /// How to print: a table, a wider one, or the objects themselves
    #[arg(short = 'o', long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Colours: `auto` means only on a terminal, and not where NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
    /// Say nothing but the result
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// JSON, for programs.
    Json,
    /// YAML, ready for `apply -f`.
    Yaml,
}

impl Format {
    /// Whether people read it, and not a program.
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Only on a terminal.
    Auto,
    /// Also into a pipe.
    Always,
    /// Not at all.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or change the objects of a file (services first, then sandboxes, then groups)
    Apply(Apply),
    /// Delete the objects of a file (groups first, then sandboxes, then services)
    Delete(Delete),
    /// Sandboxes: other versions of some destinations, under one routing key
    #[command(subcommand, visible_alias = "sandboxes")]
    Sandbox(SandboxCommand),
    /// Groups: one routing key for several sandboxes together
    #[command(subcommand, visible_alias = "groups")]
    Group(GroupCommand),
    /// Services: what the destinations are
    #[command(subcommand, visible_alias = "services")]
    Service(ServiceCommand),
    /// Print the header that marks a request with these keys
    #[command(after_help = "Example:   curl -H \"$(bellhop header pr-15)\" http://frontend.staging/")]
    Header {
        /// Routing keys; for a destination the first that has a route for it wins
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<RoutingKey>,
        /// Name of the baggage member, where the proxies use another one
        #[arg(long, default_value = "routing-key", value_name = "NAME")]
        member: String,
    },
    /// Tell how the whole stands: replicas, store, objects, proxies. Ends with 3 where something is wrong
    Status,
    /// List the proxies that control has heard of
    Proxies,
    /// List the compiled routes, as the proxies get them
    Routes {
        /// Go on and print changes as they come, until Ctrl-C; as JSON or YAML: the events of the watch alone, each a document
        #[arg(short, long)]
        watch: bool,
    },
    /// Tell where a call with these keys would go, and why
    #[command(after_help = "Example:   bellhop explain --key pr-15 --to route:8080")]
    Explain {
        /// Routing key; repeat it for several, in order
        #[arg(short, long = "key", required = true, value_name = "KEY")]
        keys: Vec<RoutingKey>,
        /// What the application calls, SERVICE:PORT or SERVICE.NAMESPACE:PORT
        #[arg(short, long, value_name = "DESTINATION")]
        to: Destination,
    },
    /// Tell control who you are, and keep that as the current context; the token is read from --token-file or typed
    #[command(
        after_help = "Example:   bellhop login --server https://control.example.org:7070 --ca-file ca.pem < token"
    )]
    Login,
    /// Contexts: which control plane, who you are there, in which namespace
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Tokens: who may do what, and until when
    #[command(subcommand, visible_alias = "tokens")]
    Token(TokenCommand),
    /// Tell whom control takes you for
    Whoami,
    /// Show it all working on this machine in a few seconds: control plane, three services, proxies, sandboxes
    Demo {
        /// Leave everything running, and print curl lines to try
        #[arg(long)]
        keep: bool,
    },
    /// Run a proxy (the same as `bellhop-proxy`)
    #[command(disable_help_flag = true)]
    Proxy {
        /// Arguments of `bellhop-proxy`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<std::ffi::OsString>,
    },
    /// Run a control plane (the same as `bellhop-control`)
    #[command(disable_help_flag = true)]
    Control {
        /// Arguments of `bellhop-control`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<std::ffi::OsString>,
    },
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:   bellhop completion bash > ~/.local/share/bash-completion/completions/bellhop"
    )]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the version of this command, and of the control plane where one answers
    Version,
}

/// Files of manifests.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// YAML or JSON, one or many objects; `-` reads standard input; repeat it for several files
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Check everything and say what would change, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) files: Files,
    /// An object that is not there is no failure
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

/// `--wait`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Return only when every proxy holds the newest form of each key
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

/// `--timeout`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Timeout {
    /// How long to wait; then the command ends with exit code 75
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s", value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Create or change a sandbox without a file
    #[command(
        after_help = "Example:   bellhop sandbox create pr-15 --override route:8080=10.0.0.7:8080 --ttl 4h --wait"
    )]
    Create(CreateSandbox),
    #[command(flatten)]
    Any(ObjectCommand),
    /// Start the time to live again
    Renew(Named),
    /// Wait until every proxy holds the sandbox's routes
    Wait(WaitFor),
}

#[derive(Debug, Args)]
pub(crate) struct CreateSandbox {
    /// Name of the sandbox
    pub(crate) name: String,
    /// SERVICE[.NAMESPACE][:PORT]=ENDPOINT[,ENDPOINT…]; an endpoint is HOST[:PORT]; repeat it for several services
    #[arg(long = "override", required = true, value_name = "OVERRIDE")]
    pub(crate) overrides: Vec<String>,
    /// Routing key, if not the name
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<RoutingKey>,
    /// Time to live, such as 30m, 4h or 2d
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<String>,
    /// NAME=VALUE; repeat it for several
    #[arg(short, long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// Let the baseline answer when no endpoint does (it is counted, and visible)
    #[arg(long)]
    pub(crate) fallback_to_baseline: bool,
    /// What the endpoints speak
    #[arg(long, default_value = "same", value_name = "PROTOCOL", value_parser = ["same", "http1", "http2"])]
    pub(crate) protocol: String,
    /// Check it and say what would change, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Create or change a group without a file
    #[command(
        after_help = "Example:   bellhop group create release-7 --sandbox pr-15 --sandbox pr-16 --wait"
    )]
    Create(CreateGroup),
    #[command(flatten)]
    Any(ObjectCommand),
    /// Start the time to live again
    Renew(Named),
    /// Wait until every proxy holds the group's routes
    Wait(WaitFor),
}

#[derive(Debug, Args)]
pub(crate) struct CreateGroup {
    /// Name of the group
    pub(crate) name: String,
    /// A member, NAME or NAMESPACE/NAME; repeat it for several
    #[arg(long = "sandbox", value_name = "SANDBOX", required_unless_present = "selector")]
    pub(crate) sandboxes: Vec<String>,
    /// Members by label, NAME=VALUE; repeat it for several, all must match
    #[arg(short = 'l', long, value_name = "LABEL")]
    pub(crate) selector: Vec<String>,
    /// Routing key, if not the name
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<RoutingKey>,
    /// Time to live, such as 30m, 4h or 2d
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<String>,
    /// Check it and say what would change, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    #[command(flatten)]
    Any(ObjectCommand),
}

/// What works alike for every kind.
#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// Show one object
    Get(Named),
    /// List the objects of the namespace
    #[command(visible_alias = "ls")]
    List(List),
    /// Delete objects
    #[command(visible_alias = "rm")]
    Delete(DeleteNamed),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteNamed {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// An object that is not there is no failure
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// All namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only objects with these labels, as NAME=VALUE,NAME!=VALUE,NAME
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitFor {
    /// Its name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}
